"""Write the results of a scan: sessions, sources and segments. Each function is one transaction.

Media are renamed into place and synced to the disk before the transaction that records them.
"""

import json
import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from sqlite3 import Connection

from maskbatch.media.fingerprint import fingerprints
from maskbatch.media.names import one_line
from maskbatch.store.checkpoint import encoded
from maskbatch.store.database import Store
from maskbatch.types import Checkpoint, Ended, FaceRow, SegmentResult, Source

_FACE = f"INSERT INTO face VALUES ({', '.join('?' * len(FaceRow._fields))})"
_TRACK = """
    INSERT INTO track VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id, track_id) DO UPDATE SET
        frames = frames + excluded.frames, last_e4 = excluded.last_e4, p_sum_e4 = p_sum_e4 + excluded.p_sum_e4,
        p_incorrect_sum_e4 = p_incorrect_sum_e4 + excluded.p_incorrect_sum_e4
"""
_PERSON = "UPDATE track SET person_id = ? WHERE source_id = ? AND track_id = ?"
_ENDED = """
    UPDATE source SET state = 'done', error = ?, transient = ?, notes = ?, fps = coalesce(?, fps),
        duration_s = coalesce(?, duration_s), width = coalesce(?, width), height = coalesce(?, height), decoded = ?,
        analysed = ?, recorded = ? WHERE id = ?
"""
_PART = """
    UPDATE source SET state = 'part', fps = ?, duration_s = ?, width = ?, height = ?, decoded = ?, analysed = ?,
        recorded = ? WHERE id = ?
"""
# an abandoned decoder may still crash the process
_CLOSED = "UPDATE source SET opened_in = NULL WHERE id = ? AND NOT transient"
# a container may round its duration, and end before its last frame
_CLAIM_SLACK_S = 1.0
_OPENED = "UPDATE source SET opened_in = ? WHERE id = ?"
_FINGERPRINT = "UPDATE source SET size = ?, mtime_ns = ?, quick_hash = ? WHERE id = ? AND state = 'pending'"
_CHANGED = """
    SELECT id FROM source WHERE id = ? AND state = 'pending' AND (size, mtime_ns, quick_hash) IS NOT (?, ?, ?)
"""
_FORGOTTEN = """
    UPDATE source SET state = 'pending', error = NULL, transient = 0, notes = '', fps = NULL, duration_s = NULL,
        width = NULL, height = NULL, decoded = 0, analysed = 0, recorded = '[]'"""


def begin_session(store: Store, identity: Mapping[str, object], facts: Mapping[str, object]) -> int:
    """Record that a session begins, and return its id. The end of a session that dies stays NULL."""
    with store.transaction() as connection:
        return add_session(connection, identity, facts)


def add_session(connection: Connection, identity: Mapping[str, object], facts: Mapping[str, object]) -> int:
    """Add a session that begins now, inside a transaction, and return its id."""
    values = (now(), socket.gethostname(), os.getpid(), json.dumps(identity), json.dumps(facts))
    return connection.execute(
        "INSERT INTO session (started, host, pid, identity, facts) VALUES (?, ?, ?, ?, ?)", values
    ).lastrowid


def end_session(store: Store, session: int, how: str, figures: Mapping[str, object]) -> None:
    """Record how a session ended: "finished", "interrupted" or an error. `figures` are columns of `session`."""
    values = {"ended": now(), "how": one_line(how), **figures}
    columns = ", ".join(f"{name} = ?" for name in values)
    with store.transaction() as connection:
        connection.execute(f"UPDATE session SET {columns} WHERE id = ?", [*values.values(), session])
        connection.execute("UPDATE source SET opened_in = NULL WHERE opened_in = ?", [session])


def open_sources(store: Store, session: int, sources: Sequence[Source]) -> None:
    """Record that the session now reads these sources: if the session dies, one of them may be the cause.

    Fingerprints are taken now, so that the next session reads a file again if it changed during reading. Verdicts on a
    file that has changed since are undone, and its people leave the samples of reviews (see `end_reviews`).
    """
    found = fingerprints(source.path for source in sources)
    cells = [(None,) * 3 if one is None else (one.size, one.mtime_ns, one.quick_hash) for one in found]
    with store.transaction() as connection:
        connection.executemany(_OPENED, [(session, source.id) for source in sources])
        for source, cell in zip(sources, cells, strict=True):
            end_reviews(connection, [row[0] for row in connection.execute(_CHANGED, [source.id, *cell])])
        connection.executemany(_FINGERPRINT, [(*cell, source.id) for cell, source in zip(cells, sources, strict=True)])


