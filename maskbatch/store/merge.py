"""Write the rows of several stores into one. Each function is one transaction.

Rows keep their values and get new source ids: the position of each source among all inputs.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.errors import MaskbatchError
from maskbatch.store.database import Store, open_store
from maskbatch.store.pieces import Piece, PieceSource, purges
from maskbatch.store.purge import PURGED
from maskbatch.store.write import add_session, end_reviews

_MEDIA = """
    INSERT INTO media (kind, folded_name, name, source_id, state) VALUES (?, ?, ?, ?, 'planned')
    ON CONFLICT (kind, folded_name) DO UPDATE SET source_id = excluded.source_id, state = excluded.state
"""
_COLUMNS = "name, path, kind, size, mtime_ns, quick_hash"
_ADD_SOURCE = f"INSERT INTO source (id, position, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# columns that begin_merge has written, and the session of another store
_OF_INPUT = frozenset({"id", "name", "position", "path", "kind", "opened_in"})
# checkpoints of unfinished videos, because a merge takes complete videos only; samples, which belong to one folder's
# people
_NOT_MERGED = frozenset({"segment", "sample_item"})
# rows of reviewers, which no scan can restore
_OF_REVIEW = ("review", "sample_item")
_UNDO_COPY = "UPDATE review SET undone = ? WHERE undone IS NULL AND id = ?"

Ids = Mapping[int, int]  # the id of a source in a piece, and in the merged store
Checksums = Mapping[tuple[str, int | None, int | None, str | None], str]
_NO_CHECKSUMS: Checksums = {}


class _Input(NamedTuple):
    """An input and its fingerprint, whose values are None as long as no scan has read it."""

    name: str
    path: str
    kind: str
    size: int | None
    mtime_ns: int | None
    quick_hash: str | None

    @property
    def key(self) -> tuple[str, int | None, int | None, str | None]:
        """Name and fingerprint."""
        return self.name, self.size, self.mtime_ns, self.quick_hash


def begin_merge(
    store: Store, pieces: Sequence[Piece], ordered: Sequence[tuple[int, PieceSource]], facts: Mapping,
    checksums: Checksums = _NO_CHECKSUMS,
) -> int:  # fmt: skip
    """Begin a merge: all sources are pending, with their new ids, and the sessions of all pieces are there.

    Rows of an earlier merge are deleted, except for reviews. Reviews of a file that has changed since end. The
    names of its media stay until the files are removed.

    Args:
        store: the merged store.
        pieces: the folders to merge; the first one gives the identity.
        ordered: all sources, as (number of the piece, source), in order.
        facts: facts of the session that merges.
        checksums: SHA-256 of inputs in this merge and in the earlier one, by name and fingerprint.

    Returns:
        The id of the session that merges.
    """
    with store.transaction() as connection:
        before = {number: _Input(*row) for number, *row in connection.execute(f"SELECT id, {_COLUMNS} FROM source")}
        for table in (*tables_of_sources(connection), "segment", "source", "session"):
            if table not in ("media", *_OF_REVIEW):
                connection.execute(f"DELETE FROM {table}")
        known = {one.name: one for one in before.values()}
        inputs = [_input_of(source, known.get(source.name)) for _, source in ordered]
        rows = ((number + 1, number, *one) for number, one in enumerate(inputs))
        connection.executemany(_ADD_SOURCE, rows)
        end_reviews(connection, _changed(before, inputs, checksums))
        _keep_reviews(connection, before)
        new = sorted({row for piece in pieces for row in piece.purges} - purges(connection))
        connection.executemany("INSERT INTO purge (at, what, sources, files) VALUES (?, ?, ?, ?)", new)
        _add_sessions(connection, pieces)
        return add_session(connection, pieces[0].last.identity, facts)


def plan_media(store: Store, pieces: Sequence[Piece], ids: Sequence[Ids]) -> None:
    """Store the names of all media that the merged folder will have, before the first file exists."""
    rows = [(one.kind, one.folded_name, one.name, own[one.source_id]) for piece, own in zip(pieces, ids, strict=True)
            for one in piece.media if one.source_id in own]  # fmt: skip
    with store.transaction() as connection:
        connection.executemany(_MEDIA, rows)


def add_piece(store: Store, piece: Piece, ids: Ids) -> None:
    """Store all rows of the sources in `ids`, which are then done.

    Raises MaskbatchError when a session has begun or ended in the piece since it was read.
    """
    with open_store(piece.folder, reader=True) as other, other.transaction() as reading:
        if not piece.is_as_it_was(reading):
            raise MaskbatchError(f"{piece.folder} changed while it was merged: let its scan end, and merge again")
        with store.transaction() as connection:
            for table, columns in tables_of_sources(reading).items():
                rows = _rows(reading, table, columns, ids)
                if table == "review":
                    _add_reviews(connection, columns, rows)
                else:
                    _copy(connection, table, columns, rows)
            columns = [name for name in _columns(reading, "source") if name not in _OF_INPUT]
            assigned = ", ".join(f"{name} = ?" for name in columns)
            values = ((*row, ids[own]) for own, *row in reading.execute(f"SELECT id, {', '.join(columns)} FROM source")
                      if own in ids)  # fmt: skip
            connection.executemany(f"UPDATE source SET {assigned} WHERE id = ?", values)


def _add_sessions(connection: Connection, pieces: Sequence[Piece]) -> None:
    """Add the sessions of all pieces, ordered by the start of each piece's last session."""
    for piece in sorted(pieces, key=lambda piece: piece.last.started):
        with open_store(piece.folder, reader=True) as other, other.transaction() as reading:
            columns = [name for name in _columns(reading, "session") if name != "id"]
            rows = reading.execute(f"SELECT {', '.join(columns)} FROM session ORDER BY id")
            _copy(connection, "session", columns, rows)


