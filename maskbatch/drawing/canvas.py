"""Canvases for rectangles and labels: RGB pictures, and the planes of video frames, which need no conversion.

Everything drawn is opaque, so that drawing never reads the picture below.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from maskbatch.types import BT709, YuvColours

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITALS_PX = 21  # height of capitals of this font at scale 1
# weights of red and blue in luma, by matrix: ITU-R BT.709-6 and BT.601-7
_RED_AND_BLUE = {1: (0.2126, 0.0722), 5: (0.299, 0.114)}


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
    """A canvas over the planes (H + H / 2, W) uint8 of a frame: I420, in `colours`; H and W are even.

    Chroma has half the resolution, so a coloured line one pixel wide also colours the neighbouring pixels. If several
    lines share a chroma cell, the cell has the colour of the last line.
    """

    def __init__(self, planes: np.ndarray, colours: YuvColours = BT709) -> None:
        self._colours = colours
        height, width = planes.shape[0] * 2 // 3, planes.shape[1]
        self.shape = height, width
        self._luma = planes[:height]
        # each row of the array holds two rows of chroma
        self._chroma = planes[height:].reshape(2, height // 2, width // 2)

    def fill(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill a rectangle."""
        if right <= left or bottom <= top:
            return
        luma, *chroma = _yuv(colour, self._colours)
        self._luma[top:bottom, left:right] = luma
        for plane, value in zip(self._chroma, chroma, strict=True):
            plane[top // 2 : -(-bottom // 2), left // 2 : -(-right // 2)] = value

    def write(self, label: Label, left: int, top: int) -> None:
        """Draw a label."""
        luma, chroma = _rendered_planes(label, left % 2, top % 2, self._colours)
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
def _rendered_planes(
    label: Label, odd_left: int, odd_top: int, colours: YuvColours
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return luma (h, w) and chroma (2, h', w') of a label whose box begins at an odd or even column and row."""
    to_yuv, offset = _conversion(colours)
    yuv = cv2.transform(_rendered(label).astype(np.float32), to_yuv) + offset
    height, width = yuv.shape[:2]
    margins = (odd_top, (height + odd_top) % 2), (odd_left, (width + odd_left) % 2), (0, 0)
    cells = np.pad(yuv[..., 1:], margins, mode="edge")
    chroma = cells.reshape(cells.shape[0] // 2, 2, cells.shape[1] // 2, 2, 2).mean((1, 3))
    luma, chroma = (np.rint(values).clip(0, 255).astype(np.uint8) for values in (yuv[..., 0], chroma))
    return luma, chroma.transpose(2, 0, 1)


@lru_cache(maxsize=256)
def _yuv(colour: Colour, colours: YuvColours) -> tuple[int, int, int]:
    to_yuv, offset = _conversion(colours)
    return tuple(np.rint(to_yuv @ np.array(colour, np.float32) + offset).clip(0, 255).astype(int).tolist())


@lru_cache(maxsize=16)
def _conversion(colours: YuvColours) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix (3, 3) and an offset (3,) from RGB 0..255 to luma and chroma."""
    red, blue = _RED_AND_BLUE[colours.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    chroma = [(np.eye(3)[2] - luma) / (2 - 2 * blue), (np.eye(3)[0] - luma) / (2 - 2 * red)]
    luma_scale, chroma_scale, black = (1, 1, 0) if colours.is_full else (219 / 255, 224 / 255, 16)
    matrix = np.array([luma * luma_scale, *(one * chroma_scale for one in chroma)], np.float32)
    return matrix, np.array([black, 128, 128], np.float32)
