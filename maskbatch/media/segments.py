"""Cuts a video into segments while it is read, and knows how to go on reading at each cut."""

import math
import zlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# H.264 wants neighbouring keyframes to be told apart, which ours are not: a segment needs some frames behind its first
_MIN_FRAMES = 30


@dataclass(frozen=True, slots=True)
class ReaderState:
    """How a reader stands just before it yields the frame `index`: that frame's `pts` and the CRC of its RGB image, the
    clock's last and next time and the reader's `read_until_s` (seconds, exact, as text), the clock's pieces, the sampler's
    `num_due`, whether frames nobody wants are left out there, whether the frame can be found by its `pts` (it is what it
    says, and no damage was found before it), the `width` and `height` in pixels of all pictures, and the number of the
    first frame of another size, which is fitted into that (None: there was none)."""

    index: int
    pts: int | None
    crc: int
    last_s: str | None
    next_s: str
    pieces: tuple[tuple[int, int], ...]
    num_due: int
    read_until_s: str
    is_skipping: bool
    is_findable: bool
    width: int
    height: int
    fitted_from: int | None


def crc_of(image: np.ndarray) -> int:
    """The CRC-32 of an image (H, W, 3) uint8."""
    return zlib.crc32(np.ascontiguousarray(image))


class Segments:
    """The segments of one video: `length_s` seconds and 30 analysed frames each, or more.

    `start` is where reading begins, None for the first frame. `cuts` holds the reader's state before the first frame of
    each later segment, by that frame's index; it is there before the frame is. `pieces` are those of the clock so far.
    """

    def __init__(self, length_s: float = math.inf, start: ReaderState | None = None) -> None:
        self.start = start
        self.pieces: tuple[tuple[int, int], ...] = () if start is None else start.pieces
        self.cuts: dict[int, ReaderState] = {}
        self.length_s = length_s
        self._begin_s: Fraction | None = None
        self._num_frames = 0

    def is_cut(self, time_s: Fraction) -> bool:
        """Whether the next analysed frame, at `time_s`, begins a new segment; to be asked for each, in order."""
        if self._begin_s is None:
            self._begin_s = time_s
        is_cut = time_s - self._begin_s >= self.length_s and self._num_frames >= _MIN_FRAMES
        if is_cut:
            self._begin_s, self._num_frames = time_s, 0
        self._num_frames += 1
        return is_cut
