"""Faces in frames, flat over a batch, with the results of all stages."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from maskbatch.types.arrays import check_shape

# numbers that describe a person's appearance (see `analyse/appearance.py`)
APPEARANCE_SIZE = 21


@dataclass(frozen=True, slots=True)
class Faces:
    """N faces, flat over a batch of frames. N = 0 needs no special case.

    All arrays but `row` and `track_id` are float32. In a video, `p_mask` and `p_incorrect` may be the results of an
    earlier look at the same track (see `analyse/sparing.py`).

    Attributes:
        row: (N,) int64, position in `Frames`, ascending.
        xyxy: (N, 4) boxes in pixels of the upright original frame.
        score: (N,) score of the detector, corrected by the classifier on photos.
        landmarks: (N, 5, 2) x, y of both eyes, nose tip and both mouth corners, the person's right side first.
        p_mask: (N,) probability of a mask, NaN until classified.
        p_incorrect: (N,) probability that a mask is worn incorrectly (nose or mouth bare); NaN until classified, and
            for a classifier without this state.
        track_id: (N,) int64, -1 until tracked.
        sharpness: (N,) from 0 to 1, NaN until described.
        brightness: (N,) from 0 to 255, NaN until described.
        turn: (N,) from 0 (frontal) to 1 (profile), NaN until described.
        appearance: (N, APPEARANCE_SIZE) colours of the person, for the tracker; NaN for parts outside the picture.
    """

    row: np.ndarray
    xyxy: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray
    p_mask: np.ndarray | None = None
    p_incorrect: np.ndarray | None = None
    track_id: np.ndarray | None = None
    sharpness: np.ndarray | None = None
    brightness: np.ndarray | None = None
    turn: np.ndarray | None = None
    appearance: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_faces = len(self.row)
        tails = {"xyxy": (4,), "landmarks": (5, 2), "appearance": (APPEARANCE_SIZE,)}
        for name in ("p_mask", "p_incorrect", "sharpness", "brightness", "turn", "appearance"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full((num_faces, *tails.get(name, ())), np.nan, np.float32))
        if self.track_id is None:
            object.__setattr__(self, "track_id", np.full(num_faces, -1, np.int64))
        for item in fields(self):
            check_shape(item.name, getattr(self, item.name), (num_faces, *tails.get(item.name, ())))

    def __len__(self) -> int:
        return len(self.row)

    def take(self, keep: np.ndarray) -> "Faces":
        """Return the faces at `keep`: a boolean mask (N,) or an index array, applied to every field."""
        return Faces(*(getattr(self, item.name)[keep] for item in fields(self)))

    def with_state(
        self, p_mask: np.ndarray, p_incorrect: np.ndarray | None = None, score: np.ndarray | None = None
    ) -> "Faces":
        """Return the same faces with `p_mask` and `p_incorrect`, and a new `score` if there is one; all (N,) float32."""
        score = self.score if score is None else score
        return replace(self, p_mask=p_mask, p_incorrect=p_incorrect, score=score)

    def with_track_id(self, track_id: np.ndarray) -> "Faces":
        """Return the same faces with `track_id` (N,) int64."""
        return replace(self, track_id=track_id)

    @staticmethod
    def joined(parts: Sequence["Faces"]) -> "Faces":
        """Return the faces of all parts, in the order of the parts."""
        if not parts:
            return Faces.empty()
        return Faces(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Faces)))

    @staticmethod
    def empty() -> "Faces":
        """Return an object without faces."""
        return Faces(
            np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32),
            np.empty((0, 5, 2), np.float32),
        )  # fmt: skip
