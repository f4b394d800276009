"""The active tracks of one source: their places, velocities and appearances."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from maskbatch.analyse.linking import Linker
from maskbatch.geometry import boxes
from maskbatch.types import APPEARANCE_SIZE, Faces

# seconds over which a velocity is averaged, because detections vary by a pixel or two
_VELOCITY_S = 0.2
_MIN_STEP_S = 1e-3
# maximum weight of a new look in the mean of a track's last appearances. At high frame rates the weight is smaller, so
# that the mean covers _REMEMBERED_S seconds at any rate
_LEAST_SHARE, _REMEMBERED_S = 0.25, 0.5
# decimals of appearances: enough for any comparison, and short in a checkpoint. A mean of thousands of looks needs one more
_DECIMALS, _OVERALL_DECIMALS = 2, 3
# one row for each track
_PER_TRACK = (
    "track_id", "xyxy", "velocity", "first_s", "last_s", "num_seen", "score", "appearance", "overall", "num_known",
)  # fmt: skip


@dataclass(slots=True)
class Tracks:
    """The T active tracks of one source.

    All arrays are float64, except ids and counts:

    - `xyxy` (T, 4): the last box; `last_s` (T,): its time; `first_s` (T,): the time of the first box;
    - `velocity` (T, 2): velocity of the centre in pixels per second;
    - `num_seen` (T,): number of boxes; `score` (T,): mean of their scores;
    - `appearance` (T, D): mean of the last appearances; `overall` (T, D): mean of all appearances;
    - `num_known` (T, D): number of looks that show each part of the person.

    `picture` is the last small picture, from which cuts are found.
    """

    track_id: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    xyxy: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    velocity: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    first_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    last_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    num_seen: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    score: np.ndarray = field(default_factory=lambda: np.empty(0))
    appearance: np.ndarray = field(default_factory=lambda: np.empty((0, APPEARANCE_SIZE)))
    overall: np.ndarray = field(default_factory=lambda: np.empty((0, APPEARANCE_SIZE)))
    num_known: np.ndarray = field(default_factory=lambda: np.empty((0, APPEARANCE_SIZE), np.int64))
    picture: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    next_id: int = 0
    previous_s: float = -np.inf

    def state(self) -> dict[str, object]:
        """Return the tracks as plain values, for `restore`."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def restore(self, state: Mapping[str, object]) -> None:
        """Become the tracks of a state."""
        for item in fields(self):
            old, new = getattr(self, item.name), state[item.name]
            if isinstance(old, np.ndarray):
                new = np.array(new, old.dtype) if np.size(new) else old
            setattr(self, item.name, new)

    def end(self, linker: Linker, is_over: np.ndarray) -> None:
        """End the tracks of the mask `is_over` (T,).

        The linker compares all looks: the last ones often show somebody else who passes, or the edge of the picture.
        """
        for at in np.flatnonzero(is_over).tolist():
            linker.add(int(self.track_id[at]), self.first_s[at], self.last_s[at], self.overall[at])
        if is_over.any():
            for name in _PER_TRACK:
                setattr(self, name, getattr(self, name)[~is_over])

    def move(self, seen: np.ndarray, faces: Faces, time_s: float) -> None:
        """Move the tracks at positions `seen` (k,) to the boxes of k faces."""
        xyxy = faces.xyxy.astype(np.float64)
        step_s = np.maximum(time_s - self.last_s[seen], _MIN_STEP_S)[:, None]
        velocity = (boxes.centre(xyxy) - boxes.centre(self.xyxy[seen])) / step_s
        # the first velocities have equal weights; later, old ones fade out
        weight = np.maximum(1 / self.num_seen[seen][:, None], step_s / (step_s + _VELOCITY_S))
        self.velocity[seen] += weight * (velocity - self.velocity[seen])
        self.xyxy[seen] = xyxy
        self.last_s[seen] = time_s
        self.num_seen[seen] += 1
        self.score[seen] += (faces.score - self.score[seen]) / self.num_seen[seen]

    def remember(self, seen: np.ndarray, appearance: np.ndarray, step_s: np.ndarray) -> None:
        """Let the appearances (k, D) of the next looks into the means of the tracks at positions `seen` (k,).

        `step_s` (k,) are the seconds since the looks before.
        """
        before = self.appearance[seen]
        least = np.minimum(step_s / (step_s + _REMEMBERED_S), _LEAST_SHARE)
        share = np.maximum(1 / self.num_seen[seen], least)[:, None]
        mean = np.where(np.isnan(before), appearance, before + share * (appearance - before))
        self.appearance[seen] = np.round(np.where(np.isnan(appearance), before, mean), _DECIMALS)
        is_known = ~np.isnan(appearance)
        self.num_known[seen] += is_known
        overall = np.nan_to_num(self.overall[seen])
        overall += (appearance - overall) / np.maximum(self.num_known[seen], 1)
        self.overall[seen] = np.round(np.where(is_known, overall, self.overall[seen]), _OVERALL_DECIMALS)

    def add(self, faces: Faces, time_s: float) -> None:
        """Begin a track for each of the faces."""
        num_new = len(faces)
        if num_new == 0:
            return
        self.track_id = np.append(self.track_id, self.next_id + np.arange(num_new))
        self.xyxy = np.concatenate([self.xyxy, faces.xyxy.astype(np.float64)])
        self.velocity = np.concatenate([self.velocity, np.zeros((num_new, 2))])
        self.first_s = np.append(self.first_s, np.full(num_new, time_s))
        self.last_s = np.append(self.last_s, np.full(num_new, time_s))
        self.num_seen = np.append(self.num_seen, np.ones(num_new, np.int64))
        self.score = np.append(self.score, faces.score.astype(np.float64))
        self.appearance = np.concatenate([self.appearance, np.round(faces.appearance, _DECIMALS)])
        self.overall = np.concatenate([self.overall, np.round(faces.appearance, _OVERALL_DECIMALS)])
        self.num_known = np.concatenate([self.num_known, (~np.isnan(faces.appearance)).astype(np.int64)])
        self.next_id += num_new


def _plain(value: object) -> object:
    """Return an array as nested lists with None for NaN, which unlike NaN is equal to itself."""
    if not isinstance(value, np.ndarray):
        return value
    return np.where(np.isnan(value), None, value).tolist() if value.dtype == np.float64 else value.tolist()
