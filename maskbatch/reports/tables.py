"""Write faces.csv, files.csv and summary.csv from the store.

All tables show one state of the store, also beside a scan that is at work. Text cells that a spreadsheet would take for a
formula get an apostrophe in front (see `escape`). docs/tables.md explains each column.
"""

import csv
import functools
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import TextIO

import numpy as np
import pandas as pd

from maskbatch.media.write import partial_files
from maskbatch.reports.frames import FILES_COLUMNS, read_files
from maskbatch.reports.summary import SUMMARY_COLUMNS, Summary, by_folder, summary_of
from maskbatch.settings import ReportSettings, Thresholds
from maskbatch.states import label_sql, sql_parameters
from maskbatch.store.database import Store

TABLES = ("faces.csv", "files.csv", "summary.csv")
FACES_COLUMNS = (
    "source", "frame", "time_s", "face", "track_id", "x_min", "y_min", "x_max", "y_max", "score", "p_mask",
    "p_incorrect", "label",
)  # fmt: skip
_DECIMALS = {"fps": 3, "duration_s": 3, "compliance_rate": 4}

# SQLite makes the whole row, which takes half as long as Python; with the id in the order, it needs no sorting
_FACES = f"""
    SELECT source.name,
           printf(',%d,%.4f,%d,%d,%.1f,%.1f,%.1f,%.1f,%.4f,', frame, time_e4 / 10000.0, face, track_id, x_min_e1 / 10.0,
                  y_min_e1 / 10.0, x_max_e1 / 10.0, y_max_e1 / 10.0, score_e4 / 10000.0)
           || CASE WHEN p_mask_e4 IS NULL THEN ',,' WHEN p_incorrect_e4 IS NULL THEN printf('%.4f,,', p_mask_e4 / 10000.0)
                ELSE printf('%.4f,%.4f,', p_mask_e4 / 10000.0, p_incorrect_e4 / 10000.0) END
           || {label_sql("p_mask_e4 / 10000.0", "p_incorrect_e4 / 10000.0")}
    FROM source CROSS JOIN face ON face.source_id = source.id
    WHERE source.position IS NOT NULL ORDER BY source.position, source.id, frame, face
"""
# spreadsheets of East Asia take the wide forms for the plain ones
_FORMULA_STARTS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


def write_reports(store: Store, settings: ReportSettings) -> Summary:
    """Write `faces.csv`, `files.csv` and `summary.csv` beside the store.

    They have all sources that are done, and the whole segments of videos that are not. Raises OSError.
    """
    out, bom = store.folder, settings.bom
    with (
        partial_files(*(out / name for name in TABLES)) as (faces_path, files_path, summary_path),
        _open_report(faces_path, FACES_COLUMNS, bom) as faces_csv,
        _open_report(files_path, FILES_COLUMNS, bom) as files_csv,
        _open_report(summary_path, SUMMARY_COLUMNS, bom) as summary_csv,
        store.transaction() as connection,
    ):
        _write_faces(connection, settings.thresholds, faces_csv)
        files = read_files(connection, settings)
        _append(files, files_csv, ("source", "error", "notes"))
        _append(by_folder(files), summary_csv, ("folder",))
    return summary_of(files, settings.thresholds)


def escape(text: str) -> str:
    """Return `text` as a cell that no spreadsheet takes for a formula.

    An apostrophe goes before a leading = + - @ (also the wide forms), tab, line break or apostrophe. To get the text back,
    remove one leading apostrophe.
    """
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _write_faces(connection: Connection, thresholds: Thresholds, out: TextIO) -> None:
    cell = functools.lru_cache(maxsize=16)(_as_cell)  # the rows of one source follow each other
    out.writelines(f"{cell(name)}{cells}\n" for name, cells in connection.execute(_FACES, sql_parameters(thresholds)))


def _as_cell(text: str) -> str:
    """Escape a text, and quote it where CSV asks for that."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([escape(text)])
    return line.getvalue()


@contextmanager
def _open_report(path: Path, columns: Sequence[str], bom: bool) -> Iterator[TextIO]:
    """Open a UTF-8 text file that begins with its header."""
    encoding = "utf-8-sig" if bom else "utf-8"
    with path.open("w", encoding=encoding, newline="") as file:
        file.write(",".join(columns) + "\n")
        yield file


def _append(rows: pd.DataFrame, out: TextIO, text_columns: Sequence[str]) -> None:
    """Append rows to a report, unknown numbers as empty cells; `text_columns` hold names of files and error messages."""
    shown = {}
    for name in text_columns:
        # few texts, many rows
        safe = {text: escape(text) for text in rows[name].unique()}
        shown[name] = rows[name].map(safe)
    for name in _DECIMALS.keys() & rows.columns:
        shown[name] = ["" if np.isnan(value) else f"{value:.{_DECIMALS[name]}f}" for value in rows[name].tolist()]
    rows.assign(**shown).to_csv(out, header=False, index=False, lineterminator="\n")
