"""Write annotated video as H.264 in MP4 with the times of the source, in parts that `join` joins into one file."""

import json
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from maskbatch.media.containers import for_ffmpeg
from maskbatch.media.video.clock import DEFAULT_FPS
from maskbatch.media.write.encoders import ENCODERS, encoder_options
from maskbatch.media.write.files import partial_file
from maskbatch.settings import OutputSettings
from maskbatch.types import Source, WriterState

# time base for a source without one: most frame rates have a whole number of these ticks per frame
_DEFAULT_TIME_BASE = Fraction(1, 90000)


class VideoWriter:
    """A writer of a video, or of a part, as an MP4 without sound. The file appears when a `with` block ends without error.

    A frame lasts until the next frame, and the last frame until the end of the source. The file's times start at its
    first frame, at `first_pts` ticks of `time_base(source)`. All frames must have the same size; odd sides get one more
    pixel. Without frames, no file is written. Raises OSError when writing fails.
    """

    def __init__(self, path: Path, source: Source, settings: OutputSettings, before: WriterState | None = None) -> None:
        self.path = path
        self._source = source
        self._settings = settings
        self._fps = source.fps or DEFAULT_FPS
        self._time_base = time_base(source)
        self._state = before or WriterState()
        self._stack = ExitStack()
        self._container: av.container.OutputContainer | None = None
        self.first_pts: int | None = None
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()  # kept, because a new one is expensive

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._container is None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:  # closes the container, then renames the file
            self._finish()

    def write(self, picture: np.ndarray, timestamp_s: float) -> None:
        """Append a picture, shown from `timestamp_s` (seconds, rising) until the next frame.

        `picture` is (H, W, 3) uint8 RGB, or planes (H + H / 2, W) uint8 as in `types.Frames`, which are not converted.
        """
        try:
            last_pts, self._state = self._state.last_pts, following(self._state, timestamp_s, self._source)
            pts = self._state.last_pts
            if self._container is None:
                height, width = picture.shape[:2]
                self._open((width, height) if picture.ndim == 3 else (width, height * 2 // 3), pts)
            if last_pts >= 0:
                self._durations[last_pts] = pts - last_pts
            self._mux(self._stream.encode(self._frame(picture, pts)))
        except av.codec.codec.UnknownCodecError as error:
            raise OSError(f"cannot write {self.path}: FFmpeg has no encoder {error}") from error
        except av.error.FFmpegError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _open(self, size: tuple[int, int], pts: int) -> None:
        self.first_pts = pts
        partial = self._stack.enter_context(partial_file(self.path))
        container = av.open(for_ffmpeg(partial), "w", format="mp4")
        self._container = self._stack.enter_context(container)
        self._stream = container.add_stream(
            self._settings.codec, rate=self._fps, options=encoder_options(self._settings.codec, self._settings.crf)
        )
        codec = self._stream.codec_context
        codec.width, codec.height = (side + side % 2 for side in size)
        codec.pix_fmt = "yuv420p"
        self._stream.time_base = codec.time_base = self._time_base
        # without B-frames, packets are in order of time, start at 0, and need no edit list
        codec.max_b_frames = 0
        colours = self._source.colours
        codec.colorspace, codec.color_primaries, codec.color_trc = colours.stated
        codec.color_range = ColorRange.JPEG if colours.is_full else ColorRange.MPEG

    def _frame(self, picture: np.ndarray, pts: int) -> av.VideoFrame:
        is_rgb = picture.ndim == 3
        frame = self._converted(picture) if is_rgb else av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = pts, self._time_base
        return frame

    def _converted(self, rgb: np.ndarray) -> av.VideoFrame:
        colours = self._source.colours
        missing_y, missing_x = (side % 2 for side in rgb.shape[:2])
        if missing_x or missing_y:
            rgb = cv2.copyMakeBorder(rgb, 0, missing_y, 0, missing_x, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        return self._reformatter.reformat(
            frame, format="yuv420p", src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709 if colours.matrix == Colorspace.ITU709 else Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG if colours.is_full else ColorRange.MPEG,
        )  # fmt: skip

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # encoders lose the duration of a frame, which matters for the last one
            packet.duration = self._durations.pop(packet.pts, self._last_duration())
            packet.pts -= self.first_pts
            packet.dts -= self.first_pts
            self._container.mux_one(packet)

    def _last_duration(self) -> int:
        """Return the ticks until the end of the source, or those of one frame when the end is unknown or far away."""
        left = round(Fraction(self._source.duration_s or 0) / self._time_base) - self._state.last_pts
        return left if 0 < left <= 2 * self._state.most_gap else frame_ticks(self._source)

    def _finish(self) -> None:
        try:
            self._mux(self._stream.encode(None))
            self._container.close()  # writes the index; the second call by the stack does nothing
        except av.error.FFmpegError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror or error}") from error


def made_with() -> str:
    """Return versions of libraries and options of encoders as JSON. They must be the same for all parts of a video."""
    options = {codec: encoder_options(codec, OutputSettings().crf) for codec in ENCODERS}
    return json.dumps([av.__version__, av.library_versions, options], sort_keys=True)


def following(before: WriterState, timestamp_s: float, source: Source) -> WriterState:
    """Return the state after one more frame, shown from `timestamp_s` (seconds): its `last_pts` is the frame's time."""
    pts = max(round(Fraction(timestamp_s) / time_base(source)), before.last_pts + 1)
    gap = pts - before.last_pts if before.last_pts >= 0 else 0
    return WriterState(pts, max(before.most_gap, gap, frame_ticks(source)))


def frame_ticks(source: Source) -> int:
    """Return the usual duration of a frame in ticks of `time_base(source)`."""
    return round(1 / (source.fps or DEFAULT_FPS) / time_base(source)) or 1


def time_base(source: Source) -> Fraction:
    """Return the time base of an annotated video, in seconds per tick."""
    return source.time_base or _DEFAULT_TIME_BASE