def _input_of(source: PieceSource, earlier: _Input | None) -> _Input:
    """Return an input. As long as no scan has opened it, it has the fingerprint that its `earlier` reviews are about."""
    one = _Input(source.name, source.path, source.kind, source.size, source.mtime_ns, source.quick_hash)
    if earlier is None or source.state == "done" or one.size is not None:
        return one
    return one._replace(size=earlier.size, mtime_ns=earlier.mtime_ns, quick_hash=earlier.quick_hash)


def _changed(before: Mapping[int, _Input], inputs: Sequence[_Input], checksums: Checksums) -> list[int]:
    """Return the ids in an earlier merge of the inputs that have other content now, or could not be read."""
    now = {one.name: one for one in inputs}

    def is_same(one: _Input, other: _Input) -> bool:
        sha256 = checksums.get(one.key)
        return one.key == other.key or (sha256 is not None and sha256 == checksums.get(other.key))

    return [number for number, one in before.items()
            if one.size is not None and one.name in now and not is_same(one, now[one.name])]  # fmt: skip


def _keep_reviews(connection: Connection, before: Mapping[int, _Input]) -> None:
    """Give the reviews of an earlier merge the new ids of their sources.

    Sources that are no longer merged keep their reviews under free ids, without a position in the tables.
    """
    ids = {name: number for number, name in connection.execute("SELECT id, name FROM source")}
    free = len(ids) + 1
    for table in _OF_REVIEW:
        for (number,) in connection.execute(f"SELECT DISTINCT source_id FROM {table}").fetchall():
            one = before[number]
            if one.name not in ids:
                connection.execute(_ADD_SOURCE, [free, None, *one])
                ids[one.name], free = free, free + 1
        # by way of negative ids: the old id of one source may be the new id of another
        for sign in (-1, 1):
            pairs = [(-ids[one.name], number) if sign < 0 else (ids[one.name], -ids[one.name])
                     for number, one in before.items() if one.name in ids]  # fmt: skip
            connection.executemany(f"UPDATE {table} SET source_id = ? WHERE source_id = ?", pairs)


