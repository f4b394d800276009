"""Cuts: the moments at which a video shows another scene. Arrays only.

Two frames are compared as small grey pictures by normalised correlation, which a change of light does not lower.
"""

import cv2
import numpy as np

SIZE = (32, 18)  # width, height
# samples across one cell of the small picture
_SAMPLES = 6
# frames of one camera correlate by more than 0.8, also when somebody walks past it; frames of two scenes hardly at all
_LEAST_CORRELATION = 0.5
# a picture with less contrast than this shows nothing to compare: black, fog, a hand before the camera
_LEAST_CONTRAST = 4.0


def small_picture(image: np.ndarray) -> np.ndarray:
    """Return `image` (H, W, 3) uint8 RGB as a small grey picture (18, 32) uint8."""
    steps = [max(1, have // (want * _SAMPLES)) for have, want in zip(image.shape[:2], SIZE[::-1], strict=True)]
    thin = np.ascontiguousarray(image[:: steps[0], :: steps[1]])
    return cv2.resize(cv2.cvtColor(thin, cv2.COLOR_RGB2GRAY), SIZE, interpolation=cv2.INTER_AREA)


def is_cut(before: np.ndarray | None, now: np.ndarray) -> bool:
    """Return True when the small pictures `before` and `now` show two scenes. None, or a picture without contrast: False."""
    if before is None:
        return False
    first, second = before.astype(np.float64).ravel(), now.astype(np.float64).ravel()
    if min(first.std(), second.std()) < _LEAST_CONTRAST:
        return False
    return float(np.corrcoef(first, second)[0, 1]) < _LEAST_CORRELATION
