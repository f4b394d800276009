"""Find the frames of a recording whose packets an annotated copy may take as they are, without encoding them again.

Such packets are complete frames of H.264 in MP4, MOV or Matroska, in groups that begin with an IDR picture, which no
later group refers to. "Smart rendering" of video editors does the same; the positions at which copying may end are
those of a closed prefix: the first n packets are the first n frames.
"""

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass, field

import av

from maskbatch.media.video.parameter_sets import OWN_ID, PPS, SPS, nal_units, read_sets
from maskbatch.media.video.skipping import Skipped
from maskbatch.types import Stored

# types of NAL units: slices, an IDR slice, and messages, delimiters, ends and filler, which belong to one frame
_SLICES, _IDR, _HARMLESS = frozenset((1, 5)), 5, frozenset((6, 9, 10, 11, 12))


@dataclass(slots=True)
class _Group:
    """The frames from one keyframe to the next.

    `pts` are the time stamps of its packets in order of time. `highest[n]` is the highest of the first n + 1 packets.
    """

    first_pts: int
    is_sound: bool
    pts: list[int] = field(default_factory=list)
    highest: list[int] = field(default_factory=list)
    num_shown: int = 0


class StoredFrames:
    """The packets of frames. Call `note` for each packet before it is decoded, and `notice` for each frame.

    No frame is `Stored` after a keyframe that is not an IDR picture or goes back in time, after a packet of unknown form,
    and after a frame that the decoder lost, until the next IDR picture; and none at all unless `is_on`.
    """

    def __init__(self, codec: av.VideoCodecContext, is_on: bool = True) -> None:
        # PyAV before 16 does not show where a video's parameters change
        is_known = is_on and codec.name == "h264" and hasattr(av.Packet, "has_sidedata")
        sets = read_sets(codec.extradata) if is_known else None
        self._sets = None if sets is None or OWN_ID in sets.ids else frozenset(sets.sps + sets.pps)
        self._groups: deque[_Group] = deque()
        self._highest = -math.inf
        self._found: dict[int, Stored] = {}

    @property
    def is_on(self) -> bool:
        """Return whether frames of the stream may be `Stored`."""
        return self._sets is not None

    def note(self, packet: av.Packet) -> None:
        """Note a packet of the stream, in the order of the file."""
        if not self.is_on or not packet.size:
            return
        is_idr = self._is_idr(packet)
        if packet.pts is not None and (is_idr or packet.is_keyframe):
            # time stamps find packets again, so each may occur once in a file
            self._groups.append(_Group(packet.pts, bool(is_idr) and packet.pts > self._highest))
        self._highest = max(self._highest, -math.inf if packet.pts is None else packet.pts)
        if not self._groups:
            return
        group = self._groups[-1]
        if packet.pts is None or is_idr is None:
            group.is_sound = False
            return
        insort(group.pts, packet.pts)
        group.highest.append(max(packet.pts, group.highest[-1] if group.highest else packet.pts))

    def is_copied(self, pts: int) -> bool:
        """Return whether all frames of the group from the keyframe at `pts` on can be copied; its packets are noted."""
        return any(group.first_pts == pts and group.is_sound for group in self._groups)

    def notice(self, frame: av.VideoFrame | Skipped) -> None:
        """Notice a frame from the decoder, or in place of one that it leaves out, in the order of time."""
        if frame.pts is None or not self.is_on:
            return
        while len(self._groups) > 1 and frame.pts >= self._groups[1].first_pts:
            before = self._groups.popleft()
            # nothing may be copied across a frame that the decoder lost
            self._groups[0].is_sound &= before.num_shown == len(before.pts)
        if not self._groups or frame.pts < self._groups[0].first_pts:
            return
        group, before = self._groups[0], self._groups[0].num_shown
        group.num_shown += 1
        is_interlaced = not isinstance(frame, Skipped) and frame.interlaced_frame
        group.is_sound &= group.pts[before : before + 1] == [frame.pts] and not is_interlaced
        if not group.is_sound:
            return
        is_first = before == 0 and frame.pts == group.first_pts
        is_exit = is_first or (before > 0 and group.highest[before - 1] < frame.pts)
        self._found[frame.pts] = Stored(frame.pts, is_first, is_exit)

    def of(self, frame: av.VideoFrame | Skipped) -> Stored | None:
        """Return the packet of a noticed frame, once, or None if it cannot be copied."""
        return self._found.pop(frame.pts, None)

    def _is_idr(self, packet: av.Packet) -> bool | None:
        """Return whether the packet is an IDR picture; None for a packet that cannot be copied."""
        if packet.is_corrupt or packet.is_discard or packet.has_sidedata("new_extradata"):
            return None
        slices = set()
        for unit in nal_units(memoryview(packet)):
            kind = unit[0] & 31 if len(unit) else -1
            if kind in _SLICES:
                slices.add(kind)
            elif not (kind in _HARMLESS or (kind in (SPS, PPS) and bytes(unit) in self._sets)):
                return None
        return slices == {_IDR} if len(slices) == 1 else None
