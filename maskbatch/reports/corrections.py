"""Correct rates for the errors of the model: by a reviewed sample, or by error rates measured elsewhere."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

_LEVEL = 0.95
_EDGE = (1 + _LEVEL) / 2
# errors that each stratum is assumed to have beyond those seen; otherwise a stratum without errors would have no
# variance
_UNSEEN_ERRORS = 0.05


class CorrectedRate(NamedTuple):
    """A rate after the correction, with its 95 % interval and the number of reviewed people behind it."""

    value: float
    low: float
    high: float
    num_reviewed: int


class Labelled(NamedTuple):
    """The reviewed people of a stratified sample, each array (n,).

    `stratum` is a position in `sizes`. `masked` and `judged` are 1 where the reviewer saw a mask, and a face that can
    be judged, else 0. `p_mask` is the model's probability; `model_judged` is 1 where the model's verdict is sure, else
    0.
    """

    stratum: np.ndarray
    masked: np.ndarray
    judged: np.ndarray
    p_mask: np.ndarray
    model_judged: np.ndarray


def sampled_rate(
    sizes: np.ndarray, labelled: Labelled, all_p: np.ndarray, all_judged: np.ndarray
) -> CorrectedRate | None:
    """Return the share with a mask among all people who can be judged, from a stratified sample that reviewers looked at.

    The estimator is the difference estimator of survey sampling for a ratio (Särndal, Swensson and Wretman 1992, 6.3),
    with Horvitz-Thompson weights. The model's probability is the prediction. The weight of the prediction minimises the
    variance, as in prediction-powered inference (Angelopoulos et al. 2023, "PPI++"). The interval is therefore never
    wider than without the model.

    Args:
        sizes: number of people in each stratum, (H,).
        labelled: the sample.
        all_p, all_judged: the model's probability for everybody, and 1 where its verdict is sure, (N,).

    Returns:
        The rate, None when fewer than five people were reviewed, or none can be judged.

    Example:
        >>> half = np.array([0, 0, 0, 1, 1, 1])
        >>> seen = Labelled(half, half, np.ones(6), half * 0.9, np.ones(6))
        >>> round(sampled_rate(np.array([50, 50]), seen, np.repeat([0.0, 0.9], 50), np.ones(100)).value, 3)
        0.5
    """
    if len(labelled.stratum) < 5 or not labelled.judged.any():
        return None
    sizes, stratum = _collapsed(sizes.astype(np.float64), labelled.stratum)
    seen = np.bincount(stratum, minlength=len(sizes))
    weight = (sizes / seen)[stratum]
    denominator = float(weight @ labelled.judged)
    plain = float(weight @ labelled.masked) / denominator
    # contribution of each person to the ratio, by the reviewer and by the model (a linearised ratio, Woodruff 1971)
    truth = labelled.masked - plain * labelled.judged
    told = labelled.p_mask * labelled.model_judged - plain * labelled.model_judged
    everybody = float((all_p * all_judged - plain * all_judged).sum())
    factor = sizes**2 * (1 - seen / sizes) / seen
    own, both = _within(stratum, seen, told, told), _within(stratum, seen, truth, told)
    trust = float(np.clip(factor @ both / max(factor @ own, 1e-12), 0.0, 1.0))
    left = truth - trust * told
    value = plain + (trust * everybody + float(weight @ left)) / denominator
    spread = np.maximum(_within(stratum, seen, left, left), _UNSEEN_ERRORS / (seen + 1))
    error = np.sqrt(float(factor @ spread)) / denominator
    half = float(stdtrit(max(len(stratum) - len(sizes), 1), _EDGE)) * error
    return CorrectedRate(*(float(np.clip(end, 0, 1)) for end in (value, value - half, value + half)), len(stratum))


def _collapsed(sizes: np.ndarray, stratum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join strata with fewer than two reviewed people to the stratum before, or the first to the next.

    A variance needs two people.
    """
    to, seen = np.arange(len(sizes)), np.bincount(stratum, minlength=len(sizes)).astype(np.float64)
    kept = [position for position in range(len(sizes)) if seen[position] >= 2]
    if not kept:
        return np.array([sizes.sum()]), np.zeros(len(stratum), np.int64)
    for position in range(len(sizes)):
        below = [one for one in kept if one <= position]
        to[position] = kept.index(below[-1] if below else kept[0])
    return np.bincount(to, sizes), to[stratum]


def _within(stratum: np.ndarray, seen: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the covariance (H,) of `a` and `b` (n,) within each stratum."""
    mean_a, mean_b = np.bincount(stratum, a, len(seen)) / seen, np.bincount(stratum, b, len(seen)) / seen
    product = np.bincount(stratum, (a - mean_a[stratum]) * (b - mean_b[stratum]), len(seen))
    return product / np.maximum(seen - 1, 1)


class Errors(NamedTuple):
    """Counts of faces of known state, measured elsewhere: masked and bare faces, and the recognised faces among each."""

    masked: int
    masked_right: int
    bare: int
    bare_right: int


def corrected_by_errors(hits: float, total: float, errors: Errors) -> CorrectedRate | None:
    """Return a rate corrected for the errors of the model, by Rogan and Gladen (1978).

    The interval of Lang and Reiczigel (2014) includes the uncertainty of the rate and of both error rates.

    Args:
        hits: number of people judged as masked, divided by the design effect if there is one.
        total: number of people judged, divided likewise.
        errors: error counts of the model.

    Returns:
        The rate, None when the model is no better than chance, or nobody was judged.

    Example:
        >>> corrected_by_errors(90, 100, Errors(500, 480, 500, 480)).value > 0.9
        True
    """
    z = float(ndtri(_EDGE))
    if not total or not errors.masked or not errors.bare:
        return None
    number, of_masked, of_bare = total + z**2, errors.masked + 2, errors.bare + 2
    apparent = (hits + z**2 / 2) / number
    sensitivity, specificity = (errors.masked_right + 1) / of_masked, (errors.bare_right + 1) / of_bare
    power = sensitivity + specificity - 1
    if power <= 0:
        return None
    value = (apparent + specificity - 1) / power
    of_se, of_sp = sensitivity * (1 - sensitivity) / of_masked, specificity * (1 - specificity) / of_bare
    shift = 2 * z**2 * (value * of_se - (1 - value) * of_sp)
    half = z * np.sqrt(apparent * (1 - apparent) / number + (1 - value) ** 2 * of_sp + value**2 * of_se) / power
    plain = (hits / total + errors.bare_right / errors.bare - 1) / (
        errors.masked_right / errors.masked + errors.bare_right / errors.bare - 1
    )
    ends = (plain, value + shift - half, value + shift + half)
    return CorrectedRate(*(float(np.clip(end, 0, 1)) for end in ends), 0)
