"""Episodes: stretches of time in which a person is in one state.

The states of a person are those of a hidden Markov model (Rabiner 1989). Each look is evidence for or against each
state, and a change of state costs as much as several contrary looks. The Viterbi algorithm finds the most probable
sequences of all persons at the same time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from maskbatch.people.evidence import NOT_SURE, STATES, log_likelihoods, novelty
from maskbatch.people.looks import REASONS, Looks, qualities, visibility
from maskbatch.settings import ReportSettings

# log-likelihood that a change of state must gain: one surprising look gains less than two changes cost. A change from
# or to unsure costs less, else unsure looks before and after would hide a bare face; even less would make brief states
# unsure
_CHANGE, _UNSURE_CHANGE = 2.1, 1.5
_COSTS = np.full((len(STATES), len(STATES)), _CHANGE)
_COSTS[NOT_SURE, :] = _COSTS[:, NOT_SURE] = _UNSURE_CHANGE
np.fill_diagonal(_COSTS, 0.0)
# the last look of an episode lasts as long as the interval before it, but at most this many seconds
_MOST_STEP_S = 0.5
# a gap in a sparsely sampled source is longer than so many of the usual intervals between its analysed frames
_STEPS_IN_GAP = 1.5


class Timing(NamedTuple):
    """Times of a source in seconds: the usual step between two analysed frames, the end of the frames that were decoded,
    and the duration in the file. The defaults set no limit.
    """

    step_s: float = 0.0
    read_s: float = math.inf
    duration_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Episodes:
    """E episodes, sorted by person and time.

    Attributes:
        group: (E,) int64, position of the person (see `Looks.starts`).
        state: (E,) int8, index into STATES.
        from_s, to_s: (E,) float64, start and end in seconds.
        num_faces: (E,) int64, number of looks.
        best_frame, best_face: (E,) int64, the look that shows the face best.
        best_time_s: (E,) float64, time of that look in seconds.
        visibility: (E,) float64, how well that look shows the face.
        p_mask: (E,) float64, mean over the looks, weighted by quality and novelty; NaN when no look was classified.
        reason: (E,) str, why the state is unsure, "" otherwise.
    """

    group: np.ndarray
    state: np.ndarray
    from_s: np.ndarray
    to_s: np.ndarray
    num_faces: np.ndarray
    best_frame: np.ndarray
    best_face: np.ndarray
    best_time_s: np.ndarray
    visibility: np.ndarray
    p_mask: np.ndarray
    reason: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    @property
    def duration_s(self) -> np.ndarray:
        """Durations (E,) in seconds, to a microsecond."""
        return _difference(self.to_s, self.from_s)

    def take(self, chosen: np.ndarray) -> "Episodes":
        """Return the episodes at `chosen`: a boolean mask (E,) or an index array, applied to every field."""
        return Episodes(*(getattr(self, item.name)[chosen] for item in fields(self)))


def find_episodes(looks: Looks, settings: ReportSettings, timings: Mapping[int, Timing] | None = None) -> Episodes:
    """Divide the time of each person into episodes.

    Args:
        looks: the looks at all persons.
        settings: thresholds, the longest gap within an episode, the shortest state.
        timings: times of the sources, by source id; default: no limits.

    Returns:
        Episodes without overlap. A change lies midway between the last look in the old state and the first look in the
        new state. A gap between looks of more than `settings.max_gap_s`, and of more than 1.5 usual steps of the source,
        belongs to no episode. No episode ends after its source.
    """
    if not len(looks):
        ints, floats = np.empty(0, np.int64), np.empty(0)
        return Episodes(
            ints, ints.astype(np.int8), floats, floats, ints, ints, ints, floats, floats, floats, np.empty(0, "U10")
        )
    is_first = np.zeros(len(looks), bool)
    is_first[looks.starts()] = True
    gap = _difference(looks.time_s, np.append(0.0, looks.time_s[:-1]))
    usual_s, *ends_s = _per_look(looks, timings or {})
    begins = is_first | (gap > np.maximum(settings.max_gap_s, _STEPS_IN_GAP * usual_s))
    until_s = _until(looks.time_s, begins, *ends_s)
    with np.errstate(invalid="ignore"):  # -inf times 0: an impossible state at a look that adds nothing
        told = log_likelihoods(looks, settings) * novelty(looks.time_s, begins)[:, None]
    state = _most_probable(np.nan_to_num(told, nan=-np.inf), np.flatnonzero(begins))
    state = _without_short(state, looks.time_s, begins, until_s, settings.min_state_s)
    return _described(state, looks, is_first, begins, until_s)


def _difference(to_s: np.ndarray, from_s: np.ndarray) -> np.ndarray:
    """Return the seconds between times, without errors of floating point: exactly a second is no less than a second."""
    return np.round(to_s - from_s, 6)


def _per_look(looks: Looks, timings: Mapping[int, Timing]) -> np.ndarray:
    """Return the fields of the source's `Timing` for each look, (3, N)."""
    source_ids, at = np.unique(looks.source_id, return_inverse=True)
    return np.array([timings.get(one, Timing()) for one in source_ids.tolist()])[at].T


def _until(time_s: np.ndarray, begins: np.ndarray, read_s: np.ndarray, duration_s: np.ndarray) -> np.ndarray:
    """Return when each look (N,) ends if it is the last of its stretch: after the step before it, within the source.

    Frames after `read_s` show that the frame rate is not constant, so only the duration ends their source.
    """
    lasts_s = np.where(begins, 0.0, np.diff(time_s, prepend=0.0)).clip(0, _MOST_STEP_S)
    end_s = np.where(time_s <= read_s, read_s, np.maximum(time_s, duration_s))
    return np.minimum(time_s + lasts_s, end_s)


