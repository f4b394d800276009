"""Rows of the shards' CSV files, as text. No files."""

import math

import numpy as np

from maskbatch.types import P_MASK_DECIMALS, Ended, Faces, Source


def face_cells(source: Source, frame: int, timestamp_s: float, faces: Faces) -> list[list[str]]:
    """A row of FACE_COLUMNS for each of the faces of one frame. Rounded, so that the last bits of a network's arithmetic
    do not show."""
    start = [_text(source.name), str(frame), f"{timestamp_s:.4f}"]
    boxes = (np.round(faces.xyxy.astype(np.float64), 1) + 0.0).tolist()  # + 0.0 makes -0.0 plain
    p_mask = np.round(faces.p_mask.astype(np.float64), P_MASK_DECIMALS).tolist()
    rest = zip(faces.track_id.tolist(), boxes, faces.score.tolist(), p_mask, strict=True)
    return [
        [*start, str(face), str(track_id), *(f"{side:.1f}" for side in xyxy), f"{score:.4f}", _p_mask(p)]
        for face, (track_id, xyxy, score, p) in enumerate(rest)
    ]


def file_cells(source: Source, ended: Ended) -> list[str]:
    """The row of FILE_COLUMNS for one source."""
    width, height = ended.width or source.width, ended.height or source.height
    return [
        _text(source.name),
        source.kind,
        _text(ended.error or ""),
        str(width or ""),
        str(height or ""),
        f"{float(source.fps):.3f}" if source.fps else "",
        f"{source.duration_s:.3f}" if source.duration_s is not None else "",
        str(ended.frames_decoded),
        str(ended.frames_analysed),
        _text("; ".join(ended.notes)),
    ]


def _p_mask(p_mask: float) -> str:
    return "" if math.isnan(p_mask) else f"{p_mask:.{P_MASK_DECIMALS}f}"


def _text(text: str) -> str:
    """`text` as it can stand in a UTF-8 CSV: bytes of file names that are not UTF-8 become `\\udcff`, and a carriage return
    becomes `\\r`, because csv leaves it unquoted before Python 3.13."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\r", "\\r")
