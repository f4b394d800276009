"""Scaling: no aliasing, nothing moved, any size."""

import cv2
import numpy as np
import pytest

from maskbatch.geometry.resize import resize


@pytest.mark.parametrize("size", [(320, 240), (333, 250), (250, 180), (100, 77)])
def test_fine_stripes_become_grey(size):
    """What is finer than the new pixels is averaged, not sampled, from a factor of two on."""
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[::2] = 255 - stripes[::2]
    scaled = resize(stripes, size)
    assert scaled.shape == (size[1], size[0], 3)
    factor = 640 / size[0]
    assert scaled.std() < (3 if factor >= 2 else 90)
    assert abs(scaled.mean() - 127.5) < 2


@pytest.mark.parametrize("width", [4000, 3001, 1281, 1000, 700])
def test_like_the_mean_over_areas(width):
    """Close to OpenCV's slow average, on a picture with noise and edges."""
    rng = np.random.default_rng(width)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (width * 3 // 4, width, 3), np.uint8), (0, 0), 3)
    picture[width // 4 : width // 3, width // 4 : width // 2] = 250
    expected = cv2.resize(picture, (640, 480), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(resize(picture, (640, 480)) - expected).mean() < 1.5


@pytest.mark.parametrize("side", [2561, 2047, 1279, 999])
def test_nothing_moves(side):
    """A spot stays where it was, by share of the side, also far from the corner and with odd sides."""
    picture = np.zeros((side, side, 3), np.uint8)
    at = int(0.95 * side)
    picture[at - 20 : at + 21, at - 20 : at + 21] = 255
    scaled = resize(picture, (640, 640))[..., 0].astype(float)
    centre = (scaled.sum(axis=0) * (np.arange(640) + 0.5)).sum() / scaled.sum()
    assert centre == pytest.approx((at + 0.5) * 640 / side, abs=0.6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (10, 4001)])
def test_any_shape(shape):
    """Lines, dots and slivers keep their colour."""
    picture = np.full((*shape, 3), (10, 200, 90), np.uint8)
    for size in [(1, 1), (640, 1), (1, 640), (224, 224)]:
        assert (resize(picture, size) == (10, 200, 90)).all()


def test_into_a_part_of_a_canvas():
    """`dst` is written in place, and nothing around it; growing is bilinear."""
    canvas = np.zeros((20, 30, 3), np.uint8)
    picture = np.random.default_rng(0).integers(1, 255, (9, 9, 3), np.uint8)
    resize(picture, (18, 12), canvas[:12, :18])
    assert (canvas[:12, :18] == cv2.resize(picture, (18, 12), interpolation=cv2.INTER_LINEAR)).all()
    assert not canvas[12:].any() and not canvas[:, 18:].any()
