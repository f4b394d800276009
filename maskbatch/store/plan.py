"""Plan the work of a session: compare the inputs with the store and the output folder."""

import os
from collections.abc import Callable, Container, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.fingerprint import Fingerprint, fingerprints
from maskbatch.media.names import (
    crop_of,
    crop_stem,
    folded,
    from_name_text,
    name_text,
    named,
    own_name,
    stem_of_crop,
    written_names,
)
from maskbatch.media.shares import Dealt
from maskbatch.media.storage import Remote
from maskbatch.media.walk import NotLookedAt
from maskbatch.states import LABELS
from maskbatch.store.database import Store
from maskbatch.store.folder import files_below
from maskbatch.store.read import Known, evidence_of, faces_in, known_sources
from maskbatch.store.settings import OTHER_INPUTS
from maskbatch.types import Source

_NOTHING = NotLookedAt()


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a session that scans `sources` into `out`.

    Attributes:
        inputs: the paths that the user gave.
        pending: the sources that are still to be scanned.
        changed: names of sources that changed since they were scanned.
        unread: names of sources that failed for a reason that may have passed.
        removed: names of sources whose copies, crops or evidence somebody deleted.
        away: names of sources that are done but cannot be read now.
        growing: names of sources that are done and are being written again.
        vanished: names of sources that are no longer among the inputs.
        touched: the modification times of sources that have the same content at another time, by name.
        not_looked_at: the entries that were skipped below the inputs.
        dealt: the shard of the inputs that `sources` are, None for all.
    """

    out: Path
    inputs: tuple[Path, ...]
    sources: tuple[Source, ...]
    pending: tuple[Source, ...]
    changed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    growing: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    touched: Mapping[str, int] = field(default_factory=dict)
    not_looked_at: NotLookedAt = _NOTHING
    dealt: Dealt | None = None

    @property
    def num_done(self) -> int:
        """Number of sources that need not be scanned again."""
        return len(self.sources) - len(self.pending)

    @property
    def again(self) -> tuple[str, ...]:
        """Names of the sources that are scanned again, after their rows are deleted."""
        return (*self.changed, *self.unread, *self.removed)


class _Media(NamedTuple):
    """The existing files of earlier sessions: names of copies, and stems of the names of crops.

    `with_faces` are the ids of the sources that must have crops, `without_evidence` of those that lack a picture of it.
    """

    copies: set[str]
    stems: set[str]
    with_faces: set[int]
    without_evidence: set[int]

    def lacks(self, source: Source, one: Known) -> bool:
        """Return whether somebody removed the copy, all crops or evidence of a source, by the names in the store."""
        if one.id in self.without_evidence:
            return True
        if one.copy_state == "written" and one.names[0] not in self.copies:
            return True
        return one.id in self.with_faces and name_text(folded(crop_stem(own_name(source)))) not in self.stems


class Touched(NamedTuple):
    """A finished source whose file has the size and the quick hash of `was`, but another modification time."""

    name: str
    path: Path | Remote
    was: Fingerprint
    mtime_ns: int


class Standard(NamedTuple):
    """The conditions under which a finished source is not scanned again.

    Attributes:
        save: the kinds of media that the scan writes.
        growing: names of sources whose results stay, whatever is found of their files.
        with_same_content: returns the names of the touched files that have the content that was scanned.
    """

    save: Container[str] = ("annotated",)
    growing: Container[str] = ()
    with_same_content: Callable[[Sequence[Touched]], Set[str]] = lambda _: frozenset()


_Done = Sequence[tuple[Source, Known]]
_STANDARD = Standard()


def make_plan(
    store: Store, sources: Sequence[Source], inputs: Sequence[Path] = (), standard: Standard = _STANDARD
) -> Plan:  # fmt: skip
    """Compare the sources with the store, without changing it.

    Raises UsageError when the last session had none of these sources: they would displace its files in the reports.
    """
    out = store.folder
    with store.transaction() as connection:
        known = known_sources(connection)
        with_faces = faces_in(connection) if "crops" in standard.save else set()
        without_evidence = _without_evidence(connection, out) if "evidence" in standard.save else set()
    names = [name_text(source.name) for source in sources]
    before = [one.name for one in known.values() if one.position is not None]
    here = set(names)
    vanished = tuple(name for name in before if name not in here)
    has_results = any(one.state != "pending" for one in known.values())
    if has_results and before and len(vanished) == len(before):
        raise UsageError(f"{out} holds a scan of other files ({named(before)}): {OTHER_INPUTS}")
    done = [(source, known[name]) for source, name in zip(sources, names, strict=True)
            if name in known and known[name].state == "done"]  # fmt: skip
    stems = _stems(out) if done and with_faces else set()
    media = _Media(_copies(out) if done else set(), stems, with_faces, without_evidence)
    found, touched = _compared(done, media, standard)
    again = {*found["changed"], *found["unread"], *found["removed"]}
    kept = {one.name for _, one in done} - again
    pending = tuple(source for source, name in zip(sources, names, strict=True) if name not in kept)
    return Plan(out, tuple(inputs), tuple(sources), pending, vanished=vanished, touched=touched,
                **{name: tuple(sorted(values)) for name, values in found.items()})  # fmt: skip


def _compared(done: _Done, media: _Media, standard: Standard) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the names of finished sources by what was found, as in `Plan`, and the times of touched sources."""
    prints = fingerprints(source.path for source, _ in done)
    touched = _touched(done, prints, standard)
    found: dict[str, list[str]] = {"changed": [], "unread": [], "removed": [], "away": [], "growing": []}
    for (source, one), now in zip(done, prints, strict=True):
        is_same = now in (one.fingerprint, None) or one.name in touched
        if source.name in standard.growing:
            found["growing"].append(one.name)
        elif one.is_transient:
            found["unread"].append(one.name)
        elif now is None and one.fingerprint is not None:
            found["away"].append(one.name)
        elif not is_same or _written_texts(source) != one.names:
            found["changed"].append(one.name)
        elif media.lacks(source, one):
            found["removed"].append(one.name)
    return found, touched


