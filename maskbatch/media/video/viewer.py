"""Convert decoded frames to pictures as a person sees them."""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from maskbatch.media.colours import grading_of, is_full, matrix_of, yuv_colours_of
from maskbatch.media.orientation import Orientation, orientation_of
from maskbatch.media.photo.reader import MAX_PIXELS
from maskbatch.types import BT709, YuvColours

# containers without a pixel aspect ratio: a broadcast may switch from 4:3 to 16:9 at any frame
_SHAPELESS = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})
# limits of a pixel's width divided by its height: nearer to 1 is not worth a blur, further from 1 is damage
_LEAST_ASPECT, _MOST_ASPECT = Fraction(101, 100), Fraction(4)

# the small grey picture: pixels per cell (half a face), and limits on the number of cells across
_CELL_PX, _LEAST_CELLS, _MOST_CELLS = 12, 48, 192

# formats with luma, and chroma of half the resolution, 8 bits each
_PLANAR = frozenset({"yuv420p", "yuvj420p", "nv12"})

Size = tuple[int, int]


class Viewer:
    """A converter of a stream's frames to pictures: RGB for an SDR screen, upright, not mirrored, with square pixels.

    The first picture sets the `size` (width, height) of all pictures. Later pictures of another size are scaled to fit,
    with black bars if their shape differs; `is_fitted` is true if the last picture was scaled. `colours` are those of the
    planes. Call `notice` for each frame, in order, even for frames that need no picture.
    """

    def __init__(
        self, container: InputContainer, stream: av.VideoStream, size: Size | None = None,
        colours: YuvColours = BT709,
    ) -> None:  # fmt: skip
        self.size = size
        self._colours = colours
        self.is_fitted = False
        self._orientation = Orientation()
        self._codec = stream.codec_context
        # PyAV lacks a frame's aspect ratio; its codec has that of the last decoded frame, at most a frame or two later
        self._aspect = None if container.format.name in _SHAPELESS else stream.sample_aspect_ratio
        self._small, self._planar = VideoReformatter(), VideoReformatter()
        self._reformatter = VideoReformatter()  # kept: a new one costs more than converting an HD frame

    def notice(self, frame: av.VideoFrame) -> None:
        """Remember the orientation of a frame, which a codec states now and then and which holds until the next."""
        self._orientation = orientation_of(frame) or self._orientation

    def size_of(self, frame: av.VideoFrame) -> Size:
        """Return the (width, height) in pixels of the frame's picture."""
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

    def planes(self, frame: av.VideoFrame) -> np.ndarray | None:
        """Return the planes (H + H / 2, W) uint8 of a frame as they are stored, as in `types.Frames`.

        Return None if a person sees another picture (see `is_as_stored`), and before `rgb` has set the size.
        """
        if self.size is None or not self.is_as_stored(frame):
            return None
        return (self._planar.reformat(frame, format="yuv420p") if frame.format.name == "nv12" else frame).to_ndarray()

    def is_as_stored(self, frame: av.VideoFrame) -> bool:
        """Return whether a person sees the stored picture, in the size and colours of all others."""
        return self.size in (None, (frame.width, frame.height)) and self.colours_of(frame) == self._colours

    def colours_of(self, frame: av.VideoFrame) -> YuvColours | None:
        """Return what the stored YUV means; None if a person sees another picture (turned, scaled, graded)."""
        size = frame.width, frame.height
        is_seen = self._orientation == Orientation() and size == self.size_of(frame)
        if not is_seen or frame.width % 2 or frame.height % 2 or frame.format.name not in _PLANAR:
            return None
        return yuv_colours_of(frame, self._codec)

    def luma(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a small grey picture (H, W) uint8 of a frame as stored, with cells of about 12 pixels."""
        scale = max(min(frame.width // _CELL_PX, _MOST_CELLS), _LEAST_CELLS) / frame.width
        size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        small = self._small.reformat(frame, *size, format="gray", interpolation=Interpolation.AREA)
        return small.to_ndarray()

    def _converted(self, frame: av.VideoFrame, size: Size) -> np.ndarray:
        """Return the stored picture as RGB, scaled to `size` in the same step."""
        grading = grading_of(frame, self._codec)
        matrix = matrix_of(frame, self._codec)
        # PyAV before 17 ignores the video's tags and assumes limited BT.601, unless source and target matrix differ; the
        # target's is meaningless for RGB, and an RGB source must have no difference
        other = Colorspace.ITU709 if matrix == Colorspace.ITU601 else Colorspace.ITU601
        picture = self._reformatter.reformat(
            frame, *size, format="rgb24" if grading is None else "rgb48le",
            src_colorspace=matrix, dst_colorspace=matrix if frame.format.is_rgb else other,
            src_color_range=ColorRange.JPEG if is_full(frame) else ColorRange.MPEG, dst_color_range=ColorRange.JPEG,
        ).to_ndarray()  # fmt: skip
        return picture if grading is None else grading.apply(picture)


def _square(size: Size, aspect: Fraction | None) -> Size:
    """Return the size with square pixels. One side grows, so that no detail is lost."""
    width, height = size
    if not aspect or not _LEAST_ASPECT <= max(aspect, 1 / aspect) <= _MOST_ASPECT:
        return size
    wanted = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return wanted if wanted[0] * wanted[1] <= MAX_PIXELS else size


def _within(size: Size, limits: Size) -> Size:
    """Return the largest size of the same shape within `limits`."""
    scale = min(Fraction(limit, side) for limit, side in zip(limits, size, strict=True))
    width, height = (min(limit, max(1, round(side * scale))) for limit, side in zip(limits, size, strict=True))
    return width, height


def _on_black(image: np.ndarray, size: Size) -> np.ndarray:
    """Return the image centred on a black image of `size`."""
    missing_x, missing_y = size[0] - image.shape[1], size[1] - image.shape[0]
    left, top = missing_x // 2, missing_y // 2
    return cv2.copyMakeBorder(image, top, missing_y - top, left, missing_x - left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
