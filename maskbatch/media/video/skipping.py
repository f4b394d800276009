"""Skip packets whose frames are not sampled, as far as the codec allows.

An undamaged file gives the same frames as without skipping. Damage is found only in decoded packets: those of sampled
frames, and of frames they depend on. Packets are planned by groups of pictures (a keyframe and the packets before the
next one). Each frame from the decoder is compared with the plan.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import av

from maskbatch.media.video.clock import Schedule
from maskbatch.media.video.roles import CodedFrame, Roles
from maskbatch.settings import MOST_QUIET_S
from maskbatch.types import ReaderState

# limits on packets that wait in memory until their group is complete; a larger group ends skipping
_MOST_PACKETS, _MOST_BYTES = 600, 64 << 20
# a packet of a still picture has at most one byte per this number of blocks of 16 x 16 pixels, or this size in a small
# picture
_BLOCKS_PER_STILL_BYTE, _LEAST_STILL_BYTES = 40, 60
# share of packets that may be larger, and by which factor
_MOST_REPAIRS, _LARGEST_REPAIR = 0.12, 8


class Misjudged(Exception):
    """The decoder's frames differ from the plan: the video must be read again, with every packet decoded."""


class Skipped(NamedTuple):
    """A placeholder for a frame that was not decoded, with its `pts` and `duration` in ticks."""

    pts: int
    duration: int


class _Planned(NamedTuple):
    """A frame that the decoder returns if `is_decoded`. `rest_s`: it stands for a still group of this many seconds."""

    pts: int
    duration: int
    is_decoded: bool
    rest_s: float


