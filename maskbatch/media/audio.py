"""Writes the sound of a source as a track of an MP4."""

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

from maskbatch.media.samples import NUM_IN_FRAME
from maskbatch.media.sound import CannotCopy, SoundReader

# wraps a reader, so that it works within limits
Guard = Callable[[SoundReader], AbstractContextManager]

# pauses may last that long altogether; an MP4 has an index in memory until it is whole
_MOST_SILENCE_S = 12 * 3600

_log = logging.getLogger(__name__)


def unguarded(reader: SoundReader) -> SoundReader:
    """The reader as it is."""
    return reader


class _Written(NamedTuple):
    """The last packet: its time in ticks, and if it was encoded here, its bytes."""

    dts: int
    content: bytes


class AudioTrack:
    """The sound that `reader` reads as a stream of `output`, written up to where the video is; encoded to AAC unless it is
    copied. To be entered before the first packet is written.

    A file without sound makes a track that writes nothing. Sound that cannot be read ends there, after a warning that names
    `path`. Entering and writing raise CannotCopy for sound that is copied but must not be.
    """

    def __init__(self, path: Path, output: OutputContainer, reader: SoundReader, guard: Guard) -> None:
        self._path, self._output, self._reader, self._guard = path, output, reader, guard
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
        except Exception as failure:
            self._give_up(failure)

    def write_until(self, time_s: Fraction | None) -> None:
        """Write the packets that start before `time_s` in the output; all that are left, for None."""
        while self._track is not None:
            while self._ready:
                if self._is_pause_before(self._ready[0]):
                    self._ready.appendleft(self._silent_packet())
                if time_s is not None and self._ready[0].pts * self._ready[0].time_base >= time_s:
                    return
                self._write(self._ready.popleft())
            chunk = self._next_chunk()
            if chunk:
                self._make(chunk)
            else:
                self._end()

    def _next_chunk(self) -> list:
        """The next packets or frames, none at the end."""
        try:
            return next(self._chunks, [])
        except (CannotCopy, MemoryError):
            raise
        except Exception as error:  # whatever it is, the video does without its sound
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
        # a muxer refuses time stamps that do not rise, and the whole video with them
        if self._last is None or packet.dts > self._last.dts:
            self._last = _Written(packet.dts, b"" if self._reader.is_copied else bytes(packet))
            self._output.mux_one(packet)

    def _is_pause_before(self, packet: av.Packet) -> bool:
        """Whether the reader left out frames of silence there, which players need: some take no notice of time stamps."""
        return (
            not self._reader.is_copied
            and self._last is not None
            and packet.dts > self._last.dts + NUM_IN_FRAME
            and self._num_silent < _MOST_SILENCE_S * self._reader.rate // NUM_IN_FRAME
        )

    def _silent_packet(self) -> av.Packet:
        """The packet before once more, for the time after it; that is many times faster than to encode silence."""
        self._num_silent += 1
        packet = av.Packet(self._last.content)
        packet.stream, packet.time_base = self._track, Fraction(1, self._reader.rate)
        packet.pts = packet.dts = self._last.dts + NUM_IN_FRAME
        packet.duration, packet.is_keyframe = NUM_IN_FRAME, True
        return packet
