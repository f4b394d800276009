"""Exact times of video frames, and which of them are analysed. Fractions only, so that 23.976 fps stays exact."""

from fractions import Fraction
from math import floor

from maskbatch.settings import SamplingSettings

DEFAULT_FPS = Fraction(25)
# frames further apart than this are not so: their times are damaged (a camera that waits for movement may wait long)
_MOST_GAP_S = Fraction(24 * 3600)


class FrameClock:
    """Turns the time stamps of one video's frames, in order, into strictly rising seconds from its start."""

    def __init__(self, start_s: Fraction, time_base: Fraction, fps: Fraction) -> None:
        """`start_s` is where the video starts, in its own time; `time_base` the seconds of one tick of a time stamp."""
        self.num_jumps = 0
        self._time_base = time_base
        self._start = round(start_s / time_base)
        self._step_s = 1 / fps
        self._last_s: Fraction | None = None
        self._next_s = Fraction(0)

    def state(self) -> tuple[str | None, str]:
        """The last time given and the one expected next, seconds as exact text: what `restore` takes."""
        return None if self._last_s is None else str(self._last_s), str(self._next_s)

    def restore(self, last_s: str | None, next_s: str) -> None:
        """Stand where another clock of the same video stood."""
        self._last_s, self._next_s = None if last_s is None else Fraction(last_s), Fraction(next_s)

    def is_stamp(self, pts: int | None, time_s: Fraction) -> bool:
        """Whether `time_s` is just what the time stamp says, and nothing was moved."""
        return pts is not None and (pts - self._start) * self._time_base == time_s

    def time_s(self, pts: int | None, duration: int | None) -> Fraction:
        """Seconds of the frame with time stamp `pts` (or none) and `duration`, both in ticks.

        A time more than a day after the frame before is taken for damage, and counted in `num_jumps`.
        """
        time_s = self._next_s if pts is None else (pts - self._start) * self._time_base
        time_s = max(time_s, Fraction(0))
        if time_s - (self._last_s or 0) > _MOST_GAP_S:
            self.num_jumps += 1
            time_s = self._next_s
        if self._last_s is not None and time_s <= self._last_s:
            # a stamp that repeats is moved on by a tick; one that jumps back (joined recordings) by a whole frame
            is_jump = self._last_s - time_s >= self._step_s
            time_s = self._next_s if is_jump else self._last_s + self._time_base
        self._last_s = time_s
        duration_s = (duration or 0) * self._time_base
        self._next_s = time_s + (duration_s if 0 < duration_s <= _MOST_GAP_S else self._step_s)
        return time_s


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