class Skipping:
    """The choice of packets to decode, and placeholders for the frames of all other packets.

    A packet is skipped when its frame is not sampled and no sampled frame depends on it. Skipped packets have one frame
    and a valid time stamp, in a form that `Roles` knows. The first other packet ends skipping. A skipped frame counts
    as decoded. Damage in its packet is found only in the lengths and types of NAL units. If decoding would give no
    frame, later frames have higher numbers than without skipping.
    """

    def __init__(
        self,
        codec: av.VideoCodecContext,
        schedule: Schedule,
        may_skip: bool,
        start: ReaderState | None = None,
        is_copied: Callable[[int], bool] | None = None,
    ) -> None:
        """Take a copy of `schedule` in its state before the frame of `start` (None: the first frame).

        All earlier frames are decoded. With a sampler that `is_gated`, a group of at most `MOST_QUIET_S` in which nothing
        moves, by the sizes of its packets, is decoded only up to its keyframe. With `is_copied`, all other frames are
        decoded, and so is a still group unless the function is true for the time stamp of its keyframe.
        """
        self.num_skipped = 0
        self.is_planned = False  # the last frame was planned: frames around it may have been skipped
        self.rest_s = 0.0  # the last decoded frame stands for a still group of this many seconds
        self._index, self._begin = (0, -math.inf) if start is None else (start.index, start.pts)
        self._schedule, sampler = schedule.copied(), schedule.sampler
        self._last_pts = -math.inf
        self._expected: deque[_Planned] = deque()  # frames that the decoder has not returned yet
        self._roles = Roles(codec)
        self._is_on = may_skip and self._roles.is_known and not sampler.wants_all
        self._is_copied = is_copied
        # a packet of at most this size only says that the picture is unchanged
        num_blocks = (codec.width // 16) * (codec.height // 16)
        self._still_bytes = max(_LEAST_STILL_BYTES, num_blocks // _BLOCKS_PER_STILL_BYTE) if sampler.is_gated else -1

    def chosen(self, packets: Iterable[av.Packet | None]) -> Iterator[tuple[av.Packet | None, bool]]:
        """Yield each packet, and True if it must be decoded. None or an empty packet is the end. Reads one group ahead."""
        group: list[CodedFrame] = []
        num_bytes = 0
        for packet in packets:
            is_end = packet is None or (packet.size == 0 and packet.pts is None)
            frame = self._roles.of(packet) if self._is_on and not is_end else None
            num_bytes += 0 if frame is None else packet.size
            if not is_end and (frame is None or len(group) == _MOST_PACKETS or num_bytes > _MOST_BYTES):
                self._is_on = False
            if group and (frame is None or not self._is_on or packet.is_keyframe):
                yield from self._planned(group, frame is None or frame.is_reset)
                group, num_bytes = [], 0
            if frame is not None and self._is_on:
                group.append(frame)
            else:
                yield packet, True

    def in_place(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame | Skipped]:
        """Yield the decoder's frames and the placeholders of skipped ones, in order. Raises Misjudged."""
        for frame in frames:
            yield from self._left_out()
            self.is_planned, self.rest_s = bool(self._expected), 0.0
            if frame.pts is not None and frame.pts < self._begin:
                pass
            elif self._expected:
                self._begin = -math.inf
                *planned, self.rest_s = self._expected.popleft()
                is_sound = not frame.interlaced_frame and not frame.is_corrupt
                if not is_sound or [frame.pts, frame.duration or 0, True] != planned:
                    raise Misjudged
            elif self._is_on:
                raise Misjudged
            yield frame
        yield from self._left_out()

    def check(self) -> None:
        """Raise Misjudged when a planned frame is missing. Call this when a packet cannot be decoded, and at the end."""
        if self._expected:
            raise Misjudged

    def _left_out(self) -> Iterator[Skipped]:
        while self._expected and not self._expected[0].is_decoded:
            yield Skipped(*self._expected.popleft()[:2])

    def _planned(self, group: list[CodedFrame], is_closed: bool) -> Iterator[tuple[av.Packet, bool]]:
        """Yield the packets of a group, and True for packets to decode. `is_closed`: later groups do not refer to this."""
        begin = self._begin if self._last_pts == -math.inf else -math.inf
        shown = sorted(
            (frame.packet for frame in group if not frame.packet.is_discard and frame.packet.pts >= begin),
            key=lambda packet: packet.pts,
        )
        rises = all(before < after for before, after in pairwise([self._last_pts, *(packet.pts for packet in shown)]))
        # the decoder drops frames shown before the first keyframe that refer to earlier frames
        is_first = self._last_pts == self._begin == -math.inf
        if not (self._is_on and rises and (group[0].is_reset or not is_first)):
            self._is_on = False
            yield from ((frame.packet, True) for frame in group)
            return
        wanted = {packet.pts for packet in shown if self._wants(packet)}
        if self._is_copied is not None:
            wanted = {packet.pts for packet in shown}
        key = group[0].packet
        rest_s = _length_s(key, shown[-1]) if key in shown and self._is_still(group) else 0.0
        if rest_s > MOST_QUIET_S or (self._is_copied is not None and not self._is_copied(key.pts)):
            rest_s = 0.0
        if rest_s:
            wanted = {key.pts}  # whether it is sampled or not
        needed = [frame.is_needed or frame.packet.pts < begin or frame.packet.pts in wanted for frame in group]
        last = max((at for at, is_needed in enumerate(needed) if is_needed or not is_closed), default=-1)
        top = max(frame.layer for frame in group)
        is_decoded = [
            is_needed or (at < last and (frame.is_base or frame.layer < top))
            for at, (frame, is_needed) in enumerate(zip(group, needed, strict=True))
        ]
        left_out = {frame.packet.pts for frame, yes in zip(group, is_decoded, strict=True) if not yes}
        self._expected.extend(
            _Planned(packet.pts, packet.duration or 0, packet.pts not in left_out, rest_s * (packet is key))
            for packet in shown
        )
        self._last_pts = shown[-1].pts if shown else self._last_pts
        self.num_skipped += len(left_out)
        yield from zip((frame.packet for frame in group), is_decoded, strict=True)

    def _is_still(self, group: list[CodedFrame]) -> bool:
        """Return whether nothing moves in a group that begins with its own keyframe, by the sizes of its packets."""
        sizes = [frame.packet.size for frame in group[1:]]
        if not sizes or not group[0].is_reset or not group[0].packet.is_keyframe:
            return False
        # an encoder refines a still picture now and then, but a person who moves makes every packet larger
        num_larger = sum(size > self._still_bytes for size in sizes)
        return num_larger <= _MOST_REPAIRS * len(sizes) and max(sizes) <= _LARGEST_REPAIR * self._still_bytes

    def _wants(self, packet: av.Packet) -> bool:
        """Return True when the frame of the packet is sampled. Call this once for each frame, in order of time."""
        self._index += 1
        return self._schedule.sampler.wants(self._index - 1, self._schedule.clock.time_s(packet.pts, packet.duration))


def _length_s(first: av.Packet, last: av.Packet) -> float:
    """Return the seconds from the begin of one packet's frame to the end of another's."""
    return float((last.pts - first.pts + (last.duration or 0)) * first.time_base)
