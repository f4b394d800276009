"""The input of sinks: frames and their faces."""

from dataclasses import dataclass, field

import numpy as np

from maskbatch.types.faces import Faces
from maskbatch.types.frames import Frames


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of sinks: frames, the faces found in those that were analysed, and the faces to draw on all of them.

    When a segment begins with the batch, `tracks` is the tracker's state before it, as plain values, else None. `persons`
    has (track, person) pairs for the id of each source that ends with it: the tracks that continue an earlier one.
    `hidden` has boxes (N, 4) float32 for each frame, which no medium may show; None when nobody is to be hidden. Planes
    show everybody: a frame with planes is a ValueError then.
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
