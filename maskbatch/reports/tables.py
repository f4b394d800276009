"""The store -> faces.csv, files.csv and summary.csv.

All of them show one state of the store, also beside a scan that is at work. Text cells that a spreadsheet would take for a
formula get an apostrophe in front (see `escape`).
"""

import csv
import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import TextIO

import numpy as np
import pandas as pd

from maskbatch.media.write import partial_file
from maskbatch.reports.frames import FILES_COLUMNS, read_files
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store

FACES_COLUMNS = (
    "source", "frame", "time_s", "face", "track_id", "x_min", "y_min", "x_max", "y_max", "score", "p_mask", "label",
)  # fmt: skip
SUMMARY_COLUMNS = ("folder", "files", "failed", "faces", "with_mask", "without_mask", "compliance_rate")

_FACES = """
    SELECT source.name, frame, printf('%.4f', time_e4 / 10000.0), face, track_id,
           printf('%.1f', x_min_e1 / 10.0), printf('%.1f', y_min_e1 / 10.0), printf('%.1f', x_max_e1 / 10.0),
           printf('%.1f', y_max_e1 / 10.0), printf('%.4f', score_e4 / 10000.0),
           CASE WHEN p_mask_e4 IS NULL THEN '' ELSE printf('%.4f', p_mask_e4 / 10000.0) END,
           CASE WHEN p_mask_e4 IS NULL THEN '' WHEN p_mask_e4 / 10000.0 >= ? THEN 'with_mask' ELSE 'without_mask' END
    FROM source CROSS JOIN face ON face.source_id = source.id
    WHERE source.position IS NOT NULL ORDER BY source.position, frame, face
"""
# the wide forms are taken for the plain ones by spreadsheets of East Asia
_FORMULA_STARTS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers. `faces` are people: one per track. `failed` files gave no frame, `partial` ones broke later.
    `compliance_rate` is with_mask / (with_mask + without_mask), to 4 decimals, None when nobody was seen."""

    files: int = 0
    faces: int = 0
    with_mask: int = 0
    without_mask: int = 0
    compliance_rate: float | None = None
    failed: int = 0
    partial: int = 0


def write_reports(store: Store, settings: ReportSettings) -> Summary:
    """Write `faces.csv`, `files.csv` and `summary.csv` beside the store, of all sources that are done, and of the whole
    segments of videos that are not. Raises OSError."""
    out = store.folder
    with ExitStack() as stack:
        faces_csv = stack.enter_context(_open_report(out / "faces.csv", FACES_COLUMNS))
        files_csv = stack.enter_context(_open_report(out / "files.csv", FILES_COLUMNS))
        summary_csv = stack.enter_context(_open_report(out / "summary.csv", SUMMARY_COLUMNS))
        connection = stack.enter_context(store.transaction())
        _write_faces(connection, settings.threshold, faces_csv)
        files = read_files(connection, settings)
        _append(_as_text(files), files_csv, ("source", "error", "notes"))
        rows = [_summary_row(folder, rows) for folder, rows in files.groupby(files["source"].map(_folder))]
        summary = pd.DataFrame([*rows, _summary_row("TOTAL", files)], columns=list(SUMMARY_COLUMNS))
        _append(summary, summary_csv, ("folder",))
    return summary_of(files)


def summary_of(files: pd.DataFrame) -> Summary:
    """Add up the files of a scan (see `frames.read_files`)."""
    status = files["status"].value_counts()
    masked, bare = int(files["with_mask"].sum()), int(files["without_mask"].sum())
    people = masked + bare
    rate = round(masked / people, 4) if people else None
    return Summary(len(files), people, masked, bare, rate, int(status.get("failed", 0)), int(status.get("partial", 0)))


def escape(text: str) -> str:
    """`text` for a cell that no spreadsheet takes for a formula: an apostrophe goes before a leading = + - @ (also wide
    ones), tab, line break or apostrophe. To get the text back, take one leading apostrophe away."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _write_faces(connection: Connection, threshold: float, out: TextIO) -> None:
    safe = functools.lru_cache(maxsize=4096)(escape)  # few names, many rows
    rows = csv.writer(out, lineterminator="\n")
    rows.writerows((safe(name), *cells) for name, *cells in connection.execute(_FACES, [threshold]))


def _as_text(files: pd.DataFrame) -> pd.DataFrame:
    """Give the files with their numbers as the table shows them; what is unknown is empty."""
    decimals = {"fps": 3, "duration_s": 3, "compliance_rate": 4}
    shown = {
        name: ["" if np.isnan(value) else f"{value:.{places}f}" for value in files[name]]
        for name, places in decimals.items()
    }
    return files.assign(**shown)


def _summary_row(folder: str, files: pd.DataFrame) -> list[object]:
    """Give SUMMARY_COLUMNS; `failed` leaves out the partial files, which gave faces to count."""
    total = summary_of(files)
    rate = "" if total.compliance_rate is None else f"{total.compliance_rate:.4f}"
    return [folder, total.files, total.failed, total.faces, total.with_mask, total.without_mask, rate]


def _folder(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()


@contextmanager
def _open_report(path: Path, columns: Sequence[str]) -> Iterator[TextIO]:
    """A UTF-8 text file with its header, that gets its name at the end of the block."""
    with partial_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(columns) + "\n")
        yield file


def _append(rows: pd.DataFrame, out: TextIO, text_columns: Sequence[str]) -> None:
    """Appends rows to a report; `text_columns` hold what others wrote: file names and error messages."""
    escaped = {}
    for name in text_columns:
        # few texts, many rows
        safe = {text: escape(text) for text in rows[name].unique()}
        escaped[name] = rows[name].map(safe)
    rows.assign(**escaped).to_csv(out, header=False, index=False, lineterminator="\n")
