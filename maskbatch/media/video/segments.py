"""Divide a video into segments while it is read."""

import math
import zlib
from fractions import Fraction

import numpy as np

# consecutive H.264 keyframes need different ids, but those of maskbatch all have the same: a segment needs more frames
_MIN_FRAMES = 30


def crc_of(image: np.ndarray) -> int:
    """Return the CRC-32 of an image (H, W, 3) uint8."""
    return zlib.crc32(np.ascontiguousarray(image))


class Segments:
    """The segments of one video, each at least `length_s` seconds and 30 frames long."""

    def __init__(self, length_s: float = math.inf) -> None:
        self._length_s = length_s
        self._begin_s: Fraction | None = None
        self._num_frames = 0

    def is_due(self, time_s: Fraction, is_clean: bool = True) -> bool:
        """Return True when a frame at `time_s` may begin a new segment.

        `is_clean` is false if earlier frames of the recording need packets from this frame on. Another frame is better
        then, unless the segment gets twice as long as usual.
        """
        if self._begin_s is None or self._num_frames < _MIN_FRAMES:
            return False
        return time_s - self._begin_s >= self._length_s * (1 if is_clean else 2)

    def is_cut(self, time_s: Fraction, is_looked_at: bool, is_clean: bool = True) -> bool:
        """Return True when the next frame, at `time_s`, begins a new segment, which only an analysed frame can.

        Call this once for each yielded frame, in order.
        """
        if self._begin_s is None:
            self._begin_s = time_s
        is_cut = is_looked_at and self.is_due(time_s, is_clean)
        if is_cut:
            self._begin_s, self._num_frames = time_s, 0
        self._num_frames += 1
        return is_cut
