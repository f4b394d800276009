"""Calibrate p_incorrect, so that 0.5 is its operating point.

Masks worn incorrectly are rare, and a report of them sends a person to look, so precision comes first. Platt scaling
(Platt 1999) on the guide faces and then a shift are folded into the last Dense layer. The shift is chosen on the guide
faces, which are validation faces. Its figures there are therefore held out: each fold of the groups is judged by the
threshold that was chosen on the other folds. The precision only holds for the guide's share of masks worn incorrectly.
"""

from dataclasses import dataclass

import numpy as np

from maskbatch.errors import MaskbatchError
from maskbatch.trainer.classifier.calibrate import fit_scale, fold, predict_logits
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.model import P_INCORRECT

MIN_PRECISION = 0.90
_NUM_FOLDS = 5
# candidate precisions on the faces for which a threshold is chosen: the held-out precision is slightly lower
_ASKED = tuple(np.round(np.arange(0.80, 1.0001, 0.01), 2).tolist())


@dataclass(frozen=True, slots=True)
class IncorrectCalibration:
    """A calibration, fitted on `faces` faces, `incorrect` of them with a mask worn incorrectly.

    The new logit is logit / `temperature` + `shift`. `threshold` is the probability after Platt scaling alone that
    became 0.5. `precision_held_out` and `recall_held_out` are those at 0.5, NaN if nothing was flagged.
    """

    temperature: float
    shift: float
    threshold: float
    faces: int
    incorrect: int
    precision_held_out: float
    recall_held_out: float


def calibrate_incorrect(model, samples: Samples) -> tuple[object, IncorrectCalibration]:
    """Change the last layer of p_incorrect in place, so that 0.5 is the operating point on samples of all three states.

    Raises MaskbatchError when the model's logits are not finite.
    """
    logit = predict_logits(model, samples, P_INCORRECT)
    if not np.isfinite(logit).all():
        raise MaskbatchError("p_incorrect of the trained model is not finite: the model cannot be kept")
    found = fit_incorrect(logit, samples.label == WORN_INCORRECTLY, samples.group)
    fold(model.get_layer(P_INCORRECT), found.temperature, found.shift)
    return model, found


def fit_incorrect(logit: np.ndarray, incorrect: np.ndarray, group: np.ndarray) -> IncorrectCalibration:
    """Return the calibration for logits (N,) and truth (N,) bool; faces of one `group` (N,) are not independent.

    The operating point has the best recall among points with a held-out precision of at least `MIN_PRECISION`. If no
    point has that precision, it is the most precise point. Without faces of either kind, the logits stay unchanged.
    """
    if not incorrect.any() or incorrect.all():
        return IncorrectCalibration(1.0, 0.0, 0.5, len(logit), int(incorrect.sum()), float("nan"), float("nan"))
    scale, shift = fit_scale(logit, incorrect.astype(int), True)
    platt = scale * logit + shift
    figures = {asked: _held_out(platt, incorrect, group, asked) for asked in _ASKED}
    asked = max(figures, key=lambda asked: _worth(*figures[asked]))
    point = _threshold(platt, incorrect, asked)
    return IncorrectCalibration(
        1 / scale, shift - point, float(1 / (1 + np.exp(-point))), len(logit), int(incorrect.sum()), *figures[asked]
    )


def _worth(precision: float, recall: float) -> tuple[bool, float]:
    enough = precision >= MIN_PRECISION
    return (enough, recall if enough else np.nan_to_num(precision))


def _threshold(logit: np.ndarray, incorrect: np.ndarray, precision: float) -> float:
    """Return the logit of best recall at a precision, midway to the next face below, or that of best precision."""
    order = np.argsort(-logit, kind="stable")
    values, hits = logit[order], np.cumsum(incorrect[order])
    reached = hits / np.arange(1, len(hits) + 1)
    ends = np.append(values[1:] != values[:-1], True)  # equal logits are flagged together
    good = np.flatnonzero(ends & (reached >= precision))
    last = good[hits[good].argmax()] if len(good) else np.where(ends, reached, -1).argmax()
    return float((values[last] + values[min(last + 1, len(values) - 1)]) / 2)


def _held_out(logit: np.ndarray, incorrect: np.ndarray, group: np.ndarray, asked: float) -> tuple[float, float]:
    """Return precision and recall, with each fold of the groups judged by the threshold from the other folds."""
    names, number = np.unique(group, return_inverse=True)
    part = np.random.default_rng(0).permutation(len(names))[number] % _NUM_FOLDS
    flagged = np.zeros(len(logit), bool)
    for one in range(_NUM_FOLDS):
        own = part == one
        if own.any() and incorrect[~own].any():
            flagged[own] = logit[own] >= _threshold(logit[~own], incorrect[~own], asked)
    hits = (flagged & incorrect).sum()
    return float(hits / flagged.sum()) if flagged.any() else float("nan"), float(hits / incorrect.sum())
