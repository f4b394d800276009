"""Figures of the whole chain on annotated scenes."""

import numpy as np
import pytest

from maskbatch.trainer.data.scenes import Scene
from maskbatch.trainer.evaluate.matching import OneClass, average_precision
from maskbatch.trainer.evaluate.scene_figures import scene_figures, worn_incorrectly

BOX = np.array([[0, 0, 10, 10], [50, 50, 70, 70], [100, 0, 140, 40]], np.float32)


def scene(label, found=None, score=None, p_mask=None):
    """Return a picture with three boxes; by default all are found exactly and labelled right."""
    label = np.array(label)
    xyxy = BOX[: len(label)]
    found = xyxy if found is None else np.array(found, np.float32).reshape(-1, 4)
    score = np.full(len(found), 0.9, np.float32) if score is None else np.array(score, np.float32)
    p_mask = np.where(label == 1, 0.9, 0.1).astype(np.float32) if p_mask is None else np.array(p_mask, np.float32)
    return Scene(xyxy, label, found, score, p_mask)


def test_a_perfect_chain_has_perfect_figures():
    """With everything found and labelled right, all figures are 1, without a false face or an error of the rate."""
    figures = scene_figures([scene([1, 0, 1]), scene([0])], det_threshold=0.5, threshold=0.5)
    assert figures.ap50 == figures.ap40 == figures.macro_f1 == 1
    assert figures.class_ap50 == (1, 1) and figures.recall == (1, 1) and figures.precision == (1, 1)
    assert figures.false_faces == figures.rate_error == figures.total_rate_error == 0


def test_a_wrong_label_costs_both_classes():
    """A masked face called bare is a miss of one class and a false alarm of the other."""
    figures = scene_figures([scene([1, 1, 0], p_mask=[0.9, 0.2, 0.1])], 0.5, 0.5)
    assert figures.recall == (1.0, 0.5) and figures.precision == (0.5, 1.0)
    assert figures.total_rate_error == pytest.approx(1 / 3)


def test_faces_of_neither_class_count_neither_way():
    """A finding on a mask worn incorrectly is neither a hit nor a false alarm, with either label."""
    figures = scene_figures([scene([1, 2], p_mask=[0.9, 0.9])], 0.5, 0.5)
    assert figures.precision[1] == 1 and figures.recall[1] == 1 and figures.false_faces == 0


def test_thresholds_decide_what_is_reported_but_not_average_precision():
    """A face of low score counts in average precision, and in the reported figures only above the threshold."""
    scenes = [scene([1, 0], score=[0.9, 0.3])]
    high, low = scene_figures(scenes, 0.5, 0.5), scene_figures(scenes, 0.2, 0.5)
    assert high.ap50 == low.ap50 == 1
    assert high.recall == (0.0, 1.0) and low.recall == (1.0, 1.0)


def test_average_precision_of_a_known_curve():
    """Hit, miss, hit of two boxes: 0.5 * 1 + 0.5 * 2/3; a second box on the same face is a miss."""
    found = np.concatenate([BOX[:1], BOX[:1], BOX[1:2]])
    one = OneClass(BOX[:2], BOX[:0], found, np.array([0.9, 0.8, 0.7]))
    assert average_precision([one], 0.5) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert np.isnan(average_precision([OneClass(BOX[:0], BOX[:0], found, np.ones(3))], 0.5))


def test_pictures_without_faces_or_findings():
    """Pictures without annotation or finding count; a finding without annotation is a false face."""
    empty = Scene(BOX[:0], np.empty(0, int), BOX[:0], np.empty(0), np.empty(0))
    alarm = Scene(BOX[:0], np.empty(0, int), BOX[:1], np.ones(1), np.ones(1))
    figures = scene_figures([empty, alarm, scene([1, 0])], 0.5, 0.5)
    assert figures.false_faces == pytest.approx(1 / 3) and figures.recall == (1, 1)


def test_masks_worn_incorrectly_are_counted_apart():
    """Of three such faces two are found, and one of them is called with_mask; other faces do not count here."""
    scenes = [scene([2, 2, 1], p_mask=[0.9, 0.2, 0.9]), scene([2], score=[0.1])]
    third = worn_incorrectly(scenes, 0.5, 0.5)
    assert (third.faces, third.found, third.with_mask) == (3, 2, 1)
    assert worn_incorrectly([scene([1, 0])], 0.5, 0.5).faces == 0
