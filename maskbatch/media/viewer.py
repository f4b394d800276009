"""Decoded frames become pictures as a person sees them."""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from maskbatch.media.colours import grading_of, matrix_of
from maskbatch.media.orientation import Orientation, orientation_of
from maskbatch.media.photos import MAX_PIXELS

# containers that say nothing about the shape of a pixel: a broadcast may switch from 4:3 to 16:9 at any frame
_SHAPELESS = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})
# a pixel's width by its height; what is nearer to a square is not worth a blur, what is longer is damage
_LEAST_ASPECT, _MOST_ASPECT = Fraction(101, 100), Fraction(4)

Size = tuple[int, int]


class Viewer:
    """Makes pictures of a stream's frames: RGB for an SDR screen, upright, not mirrored, with square pixels.

    The first picture sets the `size` (width, height) of all. A later one of another size is fitted into it, with black
    bars where its shape is another; `is_fitted` tells that of the last picture. Each frame is to be shown to `notice`, in
    order, also those of which no picture is wanted.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, size: Size | None = None) -> None:
        self.size = size
        self.is_fitted = False
        self._orientation = Orientation()
        self._codec = stream.codec_context
        # PyAV has a frame's own shape nowhere; its codec's is that of the last frame decoded, a frame or two later at most
        self._aspect = None if container.format.name in _SHAPELESS else stream.sample_aspect_ratio
        self._reformatter = VideoReformatter()  # kept: setting one up costs more than converting an HD frame

    def notice(self, frame: av.VideoFrame) -> None:
        """Remember how the frame is to be shown: a codec says so now and then only, and it holds from there on."""
        self._orientation = orientation_of(frame) or self._orientation

    def size_of(self, frame: av.VideoFrame) -> Size:
        """Return the (width, height) in pixels of the frame as a person sees it."""
        aspect = self._aspect or self._codec.sample_aspect_ratio
        return self._orientation.size(_square((frame.width, frame.height), aspect))

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 RGB of a frame."""
        own = self.size_of(frame)
        self.size = self.size or own
        self.is_fitted = own != self.size
        size = _within(own, self.size) if self.is_fitted else own
        image = self._orientation.upright(self._converted(frame, self._orientation.size(size)))
        return _on_black(image, self.size) if self.is_fitted else image

    def _converted(self, frame: av.VideoFrame, size: Size) -> np.ndarray:
        """Return the stored picture as RGB, scaled to `size` in the same step."""
        grading = grading_of(frame, self._codec)
        matrix = matrix_of(frame, self._codec)
        # PyAV before 17 takes limited BT.601, whatever the video is tagged with, unless it is told of a difference to the
        # (meaningless) matrix of RGB; of RGB itself there must be none
        other = Colorspace.ITU709 if matrix == Colorspace.ITU601 else Colorspace.ITU601
        is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        picture = self._reformatter.reformat(
            frame, *size, format="rgb24" if grading is None else "rgb48le",
            src_colorspace=matrix, dst_colorspace=matrix if frame.format.is_rgb else other,
            src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG, dst_color_range=ColorRange.JPEG,
        ).to_ndarray()  # fmt: skip
        return picture if grading is None else grading.apply(picture)


def _square(size: Size, aspect: Fraction | None) -> Size:
    """Return the size with square pixels: one side grows, so that no detail is lost."""
    width, height = size
    if not aspect or not _LEAST_ASPECT <= max(aspect, 1 / aspect) <= _MOST_ASPECT:
        return size
    wanted = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return wanted if wanted[0] * wanted[1] <= MAX_PIXELS else size


def _within(size: Size, limits: Size) -> Size:
    """Return the largest size of the same shape that fits."""
    scale = min(Fraction(limit, side) for limit, side in zip(limits, size, strict=True))
    width, height = (min(limit, max(1, round(side * scale))) for limit, side in zip(limits, size, strict=True))
    return width, height


def _on_black(image: np.ndarray, size: Size) -> np.ndarray:
    """Return the image in the middle of a black one of `size`."""
    missing_x, missing_y = size[0] - image.shape[1], size[1] - image.shape[0]
    left, top = missing_x // 2, missing_y // 2
    return cv2.copyMakeBorder(image, top, missing_y - top, left, missing_x - left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
