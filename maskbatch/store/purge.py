"""Rows that tell of people, removed from a store; the numbers stay."""

from sqlite3 import Connection

from maskbatch.store.write import now

# takes the place of a reviewer's name
PURGED = "purged"
_LOOKS = """
    SELECT frame, face FROM face LEFT JOIN track USING (source_id, track_id)
    WHERE source_id = ?1 AND (?2 IS NULL OR coalesce(person_id, track_id) = ?2)
"""


def looks_of(connection: Connection, source_id: int, person: int | None) -> tuple[dict[str, str], set[tuple[int, int]]]:
    """Return the names of the media of a source by their kind, and (frame, face) of each look at a person, or at anybody."""
    names = dict(connection.execute("SELECT kind, name FROM media WHERE source_id = ?", [source_id]))
    return names, set(connection.execute(_LOOKS, [source_id, person]))


def forget_pictures(connection: Connection, source_id: int, person: int | None) -> None:
    """Note that pictures of a person, or of everybody in a source, are gone, so that no later scan looks for them.

    The names of those who reviewed these people are removed.
    """
    connection.execute(
        f"DELETE FROM evidence WHERE source_id = ?1 AND (frame, face) IN ({_LOOKS})", [source_id, person]
    )
    connection.execute("UPDATE media SET state = 'purged' WHERE source_id = ?", [source_id])
    connection.execute(
        "UPDATE review SET reviewer = ?3 WHERE source_id = ?1 AND (?2 IS NULL OR person_id = ?2)",
        [source_id, person, PURGED],
    )


def log_purge(connection: Connection, what: str, num_sources: int, num_files: int) -> None:
    """Note that a purge was made: `what` is its age, or "one person"."""
    connection.execute(
        "INSERT INTO purge (at, what, sources, files) VALUES (?, ?, ?, ?)", [now(), what, num_sources, num_files]
    )
