"""Calibration and operating points: known answers, and a model whose last layer carries them."""

from dataclasses import replace

import numpy as np
import pytest
from trainer_makers import grey_samples, tiny_model

from maskbatch.settings import DetectorSettings
from maskbatch.trainer.classifier.calibrate import calibrate, fit_calibration, fit_scale, predict_logits
from maskbatch.trainer.classifier.calibrate_incorrect import calibrate_incorrect, fit_incorrect
from maskbatch.trainer.data.batches import evaluation_batches, shape_of
from maskbatch.trainer.data.scenes import Scene
from maskbatch.trainer.evaluate.operating_point import choose_for_faces, choose_for_scenes


def overconfident(factor, shift=0.0, count=8000):
    """Return logits that are `factor` times too large, labels drawn from the true ones, and groups of four."""
    rng = np.random.default_rng(0)
    true = rng.normal(0.5, 2, count)
    label = (rng.random(count) < 1 / (1 + np.exp(-true))).astype(int)
    return true * factor - shift, label, np.arange(count) // 4


def test_known_temperature_and_shift_are_found():
    """Logits that are three times too large give a temperature of 3; Platt scaling finds a shift, and is chosen for one."""
    logit, label, group = overconfident(3.0)
    found = fit_calibration(logit, label, group)
    assert found.method == "temperature" and found.temperature == pytest.approx(3, rel=0.05) and found.shift == 0
    assert found.error_before > 0.08 and found.error_after < 0.02 and found.error_held_out < 0.02
    assert found.loss_after < found.loss_before
    logit, label, group = overconfident(2.0, shift=2.0)
    found = fit_calibration(logit, label, group)
    assert found.method == "platt" and found.temperature == pytest.approx(2, rel=0.06)
    assert found.shift == pytest.approx(1, abs=0.1)


def test_separable_faces_have_a_finite_scale():
    """A classifier without an error on few faces, or without any knowledge, still gets finite numbers."""
    scale, shift = fit_scale(np.array([-3.0, -2, 2, 3]), np.array([0, 0, 1, 1]), True)
    assert 0 < scale < 20 and np.isfinite(shift)
    scale, _ = fit_scale(np.array([3.0, 2, -2, -3]), np.array([0, 0, 1, 1]), False)
    assert scale == 0.05


def test_calibration_lives_in_the_last_layer(tmp_path):
    """The calibrated model gives the calibrated probabilities, and has the same layers as before."""
    samples, model = grey_samples(tmp_path), tiny_model()
    layers = [layer.name for layer in model.layers]
    before = predict_logits(model, samples)
    assert model.get_layer("p_mask").activation.__name__ == "sigmoid"
    model, found = calibrate(model, samples, method="platt")
    after = model.predict(evaluation_batches(samples), verbose=0)[:, 0]
    wanted = 1 / (1 + np.exp(-(before / found.temperature + found.shift)))
    np.testing.assert_allclose(after, wanted, atol=1e-4)
    assert [layer.name for layer in model.layers] == layers and found.faces == len(samples)


def rare(count=6000):
    """Return logits of a useful classifier, a rare truth (N,) bool, and groups of three."""
    rng = np.random.default_rng(1)
    incorrect = rng.random(count) < 0.1
    return rng.normal(0, 1, count) + 4 * incorrect - 1, incorrect, np.arange(count) // 3


def test_the_operating_point_of_the_third_state():
    """At 0.5 the held-out precision is 0.9 or a little more; of useless logits the most precise point is taken."""
    logit, incorrect, group = rare()
    found = fit_incorrect(logit, incorrect, group)
    assert 0.9 <= found.precision_held_out < 0.94 and found.recall_held_out > 0.85
    flagged = logit / found.temperature + found.shift >= 0
    assert incorrect[flagged].mean() == pytest.approx(0.91, abs=0.02)
    assert found.faces == 6000 and found.incorrect == incorrect.sum()
    useless = fit_incorrect(np.random.default_rng(0).normal(size=6000), incorrect, group)
    assert np.isfinite([useless.temperature, useless.shift]).all() and not useless.precision_held_out > 0.5
    nothing = fit_incorrect(logit, np.zeros(6000, bool), group)
    assert (nothing.temperature, nothing.shift) == (1, 0) and np.isnan(nothing.precision_held_out)


def test_equal_logits_are_flagged_together():
    """Faces that the model cannot tell apart are on one side of 0.5."""
    logit, incorrect = np.repeat([2.0, 1.0, -3.0], 20), np.repeat([True, False, False], 20)
    incorrect[20:23] = True
    found = fit_incorrect(logit, incorrect, np.arange(60))
    flagged = logit / found.temperature + found.shift >= 0
    assert flagged.tolist() == [True] * 20 + [False] * 40


def test_each_sigmoid_is_calibrated_apart(tmp_path):
    """The calibration of p_incorrect leaves p_mask as it is."""
    samples = grey_samples(tmp_path)
    samples = replace(samples, label=np.where(np.arange(len(samples)) % 4 == 0, 2, samples.label))
    model = tiny_model(size_px=96, third_state=True)
    batches = evaluation_batches(samples, shape=shape_of(model))
    before, logit = model.predict(batches, verbose=0), predict_logits(model, samples, "p_incorrect")
    model, found = calibrate_incorrect(model, samples)
    after = model.predict(batches, verbose=0)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    np.testing.assert_allclose(after[:, 1], 1 / (1 + np.exp(-(logit / found.temperature + found.shift))), atol=1e-4)


def test_the_operating_point_of_faces():
    """A threshold between the classes is found, of equal ones the nearest to a half; one class alone has none."""
    label = np.array([0] * 50 + [1] * 10)
    chosen = choose_for_faces(label, np.where(label == 1, 0.3, 0.1))
    assert 0.1 < chosen.mask <= 0.3 and chosen.value == 1 and chosen.detector is None
    assert choose_for_faces(label, np.where(label == 1, 0.9, 0.1)).mask == 0.5
    assert np.isnan(choose_for_faces(label[:50], np.zeros(50)).value)


def test_the_operating_point_of_scenes():
    """False faces scored 0.55 and masks of probability 0.3 move both thresholds to where the chain is perfect."""
    xyxy = np.array([[0, 0, 10, 10], [50, 50, 70, 70], [100, 0, 140, 40]], np.float32)
    scene = Scene(xyxy[:2], np.array([0, 1]), xyxy, np.array([0.9, 0.8, 0.55]), np.array([0.1, 0.3, 0.1]))
    chosen = choose_for_scenes([scene] * 3)
    assert chosen.value == 1 and chosen.detector > 0.55 and 0.1 < chosen.mask <= 0.3
    masked = Scene(xyxy[1:2], np.array([1]), xyxy[1:], np.array([0.9, 0.3]), np.array([0.9, 0.1]))
    alone = choose_for_scenes([masked])  # a false bare face would give the missing class an F1
    assert np.isnan(alone.value) and alone.detector == DetectorSettings().threshold and alone.mask == 0.5
    empty = Scene(xyxy[:0], np.empty(0, int), xyxy[:0], np.empty(0), np.empty(0))
    assert (
        np.isnan(choose_for_scenes([empty]).value)
        and choose_for_scenes([empty]).detector == DetectorSettings().threshold
    )