def end_reviews(connection: Connection, source_ids: Iterable[int]) -> None:
    """Undo the verdicts on these sources, whose content has changed, and take their people and moments out of samples.

    Otherwise, they would be applied to whoever has the same numbers in the new content.
    """
    for source_id in source_ids:
        connection.execute("UPDATE review SET undone = ? WHERE undone IS NULL AND source_id = ?", [now(), source_id])
        connection.execute("DELETE FROM sample_item WHERE source_id = ?", [source_id])


def close_sources(store: Store, sources: Sequence[Source]) -> None:
    """Record that these sources are no longer being read."""
    with store.transaction() as connection:
        connection.executemany(_OPENED, [(None, source.id) for source in sources])


def add_results(store: Store, results: Sequence[SegmentResult]) -> None:
    """Store results that belong together: the last result ends a segment or some sources."""
    rows = [row for result in results for row in result.faces]
    with store.transaction() as connection:
        connection.executemany(_FACE, rows)
        connection.executemany(_TRACK, _tracks(rows))
        for result in results:
            if result.checkpoint is not None:
                _add_checkpoint(connection, result.checkpoint)
            persons = [(person, source_id, track) for source_id, track, person in result.persons]
            connection.executemany(_PERSON, persons)
            connection.executemany("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?)", result.evidence)
            for source, ended in result.ended:
                _end_source(connection, source, ended)
            states = [("written" if is_written else "missing", source_id) for source_id, is_written in result.copies]
            connection.executemany("UPDATE media SET state = ? WHERE source_id = ? AND kind = 'annotated'", states)


def replace_checkpoint(store: Store, at: Checkpoint) -> None:
    """Replace the last checkpoint of a video."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE segment SET checkpoint = ? WHERE source_id = ? AND number = ?",
            [encoded(at), at.source.id, at.num_segments - 1],
        )


def forget(store: Store, source_ids: Iterable[int]) -> None:
    """Delete all rows of these sources, so that they are scanned again."""
    ids = [(source_id,) for source_id in source_ids]
    with store.transaction() as connection:
        for table in ("face", "track", "segment", "evidence"):
            connection.executemany(f"DELETE FROM {table} WHERE source_id = ?", ids)
        connection.executemany(f"{_FORGOTTEN} WHERE id = ?", ids)
        connection.executemany("UPDATE media SET state = 'planned' WHERE source_id = ?", ids)


def now() -> str:
    """Return the current time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _add_checkpoint(connection: Connection, at: Checkpoint) -> None:
    source = at.source
    fps = None if source.fps is None else float(source.fps)
    decoded = at.reader.index if at.ended is None else at.ended.frames_decoded
    size = at.width, at.height
    cells = [fps, source.duration_s, *size, decoded, at.frames_analysed, json.dumps(source.recorded), source.id]
    connection.execute(_PART, cells)
    connection.execute("INSERT INTO segment VALUES (?, ?, ?)", [source.id, at.num_segments - 1, encoded(at)])


def _duration_s(source: Source, ended: Ended) -> float | None:
    """Return the duration of a video: the claim of its container, unless more was read.

    Joined recordings have separate clocks, and the claim may be the duration of the last recording only.
    """
    claim, end_s = source.duration_s, ended.end_s
    return end_s if end_s is not None and (claim is None or end_s > claim + _CLAIM_SLACK_S) else claim


def _end_source(connection: Connection, source: Source, ended: Ended) -> None:
    fps = None if source.fps is None else float(source.fps)
    size = ended.width or source.width, ended.height or source.height
    error = None if ended.error is None else one_line(ended.error)
    connection.execute(
        _ENDED,
        [error, ended.is_transient, one_line("; ".join(ended.notes)), fps, _duration_s(source, ended), *size,
         ended.frames_decoded, ended.frames_analysed, json.dumps(ended.recorded or source.recorded), source.id],
    )  # fmt: skip
    connection.execute(_CLOSED, [source.id])
    connection.execute("DELETE FROM segment WHERE source_id = ?", [source.id])


def _tracks(rows: Iterable[FaceRow]) -> Iterator[tuple[int, ...]]:
    """Yield rows of `track` for the faces that are classified."""
    tracks: dict[tuple[int, int], list[FaceRow]] = defaultdict(list)
    for row in rows:
        if row.p_mask_e4 is not None:
            tracks[row.source_id, row.track_id].append(row)
    for key, seen in tracks.items():
        incorrect = [row.p_incorrect_e4 for row in seen]
        sums = sum(row.p_mask_e4 for row in seen), None if None in incorrect else sum(incorrect)
        yield *key, key[1], len(seen), seen[0].time_e4, seen[-1].time_e4, *sums
