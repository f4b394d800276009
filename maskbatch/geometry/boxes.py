"""Geometry of (N, 4) arrays of boxes, xyxy in pixels. numpy only."""

import numpy as np

# number of boxes whose pairwise overlaps are in memory at once
_BLOCK = 512


def area(xyxy: np.ndarray) -> np.ndarray:
    """Return the areas (N,) of boxes (N, 4); a box with a negative side has area 0."""
    sides = np.clip(xyxy[..., 2:] - xyxy[..., :2], 0, None)
    return sides[..., 0] * sides[..., 1]


def centre(xyxy: np.ndarray) -> np.ndarray:
    """Return the centres (..., 2) of boxes (..., 4)."""
    return (xyxy[..., :2] + xyxy[..., 2:]) / 2


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (..., N, M) of boxes (..., N, 4) and (..., M, 4), or 0 where both are empty."""
    top_left = np.maximum(first[..., :, None, :2], second[..., None, :, :2])
    bottom_right = np.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(first)[..., :, None] + area(second)[..., None, :] - intersection
    return intersection / np.maximum(union, np.finfo(np.float32).tiny)


def nms(xyxy: np.ndarray, score: np.ndarray, row: np.ndarray, max_iou: float) -> np.ndarray:
    """Suppress boxes that overlap a better one of the same image (greedy non-maximum suppression).

    `xyxy` is (N, 4), `score` is (N,), `row` (N,) is the image of each box. Returns the indices (K,) of the kept boxes, by
    row, then descending score. Memory grows with N, not with its square: no matrix is larger than N x 512.
    """
    order = np.lexsort((-score, row))
    _, starts = np.unique(row[order], return_index=True)
    parts = [part[_best(xyxy[part], max_iou)] for part in np.split(order, starts[1:])]
    return np.concatenate(parts)


def _best(xyxy: np.ndarray, max_iou: float) -> np.ndarray:
    """Return (N,) bool: the boxes (N, 4) of one image, best first, that greedy suppression keeps. Works block by block."""
    keep = np.zeros(len(xyxy), bool)
    for start in range(0, len(xyxy), _BLOCK):
        block = xyxy[start : start + _BLOCK]
        is_free = ~(iou(xyxy[:start][keep[:start]], block) >= max_iou).any(axis=0)
        keep[start + np.flatnonzero(is_free)] = _best_of_block(block[is_free], max_iou)
    return keep


def _best_of_block(xyxy: np.ndarray, max_iou: float) -> np.ndarray:
    """Do as `_best` for one block, by iterating the suppression matrix until the result no longer changes.

    The number of rounds is the length of the longest chain of overlaps (Cluster-NMS, Zheng et al. 2020, arXiv:2005.03572).
    """
    suppresses = np.triu(iou(xyxy, xyxy) >= max_iou, k=1)
    keep = np.ones(len(xyxy), bool)
    while True:
        kept = ~(suppresses & keep[:, None]).any(axis=0)
        if (kept == keep).all():
            return keep
        keep = kept


def clip(xyxy: np.ndarray, width: np.ndarray | int, height: np.ndarray | int) -> np.ndarray:
    """Return boxes (N, 4) clipped to their image; `width` and `height` in pixels are one number or (N,)."""
    limit = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    return np.clip(xyxy, 0, limit).astype(xyxy.dtype)


def square(xyxy: np.ndarray, margin: float) -> np.ndarray:
    """Return squares (N, 4) around the boxes' centres, with sides of (1 + 2 * margin) times the longer side of the box."""
    middle = centre(xyxy)
    half = (xyxy[..., 2:] - xyxy[..., :2]).max(axis=-1, keepdims=True) * (0.5 + margin)
    return np.concatenate([middle - half, middle + half], axis=-1)


def size_px(xyxy: np.ndarray) -> np.ndarray:
    """Return face sizes (N,) in pixels: the geometric mean of width and height, as in all tables."""
    return np.sqrt(area(xyxy))
