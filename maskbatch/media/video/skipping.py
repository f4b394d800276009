"""Keeps packets whose frames nobody wants from the decoder, as far as the codec allows.

What comes out of a whole file is what decoding all of it gives. Of a damaged one, damage is found in what is decoded: in
the frames that are wanted, and those they depend on. What is left out is planned from the packets of one group of
pictures (a keyframe and what follows) at a time; each frame that comes out of the decoder is held against that plan.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import av

from maskbatch.media.photo.headers import jpeg_is_whole
from maskbatch.media.video.clock import FrameClock, Sampler
from maskbatch.types import ReaderState

# packets wait in memory until their group is whole; a longer one is not waited for
_MOST_PACKETS, _MOST_BYTES = 600, 64 << 20
# codecs without references between frames, and whether a packet looks like one of them
_INTRA_ONLY = {"mjpeg": jpeg_is_whole, "prores": lambda content: content[4:8] == b"icpf"}
# where avcC and hvcC say how long the lengths of NAL units are
_LENGTH_AT = {"h264": 4, "hevc": 21}
# types of NAL units: slices of a picture, those of a keyframe that clears all references, parameter sets, all understood
_H264_SLICES, _H264_IDR, _H264_SETS = range(1, 6), 5, frozenset((7, 8, 13, 15))
_H264_KNOWN = {*_H264_SLICES, *_H264_SETS, 6, 9, 12}
_HEVC_SLICES, _HEVC_IDR, _HEVC_SETS = range(32), frozenset((19, 20)), frozenset((32, 33, 34))
_HEVC_KNOWN = {*_HEVC_SLICES, *_HEVC_SETS, 35, 38, 39, 40, 62, 63}
# pictures that no other of their layer refers to
_HEVC_NO_BASE = range(0, 16, 2)


class Misjudged(Exception):
    """Frames come out otherwise than planned: the video is to be read again, with every packet decoded."""


class Skipped(NamedTuple):
    """Stands for a frame that was not decoded; as that frame's, `pts` and `duration` are in ticks."""

    pts: int
    duration: int


@dataclass(slots=True)
class _Unit:
    """A packet, which is one frame. `is_reset`: nothing from here on refers to what was before; `is_base`: frames behind it
    may refer to it; `is_needed`: it is decoded, wanted or not; `layer`: all frames of higher layers may refer to it."""

    packet: av.Packet
    is_reset: bool = True
    is_base: bool = False
    is_needed: bool = False
    layer: int = 0


