"""Link the tracks of one person within a source, by time and appearance. Never link two tracks seen at the same time.

The linker forgets an appearance as soon as no later track can be linked to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maskbatch.analyse.appearance import unlikeness
from maskbatch.settings import TrackerSettings


@dataclass(frozen=True, slots=True)
class _Past:
    """A track that has ended: its person, first and last time, and mean appearance (D,)."""

    person: int
    first_s: float
    last_s: float
    appearance: np.ndarray


class Linker:
    """The ended tracks of one source, and the person of each.

    A track is linked to an earlier person when it begins within `link_s` seconds and the appearance is the same. Of
    several such persons, the linker takes the most similar one, and nobody when two are about equally similar.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._past: list[_Past] = []
        self._person_of: dict[int, int] = {}

    def add(self, track: int, first_s: float, last_s: float, appearance: np.ndarray) -> None:
        """Add and link a track that has just ended; its mean `appearance` is (D,)."""
        person = self._match(first_s, last_s, appearance)
        if person is None:
            person = track
        else:
            self._person_of[track] = person
        self._past.append(_Past(int(person), float(first_s), float(last_s), appearance))

    def forget(self, time_s: float, open_since_s: np.ndarray) -> None:
        """Forget tracks that no track can follow any more at `time_s`; active tracks began at `open_since_s` (T,)."""
        oldest_s = min(open_since_s.min(initial=time_s), time_s) - self._settings.link_s
        if self._past and self._past[0].last_s < oldest_s:
            self._past = [one for one in self._past if one.last_s >= oldest_s]

    def persons(self) -> tuple[tuple[int, int], ...]:
        """Return (track, person) for all linked tracks. The number of a person is that of the first track."""
        return tuple(sorted(self._person_of.items()))

    def state(self) -> dict[str, object]:
        """Return the state as plain values, for `restore`."""
        past = [
            [one.person, one.first_s, one.last_s, np.where(np.isnan(one.appearance), None, one.appearance).tolist()]
            for one in self._past
        ]
        return {"past": past, "persons": [list(pair) for pair in self.persons()]}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from the state of another linker."""
        self._past = [_Past(*times, np.array(appearance, np.float64)) for *times, appearance in state["past"]]
        self._person_of = {track: person for track, person in state["persons"]}

    def _match(self, first_s: float, last_s: float, appearance: np.ndarray) -> int | None:
        """Return the person of a track from `first_s` to `last_s`, None for a new person."""
        busy = {one.person for one in self._past if one.first_s <= last_s and one.last_s >= first_s}
        free = [one for one in self._past if one.person not in busy and first_s - self._settings.link_s <= one.last_s]
        # a face without visible clothes resembles everybody, and is never linked
        free = [one for one in free if _shows_clothes(one.appearance)]
        if not free or not _shows_clothes(appearance):
            return None
        unlike = unlikeness(appearance[None], np.stack([one.appearance for one in free]))[0]
        best: dict[int, float] = {}
        for one, value in zip(free, unlike.tolist(), strict=True):
            best[one.person] = min(value, best.get(one.person, np.inf))
        (person, least), *others = sorted(best.items(), key=lambda item: (item[1], item[0]))
        is_alone = not others or others[0][1] > self._settings.alone * least
        return person if least < self._settings.same and is_alone else None


def _shows_clothes(appearance: np.ndarray) -> bool:
    """Return True when at least half of an appearance (D,) is known."""
    return int(np.isnan(appearance).sum()) <= len(appearance) // 2
