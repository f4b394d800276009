"""Geometry on boxes."""

import numpy as np
import pytest

from maskbatch.geometry import boxes


def greedy_nms(xyxy, score, max_iou):
    """The textbook loop, one image at a time, to compare with."""
    kept = []
    for i in np.argsort(-score, kind="stable"):
        if all(boxes.iou(xyxy[[i]], xyxy[[j]])[0, 0] < max_iou for j in kept):
            kept.append(i)
    return kept


def test_iou_of_known_boxes():
    """Equal boxes have IoU 1, disjoint ones 0, half-shifted ones a third; empty boxes give 0, not NaN."""
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    second = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(boxes.iou(first, second), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_nms_equals_the_greedy_loop_on_each_image(seed):
    """Suppressing a whole batch at once keeps exactly what the textbook loop keeps image by image."""
    rng = np.random.default_rng(seed)
    top_left = rng.uniform(0, 60, (200, 2))
    xyxy = np.concatenate([top_left, top_left + rng.uniform(5, 30, (200, 2))], axis=1).astype(np.float32)
    score, row = rng.random(200).astype(np.float32), rng.integers(0, 7, 200)
    expected = []
    for image in range(7):
        inside = np.flatnonzero(row == image)
        expected += list(inside[greedy_nms(xyxy[inside], score[inside], 0.3)])
    assert list(boxes.nms(xyxy, score, row, 0.3)) == expected


def test_nms_of_nothing_is_nothing():
    """No boxes need no special case."""
    assert len(boxes.nms(np.empty((0, 4)), np.empty(0), np.empty(0, int), 0.3)) == 0


def test_square_has_the_longer_side_and_the_margin():
    """A 10 x 20 box with a margin of a quarter on each side becomes a square of 30 with the same centre."""
    np.testing.assert_allclose(boxes.square(np.array([[10, 20, 20, 40]], np.float32), 0.25), [[0, 15, 30, 45]])


def test_clip_keeps_boxes_inside_their_own_image():
    """Each box is cut by the size of the image it lies in."""
    xyxy = np.array([[-5, -5, 50, 50], [-5, 10, 300, 20]], np.float32)
    clipped = boxes.clip(xyxy, np.array([40, 200]), np.array([30, 100]))
    np.testing.assert_array_equal(clipped, [[0, 0, 40, 30], [0, 10, 200, 20]])
    assert clipped.dtype == np.float32


def test_nms_in_blocks_equals_the_greedy_loop():
    """More boxes of one image than a block holds, in long chains of overlaps."""
    rng = np.random.default_rng(0)
    top_left = rng.uniform(0, 150, (700, 2))
    xyxy = np.concatenate([top_left, top_left + rng.uniform(5, 30, (700, 2))], axis=1).astype(np.float32)
    score = rng.random(700).astype(np.float32).round(2)
    assert list(boxes.nms(xyxy, score, np.zeros(700, int), 0.3)) == greedy_nms(xyxy, score, 0.3)
