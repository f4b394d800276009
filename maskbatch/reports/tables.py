"""Write all tables and the page from the store.

All of them show one state of the store, even while a scan is running. Text cells that a spreadsheet would take for a
formula get an apostrophe in front (see `cells.escape`). docs/tables.md explains each column.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pandas as pd

from maskbatch.errors import UsageError
from maskbatch.media.write import partial_files
from maskbatch.people.answer import Answer, find_answer
from maskbatch.people.places_file import read_places
from maskbatch.reports.cells import escape
from maskbatch.reports.faces import FACES_COLUMNS, written_faces
from maskbatch.reports.frames import files_table
from maskbatch.reports.page import PAGE, Tables, render_page, view_of
from maskbatch.reports.people import coverage_table, episodes_table, people_table, places_table
from maskbatch.reports.rates import rates_of
from maskbatch.reports.summary import Summary, by_folder, summary_of
from maskbatch.reports.timeline import timeline_table
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store

TABLES = (
    "faces.csv", "files.csv", "summary.csv", "people.csv", "episodes.csv", "timeline.csv", "places.csv", "coverage.csv",
)  # fmt: skip
# files that a report writes beside the store, including the record of the runs
WRITTEN = (*TABLES, PAGE, "run.json")
_DECIMALS = {
    "fps": 3, "duration_s": 3, "compliance_rate": 4, "p_mask": 4, "recorded_h": 4, "read_h": 4, "with_people_h": 4,
    **dict.fromkeys(("first_s", "last_s", "from_s", "to_s", "seen_s", "masked_s", "bare_s", "incorrect_s", "unsure_s",
                     "best_time_s", "time_s"), 3),
}  # fmt: skip


class Written(NamedTuple):
    """The content of reports: the summary, and the rows of files.csv (see `frames.files_table`)."""

    summary: Summary
    files: pd.DataFrame


def write_reports(store: Store, settings: ReportSettings) -> Written:
    """Write all tables and `report.html` beside the store.

    The tables cover all finished sources, and the complete segments of unfinished videos. Raises OSError, and
    UsageError when the rules for clock or places cannot be read.
    """
    out = store.folder
    with (
        partial_files(*(out / name for name in (*TABLES, PAGE))) as paths,
        _open_report(paths[0], FACES_COLUMNS, settings.bom) as faces_csv,
        store.transaction() as connection,
    ):
        faces = written_faces(connection, settings.thresholds, faces_csv)
        answer = find_answer(connection, settings, faces)
        tables = Tables(files_table(connection, answer), people_table(answer), rates_of(answer))
        for path, rows in zip(paths[1:-1], _tables(answer, tables, settings), strict=True):
            with _open_report(path, list(rows.columns), settings.bom) as table:
                _append(rows, table)
        page = render_page(view_of(connection, answer, tables, settings), out, settings.is_inline)
        paths[-1].write_text(page, encoding="utf-8", errors="backslashreplace")
        return Written(summary_of(tables.files, settings.thresholds, tables.rates.people), tables.files)


def _tables(answer: Answer, tables: Tables, settings: ReportSettings) -> Iterator[pd.DataFrame]:
    """Yield the tables that follow faces.csv, in the order of TABLES."""
    files = tables.files
    yield files
    yield by_folder(files)
    yield tables.people
    yield episodes_table(answer)
    yield timeline_table(answer)
    yield places_table(answer, read_places(settings.places))
    yield coverage_table(answer, dict(zip(files["source"], files["status"] != "ok", strict=True)))


def write_table(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as a new CSV file with escaped texts. Raises UsageError if the file exists, and OSError."""
    if path.exists():
        raise UsageError(f"{path} exists: give another name")
    with partial_files(path) as (partial,), _open_report(partial, list(rows.columns), False) as table:
        _append(rows, table)


@contextmanager
def _open_report(path: Path, columns: Sequence[str], bom: bool) -> Iterator[TextIO]:
    """Open a UTF-8 text file that begins with its header."""
    encoding = "utf-8-sig" if bom else "utf-8"
    with path.open("w", encoding=encoding, newline="") as file:
        file.write(",".join(columns) + "\n")
        yield file


def _append(rows: pd.DataFrame, out: TextIO) -> None:
    """Append rows to a report. Unknown numbers become empty cells; texts are escaped, because they may be file names."""
    shown = {}
    for name in rows.columns:
        if name in _DECIMALS:
            shown[name] = ["" if math.isnan(value) else f"{value:.{_DECIMALS[name]}f}" for value in rows[name].tolist()]
        elif not pd.api.types.is_numeric_dtype(rows[name]):
            # few texts, many rows
            codes, texts = pd.factorize(rows[name])
            shown[name] = np.array([*map(escape, texts)], object)[codes]
    rows.assign(**shown).to_csv(out, header=False, index=False, lineterminator="\n")
