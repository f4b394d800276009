"""Judge persons by their episodes. The verdict follows from the time in each state, never from a mean."""

from dataclasses import dataclass

import numpy as np

from maskbatch.people.episodes import Episodes
from maskbatch.people.evidence import BARE, INCORRECT, MASKED, NOT_SURE, STATES, SURE
from maskbatch.people.looks import Looks
from maskbatch.settings import ReportSettings


@dataclass(frozen=True, slots=True)
class Persons:
    """P persons, in the order of their looks.

    Attributes:
        source_id, person: (P,) int64.
        first_s, last_s: (P,) float64, times of the first and last look in seconds.
        seconds: (P, 4) float64, time in each of STATES.
        verdict: (P,) int8, index into STATES.
        changed: (P,) bool, the person was in at least two sure states.
        p_mask: (P,) float64, mean over the deciding episodes.
        num_faces: (P,) int64, number of looks.
        best_frame, best_face: (P,) int64, the look that shows the face best in the state of the verdict.
        best_time_s: (P,) float64, time of that look in seconds.
        reason: (P,) str, why the verdict is unsure, "" otherwise.
    """

    source_id: np.ndarray
    person: np.ndarray
    first_s: np.ndarray
    last_s: np.ndarray
    seconds: np.ndarray
    verdict: np.ndarray
    changed: np.ndarray
    p_mask: np.ndarray
    num_faces: np.ndarray
    best_frame: np.ndarray
    best_face: np.ndarray
    best_time_s: np.ndarray
    reason: np.ndarray

    def __len__(self) -> int:
        return len(self.source_id)


def find_persons(looks: Looks, episodes: Episodes, settings: ReportSettings) -> Persons:
    """Judge each person by the time in each state.

    A person is without a mask if one bare episode lasts at least `settings.min_bare_s`. Otherwise, an incorrect mask is
    judged by the same rule. A person is with a mask if masked, and never in another sure state. All others are unsure.
    A single look, as in a photo, decides alone.
    """
    starts, ends = looks.starts(), looks.ends()
    num_faces = ends - starts
    seconds, longest = _by_state(episodes, len(starts))
    was = states_of(episodes, len(starts))
    is_single = num_faces == 1
    enough = (longest >= settings.min_bare_s) | is_single[:, None]
    is_bare, is_incorrect = was[:, BARE] & enough[:, BARE], was[:, INCORRECT] & enough[:, INCORRECT]
    is_masked = was[:, MASKED] & ~was[:, BARE] & ~was[:, INCORRECT]
    verdict = np.select([is_bare, is_incorrect, is_masked], [BARE, INCORRECT, MASKED], NOT_SURE).astype(np.int8)
    deciding = np.isin(episodes.state, SURE) & (episodes.state == verdict[episodes.group])
    deciding |= verdict[episodes.group] == NOT_SURE
    chosen = episodes.take(deciding)
    best = _best(episodes, deciding, len(starts))
    return Persons(
        looks.source_id[starts], looks.person[starts], looks.time_s[starts], looks.time_s[ends - 1], seconds, verdict,
        is_changed(was), _mean_p(chosen, len(starts)), num_faces, episodes.best_frame[best],
        episodes.best_face[best], episodes.best_time_s[best], _reasons(episodes, was, verdict),
    )  # fmt: skip


def _by_state(episodes: Episodes, num_persons: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds in each state and the longest episode in each, both (P, 4)."""
    seconds, longest = np.zeros((2, num_persons, len(STATES)))
    np.add.at(seconds, (episodes.group, episodes.state), episodes.duration_s)
    np.maximum.at(longest, (episodes.group, episodes.state), episodes.duration_s)
    return seconds, longest


def states_of(episodes: Episodes, num_persons: int) -> np.ndarray:
    """Return (P, 4) bool: the states in which each person was."""
    was = np.zeros((num_persons, len(STATES)), bool)
    was[episodes.group, episodes.state] = True
    return was


def is_changed(was: np.ndarray) -> np.ndarray:
    """Return (P,) bool: the persons who were in two sure states; `was` is from `states_of`."""
    return was[:, list(SURE)].sum(axis=1) > 1


def _mean_p(chosen: Episodes, num_persons: int) -> np.ndarray:
    """Return the mean p_mask (P,) over episodes, weighted by their number of looks."""
    total, weight = np.zeros((2, num_persons))
    np.add.at(total, chosen.group, chosen.p_mask * chosen.num_faces)
    np.add.at(weight, chosen.group, chosen.num_faces)
    return total / np.maximum(weight, 1)


def _best(episodes: Episodes, deciding: np.ndarray, num_persons: int) -> np.ndarray:
    """Return the episode (P,) with the best look among the episodes in the mask `deciding` (E,)."""
    chosen = np.flatnonzero(deciding)
    order = chosen[np.lexsort((episodes.visibility[chosen], episodes.group[chosen]))]
    best = np.zeros(num_persons, np.int64)
    best[episodes.group[order]] = order  # the last assignment to each person, the best look, stays
    return best


def _reasons(episodes: Episodes, was: np.ndarray, verdict: np.ndarray) -> np.ndarray:
    """Return why persons (P,) are unsure: a state was too "brief" to count, or the reason of the longest unsure episode."""
    unsure = episodes.take(episodes.state == NOT_SURE)
    order = np.argsort(unsure.duration_s, kind="stable")
    reason = np.full(len(was), "", "U10")
    reason[unsure.group[order]] = unsure.reason[order]
    is_brief = was[:, BARE] | was[:, INCORRECT]
    reason = np.where(is_brief, "brief", reason)
    return np.where(verdict == NOT_SURE, reason, "")
