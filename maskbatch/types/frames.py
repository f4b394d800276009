"""Decoded frames between reader and sinks, single and in batches."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from maskbatch.types.arrays import check_shape
from maskbatch.types.checkpoint import ReaderState
from maskbatch.types.source import Ended


def size_of(image: np.ndarray | None, planes: np.ndarray | None) -> tuple[int, int]:
    """Return width and height of an image (H, W, 3), or else of its planes (H + H / 2, W), or 0, 0 without both."""
    if image is None and planes is None:
        return 0, 0
    height, width = (planes.shape[0] * 2 // 3, planes.shape[1]) if image is None else image.shape[:2]
    return width, height


class Stored(NamedTuple):
    """The packet of a frame in its file, which the annotated copy may take as it is (see `media/video/stored.py`).

    Attributes:
        pts: its time stamp, in ticks of the source's `time_base`.
        is_entry: the frame needs no earlier packet, so that copying may begin with it.
        is_exit: no frame before this one needs a packet from here on, so that copying may end before this frame.
    """

    pts: int
    is_entry: bool
    is_exit: bool


class Decoded(NamedTuple):
    """A frame from a reader.

    Attributes:
        index: number of the frame in the source.
        timestamp_s: seconds from the start of the source.
        image: (H, W, 3) uint8 RGB, upright; None for a frame that is not analysed and has planes or was not decoded.
        cut: state of the reader before the frame when a segment begins with the frame, else None.
        is_looked_at: the frame is analysed; all other frames are for the annotated copy only.
        planes: the picture for the annotated copy (see `Frames`), or None.
        stored: the packet of the frame if the annotated copy may take it as it is, or None; a person then sees `planes`
            as they are stored. A frame with neither image nor planes was not decoded, because nothing moves there.
    """

    index: int
    timestamp_s: float
    image: np.ndarray | None
    cut: ReaderState | None = None
    is_looked_at: bool = True
    planes: np.ndarray | None = None
    stored: Stored | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The width and height in pixels, 0 for a frame that was not decoded."""
        return size_of(self.image, self.planes)


@dataclass(frozen=True, slots=True)
class Frames:
    """B frames, in order within each source, and the sources that end with them.

    B = 0 is possible, for a batch of files that all failed.

    Attributes:
        images: B arrays (H, W, 3) uint8 RGB, upright, of any sizes; None for frames that are not analysed and have planes
            or were not decoded.
        source_id: (B,) int64.
        index: (B,) int64, number of each frame in its source.
        timestamp_s: (B,) float64, seconds from the start of the source.
        ended: the sources that end with these frames.
        cut: state of the reader before the first frame when a segment begins with that frame, else None.
        is_looked_at: (B,) bool, the frames that are analysed; default: all.
        planes: for each frame None, or (H + H / 2, W) uint8: the picture for the annotated copy, which may change it.
            The format is I420: luma, then two planes of chroma, in the source's `colours`. H and W are even.
        stored: for each frame None, or its packet (see `Decoded`).
    """

    images: tuple[np.ndarray | None, ...]
    source_id: np.ndarray
    index: np.ndarray
    timestamp_s: np.ndarray
    ended: tuple[Ended, ...] = ()
    cut: ReaderState | None = None
    is_looked_at: np.ndarray | None = None
    planes: tuple[np.ndarray | None, ...] | None = None
    stored: tuple[Stored | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.is_looked_at is None:
            object.__setattr__(self, "is_looked_at", np.ones(len(self.images), bool))
        if self.planes is None:
            object.__setattr__(self, "planes", (None,) * len(self.images))
        if self.stored is None:
            object.__setattr__(self, "stored", (None,) * len(self.images))
        rows = zip(self.images, self.planes, self.stored, self.is_looked_at.tolist(), strict=True)
        for image, planes, stored, is_looked_at in rows:
            if image is None and (is_looked_at or (planes is None and stored is None)):
                raise ValueError("a frame that is analysed, or is neither stored nor has planes, needs an image")
            if image is not None and (image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8):
                raise ValueError(f"images must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        for name in ("source_id", "index", "timestamp_s", "is_looked_at"):
            check_shape(name, getattr(self, name), (len(self.images),))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_looked_at(self) -> int:
        """The number of analysed frames."""
        return int(self.is_looked_at.sum())

    def size(self, row: int) -> tuple[int, int]:
        """Return width and height of a frame in pixels, 0 for a frame that was not decoded."""
        return size_of(self.images[row], self.planes[row])
