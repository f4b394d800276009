"""Results as rows of the store: whole numbers, and text that UTF-8 can hold."""

import numpy as np

from maskbatch.types import Batch, FaceRow


def face_rows(batch: Batch) -> list[FaceRow]:
    """Return a row for each face of a batch, in order of frame and face.

    Values are rounded, so that they do not depend on the last bits of a network's arithmetic.
    """
    frames, faces = batch.frames, batch.faces
    first = np.searchsorted(faces.row, faces.row)  # the first face in the same frame
    columns = [
        frames.source_id[faces.row],
        frames.index[faces.row],
        np.arange(len(faces)) - first,
        scaled(frames.timestamp_s[faces.row], 4),
        faces.track_id,
        *scaled(faces.xyxy, 1).T,
        scaled(faces.score, 4),
    ]
    unknowns = zip(
        _or_none(faces.p_mask, 4), _or_none(faces.p_incorrect, 4), _or_none(faces.sharpness, 2),
        _or_none(faces.brightness, 0), _or_none(faces.turn, 2), strict=True,
    )  # fmt: skip
    return [FaceRow(*row, *values) for row, values in zip(np.stack(columns, 1).tolist(), unknowns, strict=True)]


def _or_none(values: np.ndarray, decimals: int) -> list[int | None]:
    """Scale `values` (N,) like `scaled`, with None for NaN."""
    whole = scaled(np.nan_to_num(values), decimals).tolist()
    return [None if is_nan else value for value, is_nan in zip(whole, np.isnan(values), strict=True)]


def scaled(values: np.ndarray, decimals: int) -> np.ndarray:
    """Return `values` times 10 ** `decimals`, rounded, as int64."""
    return np.rint(np.asarray(values, np.float64) * 10**decimals).astype(np.int64)
