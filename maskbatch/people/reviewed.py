"""Apply reviews: the verdicts of reviewers replace those of the model, for people and their episodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from maskbatch.people.episodes import Episodes
from maskbatch.people.evidence import NOT_SURE, STATES
from maskbatch.people.persons import Persons
from maskbatch.store.review import NOT_A_FACE, Verdict

# why a person is unsure: the reviewer could not judge either
REVIEWED = "reviewed"


class Corrected(NamedTuple):
    """People and episodes after the review.

    `reviewed` (P,) object is the last verdict on each person, "" without one. `is_face` (P,) bool is false where the
    reviewer saw no face.
    """

    persons: Persons
    episodes: Episodes
    reviewed: np.ndarray
    is_face: np.ndarray


def corrected(persons: Persons, episodes: Episodes, verdicts: Sequence[Verdict]) -> Corrected:
    """Return people and episodes, corrected by the last verdict on each person.

    A verdict that differs from the model's changes the person, and the person's episodes in the state of the model's
    verdict. All other episodes stay.
    """
    reviewed = np.full(len(persons), "", object)
    last = {(one.source_id, one.person_id): one.verdict for one in verdicts if one.person_id is not None}
    at = {
        key: position
        for position, key in enumerate(zip(persons.source_id.tolist(), persons.person.tolist(), strict=True))
    }
    for key, verdict in last.items():
        if key in at:
            reviewed[at[key]] = verdict
    said = np.array([STATES.index(one) if one in STATES else -1 for one in reviewed], np.int8)
    changed = np.flatnonzero((said >= 0) & (said != persons.verdict))
    if len(changed):
        persons, episodes = _changed(persons, episodes, changed, said[changed])
    return Corrected(persons, episodes, reviewed, reviewed != NOT_A_FACE)


def _changed(persons: Persons, episodes: Episodes, who: np.ndarray, now: np.ndarray) -> tuple[Persons, Episodes]:
    """Return people and episodes with the verdicts `now` (n,) for the persons at positions `who` (n,)."""
    before = persons.verdict[who]
    verdict, seconds, reason = persons.verdict.copy(), persons.seconds.copy(), persons.reason.astype(object)
    verdict[who] = now
    seconds[who, now] += seconds[who, before]
    seconds[who, before] = 0.0
    reason[who] = np.where(now == NOT_SURE, REVIEWED, "")
    target = np.full(len(persons), -1, np.int8)
    target[who] = now
    is_led = (target[episodes.group] >= 0) & (episodes.state == persons.verdict[episodes.group])
    state = np.where(is_led, target[episodes.group], episodes.state).astype(np.int8)
    words = np.where(is_led, np.where(state == NOT_SURE, REVIEWED, ""), episodes.reason.astype(object))
    episodes = replace(episodes, state=state, reason=words)
    was = np.zeros((len(persons), len(STATES)), bool)
    was[episodes.group, state] = True
    changes = was[:, :NOT_SURE].sum(axis=1) > 1
    return replace(persons, verdict=verdict, seconds=seconds, reason=reason, changed=changes), episodes
