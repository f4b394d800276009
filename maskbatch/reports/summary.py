"""Add up the files of a scan, as a whole and by folder."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maskbatch.reports.statistics import Rate
from maskbatch.settings import Thresholds

_COUNTS = ("files", "failed", "partial", "faces", "people", "with_mask", "incorrect_mask", "without_mask", "unsure")
SUMMARY_COLUMNS = ("level", "folder", *_COUNTS, "compliance_rate")
_TYPES = {"level": "int64", "folder": "str", **dict.fromkeys(_COUNTS, "int64"), "compliance_rate": "float64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A scan in numbers.

    `faces` is the number of rows in faces.csv, `people` that of persons. `with_mask`, `incorrect_mask` and
    `without_mask` are people at `threshold` and `incorrect_threshold`, which is None without a third state; `unsure`
    people could not be judged. `compliance_rate` is with_mask / (people - unsure), to 4 decimals, None when nobody can
    be judged. `rate_low` and `rate_high` are the ends of its 95 % interval, None below five people. `failed` files gave
    no frame; `partial` files broke later.
    """

    files: int = 0
    faces: int = 0
    people: int = 0
    with_mask: int = 0
    incorrect_mask: int = 0
    without_mask: int = 0
    unsure: int = 0
    compliance_rate: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    failed: int = 0
    partial: int = 0
    threshold: float
    incorrect_threshold: float | None = None


def summary_of(files: pd.DataFrame, thresholds: Thresholds, people: Rate) -> Summary:
    """Add up the files of a scan (see `frames.files_table`), reported at `thresholds`; `people` is the rate of people."""
    counts = {name: int(number) for name, number in _countable(files).sum().items()}
    judged = counts["people"] - counts["unsure"]
    rate = round(counts["with_mask"] / judged, 4) if judged else None
    low, high = (None if edge is None else round(edge, 4) for edge in (people.low, people.high))
    return Summary(**counts, compliance_rate=rate, rate_low=low, rate_high=high, threshold=thresholds.mask,
                   incorrect_threshold=thresholds.incorrect)  # fmt: skip


def by_folder(files: pd.DataFrame) -> pd.DataFrame:
    """Return a row for the scan and for each folder, with SUMMARY_COLUMNS; parents come before their subfolders.

    Each row counts all files below its folder, at any depth. `level` is the depth of the folder: 0 for the scan (folder
    "."), 1 for a folder directly in the input. Rows of one level have no file in common.
    """
    parents = files["source"].map(lambda name: name.rpartition("/")[0])
    inside = _countable(files).groupby(parents).sum()
    totals: dict[tuple[str, ...], np.ndarray] = defaultdict(lambda: np.zeros(len(_COUNTS), np.int64))
    totals[()] += 0
    for folder, counts in zip(inside.index, inside.to_numpy(), strict=True):
        parts = tuple(folder.split("/")) if folder else ()
        for level in range(len(parts) + 1):
            totals[parts[:level]] += counts
    rows = [[len(parts), "/".join(parts) or ".", *totals[parts]] for parts in sorted(totals)]
    return _with_rate(pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS[:-1])))


def by_top_folder(files: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each folder directly in the input folder, in the order of files, then a row "total".

    Files directly in the input folder have the row ".", so that all rows add up to the last. Columns are
    SUMMARY_COLUMNS without `level`.
    """
    tops = files["source"].map(lambda name: name.partition("/")[0] if "/" in name else ".")
    counts = _countable(files)
    total = counts.sum().to_frame().T.assign(folder="total")
    rows = pd.concat([counts.groupby(tops.rename("folder"), sort=False).sum().reset_index(), total], ignore_index=True)
    return _with_rate(rows[["folder", *_COUNTS]])


def _with_rate(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the compliance rate, and convert columns to their types."""
    judged = rows["people"].astype("float64") - rows["unsure"].astype("float64")
    rate = (rows["with_mask"].astype("float64") / judged).round(4)
    found = rows.assign(compliance_rate=rate)
    return found.astype({name: _TYPES[name] for name in found.columns})


def _countable(files: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of each file that can be added up."""
    status = {name: (files["status"] == name).astype("int64") for name in ("failed", "partial")}
    return files.assign(files=1, **status)[list(_COUNTS)]