def _most_probable(told: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the most probable states (N,) int8 of stretches that begin at `starts`, from log-likelihoods (N, 4).

    Step k handles all stretches with a look k at once, so that the loop is only as long as the longest stretch. The looks
    of a step follow one another, those of the longest stretch first.
    """
    lengths = np.diff(np.append(starts, len(told)))
    order = np.argsort(-lengths, kind="stable")
    counts = np.searchsorted(-lengths[order], -np.arange(1, lengths.max() + 1), side="right")
    firsts = np.cumsum(counts) - counts
    step = np.repeat(np.arange(len(counts)), counts)
    at = starts[order][np.arange(len(told)) - firsts[step]] + step
    score = told[at]
    steps = list(zip(firsts.tolist(), firsts[1:].tolist(), counts[1:].tolist(), strict=False))
    for before, now, count in steps:
        score[now : now + count] += (score[before : before + count, :, None] - _COSTS).max(axis=1)
    found = score.argmax(axis=1)
    for before, now, count in reversed(steps):
        through = score[before : before + count] - _COSTS[found[now : now + count]]
        found[before : before + count] = through.argmax(axis=1)
    state = np.empty(len(told), np.int8)
    state[at] = found
    return state


def _runs(state: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the positions at which runs of one state begin."""
    is_new = begins.copy()
    is_new[1:] |= state[1:] != state[:-1]
    return np.flatnonzero(is_new)


def _without_short(
    state: np.ndarray, time_s: np.ndarray, begins: np.ndarray, until_s: np.ndarray, min_state_s: float
) -> np.ndarray:
    """Return the states (N,) without runs of less than `min_state_s` seconds. A stretch of one run keeps its state.

    The shortest run goes first, and takes the state of its longer neighbour.
    """
    state = state.copy()
    while True:
        starts = _runs(state, begins)
        ends = np.append(starts[1:], len(time_s))
        from_s, to_s = _edges(starts, ends, time_s, begins, until_s)
        length_s = _difference(to_s, from_s)
        before = np.where(begins[starts], -1.0, np.roll(length_s, 1))
        after = np.where(np.append(begins[starts[1:]], True), -1.0, np.roll(length_s, -1))
        is_least = (length_s <= np.where(before < 0, np.inf, before)) & (length_s <= np.where(after < 0, np.inf, after))
        goes = (length_s < min_state_s) & (np.maximum(before, after) >= 0) & is_least
        goes[1:] &= ~goes[:-1]  # only the first of equal neighbours
        if not goes.any():
            return state
        into = np.flatnonzero(goes) + np.where(after > before, 1, -1)[goes]
        for run, other in zip(np.flatnonzero(goes).tolist(), into.tolist(), strict=True):
            state[starts[run] : ends[run]] = state[starts[other]]


def _edges(
    starts: np.ndarray, ends: np.ndarray, time_s: np.ndarray, begins: np.ndarray, until_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end times in seconds of the runs of looks from `starts` to `ends` (exclusive)."""
    is_last = np.append(begins[1:], True)
    from_s = np.where(begins[starts], time_s[starts], (time_s[np.maximum(starts - 1, 0)] + time_s[starts]) / 2)
    last = ends - 1
    following = np.minimum(ends, len(time_s) - 1)
    to_s = np.where(is_last[last], until_s[last], (time_s[last] + time_s[following]) / 2)
    return from_s, to_s


def _described(
    state: np.ndarray, looks: Looks, is_first: np.ndarray, begins: np.ndarray, until_s: np.ndarray
) -> Episodes:
    """Return the runs of one state (N,) as episodes."""
    starts = _runs(state, begins)
    ends = np.append(starts[1:], len(looks))
    run_of = np.repeat(np.arange(len(starts)), ends - starts)
    trust = qualities(looks)
    quality = trust.prod(axis=1)
    weight = quality * novelty(looks.time_s, begins)
    known = ~np.isnan(looks.p_mask)
    weight = np.where(known, np.maximum(weight, 1e-6), 0.0)
    total = np.add.reduceat(weight, starts)
    p_mask = np.add.reduceat(weight * np.where(known, looks.p_mask, 0.0), starts)
    p_mask = np.divide(p_mask, total, out=np.full(len(starts), np.nan), where=total > 0)
    group = np.cumsum(is_first)[starts] - 1
    own = state[starts]
    reason = np.where(own == NOT_SURE, _reasons(trust, starts), "")
    from_s, to_s = _edges(starts, ends, looks.time_s, begins, until_s)
    seen = visibility(looks, quality)
    best = np.lexsort((np.arange(len(looks)), -seen, run_of))[starts]  # the first of equals
    return Episodes(
        group, own, from_s, to_s, ends - starts, looks.frame[best], looks.face[best], looks.time_s[best], seen[best], p_mask,
        reason,
    )  # fmt: skip


def _reasons(trust: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return why each run is unsure: the worst quality of `trust` (N, 4), or a probability "in between"."""
    mean = np.add.reduceat(trust, starts) / np.diff(np.append(starts, len(trust)))[:, None]
    return np.where(mean.min(axis=1) < 0.75, np.array(REASONS)[mean.argmin(axis=1)], "in between")
