"""Items of a review: people, and moments in which the scan found nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection

import numpy as np

from maskbatch.media.names import from_name_text, one_line
from maskbatch.media.storage import located
from maskbatch.people.answer import Answer
from maskbatch.people.clock import clock_text
from maskbatch.people.evidence import BARE, INCORRECT, MASKED, NOT_SURE, STATES
from maskbatch.people.where import place_name
from maskbatch.store.review import Sample

_ORDER = (BARE, INCORRECT, NOT_SURE, MASKED)
_BOX = "SELECT x_min_e1, y_min_e1, x_max_e1, y_max_e1 FROM face WHERE source_id = ? AND frame = ? AND face = ?"
_PATHS = "SELECT id, path, kind, width, height, name FROM source WHERE position IS NOT NULL"


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
    def size_px(self) -> float:
        """The longest side of the face in pixels, 0 for a moment."""
        return 0.0 if self.box is None else max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def items_of(connection: Connection, answer: Answer, sample: Sample | None = None) -> list[Item]:
    """Return the items to review: all people, or the people and moments of a sample in its order.

    All people are sorted by verdict (without a mask, worn incorrectly, unsure, with a mask), then by the size of the
    face, largest first. They include people whom a reviewer judged to be no face, but not people seen too briefly to
    count.
    """
    sources = {row[0]: row[1:] for row in connection.execute(_PATHS)}
    listed = np.flatnonzero(answer.counts | (answer.reviewed != ""))
    if sample is None:
        found = [_of_person(connection, answer, sources, int(one)) for one in listed]
        rank = {STATES[state]: position for position, state in enumerate(_ORDER)}
        found.sort(key=lambda item: (rank[item.state], -item.size_px, item.name, item.person_id))
        return [_numbered(item, number) for number, item in enumerate(found)]
    persons = answer.persons
    at = {(int(persons.source_id[one]), int(persons.person[one])): int(one) for one in listed}
    found = []
    for one in sample.items:
        if one.person_id is None and one.source_id in sources:
            found.append(_of_moment(answer, sources, one.source_id, one.time_e4 / 1e4))
        elif (one.source_id, one.person_id) in at:
            found.append(_of_person(connection, answer, sources, at[one.source_id, one.person_id]))
    return [_numbered(item, number) for number, item in enumerate(found)]


def place_of(answer: Answer, source_id: int, name: str) -> str:
    """Return the site and camera of a source, or else its folder."""
    where = answer.where[source_id]
    return place_name(where.site, where.camera, name)


def _of_person(connection: Connection, answer: Answer, sources: Mapping[int, Sequence], at: int) -> Item:
    persons = answer.persons
    source_id, person = int(persons.source_id[at]), int(persons.person[at])
    frame, face, time_s = int(persons.best_frame[at]), int(persons.best_face[at]), float(persons.best_time_s[at])
    box = tuple(side / 10 for side in connection.execute(_BOX, [source_id, frame, face]).fetchone())
    p_mask = float(persons.p_mask[at])
    times = (float(persons.first_s[at]), float(persons.last_s[at]), time_s)
    return Item(
        0, source_id, person, *_where(answer, sources, source_id, time_s), frame, face, time_s, box,
        *_picture_size(sources, source_id), STATES[answer.model_verdict[at]], p_mask,
        answer.pictures.nearest(source_id, person, times, p_mask), *_files(answer, sources, source_id),
    )  # fmt: skip


def _of_moment(answer: Answer, sources: Mapping[int, Sequence], source_id: int, time_s: float) -> Item:
    return Item(
        0, source_id, None, *_where(answer, sources, source_id, time_s), None, None, time_s, None,
        *_picture_size(sources, source_id), "", None, "", *_files(answer, sources, source_id),
    )  # fmt: skip


def _where(answer: Answer, sources: Mapping[int, Sequence], source_id: int, time_s: float) -> tuple[str, str, str, str]:
    """Return name, kind, place and time of an item."""
    name = sources[source_id][4]
    clock = clock_text(answer.where[source_id].start.at, time_s)
    kind = sources[source_id][1]
    return (
        one_line(name),
        kind,
        place_of(answer, source_id, name),
        clock or ("" if kind == "image" else f"{time_s:.1f} s"),
    )


def _picture_size(sources: Mapping[int, Sequence], source_id: int) -> tuple[tuple[int, int]]:
    width, height = sources[source_id][2:4]
    return ((width or 1, height or 1),)


def _files(answer: Answer, sources: Mapping[int, Sequence], source_id: int) -> tuple[str, Path]:
    return answer.pictures.copy_of(source_id), located(from_name_text(sources[source_id][0]))


def _numbered(item: Item, number: int) -> Item:
    return replace(item, number=number)
