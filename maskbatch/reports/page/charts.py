"""The numbers behind the charts of the page: bars by place, a heat map of place and hour, histograms."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from sqlite3 import Connection

import numpy as np
import pandas as pd

from maskbatch.states import INCORRECT_MASK, UNSURE, WITH_MASK, WITHOUT_MASK

_ORDER = (WITH_MASK, INCORRECT_MASK, WITHOUT_MASK, UNSURE)
_MOST_PLACES = 40
_SIZES_PX = (0, 12, 16, 24, 32, 48, 64, 96, 128, 192)
_STEPS = 10
_SIZES = """
    SELECT max(x_max_e1 - x_min_e1, y_max_e1 - y_min_e1) / 10 AS size_px, count(*) FROM face
    JOIN source ON source.id = face.source_id WHERE source.position IS NOT NULL GROUP BY size_px
"""
_PROBABILITIES = """
    SELECT min(p_mask_e4 / 1000, 9) AS step, count(*) FROM face
    JOIN source ON source.id = face.source_id WHERE source.position IS NOT NULL AND p_mask_e4 IS NOT NULL GROUP BY step
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """The people of one place: counts in the order of `parts`, which are (state, number, start, width) in percent."""

    name: str
    num_people: int
    parts: Sequence[tuple[str, int, float, float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """The people first seen at one place in one hour: `level` from 0 (all with a mask) to 5, -1 when nobody was judged."""

    place: str
    hour: str
    judged: int
    without: int
    level: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in steps: `steps` are (label, count, height in percent of the highest)."""

    title: str
    note: str
    steps: Sequence[tuple[str, int, float]]


def bars(people: pd.DataFrame) -> list[Bar]:
    """Return a bar for each of the first 40 places, sorted by people without a mask.

    `people` has the columns `place` and `verdict`.
    """
    found = (
        people.groupby(["place", "verdict"]).size().unstack(fill_value=0).reindex(columns=list(_ORDER), fill_value=0)
    )
    found = found.assign(total=found.sum(axis=1)).sort_values([WITHOUT_MASK, "total"], ascending=False, kind="stable")
    made = []
    for place, row in found.head(_MOST_PLACES).iterrows():
        counts, total = [int(row[label]) for label in _ORDER], int(row["total"])
        starts = np.cumsum([0, *counts]) * 100 / total
        parts = [(label, count, float(start), count * 100 / total)
                 for label, count, start in zip(_ORDER, counts, starts, strict=False) if count]  # fmt: skip
        made.append(Bar(str(place), total, parts))
    return made


def heat_map(people: pd.DataFrame) -> list[list[Cell]]:
    """Return a row for each of the first 40 places by name, with a cell for each hour from the first to the last.

    Without any clock time, there is no row.
    """
    known = people[people["first_clock"] != ""]
    if known.empty:
        return []
    known = known.assign(hour=known["first_clock"].str[11:13].astype(int))
    hours = range(known["hour"].min(), known["hour"].max() + 1)
    places = sorted(known["place"].unique())[:_MOST_PLACES]
    judged = known[known["verdict"] != UNSURE].groupby(["place", "hour"]).size()
    without = known[known["verdict"] == WITHOUT_MASK].groupby(["place", "hour"]).size()
    return [[_cell(place, hour, int(judged.get((place, hour), 0)), int(without.get((place, hour), 0))) for hour in hours]
            for place in places]  # fmt: skip


def _cell(place: str, hour: int, judged: int, without: int) -> Cell:
    level = -1 if not judged else 0 if not without else min(5, 1 + int(4 * without / judged))
    return Cell(place, f"{hour:02d}:00", judged, without, level)


def histograms(connection: Connection, people: pd.DataFrame) -> list[Histogram]:
    """Return histograms of the sizes of faces, and of the probability of a mask."""
    sizes = np.array(connection.execute(_SIZES).fetchall(), np.int64).reshape(-1, 2)
    by_size = np.bincount(np.digitize(sizes[:, 0], _SIZES_PX) - 1, sizes[:, 1], len(_SIZES_PX)).astype(int)
    labels = [f"{low}-{high}" for low, high in pairwise(_SIZES_PX)] + [f"{_SIZES_PX[-1]}+"]
    steps = np.array(connection.execute(_PROBABILITIES).fetchall(), np.int64).reshape(-1, 2)
    by_p = np.bincount(steps[:, 0], steps[:, 1], _STEPS).astype(int)
    small = by_size[: _SIZES_PX.index(24)].sum() / max(by_size.sum(), 1)
    hint = ("Many faces are smaller than 24 pixels. A scan with a smaller --min-face (or a larger --det-size) finds more of "
            "them, and takes longer." if small > 0.2 else "")  # fmt: skip
    between = by_p[3:7].sum() / max(by_p.sum(), 1)
    note = "Many probabilities lie between 30 and 70 %: review these people." if between > 0.2 else ""
    return [
        Histogram("Longest side of faces, in pixels", hint, _as_steps(labels, by_size)),
        Histogram("Probability of a mask, in percent", note,
                  _as_steps([f"{10 * step}-{10 * step + 10}" for step in range(_STEPS)], by_p)),
    ]  # fmt: skip


def _as_steps(labels: Sequence[str], counts: np.ndarray) -> list[tuple[str, int, float]]:
    most = max(int(counts.max()), 1)
    return [(label, int(count), 100 * count / most) for label, count in zip(labels, counts.tolist(), strict=True)]
