"""Writes annotated video: H.264 in MP4 with the source's own times, in parts that `joiner` makes one."""

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from maskbatch.config import OutputSettings
from maskbatch.data import Source
from maskbatch.media.clock import DEFAULT_FPS
from maskbatch.media.containers import for_ffmpeg
from maskbatch.media.encoders import encoder_options
from maskbatch.media.writers import partial_file

# ticks that most frame rates divide; for a source that has no time base of its own
_DEFAULT_TIME_BASE = Fraction(1, 90000)
_AVCOL_BT709 = 1


@dataclass(frozen=True, slots=True)
class WrittenSoFar:
    """What the next part of a video must know: the last frame's time and the longest gap between frames, in ticks of the
    source's time base."""

    last_pts: int = -1
    most_gap: int = 0


class VideoWriter:
    """Frames in, an MP4 without sound out, when the `with` block ends without an error; a part of a video, or all of it.

    Frames last until the next one, the last one until the end of the source. The file's times count from its first
    frame, which is at `first_pts` ticks of `time_base(source)`. All frames have one size (odd sides get one more pixel);
    without any frame there is no file. Raises OSError when it cannot write.
    """

    def __init__(
        self, path: Path, source: Source, settings: OutputSettings, before: WrittenSoFar | None = None
    ) -> None:
        self._path = path
        self._source = source
        self._settings = settings
        self._fps = source.fps or DEFAULT_FPS
        self._time_base = time_base(source)
        self._before = before or WrittenSoFar()
        self._stack = ExitStack()
        self._container: av.container.OutputContainer | None = None
        self._last_pts = self._before.last_pts
        self._most_gap = max(self._before.most_gap, round(1 / self._fps / self._time_base) or 1)
        self.first_pts: int | None = None
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()  # kept, because it is dear to set up

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._container is None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:  # closes the container, then renames
            self._finish()

    def written(self) -> WrittenSoFar:
        """What the part after this one must know."""
        return self._before if self._container is None else WrittenSoFar(self._last_pts, self._most_gap)

    def write(self, rgb: np.ndarray, timestamp_s: float) -> None:
        """Append `rgb` (H, W, 3) uint8, shown from `timestamp_s` (seconds, rising) until the next one."""
        try:
            pts = max(round(Fraction(timestamp_s) / self._time_base), self._last_pts + 1)
            if self._container is None:
                self._open(rgb, pts)
            if self._last_pts >= 0:
                self._durations[self._last_pts] = pts - self._last_pts
                self._most_gap = max(self._most_gap, pts - self._last_pts)
            self._last_pts = pts
            self._mux(self._stream.encode(self._frame(rgb, pts)))
        except av.codec.codec.UnknownCodecError as error:
            raise OSError(f"cannot write {self._path}: there is no encoder {error}") from error
        except av.error.FFmpegError as error:
            raise OSError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _open(self, rgb: np.ndarray, pts: int) -> None:
        self.first_pts = pts
        partial = self._stack.enter_context(partial_file(self._path))
        container = av.open(for_ffmpeg(partial), "w", format="mp4")
        self._container = self._stack.enter_context(container)
        self._stream = container.add_stream(
            self._settings.codec, rate=self._fps, options=encoder_options(self._settings.codec, self._settings.crf)
        )
        codec = self._stream.codec_context
        codec.height, codec.width = (side + side % 2 for side in rgb.shape[:2])
        codec.pix_fmt = "yuv420p"
        self._stream.time_base = codec.time_base = self._time_base
        # without B-frames a packet's place is its time, so that times need no edit list and start at 0
        codec.max_b_frames = 0
        codec.colorspace = codec.color_primaries = codec.color_trc = _AVCOL_BT709
        codec.color_range = ColorRange.MPEG

    def _frame(self, rgb: np.ndarray, pts: int) -> av.VideoFrame:
        missing_y, missing_x = (side % 2 for side in rgb.shape[:2])
        if missing_x or missing_y:
            rgb = cv2.copyMakeBorder(rgb, 0, missing_y, 0, missing_x, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = pts, self._time_base
        return frame

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # encoders forget how long a frame is shown, which matters for the last one
            packet.duration = self._durations.pop(packet.pts, self._last_duration())
            packet.pts -= self.first_pts
            packet.dts -= self.first_pts
            self._container.mux_one(packet)

    def _last_duration(self) -> int:
        """Ticks until the end of the source; one frame when that end is unknown, or not reached by far."""
        left = round(Fraction(self._source.duration_s or 0) / self._time_base) - self._last_pts
        return left if 0 < left <= 2 * self._most_gap else round(1 / self._fps / self._time_base) or 1

    def _finish(self) -> None:
        try:
            self._mux(self._stream.encode(None))
            self._container.close()  # writes the index; once more in the stack, where it does nothing
        except av.error.FFmpegError as error:
            raise OSError(f"cannot write {self._path}: {error.strerror or error}") from error


def time_base(source: Source) -> Fraction:
    """Seconds of one tick of an annotated video's times."""
    return source.time_base or _DEFAULT_TIME_BASE
