"""What a run has to do: which sources are done already, and whether an earlier run's settings allow going on."""

import json
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from maskbatch import __version__
from maskbatch.config import ScanSettings
from maskbatch.data import Source
from maskbatch.errors import UsageError
from maskbatch.leftovers import Written, note_names, remove_media, remove_segments
from maskbatch.marks import ROWS, forget, read_marks, read_order, write_lines, write_order
from maskbatch.media.fingerprint import fingerprints
from maskbatch.media.names import folded, named, written_names
from maskbatch.media.sources import common_folder
from maskbatch.media.walk import NotLookedAt
from maskbatch.spans import are_there

_SETTINGS = Path(".state", "settings.json")
_WHAT_TO_DO = (
    "give the same inputs and settings to go on with it, choose another folder with --out, or replace it with --if-exists "
    "overwrite"
)
_INPUTS, _THRESHOLD = "input folder", "classifier.threshold"
_OTHER_INPUTS = (
    "give each set of inputs an output folder of its own with --out, or replace that scan with --if-exists overwrite"
)
_NOTHING = NotLookedAt()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run over `sources` into `out`: those still to be scanned, the names of those that changed since they were, of those
    that are done but cannot be read now, and of those that an earlier run scanned but that are no longer among the inputs.
    `inputs` are the paths the user gave, `not_looked_at` is what was passed by there."""

    out: Path
    inputs: tuple[Path, ...]
    sources: tuple[Source, ...]
    pending: tuple[Source, ...]
    changed: tuple[str, ...]
    away: tuple[str, ...]
    vanished: tuple[str, ...]
    not_looked_at: NotLookedAt = _NOTHING

    @property
    def num_done(self) -> int:
        """How many sources need not be scanned again."""
        return len(self.sources) - len(self.pending)


def plan_afresh(sources: Sequence[Source], out: Path) -> Plan:
    """All sources are to be scanned, whatever there is in `out`."""
    return Plan(out, (), tuple(sources), tuple(sources), (), (), ())


def make_plan(sources: Sequence[Source], out: Path, inputs: Sequence[Path] = ()) -> Plan:
    """Compares the sources with what is done in `out`; touches nothing. Raises UsageError when an earlier run there had
    none of them: they would push its files out of the reports."""
    stored, names, before = read_marks(out / ROWS), {source.name for source in sources}, read_order(out)
    if before and names.isdisjoint(before):
        raise UsageError(f"{out} holds a scan of other files ({named(before)}): {_OTHER_INPUTS}")
    known = [source for source in sources if source.name in stored]
    changed, away = set(), set()
    for source, now in zip(known, fingerprints(source.path for source in known), strict=True):
        rows = stored[source.name]
        is_same = now in (rows.fingerprint, None) and written_names(source) == rows.written
        if not is_same or not are_there([*rows.faces, rows.files]):
            changed.add(source.name)
        elif now != rows.fingerprint:
            away.add(source.name)
    pending = tuple(source for source in sources if source.name not in stored or source.name in changed)
    vanished = tuple(name for name in before if name not in names)
    return Plan(out, tuple(inputs), tuple(sources), pending, tuple(sorted(changed)), tuple(sorted(away)), vanished)


def begin(plan: Plan) -> None:
    """Makes the output folder fit the plan: marks of changed sources go, and all media but those of sources that are done
    and of videos that will be gone on with; the order of the run is noted. A kill in between does no harm.

    What vanished when it was done keeps its rows and its media, but is in no report until it is back; unless another source
    needs its names. Raises OSError.
    """
    stored = read_marks(plan.out / ROWS)
    unread = [name for name in plan.changed if stored[name].fingerprint is None]
    if unread:
        _log.warning("%s could not be read by the last run; scanning again", named(unread))
    if len(unread) < len(plan.changed):
        changed = [name for name in plan.changed if name not in set(unread)]
        _log.warning("%s changed since the last run; scanning again", named(changed))
    if plan.away:
        _log.warning("%s cannot be read now: what the last run found there stays", named(plan.away))
    if plan.vanished:
        _log.warning(
            "%s of the last run: no longer among the inputs, and left out of the reports", named(plan.vanished)
        )
    done = {name: rows.written for name, rows in stored.items()}
    written = [written_names(source) for source in plan.pending]
    note_names(plan.out, [*done.values(), *written])
    gone = {*plan.changed, *_taken_over(plan, done, written)}
    forget(plan.out / ROWS, gone)
    for name in gone:
        del done[name]
    in_work = remove_segments(plan.out, plan.sources, done)
    remove_media(plan.out, [*done.values(), *in_work])
    write_order(plan.out, [source.name for source in plan.sources])


def _taken_over(plan: Plan, done: Mapping[str, Written], written: Iterable[Written]) -> set[str]:
    """What vanished, and had names for its media that a pending source has now, or that are folders now, or lie in what is
    a file now: it is to be scanned when it is back."""
    here = {source.name for source in plan.sources}
    taken = {folded(name) for names in written for name in names}
    folders = _folders(taken)

    def is_in_the_way(names: Written) -> bool:
        own = {folded(name) for name in names}
        return not (own.isdisjoint(taken | folders) and _folders(own).isdisjoint(taken))

    return {name for name, names in done.items() if name not in here and is_in_the_way(names)}


def _folders(names: Iterable[str]) -> set[str]:
    """All folders that these lie in."""
    return {folder.as_posix() for name in names for folder in PurePosixPath(name).parents}


def deciding(settings: ScanSettings, inputs: Sequence[Path]) -> dict:
    """Of the settings, and of the paths the user gave, what decides the rows and media of a run."""
    values = asdict(settings)
    values["output"]["save"] = sorted(settings.output.save)
    del values["classifier"]["model"]  # its checksum says it better
    # "hwaccel" stays: damaged videos are patched up, and JPEG pictures computed, otherwise by each device
    del values["sampling"]["stall_s"]  # for how long one waits changes no row of a file that can be read
    return {
        "maskbatch": __version__,
        _INPUTS: str(common_folder(inputs)) if inputs else None,
        **{name: values[name] for name in ("sampling", "detector", "classifier", "tracker", "output")},
    }


def note_settings(out: Path, now: dict) -> None:
    """Notes in `out` the settings that decide results, unless a run there has noted them. Raises OSError."""
    if not (out / _SETTINGS).exists():
        write_lines(out / _SETTINGS, [now])


def check_settings(out: Path, now: dict) -> None:
    """Compares the settings in `now` with those of the run in `out`, if there is one; touches nothing. Raises UsageError,
    which says what differs, and OSError."""
    try:
        was = json.loads((out / _SETTINGS).read_text(encoding="ascii"))
    except FileNotFoundError:
        if any((out / ROWS).glob("*.csv")):
            raise UsageError(f"{out} holds a scan of an older version: {_WHAT_TO_DO}") from None
        return
    except ValueError as error:
        raise UsageError(f"{out / _SETTINGS} is damaged: {_WHAT_TO_DO}") from error
    was = {name: was.get(name) for name in now}
    if refusal := _refusal(was, now, out):
        raise UsageError(refusal)


def differences(was: dict, now: dict) -> list[str]:
    """What differs between two settings, "name: was -> now" each."""
    return [f"{name}: {before} -> {after}" for name, (before, after) in _differing(was, now).items()]


def _differing(was: dict, now: dict) -> dict[str, tuple[str, str]]:
    """Return what differs between two settings, by name, as it was and as it is now."""
    old, new = _flat(was), _flat(json.loads(json.dumps(now)))
    names = (name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name))
    return {name: (_shown(old.get(name)), _shown(new.get(name))) for name in names}


def _refusal(was: dict, now: dict, out: Path) -> str:
    """Return why a scan cannot go on with the one in `out`, and what to do; nothing where their settings are the same."""
    differing = _differing(was, now)
    if differing.keys() == {_INPUTS}:
        before, after = differing[_INPUTS]
        return f"{out} holds a scan of other inputs (in {before}; now in {after}): {_OTHER_INPUTS}"
    if differing.keys() == {_THRESHOLD}:
        before, after = differing[_THRESHOLD]
        return (
            f"{out} holds a scan with --threshold {before}. For reports with {after}, without a new scan: maskbatch report "
            f"{shlex.quote(str(out))} --threshold {after}. For media with {after}, choose another folder with --out, or "
            "replace the scan with --if-exists overwrite"
        )
    lines = "\n".join(f"  {line}" for line in differences(was, now))
    return lines and (f"{out} holds a scan with other settings:\n{lines}\n{_WHAT_TO_DO[0].upper()}{_WHAT_TO_DO[1:]}")


def _flat(settings: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _shown(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
