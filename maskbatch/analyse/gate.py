"""The gate: the frames of a video that are worth a look. Arrays only.

A small grey picture of each candidate is compared with that of the last frame that was looked at, so that slow changes add
up. What counts as a change follows from the camera's own noise, learned cell by cell: a flickering lamp and a clock in the
picture are noise after some seconds. So is rain, which changes some cells in every part of the picture. The picture alone
decides, so that the same frames are looked at on every machine. Somebody who stands still is
looked at now and then; any movement, as of a mask taken off, wakes the gate.
"""

import numpy as np

from maskbatch.settings import CANDIDATES_PER_S

# seconds without movement after which the gate falls asleep, and between two looks of a sleeping gate
_AWAKE_S, _QUIET_S = 1.5, 2.0
# a cell has changed when it differs by _FACTOR times its mean noise and _LEAST grey values more
_FACTOR, _LEAST = 5.0, 5.0
# noise of a camera that is not known yet; weight of a new difference; a difference counts up to this multiple of the noise
_FIRST_NOISE, _WEIGHT, _MOST = 1.5, 0.1, 4.0
# a cell that has changed in more than _OFTEN of the candidates of about 20 s (each weighs _SLOW) holds a clock or a lamp:
# only a change that is _LARGER than its largest one, which fades by _FADES a candidate, is worth a look
_OFTEN, _SLOW, _LARGER, _FADES = 0.05, 1 / 120, 1.2, 0.995
# rain: the largest change in each of _PARTS x _PARTS parts of the picture, its median over the parts. A change must be
# _ABOVE times as large as this median's mean over some seconds, which is at most _MOST_RAIN: a swinging camera is no rain
_PARTS, _ABOVE, _MOST_RAIN, _RAIN_WEIGHT = 6, 2.5, 12.0, 1 / 30
# grey values by which the light must change at once to be worth a look
_LIGHT = 12.0


class Gate:
    """The choice of candidates to look at. Frames of one video come in order; `restart` forgets all but the settings.

    Example:
        >>> gate, still = Gate(), np.full((54, 96), 90, np.uint8)
        >>> [gate(still, time_s / 2) for time_s in range(9)]
        [True, True, True, False, False, False, True, False, False]
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start afresh, as at the first frame. A segment of a video does, so that it can be continued without any state."""
        self._looked: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._noise: np.ndarray | None = None
        self._rate: np.ndarray | None = None
        self._largest: np.ndarray | None = None
        self._rain = 0.0
        self._awake_until_s = self._last_look_s = -np.inf

    def __call__(self, luma: np.ndarray, time_s: float) -> bool:
        """Return True when the candidate at `time_s` is looked at.

        Args:
            luma: the small grey picture (H, W) uint8: a cell for each half of the smallest face.
            time_s: seconds from the start of the video.
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
        # half a candidate's time of slack: time stamps are rounded
        is_look = time_s < self._awake_until_s or time_s - self._last_look_s >= _QUIET_S - 0.5 / CANDIDATES_PER_S
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
        # one cell alone is noise; a face has at least two beside each other
        return bool((has_moved[1:] & has_moved[:-1]).any() or (has_moved[:, 1:] & has_moved[:, :-1]).any())

    def _threshold(self) -> np.ndarray:
        return _FACTOR * self._noise + _LEAST

    def _learn(self, now: np.ndarray) -> None:
        """Learn from the difference between two candidates. A large one counts in part for the noise: movement that passes
        by teaches little, and movement that never ends becomes noise."""
        difference = now - self._before
        difference = np.abs(difference - np.median(difference))
        self._rain += _RAIN_WEIGHT * (min(_of_all_parts(difference), _MOST_RAIN) - self._rain)
        self._rate += _SLOW * ((difference > self._threshold()) - self._rate)
        self._largest = np.maximum(_FADES * self._largest, difference)
        self._noise += _WEIGHT * (np.minimum(difference, _MOST * self._noise + 1) - self._noise)


def _of_all_parts(difference: np.ndarray) -> float:
    """Return the median, over the parts of a picture, of the largest value (H, W) in each part."""
    rows, columns = (np.unique(np.arange(_PARTS) * length // _PARTS) for length in difference.shape)
    return float(np.median(np.maximum.reduceat(np.maximum.reduceat(difference, rows, axis=0), columns, axis=1)))
