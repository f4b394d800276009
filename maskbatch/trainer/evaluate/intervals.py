"""Recalls of both classes with 95 % intervals, by a bootstrap over pictures."""

from dataclasses import dataclass

import numpy as np

_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % bootstrap interval over pictures; near-duplicates count as one picture."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Recalls:
    """Recalls of N faces: `recall` of both classes, without_mask first, their mean `balanced`, and the counts.

    `pictures` counts pictures with a face of the class; near-duplicates count as one picture.
    """

    faces: tuple[int, int]
    pictures: tuple[int, int]
    recall: tuple[Interval, Interval]
    balanced: Interval


def recalls(label: np.ndarray, predicted: np.ndarray, group: np.ndarray) -> Recalls:
    """Return the recalls for labels and predictions (N,) in {0, 1}.

    The interval is a bootstrap over whole groups (N,). Faces of one picture, or of its near-duplicates, share light,
    distance and people, so an interval over faces would be too narrow. Resamples without a class are left out. If no
    face or every face of a class is wrong, all resamples are equal; the limit is then that of Clopper and Pearson
    (1934) for as many independent pictures. A figure without faces is NaN, and so is the interval of a single picture.

    Example:
        >>> found = recalls(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array(list("abcd")))
        >>> found.recall[0].value, found.recall[1].value, round(found.recall[1].low, 3)
        (0.5, 1.0, 0.158)
    """
    counts = _counts(label, predicted, group)
    values, limits = _recalls(counts.sum(axis=0)), _bootstrap(counts)
    pictures = (counts[:, :2] > 0).sum(axis=0)
    for i in np.flatnonzero(np.isin(values[:2], (0, 1))):
        limits[i] = _exact(values[i], pictures[i])
    limits[:2][pictures < 2] = np.nan
    if np.isin(values[:2], (0, 1)).all() or (pictures < 2).any():
        limits[2] = limits[:2].mean(axis=0)
    one, other, both = (Interval(value, *limit) for value, limit in zip(values.tolist(), limits.tolist(), strict=True))
    return Recalls(tuple(counts[:, :2].sum(axis=0).tolist()), tuple(pictures.tolist()), (one, other), both)


def balanced_accuracy(label: np.ndarray, predicted: np.ndarray, group: np.ndarray) -> Interval:
    """Return the mean of both classes' recalls with its interval, see `recalls`."""
    return recalls(label, predicted, group).balanced


def _counts(label: np.ndarray, predicted: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return (G, 4) for each group: the number of faces by class, then the number of correct faces by class."""
    number = np.unique(group, return_inverse=True)[1].reshape(-1)
    num_groups = int(number.max(initial=-1)) + 1
    return np.stack([
        np.bincount(number, (label == value) & hit, num_groups).astype(int)
        for hit in (np.ones(len(label), bool), predicted == label)
        for value in (0, 1)
    ], axis=1)  # fmt: skip


def _bootstrap(counts: np.ndarray) -> np.ndarray:
    """Return low and high of both recalls and of their mean, (3, 2), for counts (G, 4)."""
    num_groups = len(counts)
    if num_groups < 2:
        return np.full((3, 2), np.nan)
    rng = np.random.default_rng(0)
    drawn = (np.bincount(rng.integers(num_groups, size=num_groups), minlength=num_groups) for _ in range(_RESAMPLES))
    values = np.array([_recalls(times @ counts) for times in drawn])
    known = np.where(np.isnan(values).all(axis=0), 0, values)
    limits = np.nanpercentile(known, [100 * _TAIL, 100 * (1 - _TAIL)], axis=0).T
    limits[np.isnan(_recalls(counts.sum(axis=0)))] = np.nan
    return limits


def _recalls(counts: np.ndarray) -> np.ndarray:
    """Return both recalls and their mean (3,) from counts (4,); NaN without a class."""
    with np.errstate(invalid="ignore"):
        both = counts[2:] / counts[:2]
    return np.append(both, both.mean())


def _exact(value: float, pictures: int) -> tuple[float, float]:
    """Return the limits of a recall of 0 or 1 in a number of independent pictures."""
    least = _TAIL ** (1 / pictures)
    return (least, 1.0) if value else (0.0, 1 - least)
