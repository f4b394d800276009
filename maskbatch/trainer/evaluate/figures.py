"""Figures of a classifier by face size, with intervals."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from maskbatch.analyse.classifier import CROP_PX, states
from maskbatch.networks.device import Infer
from maskbatch.states import reaches
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.evaluate.intervals import Interval, balanced_accuracy

SIZE_BINS_PX = ((0, 16), (16, 32), (32, 64), (64, np.inf))
# the calibration makes this the operating point
INCORRECT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Judged:
    """N faces with a classifier's answers: `label` (N,) in {0, 1}, `p_mask` (N,), and `group` (N,).

    Faces of one picture, or of near-duplicates, share a group.
    """

    label: np.ndarray
    p_mask: np.ndarray
    group: np.ndarray

    def take(self, keep: np.ndarray) -> "Judged":
        """Return the faces at `keep`: a boolean mask (N,) or an index array."""
        return Judged(self.label[keep], self.p_mask[keep], self.group[keep])


@dataclass(frozen=True, slots=True)
class FaceFigures:
    """Figures of a classifier on labelled faces in `groups` pictures, where near-duplicates count as one picture.

    `confusion` (2, 2) counts [label][predicted]; in pairs, without_mask comes first.
    """

    faces: int
    groups: int
    with_mask: int
    accuracy: float
    balanced_accuracy: Interval
    precision: tuple[float, float]
    recall: tuple[float, float]
    f1: tuple[float, float]
    roc_auc: float
    average_precision: float
    calibration_error: float
    confusion: tuple[tuple[int, int], tuple[int, int]]

    def as_dict(self) -> dict:
        """Return the figures for JSON."""
        return asdict(self)


class Answers(NamedTuple):
    """A classifier's answers for N faces: `p_mask` and `p_incorrect` (N,) float32, NaN for a model of two states."""

    p_mask: np.ndarray
    p_incorrect: np.ndarray


def predict(run: Infer, samples: Samples, size_px: int = CROP_PX, batch_size: int = 64) -> Answers:
    """Return a classifier's answers for every sample, in order; `run` takes crops of `size_px`."""
    outputs = [
        run(np.stack([samples.crop(i, size_px) for i in range(start, min(start + batch_size, len(samples)))]))[0]
        for start in range(0, len(samples), batch_size)
    ]
    found = states(outputs)
    return Answers(found.p_mask, found.p_incorrect)


@dataclass(frozen=True, slots=True)
class IncorrectFigures:
    """Figures of p_incorrect on faces of all three states, `incorrect` of them with a mask worn incorrectly.

    `precision` and `recall` are those of p_incorrect >= 0.5; `flagged_*` is the share of other faces with p_incorrect
    >= 0.5.
    """

    faces: int
    incorrect: int
    precision: float
    recall: float
    average_precision: float
    flagged_with_mask: float
    flagged_without_mask: float

    def as_dict(self) -> dict:
        """Return the figures for JSON."""
        return asdict(self)


def incorrect_figures(label: np.ndarray, p_incorrect: np.ndarray) -> IncorrectFigures:
    """Return the figures of the third state for labels (N,), indexes of `STATES`. Needs scikit-learn.

    Figures are NaN if the faces for them are missing.
    """
    from sklearn import metrics

    truth, flagged = label == WORN_INCORRECTLY, reaches(p_incorrect, INCORRECT_THRESHOLD)
    shares = [float(flagged[label == value].mean()) if (label == value).any() else float("nan") for value in range(3)]
    return IncorrectFigures(
        faces=len(label),
        incorrect=int(truth.sum()),
        precision=float(truth[flagged].mean()) if flagged.any() else float("nan"),
        recall=shares[WORN_INCORRECTLY],
        average_precision=float(metrics.average_precision_score(truth, p_incorrect)) if truth.any() else float("nan"),
        flagged_with_mask=shares[1],
        flagged_without_mask=shares[0],
    )


def face_figures(judged: Judged, threshold: float = 0.5) -> FaceFigures:
    """Return the figures of faces at a threshold of p_mask. Needs scikit-learn (see `check_packages`).

    Figures are NaN if a class for them is missing.
    """
    from sklearn import metrics

    label, p_mask = judged.label, judged.p_mask
    predicted = reaches(p_mask, threshold).astype(int)
    both = len(np.unique(label)) == 2
    confusion = np.zeros((2, 2), int)
    np.add.at(confusion, (label, predicted), 1)
    with np.errstate(invalid="ignore"):
        right = np.diag(confusion)
        precision, recall = right / confusion.sum(axis=0), right / confusion.sum(axis=1)
        f1 = 2 * right / (confusion.sum(axis=0) + confusion.sum(axis=1))
    return FaceFigures(
        faces=len(label),
        groups=len(np.unique(judged.group)),
        with_mask=int(label.sum()),
        accuracy=float((label == predicted).mean()) if len(label) else float("nan"),
        balanced_accuracy=balanced_accuracy(label, predicted, judged.group),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        roc_auc=float(metrics.roc_auc_score(label, p_mask)) if both else float("nan"),
        average_precision=float(metrics.average_precision_score(label, p_mask)) if both else float("nan"),
        calibration_error=calibration_error(label, p_mask),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def figures_by_size(judged: Judged, size_px: np.ndarray, threshold: float = 0.5) -> dict[str, FaceFigures]:
    """Return {"all" or a range of sizes in px, such as "0-16" or "16-": figures}; `size_px` is (N,)."""
    ranges = {"all": (0, np.inf), "16-": (16, np.inf), "32-": (32, np.inf)}
    ranges |= {f"{low}-{'' if high == np.inf else high}": (low, high) for low, high in SIZE_BINS_PX}
    inside = {name: (size_px >= low) & (size_px < high) for name, (low, high) in ranges.items()}
    return {name: face_figures(judged.take(chosen), threshold) for name, chosen in inside.items()}


def calibration_error(label: np.ndarray, p_mask: np.ndarray, num_bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017).

    It is the mean of |share of masks - mean p_mask| over equal bins, weighted by count; NaN without a face.
    """
    if not len(label):
        return float("nan")
    slot = np.minimum((p_mask * num_bins).astype(int), num_bins - 1)
    count = np.bincount(slot, minlength=num_bins)
    gap = np.bincount(slot, label, num_bins) - np.bincount(slot, p_mask, num_bins)
    return float(np.abs(gap).sum() / count.sum())
