"""Find static faces: posters, screens, portraits, dolls. They never move or change, and are not people."""

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.people.looks import Looks

# maximum standard deviations, as shares of the face's size: detections of a still face vary by 1-3 %, heads move more
_MOST_MOVED, _MOST_GROWN = 0.05, 0.06
# maximum standard deviation of p_mask
_MOST_CHANGED = 0.15
# maximum difference between the mean boxes of two tracks of one still face, as a share of its size
_SAME_PLACE = 0.05


def is_static(looks: Looks, min_s: float) -> np.ndarray:
    """Return (P,) bool: whether a person is a static face, whose box stays in place for `min_s` seconds or more.

    Several tracks at the same place of one source count together, because people walk past a poster. People who stop
    at the same counter differ in place, size or mask.
    """
    if not len(looks):
        return np.zeros(0, bool)
    starts = looks.starts()
    steady = _is_steady(looks, starts)
    ends = looks.ends()
    first_s, last_s = looks.time_s[starts], looks.time_s[ends - 1]
    found = steady & (last_s - first_s >= min_s)
    place, p_mask = _means(looks.xyxy, starts), _means(looks.p_mask, starts)
    candidates = np.flatnonzero(steady)
    for source_id in np.unique(looks.source_id[starts[candidates]]).tolist():
        own = candidates[looks.source_id[starts[candidates]] == source_id]
        if last_s[own].max() - first_s[own].min() < min_s:
            continue
        for position in own.tolist():
            others = own[_alike(place[own], place[position]) & (abs(p_mask[own] - p_mask[position]) < _MOST_CHANGED)]
            found[position] |= len(others) > 1 and last_s[others].max() - first_s[others].min() >= min_s
    return found


def _alike(xyxy: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether the boxes (N, 4) have the corners of the box `one` (4,)."""
    return np.abs(xyxy - one).max(axis=1) < _SAME_PLACE * max(float(boxes.size_px(one[None])[0]), 1e-6)


def _is_steady(looks: Looks, starts: np.ndarray) -> np.ndarray:
    """Return (P,) bool: whether the box and p_mask of a person hardly vary. A single look is not steady."""
    counts = np.diff(np.append(starts, len(looks)))
    size = boxes.size_px(looks.xyxy)
    mean_size = np.maximum(_means(size, starts), 1e-6)
    moved = np.sqrt(_variances(boxes.centre(looks.xyxy), starts).sum(axis=1)) / mean_size
    grown = np.sqrt(_variances(size, starts)) / mean_size
    changed = np.sqrt(_variances(looks.p_mask, starts))
    return (counts > 1) & (moved < _MOST_MOVED) & (grown < _MOST_GROWN) & (changed < _MOST_CHANGED)


def _means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    counts = np.diff(np.append(starts, len(values)))
    return np.add.reduceat(values, starts) / counts.reshape(-1, *[1] * (values.ndim - 1))


def _variances(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    counts = np.diff(np.append(starts, len(values)))
    apart = values - np.repeat(_means(values, starts), counts, axis=0)
    return _means(apart**2, starts)
