"""Verdicts of reviewers, and the samples that they review."""

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.store.database import Store
from maskbatch.store.write import now

NOT_A_FACE, NOBODY, SOMEBODY = "not_a_face", "nobody", "somebody"
# the end of the names of strata of moments
NO_FACE = "without a face"
_COLUMNS = "source_id, person_id, frame, face, time_e4, verdict, p_mask_e4, model_verdict, reviewer"

_INSERT = f"INSERT INTO review ({_COLUMNS}, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


# a person in a source (source_id, person_id, None), or a moment in it (source_id, None, time_e4)
Subject = tuple[int, int | None, int | None]


def subject_of(source_id: int, person_id: int | None, time_e4: int) -> Subject:
    """Return what a verdict or an item is about; the time of a person is only that of the look that was shown."""
    return source_id, person_id, time_e4 if person_id is None else None


class Verdict(NamedTuple):
    """A reviewer's verdict on a person, or on a moment in which the scan found nobody (see the table `review`)."""

    source_id: int
    person_id: int | None
    frame: int | None
    face: int | None
    time_e4: int
    verdict: str
    p_mask_e4: int | None
    model_verdict: str
    reviewer: str

    @property
    def subject(self) -> Subject:
        """The person or moment."""
        return subject_of(self.source_id, self.person_id, self.time_e4)


class SampleItem(NamedTuple):
    """A person or moment of a sample; `stratum` is the position of its stratum."""

    source_id: int
    person_id: int | None
    time_e4: int
    stratum: int

    @property
    def subject(self) -> Subject:
        """The person or moment."""
        return subject_of(self.source_id, self.person_id, self.time_e4)


class Sample(NamedTuple):
    """A probability sample: `strata` are (name, number of people or moments); `items` are in order of review."""

    seed: int
    precision: float | None
    strata: Sequence[tuple[str, int]]
    items: Sequence[SampleItem]


def add_verdict(store: Store, verdict: Verdict) -> int:
    """Store a verdict immediately, and return its id."""
    with store.transaction() as connection:
        return connection.execute(_INSERT, [*verdict, now()]).lastrowid


def add_verdicts(store: Store, several: Sequence[Verdict]) -> None:
    """Store all verdicts in one transaction, or none of them."""
    with store.transaction() as connection:
        connection.executemany(_INSERT, [[*one, now()] for one in several])


def undo_last(store: Store, reviewer: str) -> Verdict | None:
    """Undo the last verdict of a reviewer and return it; None when no verdict is left."""
    with store.transaction() as connection:
        row = connection.execute(
            f"SELECT id, {_COLUMNS} FROM review WHERE reviewer = ? AND undone IS NULL ORDER BY id DESC LIMIT 1",
            [reviewer],
        ).fetchone()
        if row is None:
            return None
        connection.execute("UPDATE review SET undone = ? WHERE id = ?", [now(), row[0]])
        return Verdict(*row[1:])


def verdicts(connection: Connection) -> list[Verdict]:
    """Return all valid verdicts, oldest first.

    A verdict on a look that is no longer in the store, because its file was scanned again, is left out.
    """
    rows = connection.execute(f"""
        SELECT {_COLUMNS} FROM review WHERE undone IS NULL AND (frame IS NULL OR EXISTS (
            SELECT 1 FROM face WHERE face.source_id = review.source_id AND face.frame = review.frame
            AND face.face = review.face AND face.p_mask_e4 IS NOT NULL)) ORDER BY id
    """)
    return [Verdict(*row) for row in rows]


def save_sample(store: Store, sample: Sample) -> None:
    """Store a sample, which replaces earlier samples in the review."""
    with store.transaction() as connection:
        sample_id = connection.execute(
            "INSERT INTO sample (made, seed, precision, strata) VALUES (?, ?, ?, ?)",
            [now(), sample.seed, sample.precision, json.dumps([list(one) for one in sample.strata])],
        ).lastrowid
        rows = [(sample_id, number, *item) for number, item in enumerate(sample.items)]
        connection.executemany("INSERT INTO sample_item VALUES (?, ?, ?, ?, ?, ?)", rows)


def last_sample(connection: Connection) -> Sample | None:
    """Return the most recent sample, None when there is none."""
    row = connection.execute("SELECT id, seed, precision, strata FROM sample ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        return None
    sample_id, seed, precision, strata = row
    items = connection.execute(
        "SELECT source_id, person_id, time_e4, stratum FROM sample_item WHERE sample_id = ? ORDER BY number",
        [sample_id],
    )
    return Sample(
        seed, precision, [(name, size) for name, size in json.loads(strata)], [SampleItem(*one) for one in items]
    )
