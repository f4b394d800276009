"""Decode the packets of a video stream, and note damage without ending."""

import time
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer

from maskbatch.errors import TransientError
from maskbatch.media.containers import reason_of, stalled
from maskbatch.media.video.skipping import Skipped, Skipping
from maskbatch.media.video.stored import StoredFrames
from maskbatch.media.video.viewer import Viewer


class Decoding:
    """The frames of a stream, from the container's position on.

    Attributes:
        damage: errors in words.
        read_until_s: the end of the last packet, in seconds.
        num_packets: number of packets of all streams.
    """

    def __init__(
        self, container: InputContainer, stream: av.VideoStream, viewer: Viewer, stored: StoredFrames, stall_s: float
    ) -> None:
        self._container, self._stream, self._viewer, self._stored = container, stream, viewer, stored
        self._stall_s = stall_s
        self.damage: list[str] = []
        self.read_until_s = Fraction(0)
        self.num_packets = 0

    def frames(self, skipping: Skipping) -> Iterator[av.VideoFrame | Skipped]:
        """Yield all decodable frames, and a `Skipped` for each skipped frame.

        Raises Misjudged, and TransientError when no frame comes for too long.
        """
        since = time.monotonic()
        for packet, is_decoded in skipping.chosen(self._packets()):
            frames = []
            try:
                # None, after the last packet, makes the decoder return its remaining frames
                frames = self._stream.codec_context.decode(packet) if is_decoded else []
            except EOFError:
                pass  # an empty packet at the end of the stream has done so before
            except av.error.FFmpegError as error:
                skipping.check()
                self.damage.append(reason_of(error))
            for frame in frames:
                self._viewer.notice(frame)
            # the decoder fills in missing parts
            self.damage += ["parts of the picture are missing" for frame in frames if frame.is_corrupt]
            for frame in skipping.in_place(frames):
                self._stored.notice(frame)
                yield frame
            if frames or not is_decoded:
                since = time.monotonic()
            elif time.monotonic() - since > self._stall_s:
                raise TransientError(stalled(self._stall_s))
        skipping.check()

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yield the stream's packets, then None."""
        # all streams are read, because the container's duration is that of the longest one
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.ExitError as error:
                raise TransientError(stalled(self._stall_s)) from error
            except av.error.FFmpegError as error:
                self.damage.append(reason_of(error))
                packet = None
            self.num_packets += 1
            if packet is None:
                yield None
                return
            self._note_end(packet)
            if packet.stream.index == self._stream.index:
                self._stored.note(packet)
                yield packet

    def _note_end(self, packet: av.Packet) -> None:
        if packet.pts is not None and packet.time_base:
            end_s = (packet.pts + (packet.duration or 0)) * packet.time_base
            self.read_until_s = max(self.read_until_s, end_s)
