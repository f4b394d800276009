"""The rates of a scan, each with its denominator and interval: people, episodes and person-seconds."""

from typing import NamedTuple

import numpy as np

from maskbatch.people.answer import Answer
from maskbatch.people.evidence import MASKED, SURE
from maskbatch.reports.statistics import Rate, clustered_rate, seconds_rate

_HOUR_S = 3600.0


class Rates(NamedTuple):
    """Shares with a mask among people who can be judged, among episodes in a sure state, and among their seconds."""

    people: Rate
    episodes: Rate
    seconds: Rate


def rates_of(answer: Answer) -> Rates:
    """Return the rates of an answer. People in one camera and hour are a cluster, because they are not independent.

    Example:
        >>> rates_of(answer).people.denominator
        22
    """
    persons = answer.persons
    judged = answer.counts & np.isin(persons.verdict, SURE)
    keys = _clusters(answer, np.flatnonzero(judged), persons.first_s[judged])
    people = clustered_rate(*_sums(keys, persons.verdict[judged] == MASKED, np.ones(judged.sum())))
    found = answer.episodes
    found = found.take(answer.counts[found.group] & np.isin(found.state, SURE))
    keys, is_masked = _clusters(answer, found.group, found.from_s), found.state == MASKED
    episodes = clustered_rate(*_sums(keys, is_masked, np.ones(len(found))), unit="episodes")
    seconds = seconds_rate(*_sums(keys, is_masked * found.duration_s, found.duration_s))
    return Rates(people, episodes, seconds)


def model_rate(answer: Answer) -> Rate:
    """Return the share of people with a mask by the verdicts of the model alone, before any review."""
    persons = answer.persons
    judged = (answer.counts | (answer.reviewed != "")) & np.isin(answer.model_verdict, SURE)
    keys = _clusters(answer, np.flatnonzero(judged), persons.first_s[judged])
    return clustered_rate(*_sums(keys, answer.model_verdict[judged] == MASKED, np.ones(judged.sum())))


def _clusters(answer: Answer, group: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Return the number (n,) of the cluster for each person at positions `group` (n,), seen at `at_s` (n,) seconds.

    A cluster is one hour of one camera, or of one source if its camera or start is unknown.
    """
    numbers: dict[tuple, int] = {}
    names = {source.id: source.name for source in answer.sources}
    keys = []
    for source_id, second in zip(answer.persons.source_id[group].tolist(), at_s.tolist(), strict=True):
        where = answer.where[source_id]
        start = where.start.at
        hour = int(((0.0 if start is None else start.timestamp()) + second) // _HOUR_S)
        is_known = start is not None and (where.site or where.camera)
        key = (where.site, where.camera, hour) if is_known else (names[source_id], hour)
        keys.append(numbers.setdefault(key, len(numbers)))
    return np.array(keys, np.int64)


def _sums(keys: np.ndarray, hits: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hits and totals (C,) of each cluster."""
    return np.bincount(keys, hits), np.bincount(keys, totals)
