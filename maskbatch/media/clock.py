"""Exact times of video frames, and which of them are analysed. Fractions only, so that 23.976 fps stays exact."""

from collections.abc import Iterable
from fractions import Fraction
from math import floor
from typing import NamedTuple

from maskbatch.config import SamplingSettings

DEFAULT_FPS = Fraction(25)
# frames further apart than this are not so: their times are damaged (a camera that waits for movement may wait long)
MOST_GAP_S = Fraction(24 * 3600)
# a damaged stamp is over that soon; what lasts longer is another recording, joined to the first
_DAMAGE_S = Fraction(1)
# a file with more pieces has no clock to speak of; memory stays bounded
_MOST_PIECES = 1000


class Piece(NamedTuple):
    """From the frame with the time stamp `pts` on, in the order of the file, `offset` is added to all stamps; in ticks."""

    pts: int
    offset: int


class FrameClock:
    """Turns the time stamps of one video's frames, in order, into strictly rising seconds from its start.

    `pieces` say how, for the sound that has stamps of the same clock: the first counts from the start, and another one
    begins at each frame that does not continue the stamps before it.
    """

    def __init__(self, start_s: Fraction, time_base: Fraction, fps: Fraction) -> None:
        """`start_s` is where the video starts, in its own time; `time_base` the seconds of one tick of a time stamp."""
        self.num_jumps = 0
        self._time_base = time_base
        self._step_s = 1 / fps
        self._last_s: Fraction | None = None
        self._next_s = Fraction(0)
        start = round(start_s / time_base)
        self._first = self.pieces = (Piece(start, -start),)

    def state(self) -> tuple[str | None, str, tuple[Piece, ...]]:
        """The last time given, the one expected next (seconds as exact text), the pieces: what `restore` takes."""
        return None if self._last_s is None else str(self._last_s), str(self._next_s), self.pieces

    def restore(self, last_s: str | None, next_s: str, pieces: Iterable[tuple[int, int]] = ()) -> None:
        """Stand where another clock of the same video stood; without pieces, at its start."""
        self._last_s, self._next_s = None if last_s is None else Fraction(last_s), Fraction(next_s)
        self.pieces = tuple(Piece(*piece) for piece in pieces) or self._first

    def is_stamp(self, pts: int | None, time_s: Fraction) -> bool:
        """Whether `time_s` is just what the time stamp says, and no stamp until then was given another offset."""
        return pts is not None and len(self.pieces) == 1 and self._stamped_s(pts, self.pieces[0]) == time_s

    def time_s(self, pts: int | None, duration: int | None) -> Fraction:
        """Seconds of the frame with time stamp `pts` (or none) and `duration`, both in ticks.

        A stamp a frame or more before the last one, or more than a day after it, begins a new piece, in which this frame
        follows the last one. Jumps ahead are counted in `num_jumps`.
        """
        time_s = self._next_s if pts is None else self._piece_s(pts)
        if self._last_s is not None and time_s <= self._last_s:
            time_s = self._last_s + self._time_base  # a stamp that repeats is moved on by a tick
        self._last_s = time_s
        duration_s = (duration or 0) * self._time_base
        self._next_s = time_s + (duration_s if 0 < duration_s <= MOST_GAP_S else self._step_s)
        return time_s

    def _piece_s(self, pts: int) -> Fraction:
        """The time of a stamp by the piece it belongs to, which may begin with it."""
        *before, piece = self.pieces
        offsets = [piece.offset]
        if before and self._next_s - self._stamped_s(piece.pts, piece) <= _DAMAGE_S:
            offsets.append(before[-1].offset)
        fitting = [offset for offset in offsets if self._fits((pts + offset) * self._time_base)]
        if not fitting:
            self.num_jumps += self._stamped_s(pts, piece) - (self._last_s or 0) > MOST_GAP_S
        offset = min(fitting, default=round(self._next_s / self._time_base) - pts)
        if offset != piece.offset:
            # the last of too many is replaced
            earlier = () if self._last_s is None else self.pieces[: _MOST_PIECES - 1]
            self.pieces = (*earlier, Piece(pts, offset))
        return (pts + offset) * self._time_base

    def _stamped_s(self, pts: int, piece: Piece) -> Fraction:
        return (pts + piece.offset) * self._time_base

    def _fits(self, time_s: Fraction) -> bool:
        """Whether a frame at `time_s` continues those before it."""
        if self._last_s is None:
            return 0 <= time_s <= MOST_GAP_S
        return -self._step_s < time_s - self._last_s <= MOST_GAP_S


class Sampler:
    """Chooses frames: every n-th, or the first one at or after each multiple of 1 / sample_fps seconds.

    `num_due`, the multiples passed so far, is all its state.
    """

    def __init__(self, sampling: SamplingSettings, time_base: Fraction) -> None:
        self._every = sampling.every
        self._sample_fps = None if sampling.sample_fps is None else Fraction(str(sampling.sample_fps))
        # some containers round times to 1 ms; a frame that is early by less than a tick is not early
        self._slack_s = min(time_base, Fraction(1, 1000))
        self.num_due = 0

    @property
    def wants_all(self) -> bool:
        """Whether no frame is passed over, whatever its time."""
        return self._sample_fps is None and self._every == 1

    def wants(self, index: int, time_s: Fraction) -> bool:
        """Whether the frame number `index` at `time_s` is analysed; to be asked for every frame, in order."""
        if self._sample_fps is None:
            return index % self._every == 0
        multiple = floor((time_s + self._slack_s) * self._sample_fps)
        if multiple < self.num_due:
            return False
        self.num_due = multiple + 1
        return True
