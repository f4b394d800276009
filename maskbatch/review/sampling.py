"""Probability samples of a scan: every person, and every moment without anybody, has a known chance of review."""

from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from maskbatch.people.answer import Answer
from maskbatch.people.evidence import STATES
from maskbatch.review.items import place_of
from maskbatch.store.review import NO_FACE, Sample, SampleItem

# distances of the probability from 0.5, near which the model errs more often
_LEVELS = ((0.47, "sure"), (0.35, "fairly sure"), (-1.0, "uncertain"))
_LEAST = 2  # looks in each stratum: a variance needs two
_LEAST_SHARE = 0.02  # error rate that even the surest stratum is assumed to have when looks are allocated
_MOMENTS_SHARE = 0.1
_PHOTOS, _SECONDS = f"photos {NO_FACE}", f"seconds of video {NO_FACE}"
_EMPTY_PHOTOS = """
    SELECT id FROM source WHERE position IS NOT NULL AND state = 'done' AND kind = 'image' AND analysed > 0
    AND NOT EXISTS (SELECT 1 FROM face WHERE source_id = source.id) ORDER BY position
"""
# a video that was not read whole was looked at as far as its frames reach, and not as long as its container claims
_VIDEOS = """
    SELECT id, read_s FROM (
        SELECT *, CASE WHEN error IS NULL AND state = 'done' THEN duration_s
                  ELSE coalesce(min(duration_s, decoded / fps), duration_s) END AS read_s FROM source)
    WHERE position IS NOT NULL AND kind = 'video' AND analysed > 0 AND read_s > 0 ORDER BY position
"""
_BUSY = "SELECT DISTINCT time_e4 / 10000 FROM face WHERE source_id = ?"


