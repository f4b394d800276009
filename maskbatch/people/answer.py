"""The answer of a scan: sources, people and their episodes, derived from the looks at faces."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from maskbatch.people.episodes import Episodes, Timing, find_episodes
from maskbatch.people.looks import Looks, in_order
from maskbatch.people.persons import Persons, find_persons
from maskbatch.people.pictures import Pictures
from maskbatch.people.reviewed import corrected
from maskbatch.people.static import is_static
from maskbatch.people.where import Known, Where, crossings_of, is_looked_at, where_of, zones_of
from maskbatch.settings import CANDIDATES_PER_S, ReportSettings
from maskbatch.store.faces import NUM_COLUMNS, FaceColumns, face_blocks
from maskbatch.store.read import sessions
from maskbatch.store.review import verdicts

_SOURCES = """
    SELECT id, name, kind, fps, duration_s, width, height, decoded, analysed, recorded FROM source
    WHERE position IS NOT NULL AND state != 'pending' ORDER BY position
"""
# from so many analysed frames a second on, anybody is seen twice; one look may be a mistake of the detector
_OFTEN_PER_S = 2.5


@dataclass(frozen=True, slots=True)
class Answer:
    """The people of a scan, with their episodes, places and pictures.

    Verdicts and episodes include the corrections of reviewers.

    Attributes:
        sources: the sources in the order of the reports.
        where: place and start by source id.
        persons: the people in these sources.
        episodes: their episodes; `group` is the position of the person.
        zone, crossed: (P,) object, the zone and the crossed lines of each person.
        is_static: (P,) bool, the person is only a picture.
        counts: (P,) bool, the person is seen for long enough, and is neither a picture nor a mistake.
        pictures: finds evidence of people.
        model_verdict: (P,) int8, the verdict of the model, index into STATES.
        reviewed: (P,) object, the verdict of a reviewer, "" without one.
    """

    sources: tuple[Known, ...]
    where: dict[int, Where]
    persons: Persons
    episodes: Episodes
    zone: np.ndarray
    crossed: np.ndarray
    is_static: np.ndarray
    counts: np.ndarray
    pictures: Pictures
    model_verdict: np.ndarray
    reviewed: np.ndarray


class _Part(NamedTuple):
    """The people of some sources."""

    persons: Persons
    episodes: Episodes
    zone: np.ndarray
    crossed: np.ndarray
    is_static: np.ndarray


def find_answer(
    connection: Connection, settings: ReportSettings, faces: Iterable[np.ndarray] | None = None
) -> Answer:  # fmt: skip
    """Derive the answer from the rows of a store, without any picture.

    Only the looks of a few sources are in memory at a time.

    Args:
        connection: the connection of a transaction.
        settings: thresholds and rules.
        faces: the blocks of `face_blocks` if the caller also needs them; they are read by default.

    Returns:
        The answer for all sources of the last session that are done or partly done.

    Raises:
        UsageError: the rules for clock or places cannot be read.
    """
    sources = tuple(
        Known(*row[:-1], tuple((name, value) for name, value in json.loads(row[-1])))
        for row in connection.execute(_SOURCES)
    )
    where = {source.id: where_of(source, settings) for source in sources}
    blocks = face_blocks(connection) if faces is None else faces
    is_gated = _is_gated(connection)
    rates = {source.id: _looks_per_s(source, is_gated) for source in sources}
    timings = {source.id: _timing(source, rates[source.id]) for source in sources}
    parts = [_part(faces, where, timings, settings) for faces in _whole_sources(blocks)]
    persons, episodes, *arrays = _joined(
        parts or [_part(np.empty((NUM_COLUMNS, 0), np.int64), where, timings, settings)]
    )
    fixed = corrected(persons, episodes, verdicts(connection))
    static = arrays[-1]
    counts = persons.num_faces >= _needed(persons, sources, rates, settings.min_seen_s)
    counts &= (~static | settings.count_static) & fixed.is_face
    return Answer(sources, where, fixed.persons, fixed.episodes, *arrays, counts, Pictures(connection), persons.verdict,
                  fixed.reviewed)  # fmt: skip


def _is_gated(connection: Connection) -> bool:
    """Return whether a gate chose the frames of videos in the last session."""
    return any(one.facts.get("settings", {}).get("sampling", {}).get("is_gated") for one in sessions(connection)[-1:])


def _timing(source: Known, per_second: float) -> Timing:
    """Return the timing of a source of which `per_second` frames are analysed; what is unknown sets no limit."""
    step_s = 1 / per_second if per_second else 0.0
    return Timing(step_s, math.inf if source.read_s is None else source.read_s, source.duration_s or math.inf)


def _part(faces: np.ndarray, where: dict[int, Where], timings: dict[int, Timing], settings: ReportSettings) -> _Part:
    looks = in_order(_as_looks(FaceColumns(*faces)), list(where))
    if not (counts := is_looked_at(looks, where)).all():
        looks = looks.take(counts)
    episodes = find_episodes(looks, settings, timings)
    places = zones_of(looks, where), crossings_of(looks, where)
    return _Part(find_persons(looks, episodes, settings), episodes, *places, is_static(looks, settings.static_s))


def _joined(parts: Sequence[_Part]) -> _Part:
    """Join the people of all parts, and shift the positions of persons in episodes accordingly."""
    firsts = np.cumsum([0, *(len(part.persons) for part in parts)])
    episodes = [
        replace(part.episodes, group=part.episodes.group + first) for part, first in zip(parts, firsts, strict=False)
    ]
    plain = [np.concatenate([part[at] for part in parts]) for at in range(2, len(_Part._fields))]
    return _Part(_concatenated([part.persons for part in parts]), _concatenated(episodes), *plain)


def _concatenated(tables: Sequence[Persons] | Sequence[Episodes]) -> Persons | Episodes:
    first = tables[0]
    return type(first)(*(np.concatenate([getattr(one, item.name) for one in tables]) for item in fields(first)))


def _as_looks(faces: FaceColumns) -> Looks:
    """Return classified faces as looks."""
    corners = np.stack([faces.x_min_e1, faces.y_min_e1, faces.x_max_e1, faces.y_max_e1], 1)
    scales = ((faces.p_incorrect_e4, 1e4), (faces.sharpness_e2, 1e2), (faces.brightness, 1), (faces.turn_e2, 1e2))
    plain = [np.where(values < 0, np.nan, values / scale) for values, scale in scales]
    return Looks(faces.source_id, faces.person, faces.frame, faces.face, faces.time_e4 / 1e4, corners / 10,
                 faces.p_mask_e4 / 1e4, *plain)  # fmt: skip


def _whole_sources(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the classified faces of blocks (NUM_COLUMNS, n) as such arrays that each hold complete sources."""
    kept: list[np.ndarray] = []  # joined only once: a video may have millions of faces
    for block in blocks:
        block = block[:, FaceColumns(*block).p_mask_e4 >= 0]
        if not block.size:
            continue
        source_id = FaceColumns(*block).source_id
        is_last = source_id == source_id[-1]  # more faces of this source may follow
        if not is_last.all():
            complete, kept = np.concatenate([*kept, block[:, ~is_last]], axis=1), []
            yield complete
        kept.append(block[:, is_last])
    if kept:
        complete, kept = np.concatenate(kept, axis=1), []
        yield complete


