"""Figures of the whole chain on annotated scenes: average precision, and precision and recall of a scan's labels."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.states import reaches
from maskbatch.trainer.data.labels import LABELS, WORN_INCORRECTLY
from maskbatch.trainer.data.scenes import END_TO_END_IOU, Scene
from maskbatch.trainer.evaluate.matching import OneClass, average_precision, boxes_hit, match, with_label


@dataclass(frozen=True, slots=True)
class SceneFigures:
    """Figures of the whole chain; tuples hold one figure for each class, without_mask first.

    `ap*` is the all-point average precision of faces, or of a class, at IoU 0.5 and 0.4. The other figures are at the
    scan's thresholds and IoU 0.4. `false_faces` is the number of false faces per picture. `rate_error` is the mean
    absolute error of a picture's share of masks, `total_rate_error` that of the share over all pictures.
    """

    pictures: int
    faces: int
    ap50: float
    ap40: float
    class_ap50: tuple[float, ...]
    class_ap40: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    macro_f1: float
    false_faces: float
    recall_by_size: dict[str, float]
    rate_error: float
    total_rate_error: float

    def as_dict(self) -> dict:
        """Return the figures for JSON."""
        return asdict(self)


def scene_figures(scenes: Sequence[Scene], det_threshold: float, threshold: float) -> SceneFigures:
    """Return the figures over all scenes at the given thresholds of score and p_mask."""
    faces = [with_label(scene, None) for scene in scenes]
    classes = [[with_label(scene, label) for scene in scenes] for label in range(len(LABELS))]
    precision, recall, f1 = _class_figures(scenes, det_threshold, threshold)
    rates = np.array([_rates(scene, det_threshold, threshold) for scene in scenes]).reshape(-1, 4)
    return SceneFigures(
        pictures=len(scenes),
        faces=sum(len(scene.label) for scene in scenes),
        ap50=average_precision(faces, 0.5),
        ap40=average_precision(faces, 0.4),
        class_ap50=tuple(average_precision(one, 0.5) for one in classes),
        class_ap40=tuple(average_precision(one, 0.4) for one in classes),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        macro_f1=float(f1.mean()),
        false_faces=_false_faces(scenes, det_threshold),
        recall_by_size=_recall_by_size(scenes, det_threshold),
        rate_error=_rate_error(rates),
        total_rate_error=_rate_error(rates.sum(axis=0, keepdims=True)),
    )


def macro_f1(scenes: Sequence[Scene], det_threshold: float, threshold: float) -> float:
    """Return the mean of both classes' F1 at the given thresholds; NaN for a class with neither box nor finding."""
    return float(_class_figures(scenes, det_threshold, threshold)[2].mean())


@dataclass(frozen=True, slots=True)
class WornIncorrectly:
    """Counts of faces with a mask worn incorrectly: all, found at IoU 0.4, and found with the label with_mask."""

    faces: int
    found: int
    with_mask: int


def worn_incorrectly(scenes: Iterable[Scene], det_threshold: float, threshold: float) -> WornIncorrectly:
    """Return the counts over all scenes at the given thresholds."""
    faces = found = with_mask = 0
    for scene in scenes:
        shown = scene.score >= det_threshold
        one = OneClass(scene.xyxy, scene.xyxy[:0], scene.found[shown], scene.score[shown])
        box = boxes_hit(one, END_TO_END_IOU)
        theirs = (box >= 0) & (scene.label[box] == WORN_INCORRECTLY) if len(scene.label) else np.zeros(len(box), bool)
        faces += int((scene.label == WORN_INCORRECTLY).sum())
        found += int(theirs.sum())
        with_mask += int(reaches(scene.p_mask[shown][theirs], threshold).sum())
    return WornIncorrectly(faces, found, with_mask)


def _over(scene: Scene, det_threshold: float, threshold: float, label: int) -> OneClass:
    """Return the scene for one class, with the findings that a scan would report."""
    shown = (scene.score >= det_threshold) & (reaches(scene.p_mask, threshold) == bool(label))
    reported = Scene(scene.xyxy, scene.label, scene.found[shown], scene.score[shown], scene.p_mask[shown])
    return with_label(reported, label)


def _class_figures(
    scenes: Sequence[Scene], det_threshold: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of each class (2,) at the given thresholds."""
    shown = [[_over(scene, det_threshold, threshold, label) for scene in scenes] for label in range(len(LABELS))]
    counts = np.array([_counts(matched) for matched in shown])
    with np.errstate(invalid="ignore"):
        precision, recall = counts[:, 0] / counts[:, 1], counts[:, 0] / counts[:, 2]
        return precision, recall, 2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])


def _counts(scenes: Sequence[OneClass]) -> tuple[int, int, int]:
    """Return the numbers of hits, of findings that count, and of boxes."""
    matched = [match(one, END_TO_END_IOU) for one in scenes]
    hits = sum(int(hit.sum()) for hit, _ in matched)
    return hits, sum(int(counts.sum()) for _, counts in matched), sum(len(one.wanted) for one in scenes)


def _false_faces(scenes: Sequence[Scene], det_threshold: float) -> float:
    """Return the mean number per picture of findings that match no annotated face of any kind."""
    missed = [
        (boxes.iou(scene.found[scene.score >= det_threshold], scene.xyxy).max(axis=1, initial=0) < END_TO_END_IOU).sum()
        for scene in scenes
    ]
    return float(np.mean(missed)) if missed else float("nan")


def _recall_by_size(scenes: Sequence[Scene], det_threshold: float) -> dict[str, float]:
    """Return the share of annotated faces that are found, by the size of the annotated box."""
    sizes = np.concatenate([boxes.size_px(scene.xyxy) for scene in scenes] or [np.empty(0)])
    found = [
        boxes.iou(scene.xyxy, scene.found[scene.score >= det_threshold]).max(axis=1, initial=0) >= END_TO_END_IOU
        for scene in scenes
    ]
    found = np.concatenate(found or [np.empty(0, bool)])
    limits = (0, 8, 16, 32, 64, np.inf)
    return {
        f"{low}-{'' if high == np.inf else high}": float(found[inside].mean()) if inside.any() else float("nan")
        for low, high in pairwise(limits)
        for inside in [(sizes >= low) & (sizes < high)]
    }


def _rates(scene: Scene, det_threshold: float, threshold: float) -> tuple[int, int, int, int]:
    """Return the numbers of true masked faces, true faces, reported masked faces and reported faces."""
    p_mask = scene.p_mask[scene.score >= det_threshold]
    known = scene.label[scene.label != WORN_INCORRECTLY]
    return int(known.sum()), len(known), int(reaches(p_mask, threshold).sum()), len(p_mask)


def _rate_error(rates: np.ndarray) -> float:
    """Return the mean absolute difference between true and reported share of masks, over rows that have both."""
    both = rates[(rates[:, 1] > 0) & (rates[:, 3] > 0)]
    return float(np.abs(both[:, 0] / both[:, 1] - both[:, 2] / both[:, 3]).mean()) if len(both) else float("nan")
