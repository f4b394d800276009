"""Choose thresholds on a validation set. Figures at chosen thresholds are slightly too good on that set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskbatch.settings import ClassifierSettings, DetectorSettings
from maskbatch.states import reaches
from maskbatch.trainer.data.labels import LABELS
from maskbatch.trainer.data.scenes import Scene
from maskbatch.trainer.evaluate.scene_figures import macro_f1

_MASK_GRID = np.round(np.arange(0.02, 0.99, 0.02), 2)
_SCENE_MASK_GRID = np.round(np.arange(0.1, 0.91, 0.05), 2)
_SCENE_DETECTOR_GRID = np.round(np.arange(0.2, 0.81, 0.05), 2)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of the detector's score and of p_mask."""

    detector: float = DetectorSettings().threshold
    mask: float = ClassifierSettings().threshold


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The thresholds that maximise the figure named in `maximises`, and its `value` there.

    `detector` is None if only the classifier was examined.
    """

    maximises: str
    value: float
    mask: float
    detector: float | None = None


def choose_for_faces(label: np.ndarray, p_mask: np.ndarray) -> OperatingPoint:
    """Return the threshold of p_mask (N,) with the highest balanced accuracy; in case of a tie, the nearest to 0.5.

    If a class is missing from the labels (N,), `value` is NaN and the threshold is the default.
    """
    if len(np.unique(label)) < 2:
        return OperatingPoint("balanced accuracy", float("nan"), ClassifierSettings().threshold)
    worn = np.stack([reaches(p_mask, threshold) for threshold in _MASK_GRID])
    value = (worn[:, label == 1].mean(axis=1) + 1 - worn[:, label == 0].mean(axis=1)) / 2
    best = np.flatnonzero(value >= value.max() - 1e-9)
    chosen = best[np.abs(_MASK_GRID[best] - ClassifierSettings().threshold).argmin()]
    return OperatingPoint("balanced accuracy", float(value[chosen]), float(_MASK_GRID[chosen]))


def choose_for_scenes(scenes: Sequence[Scene]) -> OperatingPoint:
    """Return the thresholds with the highest macro-F1 of the whole chain; in a tie, the nearest to the defaults.

    If a class is missing, `value` is NaN and the thresholds are the defaults.
    """
    default = Thresholds()
    labels = np.concatenate([scene.label for scene in scenes] or [np.empty(0, int)])
    if not set(range(len(LABELS))) <= set(labels.tolist()):
        # the macro-F1 is defined only where a face of the missing class is found by mistake
        return OperatingPoint("macro-F1", float("nan"), default.mask, default.detector)
    # the defaults come first, because the first of equal values is chosen
    pairs = [(default.detector, default.mask)]
    pairs += [(float(detector), float(mask)) for detector in _SCENE_DETECTOR_GRID for mask in _SCENE_MASK_GRID]
    pairs.sort(key=lambda pair: abs(pair[0] - default.detector) + abs(pair[1] - default.mask))
    values = np.array([macro_f1(scenes, *pair) for pair in pairs])
    chosen = int(np.argmax(values))
    return OperatingPoint("macro-F1", float(values[chosen]), pairs[chosen][1], pairs[chosen][0])
