"""Masks drawn by `maskbatch.trainer.drawn.synthetic`: they stay on the lower face, repeat for a seed, and never fail."""

import cv2
import numpy as np
import pytest

from maskbatch.trainer.drawn.synthetic import STYLES, draw_mask

# the five points of a frontal face, as shares of its box
POINTS = np.array([(0.29, 0.38), (0.71, 0.38), (0.5, 0.58), (0.33, 0.76), (0.67, 0.76)], np.float32)


def scene(width: int = 320, height: int = 300) -> np.ndarray:
    """A skin-coloured picture (height, width, 3) uint8 of slow changes and fine grain."""
    rng = np.random.default_rng(5)
    slow = cv2.resize(rng.uniform(-25, 25, (5, 5, 3)).astype(np.float32), (width, height))
    grain = rng.normal(0, 3, (height, width, 3))
    return np.clip(np.array([205, 160, 135]) + slow + grain, 0, 255).astype(np.uint8)


def face(x_min: float, y_min: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (5, 2) and box (4,) of a frontal face, float32 px."""
    size = np.array([width, width * 1.25], np.float32)
    corner = np.array([x_min, y_min], np.float32)
    return POINTS * size + corner, np.concatenate([corner, corner + size])


def drawn(
    image: np.ndarray, place: tuple[np.ndarray, np.ndarray], seed: int = 0, style: str | None = None
) -> np.ndarray:
    return draw_mask(image, *place, np.random.default_rng(seed), style)


@pytest.mark.parametrize("style", STYLES)
def test_only_the_lower_face_changes(style):
    """The mouth is covered; nothing above the eyes or beside the face is touched, and the input stays as it was."""
    image, place = scene(), face(100, 60, 120)
    before = image.copy()
    worn = drawn(image, place, style=style)
    changed = np.abs(worn.astype(int) - image).max(axis=2) > 0
    rows, columns = np.nonzero(changed)
    landmarks, (x_min, _, x_max, y_max) = place
    assert worn.shape == image.shape and worn.dtype == np.uint8
    assert rows.min() >= landmarks[0, 1] - 1 and rows.max() <= y_max + 0.13 * (y_max - 60)
    assert columns.min() >= x_min - 0.13 * 150 and columns.max() <= x_max + 0.13 * 150
    mouth_x, mouth_y = landmarks[3:].mean(0).astype(int)
    assert changed[mouth_y - 8 : mouth_y + 8, mouth_x - 8 : mouth_x + 8].mean() > 0.9
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("style", [None, *STYLES])
def test_a_seed_repeats_and_seeds_differ(style):
    """The same seed draws the same pixels; twelve seeds draw more than one mask."""
    image, place = scene(), face(100, 60, 120)
    np.testing.assert_array_equal(drawn(image, place, 3, style), drawn(image, place, 3, style))
    assert len({drawn(image, place, seed, style).tobytes() for seed in range(12)}) > 2


def test_no_style_draws_every_style():
    """Without a style, the draw runs over all of them."""
    image, place = scene(), face(100, 60, 120)
    rng = np.random.default_rng(0)
    worn = [draw_mask(image, *place, rng)[195, 160].astype(int) for _ in range(30)]
    assert min(pixel.sum() for pixel in worn) < 250 < 500 < max(pixel.sum() for pixel in worn)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("width", [2, 4, 7, 12, 25])
def test_tiny_faces(style, width):
    """A face of a few pixels carries a mask or is left alone, and nothing far from it changes."""
    image, place = scene(60, 60), face(20, 20, width)
    worn = drawn(image, place, style=style)
    np.testing.assert_array_equal(worn[:20], image[:20])
    np.testing.assert_array_equal(worn[:, :12], image[:, :12])
    assert (worn != image).any() or width < 7


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("corner", [(-60, 60), (260, 60), (100, -70), (100, 220), (-60, -70), (270, 240)])
def test_faces_cut_by_the_border(style, corner):
    """A face that reaches out of the picture is drawn as far as it can be seen."""
    worn = drawn(scene(), face(*corner, 120), style=style)
    assert worn.shape == (300, 320, 3)


@pytest.mark.parametrize("corner", [(-500, 60), (325, 60), (100, 500), (100, -152)])
def test_faces_outside_the_picture(corner):
    """A face that is not in the picture changes at most the rim."""
    image = scene()
    worn = drawn(image, face(*corner, 120))
    np.testing.assert_array_equal(worn[20:-20, 20:-20], image[20:-20, 20:-20])


def test_a_lying_face_is_masked_at_its_mouth():
    """Turned by 90 degrees, the mask follows the landmarks: over the mouth, not over the forehead."""
    image, (landmarks, xyxy) = scene(320, 320), face(100, 85, 120)
    turned = np.stack([319 - landmarks[:, 1], landmarks[:, 0]], 1)
    box = np.array([319 - xyxy[3], xyxy[0], 319 - xyxy[1], xyxy[2]], np.float32)
    change = np.abs(drawn(image, (turned, box), style="cloth").astype(int) - image).max(axis=2)
    (mouth_x, mouth_y), (eyes_x, eyes_y) = turned[3:].mean(0).astype(int), turned[:2].mean(0).astype(int)
    assert change[mouth_y - 6 : mouth_y + 6, mouth_x - 6 : mouth_x + 6].min() > 20
    assert change[eyes_y - 30 : eyes_y + 30, eyes_x + 8 :].max() == 0


def test_the_mask_is_as_dark_as_the_picture():
    """White cloth in a dark picture is dark."""
    image, place = scene(), face(100, 60, 120)
    light, dark = (drawn(picture, place, 1, "respirator")[150:190, 140:180].mean() for picture in (image, image // 5))
    assert dark < 0.4 * light


def test_an_unknown_style_is_an_error():
    """The message lists what there is."""
    with pytest.raises(ValueError, match="surgical"):
        drawn(scene(), face(100, 60, 120), style="veil")
