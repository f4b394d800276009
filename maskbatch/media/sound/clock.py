"""The corrected times of a video's sound."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

import av

from maskbatch.media.video.clock import MOST_GAP_S, Piece

# containers store packets of the same moment this far apart
_NEAR_S = Fraction(2)
# a larger distance from the picture means an interruption of the sound
_MOST_APART_S = Fraction(10)
# sound may overlap the sound before it by this much; the overlap is cut
_OVERLAP_S = Fraction(1)
# after a jump of the picture's stamps, this many packets may come before the one that begins the new piece
_MOST_REORDERED = 32


class SoundClock:
    """The times of sound packets, in seconds of the annotated video.

    Stamps repeat where recordings were joined, and only the order in the file shows the recording of a packet. The
    clock therefore sees the packets of picture and sound in that order. Near a joint, a packet belongs to the piece in
    which it follows the packet before, so that the sound is continuous.
    """

    def __init__(self, pieces: Sequence[Piece], time_base: Fraction) -> None:
        """Take the `pieces` of the picture's `FrameClock`; `time_base` is the length in seconds of a tick of its stamps."""
        self._pieces, self._time_base = pieces, time_base
        self._starts_s = [(piece.pts + piece.offset) * time_base for piece in pieces]
        self._at = 0  # the current piece of the picture
        self._picture_s = self._starts_s[0]
        self._last_dts: int | None = None
        self._num_after_jump = _MOST_REORDERED
        self._next_s: Fraction | None = None
        self._own_s = Fraction(0)

    def see_picture(self, packet: av.Packet) -> None:
        """Update the picture's piece from a packet of the picture."""
        if packet.pts is None:
            return
        dts = packet.pts if packet.dts is None else packet.dts
        is_jump = self._last_dts is not None and not 0 < (dts - self._last_dts) * self._time_base <= MOST_GAP_S
        self._last_dts = dts
        self._num_after_jump = 0 if is_jump else self._num_after_jump + 1
        if self._num_after_jump < _MOST_REORDERED:
            following = range(self._at + 1, len(self._pieces))
            found = next((number for number in following if self._pieces[number].pts == packet.pts), None)
            if found is None:
                return  # the packet belongs to another recording
            self._at, self._num_after_jump = found, _MOST_REORDERED
        self._picture_s = (packet.pts + self._pieces[self._at].offset) * self._time_base

    def time_s(self, stamp_s: Fraction | None, duration_s: Fraction) -> Fraction:
        """Return the seconds of a sound packet with a time stamp (None: directly after the last packet) and duration."""
        follows_s = self._picture_s if self._next_s is None else self._next_s
        time_s = follows_s if stamp_s is None else self._placed_s(stamp_s, follows_s)
        self._next_s = time_s + duration_s
        return time_s

    def _placed_s(self, stamp_s: Fraction, follows_s: Fraction) -> Fraction:
        is_going_on = self._next_s is not None and abs(follows_s - self._picture_s) <= _MOST_APART_S
        near_s = follows_s if is_going_on else self._picture_s
        # sound that begins, or was interrupted, belongs to the recording of the current picture
        pieces = self._around() if is_going_on else [self._pieces[self._at]]
        choices = [
            (stamp_s + piece.offset * self._time_base + own_s, own_s) for piece in pieces for own_s in (0, self._own_s)
        ]
        time_s, self._own_s = min(choices, key=lambda choice: abs(choice[0] - near_s))
        least_s = self._picture_s - MOST_GAP_S if self._next_s is None else self._next_s - _OVERLAP_S
        if least_s <= time_s <= max(follows_s, self._picture_s) + MOST_GAP_S:
            return time_s
        # sound that is damaged, or on another clock than the picture, begins at the start of the picture
        placed_s = self._starts_s[0] if self._next_s is None else near_s
        self._own_s += placed_s - time_s
        return placed_s

    def _around(self) -> list[Piece]:
        """Return the current piece of the picture, and the pieces before and after if they are near."""
        begin = bisect_right(self._starts_s, self._picture_s - _NEAR_S) - 1
        end = bisect_right(self._starts_s, self._picture_s + _NEAR_S)
        return list(self._pieces[max(begin, 0) : end]) or [self._pieces[self._at]]
