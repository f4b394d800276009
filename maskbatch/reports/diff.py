"""Changes between two scans: files, people and the rate."""

from collections.abc import Iterable, Mapping
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np
import pandas as pd

from maskbatch.geometry.boxes import iou
from maskbatch.people.answer import Answer
from maskbatch.people.evidence import STATES
from maskbatch.reports.rates import rates_of
from maskbatch.reports.statistics import Rate
from maskbatch.store.read import boxes_of

DIFF_COLUMNS = ("change", "source", "person", "other_person", "verdict", "other_verdict", "time_s")
# boxes in one frame that overlap more than this belong to one face
_SAME_IOU = 0.5


class Scanned(NamedTuple):
    """A scan: the connection of a transaction, and the answer derived in that transaction."""

    connection: Connection
    answer: Answer


class Difference(NamedTuple):
    """Two rates, and the second minus the first with its 95 % interval; None where undefined."""

    first: Rate
    second: Rate
    value: float | None
    low: float | None
    high: float | None

    def lines(self) -> list[str]:
        """Return both rates and their difference as lines of text."""
        found = [f"first: {self.first}", f"second: {self.second}"]
        if self.value is not None:
            interval = ""
            if self.low is not None:
                interval = f", 95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"
            found.append(f"difference: {100 * self.value:+.1f} points{interval}")
        return found


def diff_table(first: Scanned, second: Scanned) -> pd.DataFrame:
    """Return a row for each change from the first scan to the second, with DIFF_COLUMNS.

    `change` is `file gone`, `file new`, `person gone`, `person new` or `verdict`. People of one file are the same when
    their faces overlap in frames that both scans analysed. Persons in files of only one scan are not listed. `person`
    and `verdict` are those of the first scan, `other_person` and `other_verdict` those of the second.
    """
    of_first, of_second = _by_name(first.answer), _by_name(second.answer)
    rows = [_file_row("file gone", name) for name in of_first if name not in of_second]
    rows += [_file_row("file new", name) for name in of_second if name not in of_first]
    for name in of_first:
        if name in of_second:
            rows += _people_rows(name, (first, of_first[name]), (second, of_second[name]))
    return pd.DataFrame(rows, columns=list(DIFF_COLUMNS)).astype({"person": "Int64", "other_person": "Int64"})


def rate_difference(first: Answer, second: Answer) -> Difference:
    """Return the difference of the rates of people in two scans (see `difference_of`)."""
    return difference_of(rates_of(first).people, rates_of(second).people)


def difference_of(a: Rate, b: Rate) -> Difference:
    """Return the second rate minus the first, with the interval of Newcombe (1998, method 10).

    This interval combines those of both rates, which allow for the similarity of people in one recording. The rates are
    assumed to be independent, so the interval is too wide for two scans of the same recordings.
    """
    if a.value is None or b.value is None:
        return Difference(a, b, None, None, None)
    value = b.value - a.value
    if a.low is None or b.low is None:
        return Difference(a, b, value, None, None)
    low = value - np.hypot(b.value - b.low, a.high - a.value)
    high = value + np.hypot(b.high - b.value, a.value - a.low)
    return Difference(a, b, value, float(max(low, -1)), float(min(high, 1)))


def _by_name(answer: Answer) -> dict[str, int]:
    return {source.name: source.id for source in answer.sources}


def _file_row(change: str, name: str) -> tuple:
    return change, name, None, None, "", "", np.nan


def _people_rows(name: str, first: tuple[Scanned, int], second: tuple[Scanned, int]) -> Iterable[tuple]:
    """Yield the changes among the people of one file."""
    people = [_counted(scan.answer, source_id) for scan, source_id in (first, second)]
    pairs = _pairs(*(_boxes(scan.connection, source_id, own) for (scan, source_id), own in
                     zip((first, second), people, strict=True)))  # fmt: skip
    verdicts = [scan.answer.persons.verdict for scan, _ in (first, second)]
    times = [scan.answer.persons.best_time_s for scan, _ in (first, second)]
    for person, at in people[0].items():
        other = pairs.get(person)
        verdict = STATES[verdicts[0][at]]
        if other is None:
            yield "person gone", name, person, None, verdict, "", float(times[0][at])
        elif verdicts[1][people[1][other]] != verdicts[0][at]:
            yield "verdict", name, person, other, verdict, STATES[verdicts[1][people[1][other]]], float(times[0][at])
    for person, at in people[1].items():
        if person not in pairs.values():
            yield "person new", name, None, person, "", STATES[verdicts[1][at]], float(times[1][at])


def _counted(answer: Answer, source_id: int) -> dict[int, int]:
    """Return the positions of the people in a source who count, by person number."""
    chosen = np.flatnonzero(answer.counts & (answer.persons.source_id == source_id))
    return dict(zip(answer.persons.person[chosen].tolist(), chosen.tolist(), strict=True))


def _boxes(
    connection: Connection, source_id: int, people: Mapping[int, int]
) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Return (person, box (4,)) of each face of these people, by frame."""
    found: dict[int, list[tuple[int, np.ndarray]]] = {}
    for frame, person, *box, _, _ in boxes_of(connection, source_id):
        if person in people:
            found.setdefault(frame, []).append((person, np.array(box, np.float32)))
    return found


def _pairs(first: Mapping[int, list], second: Mapping[int, list]) -> dict[int, int]:
    """Return the person of the second scan for each person of the first, by the number of frames in which they overlap."""
    together: dict[tuple[int, int], int] = {}
    for frame in first.keys() & second.keys():
        overlap = iou(np.stack([box for _, box in first[frame]]), np.stack([box for _, box in second[frame]]))
        for i, j in zip(*np.nonzero(overlap > _SAME_IOU), strict=True):
            key = first[frame][i][0], second[frame][j][0]
            together[key] = together.get(key, 0) + 1
    if not together:
        return {}
    # takes a sixth of a second, and every scan imports this module
    from scipy.optimize import linear_sum_assignment

    rows, columns = sorted({a for a, _ in together}), sorted({b for _, b in together})
    counts = np.array([[together.get((a, b), 0) for b in columns] for a in rows])
    chosen = zip(*linear_sum_assignment(-counts), strict=True)
    return {rows[i]: columns[j] for i, j in chosen if counts[i, j]}
