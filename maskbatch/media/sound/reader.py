"""The reader of a video's sound: packets that browsers can play stay unchanged, and other sound is decoded."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
from av.container import InputContainer

from maskbatch.errors import DecodeError, TransientError
from maskbatch.media.containers import open_container, reason_of
from maskbatch.media.sound.clock import SoundClock
from maskbatch.media.sound.samples import Samples
from maskbatch.media.video.clock import Piece
from maskbatch.media.video.streams import start_s, video_stream

# some players (Chrome) ignore gaps and overlaps between packets; their sum must not exceed this
_MOST_GAPS_S = Fraction(1, 10)
# time stamps are rounded, to 1 ms in many containers
_ROUNDING_S = Fraction(5, 1000)
# packets or frames in a chunk
_NUM_IN_CHUNK = 64
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_PROFILES = ("LC", "HE-AAC", "HE-AACv2")
# MP4 has another number for MP3 of lower rates, which Firefox does not support
_MOST_LOW_MP3_RATE = 24000
# MP4's header has no space for rates above 65535
_MOST_FLAC_RATE = 48000


class CannotCopy(Exception):
    """The packets would not play as a track of an MP4: the sound must be decoded and encoded again."""


class SoundReader:
    """A reader that yields the sound of the video at `path` in chunks, at the times of the annotated video.

    If `is_copied`, a chunk has packets of the input's `stream`, else decoded frames with the sample rate `rate` and the
    channel layout `layout`. `pieces` are those of the picture's clock. A file without sound has no chunks. Entering and
    iterating raise DecodeError; earlier chunks stay valid. With `may_copy`, iterating may raise CannotCopy; otherwise
    all sound is decoded.
    """

    def __init__(self, path: Path, pieces: Sequence[tuple[int, int]], may_copy: bool) -> None:
        self._path, self._may_copy = path, may_copy
        self._pieces = [Piece(*piece) for piece in pieces]
        self._container: InputContainer | None = None
        self.stream: av.AudioStream | None = None
        self.is_copied = False
        self.frames_decoded = self.progress = 0
        self.notes: tuple[str, ...] = ()
        self.pieces, self.end_s = tuple(pieces), None

    def __enter__(self) -> "SoundReader":
        self._container = open_container(self._path)
        try:
            self.stream = self._container.streams.best("audio")
            if self.stream is not None:
                self._choose(self.stream.codec_context)
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()

    def __iter__(self) -> Iterator[list[av.Packet] | list[av.AudioFrame]]:
        if self.stream is None:
            return
        chunk: list = []
        try:
            for item in self._copied() if self.is_copied else self._decoded():
                chunk.append(item)
                if len(chunk) == _NUM_IN_CHUNK:
                    yield chunk
                    chunk = []
        except DecodeError:
            yield chunk
            raise
        yield chunk

    def _choose(self, codec: av.AudioCodecContext | None) -> None:
        if codec is None or not codec.sample_rate or not codec.layout.nb_channels:
            raise DecodeError("its format is unknown")
        self.is_copied = self._may_copy and plays_in_browsers(codec)
        self.rate = min((rate for rate in _AAC_RATES if rate >= codec.sample_rate), default=_AAC_RATES[-1])
        self.layout = "mono" if codec.layout.nb_channels == 1 else "stereo"

    def _copied(self) -> Iterator[av.Packet]:
        form, until_s, gaps_s = None, None, Fraction(0)
        for packet, time_s, duration_s in self._packets():
            before, form = form, _form_of(self.stream.codec_context.codec.canonical_name, packet, form)
            if before not in (None, form):
                raise CannotCopy("its format changes on the way")
            if until_s is not None and abs(time_s - until_s) > _ROUNDING_S:
                gaps_s += time_s - until_s
            if abs(gaps_s) > _MOST_GAPS_S:
                raise CannotCopy("it has gaps")
            until_s = time_s + duration_s if duration_s else None
            yield packet

    def _decoded(self) -> Iterator[av.AudioFrame]:
        samples, codec = Samples(self.rate, self.layout), self.stream.codec_context
        for packet, _, _ in self._packets():
            yield from samples.placed(_decode(codec, packet))
        yield from samples.placed(_decode(codec, None))
        yield from samples.rest()

    def _packets(self) -> Iterator[tuple[av.Packet, Fraction, Fraction]]:
        """Yield the sound packets, moved to their times in the annotated video, with time and duration in seconds."""
        picture = video_stream(self._container)
        start = round(start_s(self._container, picture) / picture.time_base)
        clock = SoundClock(self._pieces or [Piece(start, -start)], picture.time_base)
        packets = self._container.demux(picture, self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.ExitError as error:
                raise TransientError("stalled: no sound") from error
            except av.error.FFmpegError as error:
                raise DecodeError(reason_of(error)) from error
            self.progress += 1
            if packet is None:
                return
            if packet.stream.index == picture.index:
                clock.see_picture(packet)
            elif packet.size:  # the empty packet at the end is left out
                stamp = packet.dts if packet.pts is None else packet.pts
                duration_s = (packet.duration or 0) * packet.time_base
                time_s = clock.time_s(None if stamp is None else stamp * packet.time_base, duration_s)
                packet.pts = packet.dts = round(time_s / packet.time_base)
                yield packet, time_s, duration_s


def plays_in_browsers(codec: av.AudioCodecContext) -> bool:
    """Return True when Chrome and Firefox both play such sound in an MP4."""
    name = codec.codec.canonical_name
    if name == "aac":
        return codec.profile in _AAC_PROFILES
    if name == "mp3":
        return codec.sample_rate > _MOST_LOW_MP3_RATE
    return name == "opus" or (name == "flac" and codec.sample_rate <= _MOST_FLAC_RATE)


def _decode(codec: av.AudioCodecContext, packet: av.Packet | None) -> list[av.AudioFrame]:
    """Return the frames of a packet, none for a damaged packet, which becomes silence."""
    try:
        return codec.decode(packet)
    except (av.error.FFmpegError, EOFError):
        return []


def _form_of(codec: str, packet: av.Packet, before: bytes | None) -> bytes:
    """Return the properties that must be equal in all packets of a track; `before` are those of the last packet."""
    # PyAV before 16 does not show where a stream's parameters change
    if hasattr(packet, "has_sidedata") and packet.has_sidedata("new_extradata"):
        return bytes(packet)  # unequal to any other
    head = bytes(memoryview(packet)[:4])
    if (
        codec == "aac" and len(head) == 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    ):  # ADTS: profile, rate, channels
        return bytes([head[2] & 0xFD, head[3] & 0xC0])
    if codec == "mp3" and len(head) == 4 and head[0] == 0xFF:  # version and layer, rate, whether it is mono
        return bytes([head[1] & 0xFE, head[2] & 0x0C, head[3] >> 6 == 3])
    return before or b""
