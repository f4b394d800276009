"""How good is a classifier? Figures by face size with intervals; labels, predictions and paths always travel together."""

from dataclasses import asdict, dataclass

import numpy as np

from maskbatch.errors import MaskbatchError
from maskbatch.networks.runtime import Run
from maskbatch.trainer.data.samples import Samples

SIZE_BINS_PX = ((0, 16), (16, 32), (32, 64), (64, np.inf))
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FaceFigures:
    """Figures of a classifier on labelled faces; `confusion` (2, 2) counts [label][predicted], without_mask first."""

    faces: int
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
        """For JSON."""
        return asdict(self)


def predict(run: Run, samples: Samples, batch_size: int = 64) -> np.ndarray:
    """p_mask (N,) float32 of every sample, in the order of the samples."""
    parts = [
        run(np.stack([samples.crop(i) for i in range(start, min(start + batch_size, len(samples)))]))[0].reshape(-1)
        for start in range(0, len(samples), batch_size)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts])


def face_figures(label: np.ndarray, p_mask: np.ndarray, threshold: float = 0.5) -> FaceFigures:
    """Figures for labels (N,) in {0, 1} and probabilities (N,). Raises MaskbatchError where scikit-learn is missing.

    Figures that need a class which is not there are NaN.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MaskbatchError("evaluation needs scikit-learn: pip install 'maskbatch[train]'") from error
    predicted = (p_mask >= threshold).astype(int)
    both = len(np.unique(label)) == 2
    confusion = np.zeros((2, 2), int)
    np.add.at(confusion, (label, predicted), 1)
    with np.errstate(invalid="ignore"):
        right = np.diag(confusion)
        precision, recall = right / confusion.sum(axis=0), right / confusion.sum(axis=1)
        f1 = 2 * right / (confusion.sum(axis=0) + confusion.sum(axis=1))
    return FaceFigures(
        faces=len(label),
        with_mask=int(label.sum()),
        accuracy=float((label == predicted).mean()) if len(label) else float("nan"),
        balanced_accuracy=balanced_accuracy(label, predicted),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        roc_auc=float(metrics.roc_auc_score(label, p_mask)) if both else float("nan"),
        average_precision=float(metrics.average_precision_score(label, p_mask)) if both else float("nan"),
        calibration_error=calibration_error(label, p_mask),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def figures_by_size(label: np.ndarray, p_mask: np.ndarray, size_px: np.ndarray, threshold: float = 0.5) -> dict:
    """{"all": FaceFigures, "0-16": ..., "16-32": ..., "32-64": ..., "64-": ..., "16-": ..., "32-": ...}; `size_px` (N,)."""
    ranges = {"all": (0, np.inf), "16-": (16, np.inf), "32-": (32, np.inf)}
    ranges |= {f"{low}-{'' if high == np.inf else high}": (low, high) for low, high in SIZE_BINS_PX}
    inside = {name: (size_px >= low) & (size_px < high) for name, (low, high) in ranges.items()}
    return {name: face_figures(label[chosen], p_mask[chosen], threshold) for name, chosen in inside.items()}


def balanced_accuracy(label: np.ndarray, predicted: np.ndarray) -> Interval:
    """The mean of both classes' recalls, with a bootstrap over faces (resampled within each class)."""
    hits = [(predicted == label)[label == value] for value in (0, 1)]
    if not all(len(hit) for hit in hits):
        return Interval(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    recalls = [rng.binomial(len(hit), hit.mean(), _RESAMPLES) / len(hit) for hit in hits]
    low, high = np.percentile(np.mean(recalls, axis=0), [2.5, 97.5])
    return Interval(float(np.mean([hit.mean() for hit in hits])), float(low), float(high))


def calibration_error(label: np.ndarray, p_mask: np.ndarray, num_bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): |share of masks - mean p_mask| over equal bins, weighted by count."""
    if not len(label):
        return float("nan")
    slot = np.minimum((p_mask * num_bins).astype(int), num_bins - 1)
    count = np.bincount(slot, minlength=num_bins)
    gap = np.bincount(slot, label, num_bins) - np.bincount(slot, p_mask, num_bins)
    return float(np.abs(gap).sum() / count.sum())
