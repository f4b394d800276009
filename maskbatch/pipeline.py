"""The picture of the product: frames -> faces -> p_mask -> track_id -> batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskbatch.data import Batch, Faces, Frames


@dataclass(frozen=True, slots=True)
class Stages:
    """What happens to frames, in order. The networks are opened once a run; the tracker is new for each shard."""

    detect: Callable[[Sequence[np.ndarray]], Faces]
    classify: Callable[[Sequence[np.ndarray], Faces], Faces]
    track: Callable[[Frames, Faces], Faces]


def analyse(loaded: Iterable[Frames], stages: Stages) -> Iterator[Batch]:
    """Batches in the order of `loaded`. A photo, a video and a mix of both run these same lines."""
    for frames in loaded:
        faces = stages.detect(frames.images)
        faces = stages.classify(frames.images, faces)
        faces = stages.track(frames, faces)
        yield Batch(frames, faces)
