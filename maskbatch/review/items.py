"""Items of a review: people, and moments in which the scan found nobody."""

from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from maskbatch.media.names import from_name_text, one_line
from maskbatch.media.storage import located
from maskbatch.people.answer import Answer
from maskbatch.people.clock import clock_text
from maskbatch.people.evidence import BARE, INCORRECT, MASKED, NOT_SURE, STATES
from maskbatch.people.where import place_name
from maskbatch.store.review import Sample, Subject, subject_of

_ORDER = (BARE, INCORRECT, NOT_SURE, MASKED)
_BOX = "SELECT x_min_e1, y_min_e1, x_max_e1, y_max_e1 FROM face WHERE source_id = ? AND frame = ? AND face = ?"
_SOURCES = "SELECT id, name, path, kind, width, height FROM source WHERE position IS NOT NULL"


class _Source(NamedTuple):
    """A source of the last session, as stored."""

    id: int
    name: str
    path: str
    kind: str
    width: int | None
    height: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """A person to judge, or a moment in which the scan found nobody (`person_id` None).

    `picture` and `copy` are paths relative to the output folder, or ""; `path` is that of the input. `box` is in pixels
    of the upright picture, whose size is `size`; None for a moment. `state` is the model's verdict, "" for a moment.
    """

    number: int
    source_id: int
    person_id: int | None
    name: str
    kind: str
    place: str
    when: str
    frame: int | None
    face: int | None
    time_s: float
    box: tuple[float, float, float, float] | None
    size: tuple[int, int]
    state: str
    p_mask: float | None
    picture: str
    copy: str
    path: Path

    @property
    def subject(self) -> Subject:
        """The person or moment, as in `Verdict`."""
        return subject_of(self.source_id, self.person_id, round(1e4 * self.time_s))

    @property
    def size_px(self) -> float:
        """The longest side of the face in pixels, 0 for a moment."""
        return 0.0 if self.box is None else max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def items_of(connection: Connection, answer: Answer, sample: Sample | None = None) -> list[Item]:
    """Return the items to review: all people, or the people and moments of a sample in its order.

    All people are sorted by verdict (without a mask, worn incorrectly, unsure, with a mask), then by the size of the
    face, largest first. They include people whom a reviewer judged to be no face, but not people seen too briefly to
    count.
    """
    sources = {row[0]: _Source(*row) for row in connection.execute(_SOURCES)}
    persons, listed = answer.persons, np.flatnonzero(answer.counts | (answer.reviewed != ""))
    at = {(int(persons.source_id[one]), int(persons.person[one])): int(one) for one in listed}
    if sample is None:
        found = [_of_person(connection, answer, sources[source_id], one) for (source_id, _), one in at.items()]
        rank = {STATES[state]: position for position, state in enumerate(_ORDER)}
        found.sort(key=lambda item: (rank[item.state], -item.size_px, item.name, item.person_id))
    else:
        found = []
        for one in sample.items:
            if one.person_id is None and one.source_id in sources:
                found.append(_at(answer, sources[one.source_id], one.time_e4 / 1e4))
            elif (one.source_id, one.person_id) in at:
                position = at[one.source_id, one.person_id]
                found.append(_of_person(connection, answer, sources[one.source_id], position))
    return [replace(item, number=number) for number, item in enumerate(found)]


def place_of(answer: Answer, source_id: int, name: str) -> str:
    """Return the site and camera of a source, or else its folder."""
    where = answer.where[source_id]
    return place_name(where.site, where.camera, name)


def _of_person(connection: Connection, answer: Answer, source: _Source, at: int) -> Item:
    """Return the person at position `at` of the answer."""
    persons = answer.persons
    person, time_s, p_mask = int(persons.person[at]), float(persons.best_time_s[at]), float(persons.p_mask[at])
    frame, face = int(persons.best_frame[at]), int(persons.best_face[at])
    times = (float(persons.first_s[at]), float(persons.last_s[at]), time_s)
    return replace(
        _at(answer, source, time_s), person_id=person, frame=frame, face=face, p_mask=p_mask,
        box=tuple(side / 10 for side in connection.execute(_BOX, [source.id, frame, face]).fetchone()),
        state=STATES[answer.model_verdict[at]], picture=answer.pictures.nearest(source.id, person, times, p_mask),
    )  # fmt: skip


def _at(answer: Answer, source: _Source, time_s: float) -> Item:
    """Return a moment of a source."""
    clock = clock_text(answer.where[source.id].start.at, time_s)
    when = clock or ("" if source.kind == "image" else f"{time_s:.1f} s")
    return Item(
        number=0, source_id=source.id, person_id=None, name=one_line(source.name), kind=source.kind,
        place=place_of(answer, source.id, source.name), when=when, frame=None, face=None, time_s=time_s, box=None,
        size=(source.width or 1, source.height or 1), state="", p_mask=None, picture="",
        copy=answer.pictures.copy_of(source.id), path=located(from_name_text(source.path)),
    )  # fmt: skip
