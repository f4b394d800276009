"""The store -> faces.csv, files.csv and summary.csv.

All of them show one state of the store, also beside a scan that is at work. Text cells that a spreadsheet would take for a
formula get an apostrophe in front (see `escape`).
"""

import csv
import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import TextIO

import numpy as np
import pandas as pd

from maskbatch.media.write import partial_file
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store
from maskbatch.types import wears_mask

FACES_COLUMNS = (
    "source", "frame", "time_s", "face", "track_id", "x_min", "y_min", "x_max", "y_max", "score", "p_mask", "label",
)  # fmt: skip
FILES_COLUMNS = (
    "source", "kind", "status", "error", "width", "height", "fps", "duration_s", "frames_decoded", "frames_analysed",
    "faces", "with_mask", "without_mask", "compliance_rate", "notes",
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
_FILES = """
    SELECT id, name AS source, kind, state, error, width, height, fps, duration_s, decoded AS frames_decoded,
           analysed AS frames_analysed, notes
    FROM source WHERE position IS NOT NULL AND state != 'pending' ORDER BY position
"""
_TRACKS = """
    SELECT source_id, frames, p_sum_e4 FROM track JOIN source ON source.id = source_id WHERE source.position IS NOT NULL
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


@dataclass(slots=True)
class _Count:
    """What is added up for a folder."""

    files: int = 0
    failed: int = 0
    partial: int = 0
    with_mask: int = 0
    without_mask: int = 0

    def add(self, files: pd.DataFrame) -> None:
        self.files += len(files)
        self.failed += int((files["status"] == "failed").sum())
        self.partial += int((files["status"] == "partial").sum())
        self.with_mask += int(files["with_mask"].sum())
        self.without_mask += int(files["without_mask"].sum())

    def row(self, folder: str) -> list[object]:
        """SUMMARY_COLUMNS; `failed` leaves out the partial ones, which gave faces to count."""
        rate = _rate_cell(self.with_mask, self.without_mask)
        return [
            folder,
            self.files,
            self.failed,
            self.with_mask + self.without_mask,
            self.with_mask,
            self.without_mask,
            rate,
        ]


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
        files = _read_files(connection, settings)
        _append(files[list(FILES_COLUMNS)], files_csv, ("source", "error", "notes"))
        folders: dict[str, _Count] = defaultdict(_Count)
        for folder, rows in files.groupby(files["source"].map(_folder)):
            folders[folder].add(rows)
        total = _Count()
        total.add(files)
        rows = [count.row(folder) for folder, count in sorted(folders.items())]
        summary = pd.DataFrame([*rows, total.row("TOTAL")], columns=list(SUMMARY_COLUMNS))
        _append(summary, summary_csv, ("folder",))
    people = total.with_mask + total.without_mask
    rate = round(total.with_mask / people, 4) if people else None
    return Summary(total.files, people, total.with_mask, total.without_mask, rate, total.failed, total.partial)


def escape(text: str) -> str:
    """`text` for a cell that no spreadsheet takes for a formula: an apostrophe goes before a leading = + - @ (also wide
    ones), tab, line break or apostrophe. To get the text back, take one leading apostrophe away."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def needed_frames(files: pd.DataFrame, min_track_s: float) -> pd.Series:
    """Give in how many analysed frames a person must be seen to count, for each row of `files`.

    As many as are analysed in `min_track_s` seconds, rounded up: a flicker of one frame at 30 fps is nobody, while in
    sparsely sampled video, and in photos, one frame is enough. A video shorter than that asks for all its frames.
    Analysed frames per second are the frame rate times the share analysed, which is right for a video that broke as
    well; without a frame rate, the frames analysed over the duration.
    """
    per_second = files["fps"] * files["frames_analysed"] / files["frames_decoded"]
    per_second = per_second.fillna(files["frames_analysed"] / files["duration_s"])
    frames = np.ceil((min_track_s * per_second).round(6)).fillna(1)
    return frames.clip(upper=files["frames_analysed"]).clip(lower=1)


def _write_faces(connection: Connection, threshold: float, out: TextIO) -> None:
    safe = functools.lru_cache(maxsize=4096)(escape)  # few names, many rows
    rows = csv.writer(out, lineterminator="\n")
    rows.writerows((safe(name), *cells) for name, *cells in connection.execute(_FACES, [threshold]))


def _read_files(connection: Connection, settings: ReportSettings) -> pd.DataFrame:
    """Give the files with FILES_COLUMNS. One person is one track seen long enough, with the mean p_mask of its frames."""
    files = pd.read_sql_query(_FILES, connection, dtype={"fps": "float64", "duration_s": "float64"})
    tracks = pd.read_sql_query(_TRACKS, connection)
    needed = tracks["source_id"].map(needed_frames(files, settings.min_track_s).set_axis(files["id"]))
    people = tracks[tracks["frames"] >= needed]
    is_masked = wears_mask(people["p_sum_e4"] / people["frames"] / 10000.0, settings.threshold)
    for name, chosen in (("with_mask", people[is_masked]), ("without_mask", people[~is_masked])):
        files[name] = files["id"].map(chosen["source_id"].value_counts()).fillna(0).astype("int64")
    files["faces"] = files["with_mask"] + files["without_mask"]
    files["compliance_rate"] = [
        _rate_cell(*pair) for pair in zip(files["with_mask"], files["without_mask"], strict=True)
    ]
    so_far = "interrupted: only the first " + files["frames_decoded"].astype(str) + " frames so far"
    files["error"] = files["error"].where(files["state"] != "part", so_far).fillna("")
    broken = np.where(files["frames_decoded"] == 0, "failed", "partial")
    files["status"] = np.where(files["error"] == "", "ok", broken)
    for name in ("fps", "duration_s"):
        files[name] = [f"{value:.3f}" if value == value else "" for value in files[name]]
    for name in ("width", "height"):
        files[name] = files[name].astype("Int64").astype(str).replace("<NA>", "")
    return files


def _rate_cell(with_mask: int, without_mask: int) -> str:
    people = with_mask + without_mask
    return f"{with_mask / people:.4f}" if people else ""


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
