"""Small arrays that stand for frames and faces."""

from collections.abc import Sequence

import numpy as np

from maskbatch.media.write import Unnamed
from maskbatch.types import Ended, Faces, Frames


def fake_frames(
    source_id: Sequence[int], index: Sequence[int], timestamp_s: Sequence[float], ended: Sequence[Ended] = (),
    size: tuple[int, int] = (32, 24),
) -> Frames:  # fmt: skip
    """Grey frames of `size` (width, height); every frame is another grey."""
    images = tuple(np.full((size[1], size[0], 3), 40 + 10 * (i % 20), np.uint8) for i in range(len(index)))
    return Frames(
        images,
        np.array(source_id, np.int64),
        np.array(index, np.int64),
        np.array(timestamp_s, np.float64),
        tuple(ended),
    )


def fake_faces(
    row: Sequence[int], xyxy: Sequence[Sequence[float]], p_mask: Sequence[float] | None = None,
    p_incorrect: Sequence[float] | None = None,
) -> Faces:  # fmt: skip
    """Faces with the given rows, boxes and, perhaps, probabilities; score 0.9, landmarks 0."""
    num_faces = len(row)
    faces = Faces(
        np.array(row, np.int64),
        np.array(xyxy, np.float32).reshape(num_faces, 4),
        np.full(num_faces, 0.9, np.float32),
        np.zeros((num_faces, 5, 2), np.float32),
    )
    states = [None if p is None else np.array(p, np.float32) for p in (p_mask, p_incorrect)]
    return faces.with_state(*states)


def written(sink, batch):
    """Let a sink write a batch, and settle its files."""
    files = Unnamed()
    sink.write(batch, files)
    files.settle()
