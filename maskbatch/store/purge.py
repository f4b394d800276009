"""Remove the rows that identify people from a store; the numbers stay."""

from sqlite3 import Connection

from maskbatch.media.names import from_name_text
from maskbatch.store.write import now

# replaces the name of a reviewer
PURGED = "purged"
_LOOKS = """
    SELECT frame, face FROM face LEFT JOIN track USING (source_id, track_id)
    WHERE source_id = ?1 AND (?2 IS NULL OR coalesce(person_id, track_id) = ?2)
"""


def looks_of(connection: Connection, source_id: int, person: int | None) -> tuple[dict[str, str], set[tuple[int, int]]]:
    """Return the media names of a source by kind, and (frame, face) of each look at `person`; None: at anybody."""
    rows = connection.execute("SELECT kind, name FROM media WHERE source_id = ?", [source_id])
    names = {kind: from_name_text(name) for kind, name in rows}
    return names, set(connection.execute(_LOOKS, [source_id, person]))


def forget_pictures(connection: Connection, source_id: int, person: int | None) -> None:
    """Record that the pictures of a person, or of everybody in a source, are gone, so that no later scan misses them.

    Also remove the names of the reviewers of these people.
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
    """Record a purge: `what` is its age limit, or "one person"."""
    connection.execute(
        "INSERT INTO purge (at, what, sources, files) VALUES (?, ?, ?, ?)", [now(), what, num_sources, num_files]
    )
