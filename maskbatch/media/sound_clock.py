"""Places a video's sound on the corrected times of its picture."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

import av

from maskbatch.media.clock import MOST_GAP_S, Piece

# containers store packets of one moment that far apart
_NEAR_S = Fraction(2)
# sound that is further from the picture was away, and does not just go on
_MOST_APART_S = Fraction(10)
# sound may start that much before the sound until then ends: the rest of the overlap is cut
_OVERLAP_S = Fraction(1)
# after a jump of the picture's stamps, that many packets may come before the one that begins the new piece
_MOST_REORDERED = 32


class SoundClock:
    """Turns the time stamps of sound packets into seconds of the annotated video.

    Stamps repeat where recordings were joined; only the order of the file tells which recording a packet belongs to. So
    the packets of picture and sound are both shown to the clock, in that order. Near a joint, sound goes on as it sounds
    best: a packet belongs to the piece in which it follows the packet before it.
    """

    def __init__(self, pieces: Sequence[Piece], time_base: Fraction) -> None:
        """`pieces` are those of the picture's `FrameClock`, `time_base` the seconds of one tick of the picture's stamps."""
        self._pieces, self._time_base = pieces, time_base
        self._starts_s = [(piece.pts + piece.offset) * time_base for piece in pieces]
        self._at = 0  # the piece that the picture has reached
        self._picture_s = self._starts_s[0]
        self._last_dts: int | None = None
        self._num_after_jump = _MOST_REORDERED
        self._next_s: Fraction | None = None
        self._own_s = Fraction(0)

    def see_picture(self, packet: av.Packet) -> None:
        """Take note of a packet of the picture."""
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
                return  # its time by this piece would be that of another recording
            self._at, self._num_after_jump = found, _MOST_REORDERED
        self._picture_s = (packet.pts + self._pieces[self._at].offset) * self._time_base

    def time_s(self, stamp_s: Fraction | None, duration_s: Fraction) -> Fraction:
        """Seconds of the sound packet with that time stamp (None: it follows the one before) and duration."""
        follows_s = self._picture_s if self._next_s is None else self._next_s
        time_s = follows_s if stamp_s is None else self._placed_s(stamp_s, follows_s)
        self._next_s = time_s + duration_s
        return time_s

    def _placed_s(self, stamp_s: Fraction, follows_s: Fraction) -> Fraction:
        is_going_on = self._next_s is not None and abs(follows_s - self._picture_s) <= _MOST_APART_S
        near_s = follows_s if is_going_on else self._picture_s
        # sound that begins, or was away for a while, belongs to the recording that the picture has reached
        pieces = self._around() if is_going_on else [self._pieces[self._at]]
        choices = [
            (stamp_s + piece.offset * self._time_base + own_s, own_s) for piece in pieces for own_s in (0, self._own_s)
        ]
        time_s, self._own_s = min(choices, key=lambda choice: abs(choice[0] - near_s))
        least_s = self._picture_s - MOST_GAP_S if self._next_s is None else self._next_s - _OVERLAP_S
        if least_s <= time_s <= max(follows_s, self._picture_s) + MOST_GAP_S:
            return time_s
        # damaged, or of another clock than the picture's: as a whole such sound begins where the picture does
        placed_s = self._starts_s[0] if self._next_s is None else near_s
        self._own_s += placed_s - time_s
        return placed_s

    def _around(self) -> list[Piece]:
        """The pieces that the picture is in, was in a moment ago, or soon will be in."""
        begin = bisect_right(self._starts_s, self._picture_s - _NEAR_S) - 1
        end = bisect_right(self._starts_s, self._picture_s + _NEAR_S)
        return list(self._pieces[max(begin, 0) : end]) or [self._pieces[self._at]]
