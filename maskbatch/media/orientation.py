"""Display matrices: rotation and mirroring of a stored picture for display."""

import struct
from typing import NamedTuple

import av
import cv2
import numpy as np


class Orientation(NamedTuple):
    """One of eight orientations of a stored picture: a transposition of rows and columns, then a mirroring of each axis."""

    is_sideways: bool = False
    mirrors_x: bool = False
    mirrors_y: bool = False

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the upright (width, height) of a stored picture of `size` (width, height), or the reverse."""
        return size[::-1] if self.is_sideways else size

    def upright(self, image: np.ndarray) -> np.ndarray:
        """Return the stored `image` (H, W, 3) upright."""
        if self.is_sideways:
            image = cv2.transpose(image)
        if self.mirrors_x or self.mirrors_y:
            image = cv2.flip(image, -1 if self.mirrors_x and self.mirrors_y else int(self.mirrors_x))
        return image


_TURNS = {
    90: Orientation(is_sideways=True, mirrors_y=True),
    180: Orientation(mirrors_x=True, mirrors_y=True),
    270: Orientation(is_sideways=True, mirrors_x=True),
}


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """Return the orientation of a decoded frame, or None when neither the container nor the frame has one."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV lacks some kinds of FFmpeg's side data, but still knows the rotation
        return _TURNS.get(round(frame.rotation / 90) * 90 % 360)
    return None if matrix is None else from_matrix(bytes(matrix))


def from_matrix(matrix: bytes) -> Orientation:
    """Return the orientation nearest to an FFmpeg display matrix: nine int32 in the machine's byte order."""
    if len(matrix) < 36:
        return Orientation()
    # (x, y) is shown at (a x + c y, b x + d y), with y pointing down
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