def _needed(persons: Persons, sources: Sequence[Known], rates: dict[int, float], min_seen_s: float) -> np.ndarray:
    """Return the number of looks (P,) that a person needs to count: the looks in `min_seen_s` seconds, rounded up.

    A flicker of one frame at 30 fps does not count. In photos and sparsely sampled video, one look is enough. A shorter
    video requires all its frames.
    """
    needed = {source.id: _needed_looks(source, rates[source.id], min_seen_s) for source in sources}
    return np.array([needed[source_id] for source_id in persons.source_id.tolist()], np.int64)


def _needed_looks(source: Known, per_second: float, min_seen_s: float) -> int:
    """Return the frames that are analysed in `min_seen_s` of a source with somebody in motion: at least two of many."""
    least = 2 if per_second >= _OFTEN_PER_S and min_seen_s > 0 else 1
    return max(1, min(max(least, int(np.ceil(round(min_seen_s * per_second, 6)))), source.analysed))


def _looks_per_s(source: Known, is_gated: bool) -> float:
    """Return the frames of a source that are analysed per second with somebody in motion; 0.0 if unknown.

    The number of analysed frames per second is the frame rate times the analysed share, which also holds for a broken
    video. Without a frame rate, it is the number of analysed frames divided by the duration. A gate analyses fewer
    frames where nothing moves, so at least its candidates count.
    """
    if source.fps and source.decoded:
        per_second = source.fps * source.analysed / source.decoded
    else:
        per_second = 0.0 if source.duration_s is None else source.analysed / max(source.duration_s, 1e-9)
    if is_gated and source.kind == "video":
        per_second = max(per_second, min(CANDIDATES_PER_S, source.fps or CANDIDATES_PER_S))
    return per_second