def _add_reviews(connection: Connection, columns: Sequence[str], rows: Iterator[tuple]) -> None:
    """Add the rows of `review` that an earlier merge did not copy; a verdict undone after that merge stays undone.

    Verdicts undone and names of reviewers purged in the piece since then are undone and purged here, too.
    """
    said = [name for name in columns if name not in ("undone", "reviewer")]
    places, who, undone = [columns.index(name) for name in said], columns.index("reviewer"), columns.index("undone")
    known: dict[tuple, dict[str, int]] = defaultdict(dict)
    for number, reviewer, *key in connection.execute(f"SELECT id, reviewer, {', '.join(said)} FROM review"):
        known[tuple(key)][reviewer] = number
    new = []
    for row in rows:
        earlier = known.get(tuple(row[place] for place in places), {})
        if row[who] == PURGED and earlier:
            copies = list(earlier.values())
            connection.executemany("UPDATE review SET reviewer = ? WHERE id = ?", [(PURGED, one) for one in copies])
        elif row[who] in earlier:
            copies = [earlier[row[who]]]
        else:
            new.append(row)
            continue
        connection.executemany(_UNDO_COPY, [(row[undone], one) for one in copies])
    _copy(connection, "review", columns, new)


def forget_media(store: Store, names: Sequence[tuple[str, str]]) -> None:
    """Delete the names of media whose files were removed."""
    with store.transaction() as connection:
        connection.executemany("DELETE FROM media WHERE kind = ? AND folded_name = ?", names)


def tables_of_sources(connection: Connection) -> dict[str, list[str]]:
    """Return the tables whose rows of sources are merged, with their columns, the source's id first.

    Example:
        >>> with open_store(Path("audit"), reader=True) as store, store.transaction() as connection:
        ...     sorted(tables_of_sources(connection))
        ['evidence', 'face', 'media', 'review', 'track']
    """
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    found = {name: _columns(connection, name) for name in names if name not in _NOT_MERGED}
    # the merged store numbers its rows again
    return {name: ["source_id", *(column for column in columns if column not in ("source_id", "id"))]
            for name, columns in found.items() if "source_id" in columns}  # fmt: skip


def _columns(connection: Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?) ORDER BY cid", [table])]


def _rows(reading: Connection, table: str, columns: Sequence[str], ids: Ids) -> Iterator[tuple]:
    """Yield the rows of a table, with the merged ids of their sources."""
    for own, *row in reading.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY source_id"):
        if own in ids:
            yield ids[own], *row


def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple]) -> None:
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def merge_facts(pieces: Sequence[Piece], num_sources: int, media: str) -> dict[str, object]:
    """Return the facts of a session that merges: the facts of the scans, and their origin under `merged`."""
    first, all_facts = pieces[0].last.facts, [piece.last.facts for piece in pieces]
    merged = [
        {"folder": str(piece.folder.absolute()), "shard": piece.last.facts.get("shard"), "host": piece.last.host,
         "device": piece.last.facts["device"], "files": len(piece.sources)} for piece in pieces
    ]  # fmt: skip
    return {name: value for name, value in first.items() if name != "shard"} | {
        "device": "; ".join(dict.fromkeys(facts["device"] for facts in all_facts)),
        "inputs": list(dict.fromkeys(path for facts in all_facts for path in facts["inputs"])),
        "not_looked_at": _passed_by(pieces),
        "files": num_sources, "files_done_before": 0, "files_changed": 0, "files_vanished": [],
        "merged": {"media": media, "folders": merged},
    }  # fmt: skip


def _passed_by(pieces: Sequence[Piece]) -> dict[str, object]:
    """Return the entries that were not looked at: shards share one listing, other folders have a listing each."""
    if pieces[0].dealt is not None:
        return max(pieces, key=lambda piece: piece.last.started).last.facts["not_looked_at"]
    total: dict[str, object] = {}
    for piece in pieces:
        for name, value in piece.last.facts["not_looked_at"].items():
            total[name] = _sum(total[name], value) if name in total else value
    return total


def _sum(one: object, other: object) -> object:
    """Add numbers, lists, or the numbers in two dictionaries."""
    if not isinstance(one, dict):
        return one + other
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
