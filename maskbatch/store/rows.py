"""Results as rows of the store: whole numbers, and text that UTF-8 can hold."""

import numpy as np

from maskbatch.types import Batch, FaceRow


def face_rows(batch: Batch) -> list[FaceRow]:
    """Return a row for each face of a batch, in order of frame and face.

    Values are rounded, so that the last bits of a network's arithmetic do not show.
    """
    frames, faces = batch.frames, batch.faces
    first = np.searchsorted(faces.row, faces.row)  # of the faces in the same frame
    columns = [
        frames.source_id[faces.row],
        frames.index[faces.row],
        np.arange(len(faces)) - first,
        scaled(frames.timestamp_s[faces.row], 4),
        faces.track_id,
        *scaled(faces.xyxy, 1).T,
        scaled(faces.score, 4),
    ]
    states = zip(_or_none(faces.p_mask), _or_none(faces.p_incorrect), strict=True)
    return [FaceRow(*row, *state) for row, state in zip(np.stack(columns, 1).tolist(), states, strict=True)]


def _or_none(p: np.ndarray) -> list[int | None]:
    """Return probabilities (N,) in ten thousandths, None for NaN."""
    values = scaled(np.nan_to_num(p), 4).tolist()
    return [None if is_nan else value for value, is_nan in zip(values, np.isnan(p), strict=True)]


def scaled(values: np.ndarray, decimals: int) -> np.ndarray:
    """Round to `decimals` decimals and give whole numbers of that unit, int64."""
    return np.rint(np.asarray(values, np.float64) * 10**decimals).astype(np.int64)
