"""Exact times of video frames, and their sampling. Fractions only, so that 23.976 fps stays exact."""

from collections.abc import Iterable
from copy import copy
from fractions import Fraction
from math import floor
from typing import NamedTuple

from maskbatch.settings import SamplingSettings
from maskbatch.types import ReaderState

DEFAULT_FPS = Fraction(25)
# a longer gap between frames means damaged time stamps; a camera that waits for movement may wait long
MOST_GAP_S = Fraction(24 * 3600)
# a damaged stretch of time stamps ends within this time; a longer one is another recording, joined to the first
_DAMAGE_S = Fraction(1)
# limits the memory for a file whose time stamps are useless
_MOST_PIECES = 1000


class Piece(NamedTuple):
    """A correction of time stamps: `offset` is added to all stamps, beginning with the frame with stamp `pts`; in ticks."""

    pts: int
    offset: int


class FrameClock:
    """The times of a video's frames, in order, as strictly rising seconds from its start.

    `pieces` are the corrections, which the stamps of the sound need too. The first piece begins at the start. Another
    piece begins at each frame whose stamp does not continue the stamps before.
    """

    def __init__(self, start_s: Fraction, time_base: Fraction, fps: Fraction) -> None:
        """Start at `start_s`, the video's first time in seconds. `time_base` is the length of a tick in seconds."""
        self.num_jumps = 0
        self._time_base = time_base
        self._step_s = 1 / fps
        self._last_s: Fraction | None = None
        self._next_s = Fraction(0)
        start = round(start_s / time_base)
        self._first = self.pieces = (Piece(start, -start),)

    def state(self) -> tuple[str | None, str, tuple[Piece, ...]]:
        """Return the arguments of `restore`: the last time, the expected next time (seconds as exact text), the pieces."""
        return None if self._last_s is None else str(self._last_s), str(self._next_s), self.pieces

    @property
    def end_s(self) -> float:
        """Seconds up to which frames have a time: the end of the last frame."""
        return float(self._next_s)

    def restore(self, last_s: str | None, next_s: str, pieces: Iterable[tuple[int, int]] = ()) -> None:
        """Take the state of another clock of the same video. Without pieces, the state is that of the start."""
        self._last_s, self._next_s = None if last_s is None else Fraction(last_s), Fraction(next_s)
        self.pieces = tuple(Piece(*piece) for piece in pieces) or self._first

    def is_stamp(self, pts: int | None, time_s: Fraction) -> bool:
        """Return True when `time_s` equals the uncorrected time stamp, and so did all times before."""
        return pts is not None and len(self.pieces) == 1 and self._stamped_s(pts, self.pieces[0]) == time_s

    def time_s(self, pts: int | None, duration: int | None) -> Fraction:
        """Return the seconds of the frame with time stamp `pts` (or None) and `duration`, both in ticks.

        A stamp that is a frame or more before the last stamp, or more than a day after it, begins a new piece. In that
        piece, this frame follows the last frame. `num_jumps` counts jumps ahead.
        """
        time_s = self._next_s if pts is None else self._piece_s(pts)
        if self._last_s is not None and time_s <= self._last_s:
            time_s = self._last_s + self._time_base  # a repeated stamp is moved by one tick
        self._last_s = time_s
        duration_s = (duration or 0) * self._time_base
        self._next_s = time_s + (duration_s if 0 < duration_s <= MOST_GAP_S else self._step_s)
        return time_s

    def _piece_s(self, pts: int) -> Fraction:
        """Return the time of a stamp by its piece, which may begin with this stamp."""
        *before, piece = self.pieces
        offsets = [piece.offset]
        if before and self._next_s - self._stamped_s(piece.pts, piece) <= _DAMAGE_S:
            offsets.append(before[-1].offset)
        fitting = [offset for offset in offsets if self._fits((pts + offset) * self._time_base)]
        if not fitting:
            self.num_jumps += self._stamped_s(pts, piece) - (self._last_s or 0) > MOST_GAP_S
        offset = min(fitting, default=round(self._next_s / self._time_base) - pts)
        if offset != piece.offset:
            # the last of too many pieces is replaced
            earlier = () if self._last_s is None else self.pieces[: _MOST_PIECES - 1]
            self.pieces = (*earlier, Piece(pts, offset))
        return (pts + offset) * self._time_base

    def _stamped_s(self, pts: int, piece: Piece) -> Fraction:
        return (pts + piece.offset) * self._time_base

    def _fits(self, time_s: Fraction) -> bool:
        """Return True when a frame at `time_s` continues the frames before."""
        if self._last_s is None:
            return 0 <= time_s <= MOST_GAP_S
        return -self._step_s < time_s - self._last_s <= MOST_GAP_S


class Sampler:
    """The choice of frames: every n-th, or the first frame at or after each multiple of 1 / sample_fps seconds.

    The only state is `num_due`, the number of multiples passed so far. With `is_gated`, a gate chooses among these
    frames.
    """

    def __init__(self, sampling: SamplingSettings, time_base: Fraction) -> None:
        self.is_gated = sampling.is_gated
        self._every = sampling.every
        self._sample_fps = None if sampling.sample_fps is None else Fraction(str(sampling.sample_fps))
        # some containers round times to 1 ms, so a frame may be early by less than a tick
        self._slack_s = min(time_base, Fraction(1, 1000))
        self.num_due = 0

    @property
    def wants_all(self) -> bool:
        """True when all frames are chosen."""
        return self._sample_fps is None and self._every == 1

    def wants(self, index: int, time_s: Fraction) -> bool:
        """Return True when the frame number `index` at `time_s` is chosen. Call this once for every frame, in order."""
        if self._sample_fps is None:
            return index % self._every == 0
        multiple = floor((time_s + self._slack_s) * self._sample_fps)
        if multiple < self.num_due:
            return False
        self.num_due = multiple + 1
        return True


class Schedule(NamedTuple):
    """The times of a video's frames, and the choice of frames by these times."""

    clock: FrameClock
    sampler: Sampler

    def copied(self) -> "Schedule":
        """Return a schedule in the same state, which then goes its own way."""
        return Schedule(copy(self.clock), copy(self.sampler))

    def restore(self, start: ReaderState | None) -> None:
        """Take the state before the frame of `start`, or before the first frame."""
        if start is None:
            self.clock.restore(None, "0")
            self.sampler.num_due = 0
        else:
            self.clock.restore(start.last_s, start.next_s, start.pieces)
            self.sampler.num_due = start.num_due
