"""Cutting faces and classifying them."""

import numpy as np
import pytest

from maskbatch.analyse.classifier import CROP_PX, Classifier, confirmed, cut_crop, least_score, states
from maskbatch.types import Faces


def faces_at(rows, xyxy):
    """Faces with boxes, and nothing else worth looking at."""
    count = len(rows)
    return Faces(np.array(rows, np.int64), np.array(xyxy, np.float32).reshape(-1, 4), np.ones(count, np.float32),
                 np.zeros((count, 5, 2), np.float32))  # fmt: skip


def test_crop_is_centred_on_the_face():
    """The face's middle is the crop's middle, and a margin of a quarter lies on each side."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:120, 130:170] = 255
    crop = cut_crop(image, np.array([130, 80, 170, 120], np.float32))
    assert crop.shape == (CROP_PX, CROP_PX, 3) and crop.dtype == np.uint8
    bright = np.argwhere(crop[..., 0] > 128)
    np.testing.assert_allclose(bright.min(axis=0), CROP_PX / 6, atol=3)
    np.testing.assert_allclose(bright.max(axis=0), CROP_PX * 5 / 6, atol=3)


def test_a_face_at_the_border_keeps_its_proportions():
    """Outside the image the edge repeats, so a face in the corner is neither squeezed nor framed in black."""
    image = np.full((50, 50, 3), 77, np.uint8)
    for box in ([0, 0, 20, 20], [45, 45, 50, 50], [-10, -10, 70, 70]):
        assert (cut_crop(image, np.array(box, np.float32)) == 77).all()


def test_a_face_of_no_size_still_gives_a_crop():
    """Boxes of a fraction of a pixel do not fail."""
    crop = cut_crop(np.zeros((10, 10, 3), np.uint8), np.array([3.2, 3.2, 3.3, 3.3], np.float32))
    assert crop.shape == (CROP_PX, CROP_PX, 3)


def test_each_face_gets_its_own_probability():
    """Faces of several images in chunks smaller than their number are classified in their order."""
    images = [np.full((40, 40, 3), value, np.uint8) for value in (0, 51, 255)]
    run = lambda crops: [crops.mean(axis=(1, 2, 3), keepdims=False)[:, None] / 255]  # noqa: E731
    faces = faces_at([0, 1, 1, 2, 2], [[5, 5, 20, 20]] * 5)
    np.testing.assert_allclose(Classifier(run, max_batch=2)(images, faces).p_mask, [0, 0.2, 0.2, 1, 1], atol=1e-6)


def test_crops_have_the_size_of_the_network():
    """A network of 96 px gets crops of 96 px; of two outputs the first is p_mask."""

    def run(crops):
        assert crops.shape == (2, 96, 96, 3)
        return [np.array([[0.2, 0.9], [0.7, 0.1]], np.float32)]

    faces = Classifier(run, 96)([np.zeros((40, 40, 3), np.uint8)], faces_at([0, 0], [[5, 5, 20, 20]] * 2))
    np.testing.assert_allclose(faces.p_mask, [0.2, 0.7])


def test_outputs_become_states():
    """Outputs that a model does not have are unknown, no outputs have no faces."""
    found = states([np.full((2, 1), 0.5), np.full((1, 1), 0.2)])
    assert found.p_mask.tolist() == [0.5, 0.5, np.float32(0.2)]
    assert np.isnan(found.p_incorrect).all() and np.isnan(found.p_face).all()
    two = states([np.array([[0.1, 0.9]])])
    assert two.p_incorrect.tolist() == [np.float32(0.9)] and np.isnan(two.p_face).all()
    assert states([np.array([[0.1, 0.9, 0.7]])]).p_face.tolist() == [np.float32(0.7)]
    assert [len(column) for column in states([])] == [0, 0, 0]


def test_a_classifier_confirms_the_scores_of_faces():
    """The score rises where the crop shows a face and falls where it does not, if this is wanted and the model can tell."""
    image, faces = [np.zeros((40, 40, 3), np.uint8)], faces_at([0, 0], [[5, 5, 20, 20]] * 2)
    faces = faces.with_state(faces.p_mask, score=np.array([0.7, 0.7], np.float32))
    run = lambda crops: [np.array([[0.2, 0.1, 0.999], [0.7, 0.1, 0.001]], np.float32)]  # noqa: E731
    assert Classifier(run)(image, faces).score.tolist() == faces.score.tolist()
    up, down = Classifier(run, confirms=True)(image, faces).score
    assert down < 0.7 < up
    plain = lambda crops: run(crops)[0][None, :, :2]  # noqa: E731
    assert Classifier(plain, confirms=True)(image, faces).score.tolist() == faces.score.tolist()


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.7, 0.99])
def test_no_face_below_the_least_score_can_be_confirmed(threshold):
    """The surest crop raises the least score to the threshold, and no score below it so far."""
    sure = np.ones(2, np.float32)
    least = least_score(threshold)
    at, below = confirmed(np.array([least, least - 0.002], np.float32), sure)
    assert at == pytest.approx(threshold, abs=1e-5) and below < threshold


def test_confirmation_keeps_the_order_and_the_range_of_scores():
    """Equal crops leave scores in their order, and scores stay from 0 to 1 even at the ends of both scales."""
    score = np.linspace(0, 1, 11, dtype=np.float32)
    for p_face in (0.0, 0.3, 1.0):
        found = confirmed(score, np.full(11, p_face, np.float32))
        assert (np.diff(found) > 0).all() and found.min() >= 0 and found.max() <= 1


def test_no_faces_need_no_network():
    """An empty batch is classified without a call."""

    def run(crops):
        raise AssertionError("called for nothing")

    assert len(Classifier(run)([], Faces.empty()).p_mask) == 0
