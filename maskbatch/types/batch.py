"""The input of sinks: frames and their faces."""

from dataclasses import dataclass, field

import numpy as np

from maskbatch.types.faces import Faces
from maskbatch.types.frames import Frames


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames with their faces, as sinks receive them.

    Raises ValueError for a frame with planes when `hidden` is set, because planes show everybody.

    Attributes:
        frames: the frames.
        faces: the faces found in the analysed frames.
        tracks: the states of tracker, hider and classifier before the batch, as plain values, when the batch begins a
            segment; else None.
        persons: by id of each source that ends in the batch, (track, person) of tracks that continue another track.
        drawn: the faces to draw on all frames; default: `faces`.
        hidden: for each frame, boxes (N, 4) float32 that no medium may show; None when nobody is hidden.
    """

    frames: Frames
    faces: Faces
    tracks: dict[str, object] | None = None
    persons: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    drawn: Faces | None = None
    hidden: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        if self.drawn is None:
            object.__setattr__(self, "drawn", self.faces)
        if self.hidden is not None and any(planes is not None for planes in self.frames.planes):
            raise ValueError("frames with planes cannot hide anybody: read them without planes")
