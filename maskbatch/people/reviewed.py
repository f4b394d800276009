"""Apply reviews: the verdicts of reviewers replace those of the model, for people and their episodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from maskbatch.people.episodes import Episodes
from maskbatch.people.evidence import BARE, INCORRECT, MASKED, NOT_SURE, STATES
from maskbatch.people.persons import Persons, is_changed, states_of
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

    A verdict changes the person's episodes in one state: the worst that was seen (bare, incorrect, masked, unsure). All
    other episodes stay. That state does not depend on the rules for the model's verdict, so that a verdict gives the
    same answer under all of them.
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
    if (said >= 0).any():
        persons, episodes = _changed(persons, episodes, said)
    return Corrected(persons, episodes, reviewed, reviewed != NOT_A_FACE)


def _changed(persons: Persons, episodes: Episodes, said: np.ndarray) -> tuple[Persons, Episodes]:
    """Return people and episodes with the verdicts `said` (P,), which are -1 for persons without one."""
    worst = _worst(persons, episodes)
    differs = (said >= 0) & (said != worst)
    who, now = np.flatnonzero(differs), said[differs]
    seconds = persons.seconds.copy()
    seconds[who, now] += seconds[who, worst[who]]
    seconds[who, worst[who]] = 0.0
    reason = persons.reason.astype(object)
    reason[(said >= 0) & (said != NOT_SURE)] = ""
    reason[differs & (said == NOT_SURE)] = REVIEWED
    is_led = differs[episodes.group] & (episodes.state == worst[episodes.group])
    state = np.where(is_led, said[episodes.group], episodes.state).astype(np.int8)
    words = np.where(is_led, np.where(state == NOT_SURE, REVIEWED, ""), episodes.reason.astype(object))
    episodes = replace(episodes, state=state, reason=words)
    persons = replace(persons, verdict=np.where(said >= 0, said, persons.verdict), seconds=seconds, reason=reason,
                      changed=is_changed(states_of(episodes, len(persons))))  # fmt: skip
    return persons, episodes


def _worst(persons: Persons, episodes: Episodes) -> np.ndarray:
    """Return the worst state (P,) of all episodes of each person, which no least duration decides."""
    worst = np.full(len(persons), NOT_SURE, np.int8)
    for state in (MASKED, INCORRECT, BARE):
        worst[episodes.group[episodes.state == state]] = state
    return worst
