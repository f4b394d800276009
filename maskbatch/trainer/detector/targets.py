"""Turn the faces of a view into target maps for CenterFace and weights of its losses. numpy only.

Heatmap targets are those of CornerNet (Law & Deng 2018, arXiv:1808.01244) and CenterNet (Zhou et al. 2019,
arXiv:1904.07850): a Gaussian around each face's peak, as wide as a box may be off and still overlap well.
"""

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.networks.centerface import STRIDE
from maskbatch.trainer.detector.samples import SceneFaces

# channels of the target map, (h, w, CHANNELS) float32
HEAT, HEAT_WEIGHT, SOFT, BOX_WEIGHT, LANDMARK_WEIGHT = 0, 1, 2, 3, 4
SIZE, OFFSET, LANDMARKS = slice(5, 7), slice(7, 9), slice(9, 19)
CHANNELS = 19

_MIN_OVERLAP = 0.7
# a neighbour of the peak may become the peak, so it learns the box too
_NEAR = (-1, 0, 1)


def target_maps(faces: SceneFaces, side_px: int) -> np.ndarray:
    """Return target maps (S/4, S/4, 19) float32 for the faces of a view of S x S pixels.

    HEAT is 1 at the peak of an annotated face and falls off around it. HEAT_WEIGHT is 0 where that loss is left out: in
    boxes with score 0, and in boxes that only the original network found, where SOFT is its score at the centre. SIZE is
    log(size / stride), OFFSET the centre's distance from the middle of the cell, both y, x; LANDMARKS are y, x in box sizes
    from the top left corner. They hold where BOX_WEIGHT and LANDMARK_WEIGHT are 1: in the 3 x 3 cells of a peak.
    """
    cells = side_px // STRIDE
    target = np.zeros((cells, cells, CHANNELS), np.float32)
    target[..., HEAT_WEIGHT] = 1
    for xyxy in faces.xyxy[faces.score < 1]:
        left, top, right, bottom = _cells_of(xyxy, cells)
        target[top:bottom, left:right, HEAT_WEIGHT] = 0
    learnt = np.flatnonzero(faces.score > 0)
    # small faces last: where two centres are neighbours, the smaller face has fewer cells to be found by
    for i in learnt[np.argsort(-boxes.area(faces.xyxy[learnt]), kind="stable")]:
        _put(target, faces.take(np.array([i])))
    return target


def gaussian_radius(width: float, height: float) -> float:
    """Return the radius in cells of the Gaussian of a box of this size, by the formula of CenterNet's code.

    The radius is 2.8 times that of the paper, which divides the root by 2a and not by 2. CenterFace was trained with the
    larger one: on our training scenes its heatmap falls off from a peak as this formula says. With the narrower bell of
    the paper, fine-tuning would first teach the network to doubt every large face.
    """
    total, product = width + height, width * height
    root = np.sqrt((2 * _MIN_OVERLAP * total) ** 2 + 16 * _MIN_OVERLAP * (1 - _MIN_OVERLAP) * product)
    return float(max(0.0, (root - 2 * _MIN_OVERLAP * total) / 2))


def _put(target: np.ndarray, face: SceneFaces) -> None:
    """Put one face, whose peak is inside the view, into the maps, in place."""
    (xyxy,), (landmarks,), (score,), cells = face.xyxy, face.landmarks, face.score, len(target)
    size = np.maximum(xyxy[2:] - xyxy[:2], 1e-3)
    centre = (xyxy[:2] + xyxy[2:]) / 2 / STRIDE
    x, y = np.clip(np.floor(face.peak[0] / STRIDE).astype(int), 0, cells - 1)
    if score < 1:
        target[y, x, SOFT] = score
    else:
        _put_heat(target, (x, y), size / STRIDE)
    points = ((landmarks - xyxy[:2]) / size)[:, ::-1].reshape(10)
    known = np.isfinite(points).all()
    for row in (y + step for step in _NEAR if 0 <= y + step < cells):
        for column in (x + step for step in _NEAR if 0 <= x + step < cells):
            cell = target[row, column]
            cell[SIZE], cell[BOX_WEIGHT] = np.log(size[::-1] / STRIDE), 1
            cell[OFFSET] = centre[1] - row - 0.5, centre[0] - column - 0.5
            cell[LANDMARKS], cell[LANDMARK_WEIGHT] = (points if known else 0), known


def _put_heat(target: np.ndarray, centre: tuple[int, int], size: np.ndarray) -> None:
    """Put the Gaussian of an annotated face into the maps; `centre` (x, y) and `size` (width, height) are in cells."""
    radius = int(gaussian_radius(*size))
    steps = np.arange(-radius, radius + 1)
    bell = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * ((2 * radius + 1) / 6) ** 2)).astype(np.float32)
    (x, y), cells = centre, len(target)
    top, left = max(0, radius - y), max(0, radius - x)
    shown = bell[top : cells - y + radius, left : cells - x + radius]
    part = target[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
    np.maximum(part[..., HEAT], shown, out=part[..., HEAT])
    target[y, x, HEAT_WEIGHT] = 1


def _cells_of(xyxy: np.ndarray, cells: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the cells that a box touches inside the view."""
    low = np.clip(np.floor(xyxy[:2] / STRIDE), 0, cells).astype(int)
    high = np.clip(np.ceil(xyxy[2:] / STRIDE), 0, cells).astype(int)
    return (*low, *high)
