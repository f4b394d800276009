"""The gate: choose the frames of a video to analyse, by motion. Arrays only.

The gate compares a small grey picture of each candidate with that of the last chosen frame, so that slow changes add
up. The threshold of a change follows from the camera's noise, which the gate learns for each cell. A flickering lamp and
a clock in the picture become noise after some seconds, and so does rain, which changes cells in every part. The choice
depends on the pictures only, so that every machine analyses the same frames. Without movement, the gate chooses a frame
now and then. Any movement, such as a mask being taken off, wakes the gate.
"""

import numpy as np

from maskbatch.settings import CANDIDATES_PER_S, MOST_QUIET_S, QUIET_S

# seconds without movement until the gate sleeps
_AWAKE_S = 1.5
# a cell has changed when it differs by _FACTOR times its mean noise and _LEAST grey values more
_FACTOR, _LEAST = 5.0, 5.0
# initial noise; weight of a new difference; maximum of a difference, as a multiple of the noise
_FIRST_NOISE, _WEIGHT, _MOST = 1.5, 0.1, 4.0
# a cell that changed in a share of more than _OFTEN of the candidates of about 20 s (each weighs _SLOW) shows a clock or a
# lamp. A change of this cell counts only if it is _LARGER times the largest, which fades by this factor per candidate
_OFTEN, _SLOW, _LARGER, _FADES = 0.05, 1 / 120, 1.2, 0.995
# rain is the median, over _PARTS x _PARTS parts of the picture, of the largest change in each part. A change must be
# _ABOVE times the mean rain over some seconds. Rain is at most _MOST_RAIN, because a swinging camera is not rain
_PARTS, _ABOVE, _MOST_RAIN, _RAIN_WEIGHT = 6, 2.5, 12.0, 1 / 30
# minimum change of light, in grey values, for a candidate to be chosen
_LIGHT = 12.0


class Gate:
    """The choice of candidates. The frames of one video must come in order.

    Example:
        >>> gate, still = Gate(), np.full((54, 96), 90, np.uint8)
        >>> [gate(still, time_s / 2) for time_s in range(9)]
        [True, True, True, False, False, False, True, False, False]
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Reset the state. Every segment of a video begins like this, so that a checkpoint needs no state of the gate."""
        self._looked: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._noise: np.ndarray | None = None
        self._rate: np.ndarray | None = None
        self._largest: np.ndarray | None = None
        self._rain = 0.0
        self._awake_until_s = self._last_look_s = -np.inf

    def __call__(self, luma: np.ndarray, time_s: float, rest_s: float = 0.0) -> bool:
        """Return True when the candidate at `time_s` is chosen.

        Args:
            luma: (H, W) uint8, the small grey picture; a cell is half as wide as the smallest face.
            time_s: seconds from the start of the video.
            rest_s: seconds after `time_s` from which no candidate comes, because nothing moves in them.
        """
        now = luma.astype(np.float32)
        if self._looked is None or self._looked.shape != now.shape:
            self._noise = np.full(now.shape, _FIRST_NOISE, np.float32)
            self._rate, self._largest = np.zeros_like(now), np.zeros_like(now)
            is_moving = True
        else:
            is_moving = self._has_changed(now)
            self._learn(now)
        self._before = now
        if is_moving:
            self._awake_until_s = time_s + _AWAKE_S
        quiet_s = time_s - self._last_look_s
        # allow half a candidate's time of slack, because time stamps are rounded
        is_due = quiet_s >= QUIET_S - 0.5 / CANDIDATES_PER_S or quiet_s + rest_s > MOST_QUIET_S
        is_look = is_due or time_s < self._awake_until_s
        if is_look:
            self._looked, self._last_look_s = now, time_s
        return is_look

    def _has_changed(self, now: np.ndarray) -> bool:
        difference = now - self._looked
        light = float(np.median(difference))
        if abs(light) > _LIGHT:
            return True
        change = np.abs(difference - light)
        has_moved = change > np.maximum(self._threshold(), _ABOVE * self._rain)
        has_moved &= (self._rate < _OFTEN) | (change > _LARGER * self._largest)
        # a single cell is noise; a face covers at least two adjacent cells
        return bool((has_moved[1:] & has_moved[:-1]).any() or (has_moved[:, 1:] & has_moved[:, :-1]).any())

    def _threshold(self) -> np.ndarray:
        return _FACTOR * self._noise + _LEAST

    def _learn(self, now: np.ndarray) -> None:
        """Learn noise and rain from the difference between two candidates.

        A large difference counts only in part. Brief movement therefore adds little noise, and endless movement becomes
        noise.
        """
        difference = now - self._before
        difference = np.abs(difference - np.median(difference))
        self._rain += _RAIN_WEIGHT * (min(_of_all_parts(difference), _MOST_RAIN) - self._rain)
        self._rate += _SLOW * ((difference > self._threshold()) - self._rate)
        self._largest = np.maximum(_FADES * self._largest, difference)
        self._noise += _WEIGHT * (np.minimum(difference, _MOST * self._noise + 1) - self._noise)


def _of_all_parts(difference: np.ndarray) -> float:
    """Return the median, over the parts of a picture, of the largest value of `difference` (H, W) in each part."""
    rows, columns = (np.unique(np.arange(_PARTS) * length // _PARTS) for length in difference.shape)
    return float(np.median(np.maximum.reduceat(np.maximum.reduceat(difference, rows, axis=0), columns, axis=1)))
