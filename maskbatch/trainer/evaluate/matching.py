"""Findings and annotated boxes of one class: which hits which, and average precision."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from maskbatch.trainer.data.scenes import Scene


@dataclass(frozen=True, slots=True)
class OneClass:
    """A scene for one class: boxes that count, boxes to ignore, and findings by descending score."""

    wanted: np.ndarray
    ignored: np.ndarray
    found: np.ndarray
    score: np.ndarray


def with_label(scene: Scene, label: int | None) -> OneClass:
    """Return the scene for one class (None: all faces), with findings scored by face score times class probability."""
    if label is None:
        wanted, score = np.ones(len(scene.label), bool), scene.score
    else:
        wanted, score = scene.label == label, scene.score * (scene.p_mask if label else 1 - scene.p_mask)
    ignored = np.zeros_like(wanted) if label is None else scene.label == WORN_INCORRECTLY
    order = np.argsort(-score, kind="stable")
    return OneClass(scene.xyxy[wanted], scene.xyxy[ignored], scene.found[order], score[order])


def match(one: OneClass, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks (N,) of findings: those that hit a box of their own, best score first, and those that count.

    A finding that hits no box but overlaps an ignored box does not count.
    """
    hit = boxes_hit(one, min_iou) >= 0
    if not len(one.ignored):
        return hit, np.ones_like(hit)
    return hit, hit | (boxes.iou(one.found, one.ignored).max(axis=1, initial=0) < min_iou)


def boxes_hit(one: OneClass, min_iou: float) -> np.ndarray:
    """Return the box that each finding (N,) hits: the free box that it overlaps most, best score first; -1 for none."""
    box = np.full(len(one.found), -1, np.int64)
    overlap, free = boxes.iou(one.found, one.wanted), np.ones(len(one.wanted), bool)
    for i in range(len(one.found)):
        candidates = np.where(free, overlap[i], 0) if len(free) else np.zeros(1)
        if candidates.max() >= min_iou:
            box[i] = candidates.argmax()
            free[box[i]] = False
    return box


def average_precision(scenes: Iterable[OneClass], min_iou: float) -> float:
    """Return the area under the monotonic precision-recall curve (all points, as in Pascal VOC 2010), NaN without boxes."""
    results, scores, num_wanted = [np.empty(0, bool)], [np.empty(0)], 0
    for one in scenes:
        hit, counts = match(one, min_iou)
        results.append(hit[counts])
        scores.append(one.score[counts])
        num_wanted += len(one.wanted)
    if not num_wanted:
        return float("nan")
    hit = np.concatenate(results)[np.argsort(-np.concatenate(scores), kind="stable")]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    monotonic = np.maximum.accumulate(precision[::-1])[::-1]
    return float(monotonic[hit].sum() / num_wanted)
