"""Decode the pictures of frames that the reader of a video left out, because nothing moves there."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container, reason_of
from maskbatch.media.video.streams import video_stream
from maskbatch.media.video.viewer import Viewer
from maskbatch.types import BT709, YuvColours

# seconds up to which decoding goes on from the last picture
_NEAR_S = 2


class LeftOut:
    """The pictures of a video by their time stamps, at best in order. The file is opened for the first one.

    Example:
        >>> pictures = LeftOut(Path("night.mp4"))  # doctest: +SKIP
        >>> pictures.planes(12_800).shape  # doctest: +SKIP
        (1620, 1920)
    """

    def __init__(self, path: Path, colours: YuvColours = BT709) -> None:
        self._path, self._colours = path, colours
        self._container: av.container.InputContainer | None = None
        self._forget()

    def planes(self, pts: int) -> np.ndarray:
        """Return the planes (H + H / 2, W) uint8 of the frame at `pts` ticks, as in `types.Frames`.

        If its packet is damaged, the frame before stands for it, because nothing moves there. Raises DecodeError when
        the file has no frames any more.
        """
        try:
            if self._container is None:
                self._open()
            self._seek(pts)
            while self._last_pts is None or self._last_pts < pts:
                frame = next(self._frames)
                if frame.pts is not None and (planes := self._viewer.planes(frame)) is not None:
                    self._last_pts, self._last = frame.pts, planes
        except StopIteration:
            pass
        except av.error.FFmpegError as error:
            if self._last is None:
                raise DecodeError(f"cannot decode the frame at {pts} ticks again: {reason_of(error)}") from error
            self._last_pts = None  # the decoder begins again
        if self._last is None:
            raise DecodeError(f"the frame at {pts} ticks is gone")
        return self._last.copy()

    def close(self) -> None:
        """Close the file. It is opened again for another picture, as if it were the first one."""
        if self._container is not None:
            self._container.close()
            self._container = None
        self._forget()

    def _forget(self) -> None:
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._last_pts: int | None = None
        self._last: np.ndarray | None = None

    def _open(self) -> None:
        self._container = open_container(self._path)
        self._stream = video_stream(self._container)
        self._stream.thread_type = "NONE"
        codec = self._stream.codec_context
        self._viewer = Viewer(self._container, self._stream, (codec.width, codec.height), self._colours)

    def _seek(self, pts: int) -> None:
        """Go to the keyframe before `pts`, unless it comes soon."""
        near = round(Fraction(_NEAR_S) / self._stream.time_base)
        if self._last_pts is None or not self._last_pts < pts <= self._last_pts + near:
            self._last_pts = None
            self._container.seek(max(pts, 0), stream=self._stream)
            self._frames = self._container.decode(self._stream)