class Skipping:
    """Chooses which packets of a video are decoded, and puts what stands for the others in their place.

    A packet is left out when its frame is not wanted and no wanted one depends on it. Only packets of one frame each with
    sound time stamps are, of H.264 and HEVC as MP4 and Matroska hold them, MJPEG and ProRes; from the first that is
    otherwise, all are decoded. A frame left out counts as decoded; of damage in its packet, only that to the lengths and
    types of what it holds is seen. Where that packet gives no frame, decoding all numbers those after it lower.
    """

    def __init__(
        self,
        codec: av.VideoCodecContext,
        clock: FrameClock,
        sampler: Sampler,
        may_skip: bool,
        start: ReaderState | None = None,
    ) -> None:
        """`clock` and `sampler` are as before the frame of `start` (None: the first); all frames before it are decoded."""
        self.num_skipped = 0
        self.is_planned = False  # whether the frame that came last was: others around it may have been left out
        self._codec = codec.name
        self._index, self._begin = (0, -math.inf) if start is None else (start.index, start.pts)
        self._clock, self._sampler = copy(clock), copy(sampler)
        self._last_pts = -math.inf
        # (pts, duration, whether it is decoded) of each frame that is planned and not yet out
        self._expected: deque[tuple[int, int, bool]] = deque()
        extradata = codec.extradata or b""
        is_framed = codec.name in _LENGTH_AT and len(extradata) > 22 and extradata[0] == 1
        self._length_size = 1 + (extradata[_LENGTH_AT[codec.name]] & 3) if is_framed else 0
        # PyAV before 16 does not tell where a video's parameters change
        is_known = hasattr(av.Packet, "has_sidedata") and (is_framed or codec.name in _INTRA_ONLY)
        self._is_on = may_skip and is_known and not sampler.wants_all

    def chosen(self, packets: Iterable[av.Packet | None]) -> Iterator[tuple[av.Packet | None, bool]]:
        """Each packet (None or an empty one: the end) and whether to decode it; runs a group of pictures ahead."""
        group: list[_Unit] = []
        num_bytes = 0
        for packet in packets:
            is_end = packet is None or (packet.size == 0 and packet.pts is None)
            unit = self._unit(packet) if self._is_on and not is_end else None
            num_bytes += 0 if unit is None else packet.size
            if not is_end and (unit is None or len(group) == _MOST_PACKETS or num_bytes > _MOST_BYTES):
                self._is_on = False
            if group and (unit is None or not self._is_on or packet.is_keyframe):
                yield from self._planned(group, unit is None or unit.is_reset)
                group, num_bytes = [], 0
            if unit is not None and self._is_on:
                group.append(unit)
            else:
                yield packet, True

    def in_place(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame | Skipped]:
        """The frames that the decoder gave, and what stands for those left out, in order. Raises Misjudged."""
        for frame in frames:
            yield from self._left_out()
            self.is_planned = bool(self._expected)
            if frame.pts is not None and frame.pts < self._begin:
                pass
            elif self._expected:
                self._begin = -math.inf
                is_sound = not frame.interlaced_frame and not frame.is_corrupt
                if not is_sound or (frame.pts, frame.duration or 0, True) != self._expected.popleft():
                    raise Misjudged
            elif self._is_on:
                raise Misjudged
            yield frame
        yield from self._left_out()

    def check(self) -> None:
        """Raises Misjudged when a frame is still to come: asked where a packet cannot be decoded, and at the end."""
        if self._expected:
            raise Misjudged

    def _left_out(self) -> Iterator[Skipped]:
        while self._expected and not self._expected[0][2]:
            yield Skipped(*self._expected.popleft()[:2])

    def _planned(self, group: list[_Unit], is_closed: bool) -> Iterator[tuple[av.Packet, bool]]:
        """The packets of a group, and whether to decode each; `is_closed`: what follows does not need it."""
        begin = self._begin if self._last_pts == -math.inf else -math.inf
        shown = sorted(
            (unit.packet for unit in group if not unit.packet.is_discard and unit.packet.pts >= begin),
            key=lambda packet: packet.pts,
        )
        rises = all(before < after for before, after in pairwise([self._last_pts, *(packet.pts for packet in shown)]))
        # frames that lead the first keyframe but refer to what was before it never come out
        is_first = self._last_pts == self._begin == -math.inf
        if not (self._is_on and rises and (group[0].is_reset or not is_first)):
            self._is_on = False
            yield from ((unit.packet, True) for unit in group)
            return
        wanted = {packet.pts for packet in shown if self._wants(packet)}
        needed = [unit.is_needed or unit.packet.pts < begin or unit.packet.pts in wanted for unit in group]
        last = max((at for at, is_needed in enumerate(needed) if is_needed or not is_closed), default=-1)
        top = max(unit.layer for unit in group)
        is_decoded = [
            is_needed or (at < last and (unit.is_base or unit.layer < top))
            for at, (unit, is_needed) in enumerate(zip(group, needed, strict=True))
        ]
        left_out = {unit.packet.pts for unit, yes in zip(group, is_decoded, strict=True) if not yes}
        self._expected.extend((packet.pts, packet.duration or 0, packet.pts not in left_out) for packet in shown)
        self._last_pts = shown[-1].pts if shown else self._last_pts
        self.num_skipped += len(left_out)
        yield from zip((unit.packet for unit in group), is_decoded, strict=True)

    def _wants(self, packet: av.Packet) -> bool:
        """Whether the frame of the packet is analysed; to be asked for each, in order of time."""
        self._index += 1
        return self._sampler.wants(self._index - 1, self._clock.time_s(packet.pts, packet.duration))

    def _unit(self, packet: av.Packet) -> _Unit | None:
        """What the packet is; None where it is not like those that are understood."""
        if packet.pts is None or packet.is_corrupt or packet.has_sidedata("new_extradata"):
            return None
        content = memoryview(packet)
        if not self._length_size:
            unit = _Unit(packet) if _INTRA_ONLY[self._codec](bytes(content)) else None
        else:
            read = _h264_unit if self._codec == "h264" else _hevc_unit
            unit = read(packet, list(_nal_heads(content, self._length_size)))
        if unit is not None:
            unit.is_needed |= packet.is_discard  # no frame comes out, but others may refer to it
        return unit


def _h264_unit(packet: av.Packet, heads: list[int]) -> _Unit | None:
    kinds = [head >> 8 & 31 for head in heads]
    slices = [head for head, kind in zip(heads, kinds, strict=True) if kind in _H264_SLICES]
    if not slices or any(head >> 15 for head in heads) or not {*kinds} <= _H264_KNOWN:
        return None
    is_reset = all(head >> 8 & 31 == _H264_IDR for head in slices)
    return _Unit(packet, is_reset, any(head >> 13 & 3 for head in slices), not _H264_SETS.isdisjoint(kinds))


def _hevc_unit(packet: av.Packet, heads: list[int]) -> _Unit | None:
    kinds = [head >> 9 & 63 for head in heads]
    slices = [kind for kind in kinds if kind in _HEVC_SLICES]
    # the highest bit is damage, bits 3 to 8 another view of the scene
    if not slices or any(head >> 15 or head >> 3 & 63 for head in heads) or not {*kinds} <= _HEVC_KNOWN:
        return None
    layer = min(head & 7 for head, kind in zip(heads, kinds, strict=True) if kind in _HEVC_SLICES)
    is_base = any(kind not in _HEVC_NO_BASE for kind in slices)
    return _Unit(packet, _HEVC_IDR.issuperset(slices), is_base, not _HEVC_SETS.isdisjoint(kinds), layer)


def _nal_heads(content: memoryview, length_size: int) -> Iterator[int]:
    """The first two bytes of each NAL unit as a number; 0xFFFF, which is no head, where the lengths are damaged."""
    at = 0
    while at < len(content):
        begin = at + length_size
        at = begin + int.from_bytes(content[at:begin], "big")
        yield int.from_bytes(content[begin : begin + 2], "big") if begin + 2 <= at <= len(content) else 0xFFFF
