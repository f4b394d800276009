"""Patches of a face, placed by its five landmarks. Arrays only."""

from typing import NamedTuple

import cv2
import numpy as np

# the group of a face whose patch cannot be placed or seen
UNKNOWN = "not known"
# points across and down a patch, for any size of face: medians need no more
_POINTS = 12
# a patch counts when this share of its points lies in the picture
_LEAST_SHARE = 0.5


class Patch(NamedTuple):
    """A rectangle in the coordinates of a face, which turn, lean and shrink with the face.

    The middle between the eyes is (0, 0). One unit to the right is the distance between the eyes, so that the eyes are
    at -0.5 and 0.5. One unit down is the distance from the eyes to the mouth.
    """

    left: float
    top: float
    right: float
    bottom: float


def patch_lab(image: np.ndarray, landmarks: np.ndarray, patches: tuple[Patch, ...]) -> np.ndarray:
    """Return the colours of patches of one face.

    Args:
        image: (H, W, 3) uint8 sRGB.
        landmarks: (5, 2) both eyes, nose tip and both mouth corners, x, y in pixels of the image; NaN where unknown.
        patches: the patches. A patch that lies less than half in the image is left out.

    Returns:
        (K, 3) float32 CIE L*a*b*, L* from 0 to 100; K is 0 without landmarks.

    Example:
        >>> brown = np.full((90, 90, 3), (120, 80, 60), np.uint8)
        >>> points = np.array([(30, 30), (60, 30), (45, 45), (35, 60), (55, 60)], np.float32)
        >>> patch_lab(brown, points, (Patch(-0.4, 0.4, 0.4, 0.8),)).shape
        (144, 3)
    """
    if np.isnan(landmarks).any():
        return np.empty((0, 3), np.float32)
    seen = [points for patch in patches for points in [_pixels(image, _place(landmarks, patch))] if len(points)]
    if not seen:
        return np.empty((0, 3), np.float32)
    rgb = np.concatenate(seen).astype(np.float32) / 255
    return cv2.cvtColor(rgb[None], cv2.COLOR_RGB2Lab)[0]


def _place(landmarks: np.ndarray, patch: Patch) -> np.ndarray:
    """Return the points (K, 2) of a patch in pixels of the image."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    share = (np.arange(_POINTS) + 0.5) / _POINTS
    x = patch.left + (patch.right - patch.left) * share
    y = patch.top + (patch.bottom - patch.top) * share
    across, down = (grid.reshape(-1, 1) for grid in np.meshgrid(x, y))
    return eyes + across * (landmarks[1] - landmarks[0]) + down * (mouth - eyes)


def _pixels(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the pixels (k, 3) at points (K, 2); none if too few points lie in the image."""
    column, row = np.floor(points).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    return image[row[inside], column[inside]] if inside.mean() >= _LEAST_SHARE else image[:0, 0]
