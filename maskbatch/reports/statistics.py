"""Intervals of rates, for people who come in recordings and are therefore not independent."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

_LEVEL = 0.95
# minimum intra-cluster correlation that is assumed for people in one recording
_LEAST_CORRELATION = 0.05
# minimum number of people for an interval to be meaningful
_FEWEST = 5
_SECONDS = "person-seconds"
_RESAMPLES, _SEED = 2000, 0


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its denominator.

    Attributes:
        value: the share, None when the denominator is 0.
        low, high: the 95 % interval, None below five people.
        denominator: number of people, episodes or seconds.
        num_clusters: number of clusters (hours of one camera) behind the denominator.
        design_effect: ratio of the variance to that of independent people, at least 1.
        unit: what the denominator counts.
    """

    value: float | None
    low: float | None
    high: float | None
    denominator: float
    num_clusters: int
    design_effect: float
    unit: str = "people"

    def __str__(self) -> str:
        if self.value is None:
            return "nobody could be judged"
        interval = "" if self.low is None else f", 95 % interval {self.low:.1%} to {self.high:.1%}"
        return f"{self.value:.1%} of {round(self.denominator, 1)} {self.unit}{interval}"


def clustered_rate(hits: np.ndarray, totals: np.ndarray, unit: str = "people") -> Rate:
    """Return the share of hits among people who come in clusters, such as recordings.

    The interval is that of Wilson (1927). The number of people is divided by the design effect (Kish 1965), which is
    estimated from the clusters by linearisation. The quantile is that of Student's t, as in Korn and Graubard (1998).
    There are fewer degrees of freedom when rare events make a few clusters very different (by the kurtosis, after
    Satterthwaite 1946). The interval is approximate; benchmarks/coverage.py measures its coverage.

    Args:
        hits: number of people in each cluster with the state, (C,).
        totals: number of people in each cluster, (C,).
        unit: what is counted, if not people.

    Example:
        >>> print(clustered_rate(np.array([8, 9, 10, 3]), np.array([10, 10, 10, 10])))
        75.0% of 40 people, 95 % interval 25.3% to 96.4%
    """
    hits, totals = hits[totals > 0].astype(np.float64), totals[totals > 0].astype(np.float64)
    number, clusters = float(totals.sum()), len(totals)
    if not clusters:
        return Rate(None, None, None, 0, 0, 1.0, unit)
    value = float(hits.sum() / number)
    effect = _design_effect(hits, totals, value)
    if number < _FEWEST:
        return Rate(value, None, None, int(number), clusters, effect, unit)
    edge = (1 + _LEVEL) / 2
    freedom = _freedom(hits, totals, value)
    quantile = float(stdtrit(freedom, edge) if clusters > 1 and effect > 1 else ndtri(edge))
    low, high = _wilson(value, number / effect, quantile)
    return Rate(value, low, high, int(number), clusters, effect, unit)


def seconds_rate(hits_s: np.ndarray, totals_s: np.ndarray) -> Rate:
    """Return the share of seconds in a state; the clusters are recordings.

    The interval is a percentile bootstrap over the recordings (Efron 1979; Davison and Hinkley 1997, 2.4) with a fixed
    seed. Fewer than five recordings give no interval.

    Args:
        hits_s: seconds of each recording in the state, (C,).
        totals_s: seconds of each recording, (C,).

    Example:
        >>> print(seconds_rate(np.array([8.0, 9.0]), np.array([10.0, 10.0])))
        85.0% of 20.0 person-seconds
    """
    hits_s, totals_s = hits_s[totals_s > 0], totals_s[totals_s > 0]
    clusters = len(totals_s)
    if not clusters:
        return Rate(None, None, None, 0, 0, 1.0, _SECONDS)
    value = float(hits_s.sum() / totals_s.sum())
    if clusters < _FEWEST:
        return Rate(value, None, None, float(totals_s.sum()), clusters, 1.0, _SECONDS)
    drawn = np.random.default_rng(_SEED).multinomial(clusters, np.full(clusters, 1 / clusters), _RESAMPLES)
    shares = (drawn @ hits_s) / (drawn @ totals_s)
    low, high = np.quantile(shares, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Rate(value, float(low), float(high), float(totals_s.sum()), clusters, 1.0, _SECONDS)


def _design_effect(hits: np.ndarray, totals: np.ndarray, value: float) -> float:
    clusters, number = len(totals), totals.sum()
    if clusters < 2:
        return 1.0
    # with few recordings or few bare people, the similarity of people in one recording does not show
    least = max(1.0, 1 + ((totals**2).sum() / number - 1) * _LEAST_CORRELATION)
    if value in (0.0, 1.0):
        return least
    variance = clusters / (clusters - 1) * ((hits - value * totals) ** 2).sum() / number**2
    return max(least, float(variance * number / (value * (1 - value))))


def _freedom(hits: np.ndarray, totals: np.ndarray, value: float) -> float:
    """Return the degrees of freedom of the variance: the number of clusters minus 1, fewer with heavy tails."""
    clusters = len(totals)
    squares = (hits - value * totals) ** 2
    second, fourth = float(squares.mean()), float((squares**2).mean())
    if clusters < 2 or second == 0.0:
        return max(clusters - 1, 1)
    spread = (fourth - second**2 * (clusters - 3) / (clusters - 1)) / clusters
    return float(np.clip(2 * second**2 / max(spread, 1e-300), 1, clusters - 1))


def _wilson(value: float, number: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's score interval for a share `value` of `number` independent people."""
    square = quantile**2 / number
    middle = (value + square / 2) / (1 + square)
    half = quantile / (1 + square) * np.sqrt(value * (1 - value) / number + square / (4 * number))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
