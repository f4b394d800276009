"""The reader of videos, with PyAV: frames as a person sees them, with exact times."""

import logging
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from types import TracebackType
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer

from maskbatch.media.containers import open_container
from maskbatch.media.video.clock import FrameClock, Sampler, Schedule
from maskbatch.media.video.decoding import Decoding
from maskbatch.media.video.hwaccel import note_software, open_hwaccel
from maskbatch.media.video.segments import Segments, crc_of
from maskbatch.media.video.skipping import Misjudged, Skipped, Skipping
from maskbatch.media.video.stored import StoredFrames
from maskbatch.media.video.streams import frame_rate, further_streams, start_s, video_stream
from maskbatch.media.video.viewer import Viewer
from maskbatch.media.video.whole import Read, check_whole
from maskbatch.settings import SamplingSettings
from maskbatch.types import Decoded, ReaderState, Source, Stored

# time to decode before the frame to continue from, for streams without real keyframes (open groups, intra refresh)
_WARM_UP_S = Fraction(2)

_log = logging.getLogger(__name__)


class Gate(Protocol):
    """The choice of frames by small grey pictures (H, W) uint8 and times in seconds (see `analyse/gate.py`)."""

    def __call__(self, luma: np.ndarray, time_s: float, rest_s: float) -> bool: ...

    def restart(self) -> None: ...


