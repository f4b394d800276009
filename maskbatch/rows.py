"""Rows of the shards' CSV files, as text. No files."""

import math
import re

import numpy as np

from maskbatch.data import P_MASK_DECIMALS, Ended, Faces, Source

# control characters, marks and overrides of writing direction, line and paragraph breaks, bytes that are not UTF-8; a
# list of our own, because Python's str.isprintable differs between versions of Python
_HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def face_cells(source: Source, frame: int, timestamp_s: float, faces: Faces) -> list[list[str]]:
    """A row of FACE_COLUMNS for each of the faces of one frame. Rounded, so that the last bits of a network's arithmetic
    do not show."""
    start = [name_text(source.name), str(frame), f"{timestamp_s:.4f}"]
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
        name_text(source.name),
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


def name_text(name: str) -> str:
    """Return a file's name as tables show it: one line of UTF-8, and no two names alike.

    What does not show, reorders text or is not UTF-8 becomes an escape of Python's string literals, such as `\\r`; so
    does a backslash, which is doubled. All other names stay as they are.
    """
    return _text(name.replace("\\", r"\\"))


def _text(text: str) -> str:
    """Return `text` on one line of UTF-8, as `name_text` does, but with its backslashes as they are."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
