"""Videos by PyAV: frames with exact times, as a person sees them."""

import logging
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer

from maskbatch.config import SamplingSettings
from maskbatch.errors import DecodeError, PassingError
from maskbatch.media.clock import FrameClock, Sampler
from maskbatch.media.containers import open_container, reason_of, stalled
from maskbatch.media.headers import gif_is_whole
from maskbatch.media.hwaccel import note_software, open_hwaccel
from maskbatch.media.segments import ReaderState, Segments, crc_of
from maskbatch.media.skipping import Misjudged, Skipped, Skipping
from maskbatch.media.streams import frame_rate, further_streams, start_s, video_stream
from maskbatch.media.viewer import Viewer

# containers whose header states the duration; for the others it is an estimate from bit rate or from what is there
_DECLARES_DURATION = ("mov", "matroska", "flv", "asf")
# decoded before the place to go on at, for streams whose keyframes are none (open groups, intra refresh)
_WARM_UP_S = Fraction(2)

_log = logging.getLogger(__name__)


class VideoReader:
    """Iterates `(index, timestamp_s, image)` of the sampled frames, image (H, W, 3) uint8 RGB as a person sees it
    (see `Viewer`), all of one size.

    `index` counts all frames, also those not sampled, as does `frames_decoded`; which of these need no decoding, see
    `Skipping`. `timestamp_s` rises strictly.
    With `segments`, reading begins at their start, and their cuts are noted.
    Raises DecodeError when nothing can be decoded, and after the last frame when the file is damaged, ends early, or
    gives no frame for too long.
    """

    def __init__(self, path: Path, sampling: SamplingSettings, segments: Segments | None = None) -> None:
        self._path = path
        self._sampling = sampling
        self._segments = segments or Segments()
        self._container: InputContainer | None = None
        self._damage: list[str] = []
        self._read_until_s = Fraction(0)
        start = self._segments.start
        self._size = None if start is None else (start.width, start.height)
        self._fitted_from = None if start is None else start.fitted_from
        self._further: tuple[str, ...] = ()
        self.frames_decoded = self.progress = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not looked at, or not as it is."""
        if self._fitted_from is None:
            return self._further
        width, height = self._size
        return *self._further, f"size changes at frame {self._fitted_from}: fitted into {width} x {height} pixels"

    def __enter__(self) -> "VideoReader":
        hwaccel = open_hwaccel(self._sampling.hwaccel)
        self._container = open_container(self._path, self._sampling.stall_s, hwaccel)
        try:
            self._stream = video_stream(self._container)
            self._further = further_streams(self._container)
            if hwaccel is not None and not self._stream.codec_context.is_hwaccel:
                note_software(self._sampling.hwaccel, self._stream.codec_context.name)
            # in one thread: what threads make of a damaged video, and notice of the damage, differs from time to time; and
            # the cores have enough to do (at 1080p, one decodes ten times as fast as two analyse, in less CPU time)
            self._stream.thread_type = "NONE"
            self._viewer = Viewer(self._container, self._stream, self._size)
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        # a frame that another pass over the file has given is not given again
        self._first = 0 if self._segments.start is None else self._segments.start.index
        try:
            yield from self._sampled(may_skip=not self._sampling.decode_all)
        except Misjudged:
            self._reopen()
            yield from self._sampled(may_skip=False)
        self._check_whole()

    def _sampled(self, may_skip: bool) -> Iterator[tuple[int, float, np.ndarray]]:
        """The sampled frames from the number `_first` on. Raises Misjudged, when it may skip frames."""
        stream = self._stream
        clock = FrameClock(start_s(self._container, stream), stream.time_base, frame_rate(self._container, stream))
        sampler = Sampler(self._sampling, stream.time_base)
        frames, skipping = self._from_start(clock, sampler, may_skip)
        for frame in frames:
            index, before = self.frames_decoded, (*clock.state(), sampler.num_due)
            self.frames_decoded += 1
            time_s = clock.time_s(frame.pts, frame.duration)
            self._segments.pieces = clock.pieces
            # only a wanted frame is worth the conversion to RGB
            if not sampler.wants(index, time_s) or index < self._first:
                continue
            image = self._image(frame, index)
            if self._segments.is_cut(time_s):
                is_findable = not self._damage and clock.is_stamp(frame.pts, time_s)
                self._segments.cuts[index] = ReaderState(
                    index, frame.pts, crc_of(image), *before, str(self._read_until_s), skipping.is_planned, is_findable,
                    *self._size, self._fitted_from,
                )  # fmt: skip
            self._first = index + 1
            yield index, float(time_s), image
        if clock.num_jumps:
            _log.warning("%s: the time stamps jump ahead by more than a day, %d times; the times from there on are guessed",
                         self._path, clock.num_jumps)  # fmt: skip

    def _image(self, frame: av.VideoFrame, index: int) -> np.ndarray:
        """Return the picture of the frame number `index`, and take note of its size."""
        image = self._viewer.rgb(frame)
        self._size = self._viewer.size
        if self._viewer.is_fitted and self._fitted_from is None:
            self._fitted_from = index
        return image

    def _from_start(
        self, clock: FrameClock, sampler: Sampler, may_skip: bool
    ) -> tuple[Iterator[av.VideoFrame | Skipped], Skipping]:
        """The frames from the segments' start on, `clock` and `sampler` set to it; all frames where it is not found."""
        start = self._segments.start
        # frames left out are counted in one way, lost ones in another: a number counted so is not gone on from otherwise
        if start is not None and start.is_findable and (may_skip or not start.is_skipping):
            clock.restore(start.last_s, start.next_s, start.pieces)
            sampler.num_due = start.num_due
            codec = self._stream.codec_context
            skipping = Skipping(codec, clock, sampler, may_skip and start.is_skipping, start)
            frames = self._seek(start, skipping)
            if frames is not None:
                self.frames_decoded = start.index
                self._read_until_s = max(self._read_until_s, Fraction(start.read_until_s))
                return frames, skipping
            clock.restore(None, "0")
            sampler.num_due = 0
        skipping = Skipping(self._stream.codec_context, clock, sampler, may_skip)
        return self._frames(skipping), skipping

    def _seek(self, start: ReaderState, skipping: Skipping) -> Iterator[av.VideoFrame | Skipped] | None:
        """The frames from `start` on; None, and the file opened anew, when it is not where its time stamp says."""
        early = start.pts - round(_WARM_UP_S / self._stream.time_base)
        try:
            self._container.seek(early, stream=self._stream)
            frames = self._frames(skipping)
            for frame in frames:
                if frame.pts is None or frame.pts > start.pts or self._damage:
                    break
                if frame.pts == start.pts and crc_of(self._viewer.rgb(frame)) == start.crc:
                    return chain([frame], frames)
        except (av.error.FFmpegError, OverflowError):
            pass
        self._reopen()
        return None

    def _reopen(self) -> None:
        self._container.close()
        self._damage, self._read_until_s, self.frames_decoded = [], Fraction(0), 0
        self.__enter__()

    def _frames(self, skipping: Skipping) -> Iterator[av.VideoFrame | Skipped]:
        """All decodable frames, but those left out; what could not be decoded is noted in `_damage`. Raises Misjudged."""
        since = time.monotonic()
        for packet, is_decoded in skipping.chosen(self._packets()):
            frames = []
            try:
                # no packet is left: ask the decoder for the frames it still holds
                frames = self._stream.codec_context.decode(packet) if is_decoded else []
            except EOFError:
                pass  # it was asked before, by the empty packet that ends a stream
            except av.error.FFmpegError as error:
                skipping.check()
                self._damage.append(reason_of(error))
            for frame in frames:
                self._viewer.notice(frame)
            # the decoder fills in what is missing
            self._damage += ["parts of the picture are missing" for frame in frames if frame.is_corrupt]
            yield from skipping.in_place(frames)
            if frames or not is_decoded:
                since = time.monotonic()
            elif time.monotonic() - since > self._sampling.stall_s:
                raise PassingError(stalled(self._sampling.stall_s))
        skipping.check()

    def _packets(self) -> Iterator[av.Packet | None]:
        """The stream's packets, and None behind the last one."""
        # all streams, because the end of the longest one is what the container's duration is measured by
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.ExitError as error:
                raise PassingError(stalled(self._sampling.stall_s)) from error
            except av.error.FFmpegError as error:
                self._damage.append(reason_of(error))
                packet = None
            self.progress += 1
            if packet is not None:
                self._note_end(packet)
            if packet is None or packet.stream.index == self._stream.index:
                yield packet
            if packet is None:
                return

    def _note_end(self, packet: av.Packet) -> None:
        if packet.pts is not None and packet.time_base:
            end_s = (packet.pts + (packet.duration or 0)) * packet.time_base
            self._read_until_s = max(self._read_until_s, end_s)

    def _check_whole(self) -> None:
        if self.frames_decoded == 0:
            because = f": {self._damage[0]}" if self._damage else ""
            raise DecodeError(f"no frame can be decoded{because}")
        expected = self._frames_missing() + self.frames_decoded
        if expected > self._path.stat().st_size:
            raise DecodeError(
                f"damaged: {self.frames_decoded} frames, and a header that claims {expected}, more than bytes"
            )
        if expected > self.frames_decoded:
            raise DecodeError(f"ends early: {self.frames_decoded} of about {expected} frames")
        if self._container.format.name == "gif" and not gif_is_whole(_last_bytes(self._path)):
            raise DecodeError("truncated: the GIF has no end")
        if self._damage:
            raise DecodeError(
                f"damaged: {len(self._damage)} packets could not be decoded, or not whole ({self._damage[0]})"
            )

    def _frames_missing(self) -> int:
        """How many frames fewer there are than the header promised, 0 when it is not clearly so."""
        container, fps = self._container, frame_rate(self._container, self._stream)
        missing_s = Fraction(0)
        if container.duration and container.format.name.startswith(_DECLARES_DURATION):
            # most containers count the duration from their first time stamp, some from 0: take the milder reading
            missing_s = Fraction(container.duration, av.time_base) - self._read_until_s
        elif container.format.name == "avi":
            missing_s = (self._stream.frames - self.frames_decoded) / fps
        tolerance_s = max(Fraction(1, 4), 3 / fps, Fraction(container.duration or 0, av.time_base) / 50)
        return round(missing_s * fps) if missing_s > tolerance_s else 0


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), 2)
        return file.read()
