"""Find cuts: the moments at which a video changes to another scene. Arrays only.

Two frames are compared as small pictures, cell by cell, by colour and by brightness without changes of light and
contrast. The constants were measured on rendered cuts and on a clip of a swinging camera (benchmarks/people.py).
"""

import cv2
import numpy as np

SIZE = (32, 18)  # width, height
# samples across one cell of the small picture
_SAMPLES = 6
# a cell has changed when its brightness differs by this share of the contrast, or its colour by this many values
_MOST_BRIGHTNESS, _MOST_COLOUR = 0.5, 8.0
# minimum share of changed cells at a cut, and at a cut where the colour of half the picture changes
_CUT, _CUT_IN_COLOUR = 0.75, 0.5
# minimum correlation within a scene: different scenes hardly correlate, but frames of a swinging camera do
_LEAST_CORRELATION = 0.25
# minimum correlation of the same scene in other light: on rendered clips, lamps that go off or on leave 0.98, and cuts
# at most 0.76
_SAME_SCENE = 0.9
# minimum contrast of a picture for a comparison: a black picture, fog, or a hand before the camera has less
_LEAST_CONTRAST = 4.0
# maximum share of changed cells for a steady camera: cuts between two similar rooms change 0.39 and more, and a
# swinging camera changes up to 0.24 at six frames a second
_STEADY = 0.3
# minimum share of changed cells for pictures that may show other people: a hand-held camera changes up to 0.51 in a sixth
# of a second
_OTHER_SCENE = 0.6


def small_picture(image: np.ndarray) -> np.ndarray:
    """Return a small picture (18, 32, 3) uint8 YCrCb of `image` (H, W, 3) uint8 RGB."""
    steps = [max(1, have // (want * _SAMPLES)) for have, want in zip(image.shape[:2], SIZE[::-1], strict=True)]
    thin = np.ascontiguousarray(image[:: steps[0], :: steps[1]])
    return cv2.cvtColor(cv2.resize(thin, SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)


def compare(before: np.ndarray | None, now: np.ndarray) -> tuple[bool, bool]:
    """Compare the small pictures of two consecutive frames.

    Returns:
        (is_cut, is_steady): the frames show different scenes; the camera stood still between them. Both are False when
        `before` is None or a picture has too little contrast.
    """
    if before is None or min(_contrast(before), _contrast(now)) < _LEAST_CONTRAST:
        return False, False
    changed, colour, correlation = _changes(before, now)
    in_colour = changed >= _CUT_IN_COLOUR and colour > _MOST_COLOUR
    is_cut = ((changed >= _CUT or in_colour) and correlation < _SAME_SCENE) or correlation < _LEAST_CORRELATION
    return is_cut, changed < _STEADY or correlation >= _SAME_SCENE


def is_other_scene(before: np.ndarray, now: np.ndarray) -> bool:
    """Return True when two small pictures may show different scenes, more easily than `compare` finds a cut.

    A picture with contrast also shows another scene than a picture with too little.
    """
    if min(_contrast(before), _contrast(now)) < _LEAST_CONTRAST:
        return _contrast(now) >= _LEAST_CONTRAST
    changed, _, correlation = _changes(before, now)
    return compare(before, now)[0] or (changed >= _OTHER_SCENE and correlation < _SAME_SCENE)


def _contrast(picture: np.ndarray) -> float:
    return float(picture[..., 0].astype(np.float64).std())


def _changes(before: np.ndarray, now: np.ndarray) -> tuple[float, float, float]:
    """Return the share of changed cells, the median change of their colour, and the correlation of the brightness."""
    first, second = before.astype(np.float64), now.astype(np.float64)
    one, other = ((own[..., 0] - own[..., 0].mean()) / own[..., 0].std() for own in (first, second))
    colour = second[..., 1:] - first[..., 1:]
    colour = np.abs(colour - np.median(colour, axis=(0, 1))).max(axis=-1)
    changed = float(((np.abs(other - one) > _MOST_BRIGHTNESS) | (colour > _MOST_COLOUR)).mean())
    return changed, float(np.median(colour)), float((one * other).mean())