def _touched(done: _Done, prints: Sequence[Fingerprint | None], standard: Standard) -> dict[str, int]:
    """Return the modification times of the sources that have the same content at another time."""
    found = [
        Touched(one.name, source.path, one.fingerprint, now.mtime_ns)
        for (source, one), now in zip(done, prints, strict=True)
        if now is not None and one.fingerprint is not None and now != one.fingerprint
        and (now.size, now.quick_hash) == (one.fingerprint.size, one.fingerprint.quick_hash)
        and source.name not in standard.growing
    ]  # fmt: skip
    same = standard.with_same_content(found)
    return {one.name: one.mtime_ns for one in found if one.name in same}


def plan_afresh(sources: Sequence[Source], out: Path) -> Plan:
    """Plan to scan all sources, regardless of the content of `out`."""
    return Plan(out, (), tuple(sources), tuple(sources))


def _written_texts(source: Source) -> tuple[str, str]:
    copy, own = written_names(source)
    return name_text(copy), name_text(own)


def _copies(out: Path) -> set[str]:
    """Return the names of all files below annotated/, as POSIX paths. Raises OSError when they cannot be listed."""
    return {name_text(name) for name, _ in files_below(_there(out / "annotated"))}


def _stems(out: Path) -> set[str]:
    """Return the folded stems of the names of all crops. Raises OSError when they cannot be listed, and UsageError."""
    found = set()
    for label in LABELS:
        names = (folded(name) for name, _ in files_below(_there(out / "crops") / label))
        found |= {name_text(stem) for name in names if (stem := stem_of_crop(name))}
    return found


def _without_evidence(connection: Connection, out: Path) -> set[int]:
    """Return the ids of sources of which a picture of the evidence is gone. Raises OSError, and UsageError."""
    there = {name_text(folded(name)) for name, _ in files_below(_there(out / "evidence"))}
    return {source_id for source_id, name, frame, face in evidence_of(connection)
            if name_text(folded(crop_of(from_name_text(name), frame, face))) not in there}  # fmt: skip


def _there(folder: Path) -> Path:
    """Return `folder`. Raises UsageError for a link whose target is missing, because its files may still exist."""
    if folder.is_symlink() and not folder.exists():
        raise UsageError(
            f"{folder} is a link to {os.readlink(folder)}, which is not there: connect the drive, or remove the link"
        )
    return folder
