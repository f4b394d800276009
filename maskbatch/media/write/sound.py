"""Write a source's sound as a track of an MP4."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
from av.container import OutputContainer

from maskbatch.errors import Interrupted
from maskbatch.media.sound.reader import CannotCopy, SoundReader
from maskbatch.media.sound.samples import NUM_IN_FRAME
from maskbatch.overlap import IsOver, never

# wraps a reader to limit its time
Guard = Callable[[SoundReader], AbstractContextManager]

# limit of all pauses together: until an MP4 is complete, its index grows in memory
_MOST_SILENCE_S = 12 * 3600
# longest pause in the sound behind the last picture: a damaged time stamp would make a copy of a day from a second of video
_MOST_PAUSE_AFTER_S = 60

_log = logging.getLogger(__name__)


def unguarded(reader: SoundReader) -> SoundReader:
    """Return the reader unchanged."""
    return reader


class _Written(NamedTuple):
    """The last written packet: its time in ticks, and its bytes if it was encoded here."""

    dts: int
    content: bytes


class AudioTrack:
    """A track of `output` with the sound of `reader`, encoded to AAC unless the reader copies packets.

    Enter the track before the first packet of `output` is written. A file without sound gives a track that writes
    nothing. The track ends at sound that cannot be read, with a warning that names `path`. Entering and writing raise
    CannotCopy for packets that must not be copied, and Interrupted once `is_over()` returns true.
    """

    def __init__(
        self, path: Path, output: OutputContainer, reader: SoundReader, guard: Guard, is_over: IsOver = never
    ) -> None:
        self._path, self._output, self._reader, self._guard, self._is_over = path, output, reader, guard, is_over
        self._stack = ExitStack()
        self._chunks: Iterator[list] = iter(())
        self._ready: deque[av.Packet] = deque()
        self._last: _Written | None = None
        self._num_silent = 0
        self._track: av.AudioStream | None = None

    def __enter__(self) -> "AudioTrack":
        with ExitStack() as stack:
            stack.push(self.__exit__)
            try:
                self._chunks = iter(self._stack.enter_context(self._guard(self._reader)))
            except Interrupted:
                raise
            except Exception as error:
                self._give_up(error)
            if first := self._next_chunk():
                self._add_track()
                self._make(first)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
        except Interrupted:
            raise
        except Exception as failure:
            self._give_up(failure)

    def write_until(self, time_s: Fraction | None) -> None:
        """Write the packets that start before `time_s` in the output, or all remaining ones for None."""
        while self._track is not None:
            while self._ready:
                self._check_stop()
                if time_s is None and self._pause_s(self._ready[0]) > _MOST_PAUSE_AFTER_S:
                    return self._leave_out_rest()
                if self._is_pause_before(self._ready[0]):
                    self._ready.appendleft(self._silent_packet())
                if time_s is not None and self._ready[0].pts * self._ready[0].time_base >= time_s:
                    return
                self._write(self._ready.popleft())
            self._check_stop()
            chunk = self._next_chunk()
            if chunk:
                self._make(chunk)
            else:
                self._end()

    def _check_stop(self) -> None:
        if self._is_over():
            raise Interrupted("stopped")

    def _next_chunk(self) -> list:
        """Return the next packets or frames, or an empty list at the end."""
        try:
            return next(self._chunks, [])
        except (CannotCopy, Interrupted, MemoryError):
            raise
        except Exception as error:  # after any error the video continues without sound
            self._give_up(error)
            return []

    def _give_up(self, error: Exception) -> None:
        self._chunks = iter(())
        reason = getattr(error, "strerror", "") or error or type(error).__name__
        _log.warning("%s: the audio is left out from here on: %s", self._path, reason)

    def _add_track(self) -> None:
        if self._reader.is_copied:
            self._track = self._output.add_stream_from_template(self._reader.stream)
        else:
            self._track = self._output.add_stream("aac", rate=self._reader.rate, layout=self._reader.layout)

    def _make(self, chunk: list) -> None:
        for item in chunk:
            if self._reader.is_copied:
                item.stream = self._track
                self._ready.append(item)
            else:
                self._ready.extend(self._track.encode(item))

    def _end(self) -> None:
        if not self._reader.is_copied:
            for packet in self._track.encode(None):
                self._write(packet)
        self._track = None

    def _write(self, packet: av.Packet) -> None:
        # a muxer rejects the whole video if time stamps do not rise
        if self._last is None or packet.dts > self._last.dts:
            self._last = _Written(packet.dts, b"" if self._reader.is_copied else bytes(packet))
            self._output.mux_one(packet)

    def _pause_s(self, packet: av.Packet) -> Fraction:
        """Return the seconds from the last written packet to this one."""
        return Fraction(0) if self._last is None else (packet.dts - self._last.dts) * packet.time_base

    def _leave_out_rest(self) -> None:
        _log.warning(
            "%s: the audio is left out from here on: it pauses for %.0f s behind the last picture",
            self._path, float(self._pause_s(self._ready[0])),
        )  # fmt: skip
        self._ready.clear()
        self._chunks, self._track = iter(()), None

    def _is_pause_before(self, packet: av.Packet) -> bool:
        """Return True when the reader left out silence before the packet. Players that ignore time stamps need it."""
        return (
            not self._reader.is_copied
            and self._last is not None
            and packet.dts > self._last.dts + NUM_IN_FRAME
            and self._num_silent < _MOST_SILENCE_S * self._reader.rate // NUM_IN_FRAME
        )

    def _silent_packet(self) -> av.Packet:
        """Return a copy of the last, silent packet for the time after it. Encoding silence would be much slower."""
        self._num_silent += 1
        packet = av.Packet(self._last.content)
        packet.stream, packet.time_base = self._track, Fraction(1, self._reader.rate)
        packet.pts = packet.dts = self._last.dts + NUM_IN_FRAME
        packet.duration, packet.is_keyframe = NUM_IN_FRAME, True
        return packet
