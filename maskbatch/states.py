"""The states of a face or person, and the rule that derives a label from the probabilities."""

import numpy as np

from maskbatch.settings import Thresholds

WITH_MASK, INCORRECT_MASK, WITHOUT_MASK = LABELS = ("with_mask", "incorrect_mask", "without_mask")
# the state of a person who cannot be judged by any look
UNSURE = "unsure"
# decimals of probabilities in the store
_DECIMALS = 4


def labels_of(p_mask: np.ndarray, p_incorrect: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Return labels (N,) str for `p_mask` (N,) and `p_incorrect` (N,).

    A mask is worn incorrectly if `p_incorrect` is at least `thresholds.incorrect`, where that is set; otherwise
    `p_mask` decides. NaN reaches no threshold. Example: `labels_of(np.array([0.9]), np.array([0.6]), Thresholds(0.5,
    0.5))` is `["incorrect_mask"]`.
    """
    labels = np.where(reaches(p_mask, thresholds.mask), WITH_MASK, WITHOUT_MASK)
    if thresholds.incorrect is None:
        return labels
    return np.where(reaches(p_incorrect, thresholds.incorrect), INCORRECT_MASK, labels)


def label_sql(p_mask: str, p_incorrect: str) -> str:
    """Return the same rule as an SQL expression over two SQL expressions; "" where `p_mask` is NULL.

    The thresholds are the parameters that `sql_parameters` gives. A comparison with NULL is never true.
    """
    return (
        f"CASE WHEN {p_mask} IS NULL THEN '' WHEN {p_incorrect} >= :incorrect THEN '{INCORRECT_MASK}' "
        f"WHEN {p_mask} >= :mask THEN '{WITH_MASK}' ELSE '{WITHOUT_MASK}' END"
    )


def sql_parameters(thresholds: Thresholds) -> dict[str, float | None]:
    """Return the parameters of a query with `label_sql`."""
    return {"mask": thresholds.mask, "incorrect": thresholds.incorrect}


def reaches(p: np.ndarray, threshold: float) -> np.ndarray:
    """Return (N,) bool: `p` (N,), rounded as in the store so that pictures and reports agree, is at least `threshold`."""
    return np.round(np.asarray(p, np.float64), _DECIMALS) >= threshold
