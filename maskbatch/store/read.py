"""Read the results of a scan.

Each function takes the connection of a transaction, so that several functions see one state of the store.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from sqlite3 import Connection

from maskbatch.errors import UsageError
from maskbatch.media.fingerprint import Fingerprint
from maskbatch.store.checkpoint import decoded
from maskbatch.types import Checkpoint, Source


@dataclass(frozen=True, slots=True)
class Known:
    """A source that has a row in the store.

    `names` are the name of its annotated copy and the stem of its crops. `copy_state` is the state of the copy in
    `media`, None when no copy was ever planned.
    """

    id: int
    name: str
    position: int | None
    state: str
    is_transient: bool
    fingerprint: Fingerprint | None
    names: tuple[str, str] | None
    copy_state: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A row of the table `session`, with decoded JSON."""

    id: int
    started: str
    ended: str | None
    how: str | None
    seconds: float | None
    frames: int | None
    host: str
    pid: int
    identity: dict
    facts: dict
    num_warnings: int
    warnings: list
    stages: dict


_KNOWN = """
    SELECT source.id, source.name, position, source.state, transient, size, mtime_ns, quick_hash, copy.name, crops.name,
           copy.state
    FROM source LEFT JOIN media AS copy ON copy.source_id = source.id AND copy.kind = 'annotated'
                LEFT JOIN media AS crops ON crops.source_id = source.id AND crops.kind = 'crops'
    ORDER BY position IS NULL, position, source.id
"""


def known_sources(connection: Connection) -> dict[str, Known]:
    """Return all sources by name: those of the last session in order, then those that vanished."""
    known = {}
    for source_id, name, position, state, transient, *rest in connection.execute(_KNOWN):
        size, mtime_ns, quick_hash, copy, crops, copy_state = rest
        fingerprint = None if size is None else Fingerprint(size, mtime_ns, quick_hash)
        names = None if copy is None or crops is None else (copy, crops)
        known[name] = Known(source_id, name, position, state, bool(transient), fingerprint, names, copy_state)
    return known


def sessions(connection: Connection) -> list[Session]:
    """Return all sessions, the oldest first."""
    found = []
    for row in connection.execute(
        "SELECT id, started, ended, how, seconds, frames, host, pid, identity, facts, num_warnings, warnings, stages "
        "FROM session ORDER BY id"
    ):
        *plain, identity, facts, num_warnings, warnings, stages = row
        found.append(
            Session(
                *plain, json.loads(identity), json.loads(facts), num_warnings, json.loads(warnings), json.loads(stages)
            )
        )
    return found


def last_session(connection: Connection) -> Session:
    """Return the session that began last. Raises UsageError when no scan has begun here yet."""
    found = sessions(connection)
    if not found:
        raise UsageError("no scan has begun in this folder yet")
    return found[-1]


def left_open(connection: Connection) -> list[str]:
    """Return the names of the sources that were being read when a session died."""
    return [name for (name,) in connection.execute("SELECT name FROM source WHERE opened_in IS NOT NULL ORDER BY id")]


def last_checkpoint(connection: Connection, source: Source) -> Checkpoint | None:
    """Return the checkpoint of a video, None when no segment is complete or the video is done."""
    row = connection.execute(
        "SELECT checkpoint FROM segment WHERE source_id = ? ORDER BY number DESC LIMIT 1", [source.id]
    ).fetchone()
    try:
        return None if row is None else decoded(row[0], source)
    except (ValueError, TypeError, KeyError):  # written by another version of a library or of maskbatch
        return None


def source_fingerprint(connection: Connection, source: Source) -> Fingerprint | None:
    """Return the fingerprint of a source's file at the time of reading, None when the file could not be read."""
    row = connection.execute("SELECT size, mtime_ns, quick_hash FROM source WHERE id = ?", [source.id]).fetchone()
    return None if row is None or row[0] is None else Fingerprint(*row)


def has_third_state(connection: Connection) -> bool:
    """Return whether faces may have a `p_incorrect`: some track has one, or no face is classified yet."""
    known = "SELECT 1 FROM track WHERE p_incorrect_sum_e4 IS NOT NULL"
    return bool(connection.execute(f"SELECT EXISTS ({known}) OR NOT EXISTS (SELECT 1 FROM track)").fetchone()[0])


_WITH_FACES = """
    SELECT DISTINCT source_id FROM track
    WHERE source_id NOT IN (SELECT source_id FROM media WHERE kind = 'crops' AND state = 'purged')
"""


def evidence_of(connection: Connection) -> Iterator[tuple[int, str, int, int]]:
    """Yield source id, stored name, frame and face of all evidence, except in sources from which people were purged."""
    yield from connection.execute("""
        SELECT source_id, name, frame, face FROM evidence JOIN media USING (source_id)
        WHERE kind = 'crops' AND state != 'purged'
    """)


def faces_in(connection: Connection) -> set[int]:
    """Return the ids of the sources that have a face whose pictures were not purged."""
    return {source_id for (source_id,) in connection.execute(_WITH_FACES)}


def is_in_work(connection: Connection, source: Source) -> bool:
    """Return whether a source is an unfinished video with complete segments."""
    return (
        connection.execute("SELECT 1 FROM source WHERE id = ? AND state = 'part'", [source.id]).fetchone() is not None
    )


def is_unfinished(connection: Connection, source: Source) -> bool:
    """Return whether a source is not done: not begun, or with some complete segments."""
    return bool(connection.execute("SELECT 1 FROM source WHERE id = ? AND state != 'done'", [source.id]).fetchone())


def crops_of(connection: Connection, source: Source) -> list[tuple[str, str]]:
    """Return the kind and the folded stem of the crops of a source: one entry, or none."""
    query = "SELECT kind, folded_name FROM media WHERE source_id = ? AND kind = 'crops'"
    return connection.execute(query, [source.id]).fetchall()


def done_sources(connection: Connection) -> list[tuple[str, str, str]]:
    """Return (name, path, kind), as stored, of the sources that the last session could read, in order."""
    return connection.execute(
        "SELECT name, path, kind FROM source WHERE position IS NOT NULL AND state = 'done' AND NOT transient "
        "AND size IS NOT NULL ORDER BY position"
    ).fetchall()


def source_names(connection: Connection) -> list[str]:
    """Return the names of the inputs of the last session, in order."""
    return [
        name for (name,) in connection.execute("SELECT name FROM source WHERE position IS NOT NULL ORDER BY position")
    ]


def boxes_of(connection: Connection, source_id: int) -> Iterator[tuple[float, ...]]:
    """Yield frame, person, corners in pixels, p_mask and p_incorrect of each classified face of a source, by frame."""
    query = """
        SELECT frame, coalesce(person_id, face.track_id), x_min_e1 / 10.0, y_min_e1 / 10.0, x_max_e1 / 10.0,
               y_max_e1 / 10.0, p_mask_e4 / 10000.0, p_incorrect_e4 / 10000.0
        FROM face LEFT JOIN track ON track.source_id = face.source_id AND track.track_id = face.track_id
        WHERE face.source_id = ? AND p_mask_e4 IS NOT NULL ORDER BY frame, face
    """
    yield from connection.execute(query, [source_id])


def all_media(connection: Connection) -> Iterator[tuple[str, str, int]]:
    """Yield kind, folded name and source id of all media that scans may have written into the folder."""
    yield from connection.execute("SELECT kind, folded_name, source_id FROM media")
