"""Episodes: stretches of time in which a person is in one state.

The states of a person are those of a hidden Markov model (Rabiner 1989). Each look is evidence for or against each
state, and a change of state costs as much as several contrary looks. The Viterbi algorithm finds the most probable
sequences of all persons at the same time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

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
# the last look of an episode lasts as long as the interval between looks, but at most this many seconds
_MOST_STEP_S = 0.5
# a gap in a sparsely sampled source is longer than so many of the usual intervals between its analysed frames
_STEPS_IN_GAP = 1.5


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


def find_episodes(looks: Looks, settings: ReportSettings, steps: Mapping[int, float] | None = None) -> Episodes:
    """Divide the time of each person into episodes.

    Args:
        looks: the looks at all persons.
        settings: thresholds, the longest gap within an episode, the shortest state.
        steps: usual seconds between two analysed frames, by source id; default: short for all.

    Returns:
        Episodes without overlap. A change lies midway between the last look in the old state and the first look in the
        new state. A gap between looks of more than `settings.max_gap_s`, and of more than 1.5 usual steps of the source,
        belongs to no episode.
    """
    if not len(looks):
        ints, floats = np.empty(0, np.int64), np.empty(0)
        return Episodes(
            ints, ints.astype(np.int8), floats, floats, ints, ints, ints, floats, floats, floats, np.empty(0, "U10")
        )
    is_first = np.zeros(len(looks), bool)
    is_first[looks.starts()] = True
    gap = _difference(looks.time_s, np.append(0.0, looks.time_s[:-1]))
    begins = is_first | (gap > _longest_gaps(looks, settings.max_gap_s, steps or {}))
    with np.errstate(invalid="ignore"):  # -inf times 0: an impossible state at a look that adds nothing
        told = log_likelihoods(looks, settings) * novelty(looks.time_s, begins)[:, None]
    state = _most_probable(np.nan_to_num(told, nan=-np.inf), np.flatnonzero(begins))
    state = _without_short(state, looks, begins, settings.min_state_s)
    return _described(state, looks, is_first, begins)


def _difference(to_s: np.ndarray, from_s: np.ndarray) -> np.ndarray:
    """Return the seconds between times, without errors of floating point: exactly a second is no less than a second."""
    return np.round(to_s - from_s, 6)


def _longest_gaps(looks: Looks, max_gap_s: float, steps: Mapping[int, float]) -> np.ndarray:
    """Return the longest gap (N,) in seconds before each look that is still within an episode."""
    source_ids, at = np.unique(looks.source_id, return_inverse=True)
    usual_s = np.array([steps.get(one, 0.0) for one in source_ids.tolist()])
    return np.maximum(max_gap_s, _STEPS_IN_GAP * usual_s)[at]


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


def _without_short(state: np.ndarray, looks: Looks, begins: np.ndarray, min_state_s: float) -> np.ndarray:
    """Return the states (N,) without runs of less than `min_state_s` seconds. A stretch of one run keeps its state.

    The shortest run goes first, and takes the state of its longer neighbour.
    """
    state = state.copy()
    while True:
        starts = _runs(state, begins)
        ends = np.append(starts[1:], len(looks))
        from_s, to_s = _edges(starts, ends, looks, begins)
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


def _edges(starts: np.ndarray, ends: np.ndarray, looks: Looks, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end times in seconds of the runs of looks from `starts` to `ends` (exclusive)."""
    time_s, total = looks.time_s, len(looks)
    step_s = np.diff(time_s, append=0.0)
    is_last = np.append(begins[1:], True)
    # a look at the end of its stretch lasts as long as the step before it
    before_s = np.where(begins, 0.0, np.diff(time_s, prepend=0.0))
    lasts_s = np.clip(np.where(is_last, before_s, step_s), 0, _MOST_STEP_S)
    from_s = np.where(begins[starts], time_s[starts], (time_s[np.maximum(starts - 1, 0)] + time_s[starts]) / 2)
    last = ends - 1
    is_end = is_last[last]
    following = np.minimum(ends, total - 1)
    to_s = np.where(is_end, time_s[last] + lasts_s[last], (time_s[last] + time_s[following]) / 2)
    return from_s, to_s


def _described(state: np.ndarray, looks: Looks, is_first: np.ndarray, begins: np.ndarray) -> Episodes:
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
    from_s, to_s = _edges(starts, ends, looks, begins)
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
