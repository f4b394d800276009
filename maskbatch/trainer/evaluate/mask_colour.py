"""The main colour of the lower face, which is the colour of the mask on a masked face. Arrays only."""

import numpy as np

from maskbatch.trainer.evaluate.patches import UNKNOWN, Patch, patch_lab

COLOURS = ("white", "blue or green", "black", "skin or pink", "other", UNKNOWN)
# from the nose tip to the chin
_LOWER_FACE = (Patch(-0.4, 0.6, 0.4, 1.25),)
# minimum share of points for a colour to name the mask; patterns are `other`
_LEAST_SHARE = 0.5


def mask_colour(image: np.ndarray, landmarks: np.ndarray) -> str:
    """Return the colour of a lower face, one of `COLOURS`; also `other` if no colour covers half of it.

    Args:
        image: (H, W, 3) uint8 sRGB.
        landmarks: (5, 2) in pixels of the image, see `patch_lab`. Without landmarks, the colour is not known.
    """
    lab = patch_lab(image, landmarks, _LOWER_FACE)
    if not len(lab):
        return UNKNOWN
    share = np.bincount(_colour_numbers(lab), minlength=len(COLOURS)) / len(lab)
    return COLOURS[share.argmax()] if share.max() >= _LEAST_SHARE else "other"


def _colour_numbers(lab: np.ndarray) -> np.ndarray:
    """Return the index in `COLOURS` (N,) of colours (N, 3) in L*a*b*. The limits were set by eye on masks in photos."""
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
    black = (lightness < 12) | ((lightness < 25) & (chroma < 20)) | ((lightness < 35) & (chroma < 12))
    blue = (chroma >= 8) & (hue >= 170) & (hue <= 300)
    skin = (chroma >= 10) & (chroma < 55) & (lightness >= 30) & ((hue <= 80) | (hue >= 340))
    white = (chroma < 12) & (lightness >= 55)
    return np.select([black, blue, skin, white], [2, 1, 3, 0], 4)
