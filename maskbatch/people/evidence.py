"""Turn probabilities into evidence: the log-likelihood of each state at each look."""

import numpy as np

from maskbatch.people.looks import Looks, qualities
from maskbatch.settings import ReportSettings
from maskbatch.states import INCORRECT_MASK, UNSURE, WITH_MASK, WITHOUT_MASK

# the states of a person, in the order of columns in all arrays by state
STATES = (WITH_MASK, WITHOUT_MASK, INCORRECT_MASK, UNSURE)
MASKED, BARE, INCORRECT, NOT_SURE = range(4)
SURE = (MASKED, BARE, INCORRECT)
# limit on the evidence of one look, in log-odds: networks are overconfident, and one wrong look must gain less than two
# changes of state cost (see `episodes._COSTS`)
_MOST = 3.2
# log-likelihood that an unclassified look subtracts from each sure state, so that earlier evidence fades
_FADES = 0.05
# looks less than this many seconds apart show the same thing
_SAME_S = 0.2


def log_likelihoods(looks: Looks, settings: ReportSettings) -> np.ndarray:
    """Return the log-likelihood of each of STATES at each look, (N, 4) float64; -inf for a state that does not exist.

    The evidence of a look is the distance of its probability from the threshold in log-odds, weighted by the visibility
    of the face. A look is `unsure` when no state is more probable than `settings.sure`. A look without a probability is
    almost no evidence.
    """
    weight = qualities(looks).prod(axis=1)
    masked = _sigmoid(weight * _log_odds(looks.p_mask, settings.thresholds.mask))
    incorrect = np.zeros(len(looks))
    if settings.thresholds.incorrect is not None:
        known = ~np.isnan(looks.p_incorrect)
        odds = _log_odds(looks.p_incorrect[known], settings.thresholds.incorrect)
        incorrect[known] = _sigmoid(weight[known] * odds)
    with np.errstate(divide="ignore"):
        told = np.log(
            np.stack(
                [
                    (1 - incorrect) * masked,
                    (1 - incorrect) * (1 - masked),
                    incorrect,
                    np.full(len(looks), settings.sure),
                ],
                1,
            )
        )
    told[np.isnan(looks.p_mask), MASKED : BARE + 1] = np.log(settings.sure) - _FADES
    return told


def novelty(time_s: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Return weights (N,) of looks, 0 to 1, by the time since the look before.

    Thirty looks a second are not thirty times the evidence. `is_first` (N,) bool marks looks without a look before.
    """
    gap = np.diff(time_s, prepend=0.0)
    return np.where(is_first, 1.0, np.clip(gap / _SAME_S, 0, 1))


def _log_odds(p: np.ndarray, threshold: float) -> np.ndarray:
    """Return the distance (N,) of `p` (N,) from the threshold in log-odds."""
    edge = np.clip(threshold, 1e-4, 1 - 1e-4)
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.clip(np.log(p / (1 - p)) - np.log(edge / (1 - edge)), -_MOST, _MOST)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
