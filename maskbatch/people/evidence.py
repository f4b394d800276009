"""From probabilities to evidence: the log-likelihood of each state at each look."""

import numpy as np

from maskbatch.people.looks import Looks, qualities
from maskbatch.settings import ReportSettings
from maskbatch.states import INCORRECT_MASK, UNSURE, WITH_MASK, WITHOUT_MASK

# the states of a person, in the order of all arrays with one column for each of them
STATES = (WITH_MASK, WITHOUT_MASK, INCORRECT_MASK, UNSURE)
MASKED, BARE, INCORRECT, NOT_SURE = range(4)
# one look cannot be surer than this, in log-odds:
# networks are overconfident, and one wrong look must gain less than two changes of state (see `episodes._COSTS`)
_MOST = 3.2
# what a look that was not classified speaks against each sure state: what was seen before it fades
_FADES = 0.05
# looks that are closer together than this, in seconds, show the same thing
_SAME_S = 0.2


def log_likelihoods(looks: Looks, settings: ReportSettings) -> np.ndarray:
    """Return the log-likelihood of each of STATES at each look, (N, 4) float64; -inf for a state that does not exist.

    A probability counts by its distance from the threshold in log-odds, times how well the face can be seen. `unsure` is
    the state of a look that is surer of nothing than `settings.sure`. A look without a probability tells next to nothing.
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
    """Return how much each look adds to the one before, (N,) from 0 to 1: 30 looks a second are not 30 times the evidence.

    `is_first` (N,) bool: the look has none before it.
    """
    gap = np.diff(time_s, prepend=0.0)
    return np.where(is_first, 1.0, np.clip(gap / _SAME_S, 0, 1))


def _log_odds(p: np.ndarray, threshold: float) -> np.ndarray:
    """Return how far `p` (N,) is from the threshold, in log-odds (N,)."""
    edge = np.clip(threshold, 1e-4, 1 - 1e-4)
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.clip(np.log(p / (1 - p)) - np.log(edge / (1 - edge)), -_MOST, _MOST)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
