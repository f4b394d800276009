"""Begin or continue a session: check the settings, match store and folder to the plan, find checkpoints."""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from maskbatch.errors import UsageError
from maskbatch.media.fingerprint import fingerprint
from maskbatch.media.names import crop_stem, folded, name_text, named, written_names
from maskbatch.media.write import made_with
from maskbatch.store.database import Store
from maskbatch.store.folder import remove_media, remove_segments, segments_of
from maskbatch.store.plan import Plan
from maskbatch.store.read import (
    Known,
    all_media,
    crops_of,
    is_in_work,
    known_sources,
    last_checkpoint,
    source_fingerprint,
)
from maskbatch.store.settings import refusal
from maskbatch.store.write import forget
from maskbatch.types import Checkpoint, Recorded, Source

# rows that are up to date are not written again
_SOURCE = """
    INSERT INTO source (name, position, path, kind) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE
    SET position = excluded.position, path = excluded.path, kind = excluded.kind
    WHERE (position, path, kind) IS NOT (excluded.position, excluded.path, excluded.kind)
"""
_MEDIA = """
    INSERT INTO media VALUES (?, ?, ?, ?, 'planned') ON CONFLICT (kind, folded_name) DO UPDATE
    SET name = excluded.name, source_id = excluded.source_id, state = excluded.state
    WHERE (name, source_id, state) IS NOT (excluded.name, excluded.source_id, excluded.state)
"""
_TOUCHED = "UPDATE source SET mtime_ns = ? WHERE name = ?"
_log = logging.getLogger(__name__)


def check_identity(store: Store, now: Mapping[str, object]) -> None:
    """Compare the values `now`, which determine the results, with those of the last session, without changing anything.

    Sessions without any result are ignored. Raises UsageError, which lists the differences.
    """
    with store.transaction() as connection:
        has_results = connection.execute("SELECT 1 FROM source WHERE state != 'pending' LIMIT 1").fetchone()
        last = connection.execute("SELECT identity FROM session ORDER BY id DESC LIMIT 1").fetchone()
    if has_results and last:
        was = json.loads(last[0])
        if reason := refusal({name: was.get(name) for name in now}, now, store.folder):
            raise UsageError(reason)


def usable_checkpoint(store: Store, source: Source) -> Checkpoint | None:
    """Return the checkpoint of a video that can be continued, None for any other source.

    An unfinished video is started over when the video changed, its parts are gone, or its checkpoint is not readable. A
    new name of its copy, or new libraries that encode it, have the same effect. Raises OSError.
    """
    with store.transaction() as connection:
        if not is_in_work(connection, source):
            return None
        at = last_checkpoint(connection, source)
        known = source_fingerprint(connection, source)
    if (
        at is not None
        and source.kind == "video"
        and _fits(at, store.folder)
        and fingerprint(source.path) in (known, None)
    ):
        return at
    _start_over(store, source)
    return None


def _fits(at: Checkpoint, out: Path) -> bool:
    """Return whether the parts of a video's copy exist, and the copy would be written as before."""
    is_same = (at.made_with, at.names) == (made_with(), written_names(at.source))
    names = [part[0] for part in at.copy.parts if not isinstance(part, Recorded)]
    return is_same and all((segments_of(out, at.source.id) / name).is_file() for name in names)


def _start_over(store: Store, source: Source) -> None:
    """Forget an unfinished source, and remove its crops and parts."""
    with store.transaction() as connection:
        crops = crops_of(connection, source)
    forget(store, [source.id])
    remove_media(store.folder, crops)
    shutil.rmtree(segments_of(store.folder, source.id), ignore_errors=True)


def is_done(store: Store) -> bool:
    """Return whether all sources of the last session are done."""
    query = "SELECT 1 FROM source WHERE position IS NOT NULL AND state != 'done' LIMIT 1"
    with store.transaction() as connection:
        return connection.execute(query).fetchone() is None