class VideoReader:
    """A reader that yields the sampled frames as `Decoded`, with upright images, all of one size (see `Viewer`).

    With `gate`, the sampled frames are candidates, and the gate chooses frames to analyse by their small grey pictures.
    With `sampling.all_frames`, the other frames are yielded too. `index` and `frames_decoded` count all frames;
    `Skipping` decides which frames need no decoding. `timestamp_s` rises strictly. Reading begins at `start`, if given.
    Each segment of `segment_s` seconds begins with a frame that has a `cut`.

    Iterating raises DecodeError when no frame can be decoded. After the last frame, it raises DecodeError when the file
    is damaged, ends early, or gives no frame for too long.
    """

    def __init__(
        self, source: Source, sampling: SamplingSettings, segment_s: float = math.inf, start: ReaderState | None = None,
        gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self._path, self._gate, self._colours = source.path, gate, source.colours
        self._sampling = sampling
        self._segments, self._start = Segments(segment_s), start
        self._container: InputContainer | None = None
        self._size = None if start is None else (start.width, start.height)
        self._fitted_from = None if start is None else start.fitted_from
        self._further: tuple[str, ...] = ()
        self._num_packets = 0  # of earlier passes over the file
        self.frames_decoded = 0
        self.pieces: tuple[tuple[int, int], ...] = () if start is None else start.pieces
        self.end_s: float | None = None
        self.recorded: tuple[tuple[str, str], ...] = ()  # a video's tags are read when it is probed

    @property
    def progress(self) -> int:
        """A number that rises with each packet."""
        return self._num_packets + (0 if self._container is None else self._decoding.num_packets)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on streams that were not looked at, and on scaled frames."""
        if self._fitted_from is None:
            return self._further
        width, height = self._size
        return *self._further, f"size changes from frame {self._fitted_from} on: fitted into {width} x {height} pixels"

    def __enter__(self) -> "VideoReader":
        hwaccel = open_hwaccel(self._sampling.hwaccel)
        self._container = open_container(self._path, self._sampling.stall_s, hwaccel)
        try:
            self._stream = video_stream(self._container)
            self._further = further_streams(self._container)
            if hwaccel is not None and not self._stream.codec_context.is_hwaccel:
                note_software(self._sampling.hwaccel, self._stream.codec_context.name)
            # one thread: with several, the frames and errors of a damaged video would vary. The cores are busy anyway: at
            # 1080p, one core decodes ten times as fast as two analyse, in less CPU time
            self._stream.thread_type = "NONE"
            self._viewer = Viewer(self._container, self._stream, self._size, self._colours)
            self._stored = StoredFrames(self._stream.codec_context, self._sampling.with_planes)
            self._decoding = Decoding(
                self._container, self._stream, self._viewer, self._stored, self._sampling.stall_s
            )  # fmt: skip
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()

    def __iter__(self) -> Iterator[Decoded]:
        # a frame that was yielded before another pass over the file is not yielded again
        self._first = 0 if self._start is None else self._start.index
        try:
            # an annotated copy needs all pictures, unless it may take frames from the recording
            may_skip = not self._sampling.all_frames or (self._sampling.is_gated and self._stored.is_on)
            yield from self._sampled(may_skip and not self._sampling.decode_all)
        except Misjudged:
            self._reopen()
            yield from self._sampled(may_skip=False)
        decoding = self._decoding
        read = Read(self._path, self.frames_decoded, decoding.read_until_s, decoding.damage)
        check_whole(self._container, self._stream, read)

    def _sampled(self, may_skip: bool) -> Iterator[Decoded]:
        """Yield the frames from the number `_first` on. Raises Misjudged, but only with `may_skip`."""
        stream = self._stream
        clock = FrameClock(start_s(self._container, stream), stream.time_base, frame_rate(self._container, stream))
        sampler = Sampler(self._sampling, stream.time_base)
        frames, skipping = self._from_start(Schedule(clock, sampler), may_skip)
        for frame in frames:
            index, before = self.frames_decoded, (*clock.state(), sampler.num_due)
            self.frames_decoded += 1
            time_s = clock.time_s(frame.pts, frame.duration)
            self.pieces, self.end_s = clock.pieces, clock.end_s
            # the keyframe of a still group stands for all its frames, which may be sampled, and yet have been skipped
            is_candidate = (sampler.wants(index, time_s) or skipping.rest_s > 0) and not isinstance(frame, Skipped)
            stored = self._stored_as(frame)
            if index < self._first:
                continue
            if may_skip and self._sampling.all_frames and not self._may_be_left_out(frame, stored):
                raise Misjudged
            self._first = index + 1
            if isinstance(frame, Skipped):
                if self._sampling.all_frames:
                    self._segments.is_cut(time_s, False)
                    yield Decoded(index, float(time_s), None, None, False, None, stored)
                continue
            may_begin = stored is None or stored.is_exit
            is_looked_at = is_candidate and self._is_looked_at(frame, time_s, skipping.rest_s, may_begin)
            # only frames that are yielded are converted
            if not (is_looked_at or self._sampling.all_frames):
                continue
            image = self._image(frame, index) if is_looked_at else None
            planes = self._viewer.planes(frame) if self._sampling.with_planes else None
            if image is None and planes is None:
                image = self._image(frame, index)
            cut = None
            if self._segments.is_cut(time_s, is_looked_at, may_begin):
                is_findable = not self._decoding.damage and clock.is_stamp(frame.pts, time_s)
                cut = ReaderState(
                    index, frame.pts, crc_of(image), *before, str(self._decoding.read_until_s), skipping.is_planned,
                    is_findable, *self._size, self._fitted_from,
                )  # fmt: skip
            yield Decoded(index, float(time_s), image, cut, is_looked_at, planes, None if planes is None else stored)
        if clock.num_jumps:
            _log.warning("%s: the time stamps jump ahead by more than a day, %d times; later times are estimates",
                         self._path, clock.num_jumps)  # fmt: skip

    def _stored_as(self, frame: av.VideoFrame | Skipped) -> Stored | None:
        """Return the packet of a frame, if it gives the picture that a person sees and nothing is damaged before it."""
        stored = self._stored.of(frame)
        return stored if not self._decoding.damage and self._may_be_left_out(frame, stored) else None

    def _may_be_left_out(self, frame: av.VideoFrame | Skipped, stored: Stored | None) -> bool:
        """Return whether the annotated copy can have the picture of a frame without its decoding."""
        return stored is not None if isinstance(frame, Skipped) else self._viewer.is_as_stored(frame)

    def _is_looked_at(self, frame: av.VideoFrame, time_s: Fraction, rest_s: float, may_begin: bool) -> bool:
        """Return whether a sampled frame is analysed.

        The gate restarts at a frame that may begin a segment, and chooses it. A reader that continues there therefore
        reads the same segment.
        """
        if self._gate is None:
            return True
        if self._segments.is_due(time_s, may_begin):
            self._gate.restart()
        return self._gate(self._viewer.luma(frame), float(time_s), rest_s)

    def _image(self, frame: av.VideoFrame, index: int) -> np.ndarray:
        """Return the picture of the frame number `index`, and record its size."""
        image = self._viewer.rgb(frame)
        self._size = self._viewer.size
        if self._viewer.is_fitted and self._fitted_from is None:
            self._fitted_from = index
        return image

    def _from_start(
        self, schedule: Schedule, may_skip: bool
    ) -> tuple[Iterator[av.VideoFrame | Skipped], Skipping]:  # fmt: skip
        """Return the frames from `start`, with `schedule` set to it, or all frames if `start` is not found."""
        start = self._start
        # skipped frames are counted even if the decoder would lose them, so a reader that decodes all cannot use the
        # count
        if start is not None and start.is_findable and (may_skip or not start.is_skipping):
            schedule.restore(start)
            is_skipping = may_skip and start.is_skipping
            skipping = Skipping(self._stream.codec_context, schedule, is_skipping, start, self._is_copied())
            frames = self._seek(start, skipping)
            if frames is not None:
                self.frames_decoded = start.index
                self._decoding.read_until_s = max(self._decoding.read_until_s, Fraction(start.read_until_s))
                return frames, skipping
            schedule.restore(None)
        skipping = Skipping(self._stream.codec_context, schedule, may_skip, None, self._is_copied())
        return self._decoding.frames(skipping), skipping

    def _is_copied(self) -> Callable[[int], bool] | None:
        return self._stored.is_copied if self._sampling.all_frames else None

    def _seek(self, start: ReaderState, skipping: Skipping) -> Iterator[av.VideoFrame | Skipped] | None:
        """Return the frames from `start`. If its frame is not at its time stamp, reopen the file and return None."""
        early = start.pts - round(_WARM_UP_S / self._stream.time_base)
        try:
            self._container.seek(early, stream=self._stream)
            frames = self._decoding.frames(skipping)
            for frame in frames:
                if frame.pts is None or frame.pts > start.pts or self._decoding.damage:
                    break
                if frame.pts == start.pts and crc_of(self._viewer.rgb(frame)) == start.crc:
                    return chain([frame], frames)
        except (av.error.FFmpegError, OverflowError):
            pass
        self._reopen()
        return None

    def _reopen(self) -> None:
        self._container.close()
        self._num_packets += self._decoding.num_packets
        self.frames_decoded = 0
        self.__enter__()