def draw_sample(
    connection: Connection, answer: Answer, num_items: int, precision: float | None = None, seed: int = 0
) -> Sample:  # fmt: skip
    """Draw a stratified sample of people, and a tenth as many moments in which the scan found nobody.

    Strata combine the model's verdict and its certainty. Within a stratum, people are sorted by place and number of
    looks, and drawn systematically. Uncertain strata get more items (Neyman 1934). A small sample has fewer strata,
    because each gets two items or more. Items are shuffled, so that a review may stop at any time: the reviewed part of a
    stratum is random.

    Args:
        connection: connection of the transaction in which `answer` was derived.
        answer: the people of the scan.
        num_items: maximum number of items; everybody when there are fewer.
        precision: half width of the interval at which the review may stop, such as 0.01.
        seed: random seed of the draw.
    """
    rng = np.random.default_rng(seed)
    moments = _moments(connection, round(_MOMENTS_SHARE * num_items), rng)
    num_people = max(num_items - sum(len(one.drawn) for one in moments), 0)
    people = _joined(strata_of(answer), num_people // _LEAST)
    order = _sorted(answer, people)
    numbers = _dealt(answer, people, num_people)
    strata, items = [], []
    for name, own in people.items():
        strata.append((name, len(own)))
        for at in _systematic(order[name], numbers[name], rng):
            who = int(answer.persons.source_id[at]), int(answer.persons.person[at])
            items.append(SampleItem(*who, round(1e4 * answer.persons.best_time_s[at]), len(strata) - 1))
    for moment in moments:
        strata.append((moment.name, moment.size))
        items += [SampleItem(source_id, None, round(1e4 * at_s), len(strata) - 1) for source_id, at_s in moment.drawn]
    return Sample(seed, precision, strata, [items[position] for position in rng.permutation(len(items))])


def strata_of(answer: Answer) -> dict[str, np.ndarray]:
    """Return the positions of the people who count, by name of their stratum, which depends on the model alone."""
    persons, listed = answer.persons, np.flatnonzero(answer.counts | (answer.reviewed != ""))
    distance = np.abs(persons.p_mask[listed] - 0.5)
    level = np.select([distance > edge for edge, _ in _LEVELS], range(len(_LEVELS)))
    found = {}
    for state, verdict in enumerate(STATES):
        for number, (_, word) in enumerate(_LEVELS):
            own = listed[(answer.model_verdict[listed] == state) & (level == number)]
            if len(own):
                found[f"{verdict}, {word}"] = own
    return found


def _joined(people: dict[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """Join neighbouring strata, those with the fewest people first, until there are at most `most` (and at least one)."""
    strata = list(people.items())
    while len(strata) > max(most, 1):
        at = min(range(len(strata) - 1), key=lambda one: len(strata[one][1]) + len(strata[one + 1][1]))
        (name, own), (next_name, others) = strata[at : at + 2]
        strata[at : at + 2] = [(f"{name}; {next_name}", np.concatenate([own, others]))]
    return dict(strata)


def _sorted(answer: Answer, people: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each stratum sorted by place, then by number of looks, which grows with size and time in sight."""
    names = {source.id: source.name for source in answer.sources}
    source_ids = answer.persons.source_id
    place = {one: place_of(answer, one, names[one]) for one in np.unique(source_ids).tolist()}
    return {name: np.array(sorted(own, key=lambda at: (place[int(source_ids[at])], answer.persons.num_faces[at], at)))
            for name, own in people.items()}  # fmt: skip


def _dealt(answer: Answer, people: dict[str, np.ndarray], number: int) -> dict[str, int]:
    """Return the number of people to draw from each stratum: at least two, and more where the model is less sure.

    The sum is at most `number` if that is two or more for each stratum.
    """
    p = answer.persons.p_mask
    weight = {}
    for name, own in people.items():
        share = max(float(np.minimum(p[own], 1 - p[own]).mean()), _LEAST_SHARE)
        weight[name] = len(own) * np.sqrt(share * (1 - share))
    total = sum(weight.values()) or 1.0
    dealt = {
        name: int(min(len(own), max(_LEAST, round(number * weight[name] / total)))) for name, own in people.items()
    }
    while sum(dealt.values()) > number and max(dealt.values()) > _LEAST:
        dealt[max(dealt, key=dealt.get)] -= 1
    return dealt


def _systematic(own: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `number` entries of `own` at equal distances from a random start; all have the same chance."""
    step = len(own) / max(number, 1)
    return own[np.floor((np.arange(number) + rng.random()) * step).astype(int) % len(own)]


class _Moments(NamedTuple):
    name: str
    size: int
    drawn: Sequence[tuple[int, float]]


def _moments(connection: Connection, number: int, rng: np.random.Generator) -> list[_Moments]:
    """Draw photos without a face, and seconds of video without a face: half of each, as far as there are enough."""
    photos = [row[0] for row in connection.execute(_EMPTY_PHOTOS)]
    videos = connection.execute(_VIDEOS).fetchall()
    busy = {source_id: {row[0] for row in connection.execute(_BUSY, [source_id])} for source_id, _ in videos}
    busy = {source_id: {one for one in busy[source_id] if one < int(read_s)} for source_id, read_s in videos}
    empty = sum(int(read_s) - len(busy[source_id]) for source_id, read_s in videos)
    of_photos = min(len(photos), round(number * (1.0 if not empty else 0.5)))
    found = []
    if of_photos:
        chosen = rng.choice(len(photos), of_photos, replace=False)
        found.append(_Moments(_PHOTOS, len(photos), [(photos[one], 0.0) for one in chosen]))
    of_seconds = min(empty, number - of_photos)
    if of_seconds > 0:
        found.append(_Moments(_SECONDS, empty, _empty_seconds(videos, busy, of_seconds, rng)))
    return found


def _empty_seconds(
    videos: Sequence[tuple[int, float]], busy: dict[int, set[int]], number: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Draw seconds in which no face was found, all with the same chance."""
    lengths = np.array([int(read_s) for _, read_s in videos], np.float64)
    drawn: dict[tuple[int, int], tuple[int, float]] = {}
    while len(drawn) < number:
        source_id, read_s = videos[int(rng.choice(len(videos), p=lengths / lengths.sum()))]
        second = int(rng.integers(int(read_s)))
        if second not in busy[source_id]:
            drawn[source_id, second] = (source_id, second + 0.5)
    return list(drawn.values())
