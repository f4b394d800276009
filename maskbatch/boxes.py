"""Pure geometry on (N, 4) arrays of boxes, xyxy in pixels. numpy only."""

from dataclasses import dataclass

import numpy as np

# boxes whose overlaps with each other are in memory at once
_BLOCK = 512


def area(xyxy: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4); a box turned inside out has area 0."""
    sides = np.clip(xyxy[..., 2:] - xyxy[..., :2], 0, None)
    return sides[..., 0] * sides[..., 1]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (..., N, M) of boxes (..., N, 4) and (..., M, 4); 0 where both are empty."""
    top_left = np.maximum(first[..., :, None, :2], second[..., None, :, :2])
    bottom_right = np.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(first)[..., :, None] + area(second)[..., None, :] - intersection
    return intersection / np.maximum(union, np.finfo(np.float32).tiny)


def nms(xyxy: np.ndarray, score: np.ndarray, row: np.ndarray, max_iou: float) -> np.ndarray:
    """Suppress boxes that overlap a better one of the same image (greedy non-maximum suppression).

    `xyxy` (N, 4), `score` (N,), `row` (N,) the image each box lies in. Returns the indices (K,) of the boxes kept, by
    row, then descending score. Memory grows with N, not with its square: no matrix is larger than N x 512.
    """
    order = np.lexsort((-score, row))
    _, starts = np.unique(row[order], return_index=True)
    parts = [part[_best(xyxy[part], max_iou)] for part in np.split(order, starts[1:])]
    return np.concatenate(parts)


def _best(xyxy: np.ndarray, max_iou: float) -> np.ndarray:
    """Which boxes (N, 4) of one image, best first, greedy suppression keeps: (N,) bool, block after block."""
    keep = np.zeros(len(xyxy), bool)
    for start in range(0, len(xyxy), _BLOCK):
        block = xyxy[start : start + _BLOCK]
        is_free = ~(iou(xyxy[:start][keep[:start]], block) >= max_iou).any(axis=0)
        keep[start + np.flatnonzero(is_free)] = _best_of_block(block[is_free], max_iou)
    return keep


def _best_of_block(xyxy: np.ndarray, max_iou: float) -> np.ndarray:
    """The same by iterating the suppression matrix until it stands still, which takes as many rounds as the longest chain
    of overlaps (Cluster-NMS, Zheng et al. 2020, arXiv:2005.03572)."""
    suppresses = np.triu(iou(xyxy, xyxy) >= max_iou, k=1)
    keep = np.ones(len(xyxy), bool)
    while True:
        kept = ~(suppresses & keep[:, None]).any(axis=0)
        if (kept == keep).all():
            return keep
        keep = kept


def clip(xyxy: np.ndarray, width: np.ndarray | int, height: np.ndarray | int) -> np.ndarray:
    """Boxes (N, 4) cut to their image; `width` and `height` in pixels, one number or (N,)."""
    limit = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    return np.clip(xyxy, 0, limit).astype(xyxy.dtype)


def square(xyxy: np.ndarray, margin: float) -> np.ndarray:
    """Squares (N, 4) around the boxes' centres; the side is the longer side of the box times (1 + 2 * margin)."""
    centre = (xyxy[..., :2] + xyxy[..., 2:]) / 2
    half = (xyxy[..., 2:] - xyxy[..., :2]).max(axis=-1, keepdims=True) * (0.5 + margin)
    return np.concatenate([centre - half, centre + half], axis=-1)


def size_px(xyxy: np.ndarray) -> np.ndarray:
    """Face size (N,) in pixels: the geometric mean of width and height, the measure of every table by size."""
    return np.sqrt(area(xyxy))


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How an image was fitted into a canvas: scaled by (`scale_x`, `scale_y`), put in the top left corner."""

    scale_x: float
    scale_y: float
    width: int
    height: int

    def back(self, points: np.ndarray) -> np.ndarray:
        """Canvas points (..., 2) or boxes (..., 4) in pixels -> pixels of the original image."""
        scale = np.array([self.scale_x, self.scale_y], points.dtype)
        return points / np.tile(scale, points.shape[-1] // 2)


def letterbox(width: int, height: int, longest_px: int) -> Letterbox:
    """The scaling that makes an image's longest side `longest_px`; sides are whole pixels, at least 1."""
    scale = longest_px / max(width, height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    return Letterbox(new_width / width, new_height / height, new_width, new_height)
