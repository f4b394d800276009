"""Canvases for rectangles and labels: RGB pictures, and the planes of video frames, which need no conversion.

Everything drawn is opaque, so that drawing never reads the picture below.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import cv2
import numpy as np

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITALS_PX = 21  # height of capitals of this font at scale 1
# RGB 0..255 to luma 16..235 and chroma 16..240 of BT.709 (ITU-R BT.709-6, section 3)
_TO_YUV = np.array(
    [
        [0.2126 * 219 / 255, 0.7152 * 219 / 255, 0.0722 * 219 / 255],
        [-0.2126 * 224 / 255 / 1.8556, -0.7152 * 224 / 255 / 1.8556, 0.9278 * 224 / 255 / 1.8556],
        [0.7874 * 224 / 255 / 1.5748, -0.7152 * 224 / 255 / 1.5748, -0.0722 * 224 / 255 / 1.5748],
    ],
    np.float32,
)
_OFFSET = np.array([16, 128, 128], np.float32)


class Label(NamedTuple):
    """Text with capitals of `height_px`, in a box with a black edge, filled with `fill`. Colours are RGB."""

    text: str
    height_px: int
    fill: Colour
    colour: Colour

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the box in pixels."""
        return _text_width(self.text, self.height_px) + self.height_px, 2 * self.height_px - self.height_px // 4


class Canvas(Protocol):
    """A picture of `shape` (height, width) to draw on, in place. Drawing outside the picture is clipped."""

    shape: tuple[int, int]

    def fill(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill the pixels from `left`, `top` up to and excluding `right`, `bottom` with an RGB colour."""

    def write(self, label: Label, left: int, top: int) -> None:
        """Draw a label whose box begins at `left`, `top`, both at least 0."""


class RgbCanvas:
    """A canvas over a picture (H, W, 3) uint8 RGB, contiguous."""

    def __init__(self, image: np.ndarray) -> None:
        self.shape = image.shape[:2]
        self._image = image

    def fill(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill a rectangle."""
        self._image[top:bottom, left:right] = colour

    def write(self, label: Label, left: int, top: int) -> None:
        """Draw a label."""
        target = self._image[top:, left:]
        patch = _rendered(label)[: target.shape[0], : target.shape[1]]
        target[: patch.shape[0], : patch.shape[1]] = patch


class PlanesCanvas:
    """A canvas over the planes (H + H / 2, W) uint8 of a frame: I420, BT.709, limited range; H and W are even.

    Chroma has half the resolution, so a coloured line one pixel wide also colours the neighbouring pixels. If several
    lines share a chroma cell, the cell has the colour of the last line.
    """

    def __init__(self, planes: np.ndarray) -> None:
        height, width = planes.shape[0] * 2 // 3, planes.shape[1]
        self.shape = height, width
        self._luma = planes[:height]
        # each row of the array holds two rows of chroma
        self._chroma = planes[height:].reshape(2, height // 2, width // 2)

    def fill(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill a rectangle."""
        if right <= left or bottom <= top:
            return
        luma, *chroma = _yuv(colour)
        self._luma[top:bottom, left:right] = luma
        for plane, value in zip(self._chroma, chroma, strict=True):
            plane[top // 2 : -(-bottom // 2), left // 2 : -(-right // 2)] = value

    def write(self, label: Label, left: int, top: int) -> None:
        """Draw a label."""
        luma, chroma = _rendered_planes(label, left % 2, top % 2)
        target = self._luma[top:, left:]
        luma = luma[: target.shape[0], : target.shape[1]]
        target[: luma.shape[0], : luma.shape[1]] = luma
        target = self._chroma[:, top // 2 :, left // 2 :]
        chroma = chroma[:, : target.shape[1], : target.shape[2]]
        target[:, : chroma.shape[1], : chroma.shape[2]] = chroma


@lru_cache(maxsize=1024)  # measuring costs more than drawing
def _text_width(text: str, height_px: int) -> int:
    return cv2.getTextSize(text, _FONT, height_px / _CAPITALS_PX, _pen(height_px))[0][0]


def _pen(height_px: int) -> int:
    return max(1, round(height_px / 9))


@lru_cache(maxsize=256)
def _rendered(label: Label) -> np.ndarray:
    """Return the box of a label (h, w, 3) uint8 RGB as a read-only array."""
    (width, height), height_px = label.size, label.height_px
    edge = max(1, height_px // 12)
    patch = np.zeros((height, width, 3), np.uint8)  # black, which remains as the edge
    patch[edge : height - edge, edge : width - edge] = label.fill
    cv2.putText(
        patch, label.text, (height_px // 2, (height + height_px) // 2), _FONT, height_px / _CAPITALS_PX, label.colour,
        _pen(height_px), cv2.LINE_AA,
    )  # fmt: skip
    patch.flags.writeable = False
    return patch


@lru_cache(maxsize=1024)
def _rendered_planes(label: Label, odd_left: int, odd_top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return luma (h, w) and chroma (2, h', w') of a label whose box begins at an odd or even column and row."""
    yuv = cv2.transform(_rendered(label).astype(np.float32), _TO_YUV) + _OFFSET
    height, width = yuv.shape[:2]
    margins = (odd_top, (height + odd_top) % 2), (odd_left, (width + odd_left) % 2), (0, 0)
    cells = np.pad(yuv[..., 1:], margins, mode="edge")
    chroma = cells.reshape(cells.shape[0] // 2, 2, cells.shape[1] // 2, 2, 2).mean((1, 3))
    return np.rint(yuv[..., 0]).astype(np.uint8), np.rint(chroma).astype(np.uint8).transpose(2, 0, 1)


@lru_cache(maxsize=256)
def _yuv(colour: Colour) -> tuple[int, int, int]:
    return tuple(np.rint(_TO_YUV @ np.array(colour, np.float32) + _OFFSET).astype(int).tolist())
