"""Views of a picture: parts, scaled and turned, each with the faces that it must find. Numbers only, no pixels.

`view_plan.py` chooses the views of a picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskbatch.geometry import boxes


@dataclass(frozen=True, slots=True)
class Claim:
    """The faces that a view claims. All lengths are in pixels of the picture.

    The longer side of a claimed face's box is `least_px` to `most_px`. The centre is more than `room_px` away from each
    of the `borders` (left, top, right, bottom). A border is infinite where the picture ends.
    """

    least_px: float = 0.0
    most_px: float = math.inf
    borders: tuple[float, float, float, float] = (-math.inf, -math.inf, math.inf, math.inf)
    room_px: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture, scaled, turned, and put into the top left corner of a canvas.

    Attributes:
        region: left, top, right, bottom in whole pixels of the picture.
        size: (width, height) of the scaled region in pixels, before the turns.
        canvas: (height, width) in pixels.
        turns: number of quarter turns counter-clockwise, as by `np.rot90`.
        claim: the faces that the view claims.
    """

    region: tuple[int, int, int, int]
    size: tuple[int, int]
    canvas: tuple[int, int]
    turns: int = 0
    claim: Claim = Claim()

    def affine(self) -> np.ndarray:
        """Return the matrix (2, 3) that maps a point (x, y, 1) of the canvas to the picture."""
        width, height = self.size
        turned = (
            ((1, 0, 0), (0, 1, 0)),
            ((0, -1, width), (1, 0, 0)),
            ((-1, 0, width), (0, -1, height)),
            ((0, 1, 0), (-1, 0, height)),
        )[self.turns]
        left, top, right, bottom = self.region
        scale = np.array([[(right - left) / width], [(bottom - top) / height]])
        return scale * turned + [[0, 0, left], [0, 0, top]]


def to_picture(views: Sequence[View], number: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points of canvases to the pictures.

    Args:
        views: the view in each canvas.
        number: (N,) the canvas of each row of `points`.
        points: (N, K, 2) x, y in pixels of the canvas.

    Returns:
        (N, K, 2) float32, x, y in pixels of the picture.

    Example:
        >>> view = View((0, 0, 1440, 720), size=(720, 360), canvas=(512, 768))
        >>> to_picture([view], np.array([0]), np.array([[[3.0, 5.0]]])).tolist()
        [[[6.0, 10.0]]]
    """
    affine = np.array([view.affine() for view in views])[number]
    moved = np.einsum("nij,nkj->nki", affine[:, :, :2], points.astype(np.float64)) + affine[:, None, :, 2]
    return moved.astype(np.float32)


def is_claimed(views: Sequence[View], number: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Return which found boxes their views claim.

    Args:
        views: the views, as in `to_picture`.
        number: (N,) the view of each box.
        xyxy: (N, 4) boxes in pixels of the picture.

    Returns:
        (N,) bool.

    Example:
        >>> claim = Claim(borders=(-math.inf, -math.inf, 800, math.inf), room_px=50)  # the second face may be cut at 800
        >>> view = View((0, 0, 800, 600), size=(800, 600), canvas=(608, 896), claim=claim)
        >>> is_claimed([view], np.array([0, 0]), np.array([[0, 0, 40, 50], [780, 0, 800, 50]])).tolist()
        [True, False]
    """
    claims = [view.claim for view in views]
    least, most, room = np.array([(claim.least_px, claim.most_px, claim.room_px) for claim in claims])[number].T
    borders = np.array([claim.borders for claim in claims])[number]
    longer = (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1)
    centre = boxes.centre(xyxy)
    distance = np.concatenate([centre - borders[:, :2], borders[:, 2:] - centre], axis=1).min(axis=1)
    return (longer >= least) & (longer <= most) & (distance > room)