def begin(store: Store, plan: Plan) -> Plan:
    """Match the store and the folder to the plan, and return the plan with the store's ids in its sources.

    Delete the rows of sources that are scanned again, and all media except those of finished sources and of videos to
    continue. A kill in between does no harm. Finished sources that vanished keep their rows and media in case they
    return, unless another source needs their names. Raises OSError.
    """
    _tell(plan)
    names = [name_text(source.name) for source in plan.sources]
    # the position among all inputs, also for the sources of a shard
    rows = zip(names, (source.id for source in plan.sources), (name_text(str(source.path)) for source in plan.sources),
               (source.kind for source in plan.sources), strict=True)  # fmt: skip
    with store.transaction() as connection:
        known = known_sources(connection)
        gone = [(known[name].id,) for name in known.keys() - set(names)]
        connection.executemany("UPDATE source SET position = NULL WHERE id = ? AND position IS NOT NULL", gone)
        connection.executemany(_SOURCE, rows)
        connection.executemany(_TOUCHED, [(plan.touched[name], name) for name in plan.touched.keys() & {*plan.again}])
        ids = dict(connection.execute("SELECT name, id FROM source"))
    sources = tuple(replace(source, id=ids[name]) for source, name in zip(plan.sources, names, strict=True))
    pending = {source.name for source in plan.pending}
    plan = replace(plan, sources=sources, pending=tuple(source for source in sources if source.name in pending))
    forget(store, [ids[name] for name in {*plan.again, *_taken_over(plan, known)}])
    parts = {one.id for one in known.values() if one.state == "part"}
    for source in plan.pending:
        if source.id in parts:
            usable_checkpoint(store, source)
    _claim_names(store, plan)
    return plan


def note_times(store: Store, plan: Plan) -> None:
    """Record the times of touched files that were not scanned again, when the manifest of the session follows at once.

    Earlier, files that are touched once more after an interruption would have times that no manifest knows.
    """
    with store.transaction() as connection:
        connection.executemany(_TOUCHED, [(mtime_ns, name) for name, mtime_ns in plan.touched.items()])


def _claim_names(store: Store, plan: Plan) -> None:
    """Remove media that no longer belong to a source, then store the media names of pending sources."""
    with store.transaction() as connection:
        states = dict(connection.execute("SELECT id, state FROM source WHERE state != 'pending'"))
        media = list(all_media(connection))
    kept = states.keys()
    claimed = {(kind, name) for kind, name, source_id in media if source_id in kept}
    remove_segments(plan.out, {source_id for source_id, state in states.items() if state == "part"})
    remove_media(plan.out, {(kind, name) for kind, name, _ in media} - claimed)
    planned = {(row[0], row[1]): row for source in plan.pending if source.id not in kept for row in _media_rows(source)}
    unused = [(kind, name) for kind, name, source_id in media if source_id not in kept and (kind, name) not in planned]
    with store.transaction() as connection:
        connection.executemany("DELETE FROM media WHERE kind = ? AND folded_name = ?", unused)
        connection.executemany(_MEDIA, planned.values())


def _media_rows(source: Source) -> Iterator[tuple[str, str, str, int]]:
    """Yield the rows of `media` for a source, without their state."""
    copy, own = written_names(source)
    yield "annotated", name_text(folded(copy)), name_text(copy), source.id
    yield "crops", name_text(folded(crop_stem(own))), name_text(own), source.id


def _tell(plan: Plan) -> None:
    for names, words in (
        (plan.unread, "could not be read by the last session; scanning again"),
        (plan.changed, "changed since the last session; scanning again"),
        (plan.removed, "the annotated copy, crops or evidence are gone; scanning again"),
        (plan.away, "cannot be read now: the results of the last session stay"),
        (plan.growing, "being written: the results of the last session stay for now"),
        (plan.vanished, "no longer among the inputs, and left out of the reports"),
    ):
        if names:
            _log.warning("%s: %s", named(names), words)


def _taken_over(plan: Plan, known: Mapping[str, Known]) -> set[str]:
    """Return the vanished sources whose media names a pending source needs, for a file or for a folder.

    These sources are scanned again if they return.
    """
    here = {name_text(source.name) for source in plan.sources}
    gone = {name: one for name, one in known.items() if name not in here}
    if not gone:
        return set()
    taken = {name_text(folded(name)) for source in plan.pending for name in written_names(source)}
    folders = _folders(taken)
    in_use = taken | folders

    def is_in_the_way(names: tuple[str, str] | None) -> bool:
        own = {folded(name) for name in names or ()}
        return not (own.isdisjoint(in_use) and _folders(own).isdisjoint(taken))

    return {name for name, one in gone.items() if is_in_the_way(one.names)}


def _folders(names: Iterable[str]) -> set[str]:
    """Return all folders that contain these names."""
    return {folder.as_posix() for name in names for folder in PurePosixPath(name).parents}
