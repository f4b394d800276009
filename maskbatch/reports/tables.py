"""Stored rows -> faces.csv, files.csv and summary.csv. The only file of a scan with pandas.

Some sources at a time and in chunks, so that memory does not grow with the run. Text cells that a spreadsheet would take
for a formula get an apostrophe in front (see `escape`).
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TextIO

import numpy as np
import pandas as pd

from maskbatch.checkpoint import stored_so_far
from maskbatch.errors import MaskbatchError
from maskbatch.marks import ROWS, Span, Stored, read_marks, read_order
from maskbatch.media.write.files import partial_file
from maskbatch.settings import ReportSettings
from maskbatch.spans import Spans
from maskbatch.types import FACE_COLUMNS, FILE_COLUMNS, wears_mask

FACES_COLUMNS = (*FACE_COLUMNS, "label")
FILES_COLUMNS = (
    "source", "kind", "status", "error", "width", "height", "fps", "duration_s", "frames_decoded", "frames_analysed",
    "faces", "with_mask", "without_mask", "compliance_rate", "notes",
)  # fmt: skip
SUMMARY_COLUMNS = ("folder", "files", "failed", "faces", "with_mask", "without_mask", "compliance_rate")

_CHUNK_ROWS = 200_000
_GROUP = 256
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


def write_reports(out_dir: Path, settings: ReportSettings) -> Summary:
    """Writes `faces.csv`, `files.csv` and `summary.csv` in `out_dir` from the rows of all finished sources, and of
    the finished segments of videos that are not.

    Raises MaskbatchError when a row file is not one of this version, OSError when reading or writing fails.
    """
    folders: dict[str, _Count] = defaultdict(_Count)
    total = _Count()
    with ExitStack() as stack:
        faces_csv = stack.enter_context(_open_report(out_dir / "faces.csv", FACES_COLUMNS))
        files_csv = stack.enter_context(_open_report(out_dir / "files.csv", FILES_COLUMNS))
        summary_csv = stack.enter_context(_open_report(out_dir / "summary.csv", SUMMARY_COLUMNS))
        for group in _groups(stored_rows(out_dir)):
            files = pd.concat(_read([rows.files for rows in group], FILE_COLUMNS), ignore_index=True)
            tracks = _write_faces([span for rows in group for span in rows.faces], faces_csv, settings.threshold)
            files = _count_people(files, tracks, settings)
            for folder, rows in files.groupby(files["source"].map(_folder)):
                folders[folder].add(rows)
            total.add(files)
            _append(files[list(FILES_COLUMNS)], files_csv, ("source", "error", "notes"))
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
    """In how many analysed frames a person must be seen to count, for each row of FILE_COLUMNS.

    As many as are analysed in `min_track_s` seconds, rounded up: a flicker of one frame at 30 fps is nobody, while in
    sparsely sampled video, and in photos, one frame is enough. A video shorter than that asks for all its frames.
    Analysed frames per second are the frame rate times the share analysed, which is right for a video that broke as
    well; without a frame rate, the frames analysed over the duration.
    """
    fps, duration_s, decoded, analysed = (
        pd.to_numeric(files[name], errors="coerce").astype("float64")
        for name in ("fps", "duration_s", "frames_decoded", "frames_analysed")
    )
    per_second = (fps * analysed / decoded).fillna(analysed / duration_s)
    frames = np.ceil((min_track_s * per_second).round(6)).fillna(1)
    return frames.clip(upper=analysed).clip(lower=1)


def stored_rows(out_dir: Path) -> list[Stored]:
    """Where the rows of each source are that is done, or done in part, in the order of the run."""
    done = read_marks(out_dir / ROWS)
    found = (done.get(name) or stored_so_far(out_dir, name) for name in read_order(out_dir))
    return [rows for rows in found if rows is not None]


def _groups(stored: list[Stored]) -> Iterator[list[Stored]]:
    """The sources that are read together."""
    return (stored[start : start + _GROUP] for start in range(0, len(stored), _GROUP))


def _read(spans: Sequence[Span], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Chunks of row files, every cell as the text it is. Raises MaskbatchError when one is not ours, or damaged."""
    text = io.BufferedReader(Spans(spans, columns))
    try:
        yield from pd.read_csv(text, dtype=str, na_filter=False, encoding="utf-8", chunksize=_CHUNK_ROWS)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise MaskbatchError(f"{spans[0][0]} or one after it is damaged: scan again ({error})") from error


def _write_faces(spans: Sequence[Span], out: TextIO, threshold: float) -> pd.DataFrame:
    """Copies the faces of some sources to the report, with their label; returns their tracks: `source`, `frames`,
    `p_mask` (mean). A face without p_mask has no label and is nobody."""
    parts = []
    for chunk in _read(spans, FACE_COLUMNS):
        p_mask = pd.to_numeric(chunk["p_mask"], errors="coerce").to_numpy(np.float64)
        label = np.where(wears_mask(p_mask, threshold), "with_mask", "without_mask")
        _append(chunk.assign(label=np.where(np.isnan(p_mask), "", label)), out, ("source",))
        seen = pd.DataFrame({"source": chunk["source"], "track_id": chunk["track_id"], "p_mask": p_mask})
        parts.append(seen.groupby(["source", "track_id"], sort=False)["p_mask"].agg(["count", "sum"]))
    tracks = pd.concat(parts).groupby(level=["source", "track_id"], sort=False).sum().reset_index()
    tracks = tracks[tracks["count"] > 0]
    return pd.DataFrame(
        {"source": tracks["source"], "frames": tracks["count"], "p_mask": tracks["sum"] / tracks["count"]}
    )


def _count_people(files: pd.DataFrame, tracks: pd.DataFrame, settings: ReportSettings) -> pd.DataFrame:
    """`files` with `status` and the counts of FILES_COLUMNS. One person is one track seen long enough; its p_mask is the
    mean over its frames."""
    needed = tracks["source"].map(needed_frames(files, settings.min_track_s).set_axis(files["source"]))
    people = tracks[tracks["frames"] >= needed]
    is_masked = wears_mask(people["p_mask"].to_numpy(np.float64), settings.threshold)
    files = files.copy()
    for name, chosen in (("with_mask", people[is_masked]), ("without_mask", people[~is_masked])):
        files[name] = files["source"].map(chosen["source"].value_counts()).fillna(0).astype("int64")
    files["faces"] = files["with_mask"] + files["without_mask"]
    files["compliance_rate"] = [
        _rate_cell(*pair) for pair in zip(files["with_mask"], files["without_mask"], strict=True)
    ]
    broken = np.where(files["frames_decoded"] == "0", "failed", "partial")
    files["status"] = np.where(files["error"] == "", "ok", broken)
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
