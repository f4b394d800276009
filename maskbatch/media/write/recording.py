"""Take stretches of a recording as they are stored, for the annotated copy."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

import av

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container
from maskbatch.media.video.parameter_sets import LENGTH_SIZE, nal_units
from maskbatch.media.video.streams import video_stream
from maskbatch.media.write.video import frame_ticks, time_base
from maskbatch.types import Recorded, Source

# most frames that a stretch stores in another order than it shows them
MOST_REORDERED = 16
# types of NAL units: supplemental messages (SEI) and filler
_LEFT_OUT = frozenset((6, 12))
# seconds before a stretch from which it is looked for: the indexes of some files are not exact
_EARLY_S = 2


class Recording:
    """The packets of a source, which is opened when they are needed. Use it in a `with` block.

    Packets keep pictures and what is needed to show them. Messages are left out: some cameras write the place there.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._container: av.container.InputContainer | None = None

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def stream(self) -> av.VideoStream:
        """The video stream of the source. Raises OSError when it cannot be opened."""
        if self._container is None:
            try:
                self._container = open_container(self._source.path)
                return video_stream(self._container)
            except DecodeError as error:
                raise OSError(f"cannot read {self._source.path} again for its copy: {error}") from error
        return video_stream(self._container)

    def packets(self, part: Recorded) -> Iterator[av.Packet]:
        """Yield the packets of a stretch, in the order of the file, at their times in the copy.

        Raises OSError when the source has not the same packets as before.
        """
        tick_s, num_left = time_base(self._source), part.num_frames
        for packet in self._from(part.first_pts):
            if packet.pts is not None and part.first_pts <= packet.pts <= part.last_pts:
                num_left -= 1
                picture = _only_picture(packet)
                picture.pts = packet.pts + part.first_tick - part.first_pts
                picture.time_base = tick_s
                picture.duration = packet.duration or frame_ticks(self._source)
                yield picture
            if not num_left:
                return
        raise OSError(
            f"cannot copy {self._source.path} from {float(part.first_pts * tick_s):.1f} s on: frames are gone"
        )

    def _from(self, pts: int) -> Iterator[av.Packet]:
        """Yield the packets of the stream from the keyframe before `pts` on, or all if the file cannot be searched."""
        stream = self.stream
        try:
            self._container.seek(pts - round(_EARLY_S / stream.time_base), stream=stream)
        except av.error.FFmpegError:
            self._close()
            stream = self.stream
        yield from self._container.demux(stream)

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def delay_of(parts: Sequence[object]) -> int:
    """Return the ticks between the decoding of a picture and its time, so that all pictures are there in time."""
    return max((part.delay for part in parts if isinstance(part, Recorded)), default=0)


def with_decoding_times(packets: Iterable[av.Packet], delay: int) -> Iterator[av.Packet]:
    """Yield the same packets with a `dts`: the nth is decoded `delay` ticks before the time of the nth picture."""
    waiting: deque[av.Packet] = deque()
    times: list[int] = []
    for packet in packets:
        waiting.append(packet)
        heapq.heappush(times, packet.pts)
        if len(waiting) > MOST_REORDERED:
            yield _decoded_at(waiting.popleft(), heapq.heappop(times) - delay)
    while waiting:
        yield _decoded_at(waiting.popleft(), heapq.heappop(times) - delay)


def _only_picture(packet: av.Packet) -> av.Packet:
    """Return a packet without messages to the player and filler, which no picture needs."""
    units = [unit for unit in nal_units(memoryview(packet)) if not len(unit) or unit[0] & 31 not in _LEFT_OUT]
    content = b"".join(len(unit).to_bytes(LENGTH_SIZE, "big") + unit for unit in units)
    if len(content) == packet.size:
        return packet
    picture = av.Packet(content)
    picture.is_keyframe = packet.is_keyframe
    return picture


def _decoded_at(packet: av.Packet, dts: int) -> av.Packet:
    packet.dts = dts
    return packet
