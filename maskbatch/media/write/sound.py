"""Carries the audio of a source over to an MP4: packets as they are where MP4 can hold them, else encoded to AAC."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container
from maskbatch.media.video.streams import start_s, video_stream

# codecs that an MP4 may hold
_COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "alac", "flac"})
_AAC_FRAME_SAMPLES = 1024
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

_log = logging.getLogger(__name__)


class AudioTrack:
    """The audio of the file at `path` as a stream of `output`, written up to where the video is.

    A file without audio makes a track that writes nothing; so does broken audio, after a warning.
    """

    def __init__(self, path: Path, output: OutputContainer) -> None:
        self._path = path
        self._output = output
        self._packets: Iterator[tuple[Fraction, av.Packet]] = iter(())
        self._next: tuple[Fraction, av.Packet] | None = None
        self._last_dts: int | None = None
        self._container: av.container.InputContainer | None = None
        try:
            self._container = open_container(path)
            self._packets = self._open()
        except (av.error.FFmpegError, DecodeError, ValueError, OSError) as error:
            self._give_up(error)

    def write_until(self, time_s: Fraction | None) -> None:
        """Write the packets that start before `time_s` in the output; all that are left, for None."""
        try:
            while True:
                self._next = self._next or next(self._packets, None)
                if self._next is None or (time_s is not None and self._next[0] >= time_s):
                    return
                packet, self._next = self._next[1], None
                # a muxer refuses time stamps that do not rise, and the whole video with them
                if self._last_dts is None or packet.dts > self._last_dts:
                    self._last_dts = packet.dts
                    self._output.mux_one(packet)
        except (av.error.FFmpegError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the source's file; nothing more can be written."""
        self._packets, self._next = iter(()), None
        if self._container is not None:
            self._container.close()

    def _give_up(self, error: Exception) -> None:
        _log.warning("%s: the audio is left out from here on: %s", self._path, getattr(error, "strerror", "") or error)
        self._packets, self._next = iter(()), None

    def _open(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """Add the output stream, which must be there before the first packet, and start reading."""
        stream = self._container.streams.best("audio")
        if stream is None:
            return iter(())
        codec = stream.codec_context
        if codec is None or not codec.sample_rate or not codec.layout.nb_channels:
            raise DecodeError("its format is unknown")
        shift_s = start_s(self._container, video_stream(self._container))
        if codec.name in _COPIED:
            return self._copied(stream, self._output.add_stream_from_template(stream), shift_s)
        rate = min((rate for rate in _AAC_RATES if rate >= codec.sample_rate), default=_AAC_RATES[-1])
        layout = "mono" if codec.layout.nb_channels == 1 else "stereo"
        return self._encoded(stream, self._output.add_stream("aac", rate=rate, layout=layout), shift_s)

    def _copied(
        self, stream: av.AudioStream, track: av.AudioStream, shift_s: Fraction
    ) -> Iterator[tuple[Fraction, av.Packet]]:
        shift = round(shift_s / stream.time_base)
        for packet in self._container.demux(stream):
            if packet.dts is None or packet.pts is None:  # the empty packet at the end, or one without a place
                continue
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = track
            yield packet.pts * packet.time_base, packet

    def _encoded(
        self, stream: av.AudioStream, track: av.AudioStream, shift_s: Fraction
    ) -> Iterator[tuple[Fraction, av.Packet]]:
        target = track.codec_context
        resampler = av.AudioResampler(target.format or "fltp", target.layout, target.sample_rate, _AAC_FRAME_SAMPLES)
        frames = self._container.decode(stream)
        while True:
            frame = next(frames, None)
            if frame is not None and frame.pts is not None:
                frame.pts -= round(shift_s / frame.time_base)
            for part in resampler.resample(frame):
                yield from self._timed(track.encode(part))
            if frame is None:
                yield from self._timed(track.encode(None))
                return

    @staticmethod
    def _timed(packets: list[av.Packet]) -> Iterator[tuple[Fraction, av.Packet]]:
        return ((packet.pts * packet.time_base, packet) for packet in packets)
