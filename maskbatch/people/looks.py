"""Looks: the classified faces of all sources, grouped by person and in order of time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

# minimum `turn` of a turned face, and the weight of a profile, which shows a mask less clearly
_TURNED, _PROFILE_WEIGHT = 0.8, 0.5
# below these values, the weight of a face falls, down to _LEAST
_SIZE_PX, _FULL_SIZE_PX = 6.0, 18.0
_DARK, _BLURRED, _LEAST = 40.0, 0.2, 0.3
# reasons for a low weight, in the order of the columns of `qualities`
REASONS = ("small", "blurred", "dark", "turned")


@dataclass(frozen=True, slots=True)
class Looks:
    """N looks at faces, grouped by person and ordered by time.

    `source_id`, `person`, `frame`, `face` (N,) int64: the row in the store and its person; `time_s` (N,) float64; `xyxy`
    (N, 4) float64 in pixels; `p_mask` and `p_incorrect` (N,) float64, the second NaN where the model does not support it;
    `sharpness`, `brightness`, `turn` (N,) float64 as in `Faces`, NaN where unknown.
    """

    source_id: np.ndarray
    person: np.ndarray
    frame: np.ndarray
    face: np.ndarray
    time_s: np.ndarray
    xyxy: np.ndarray
    p_mask: np.ndarray
    p_incorrect: np.ndarray
    sharpness: np.ndarray
    brightness: np.ndarray
    turn: np.ndarray

    def __post_init__(self) -> None:
        for item in fields(self):
            shape = (len(self.source_id), 4) if item.name == "xyxy" else (len(self.source_id),)
            if getattr(self, item.name).shape != shape:
                raise ValueError(f"{item.name} must have shape {shape}, got {getattr(self, item.name).shape}")

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, chosen: np.ndarray) -> "Looks":
        """Return the looks at `chosen`: a boolean mask (N,) or an index array, applied to every field."""
        return Looks(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def starts(self) -> np.ndarray:
        """Return the positions (P,) of the first look of each person."""
        is_new = np.ones(len(self), bool)
        is_new[1:] = (self.source_id[1:] != self.source_id[:-1]) | (self.person[1:] != self.person[:-1])
        return np.flatnonzero(is_new)

    def ends(self) -> np.ndarray:
        """Return the positions (P,) behind the last look of each person."""
        return np.append(self.starts()[1:], len(self))[: len(self.starts())]


def in_order(looks: Looks, order_of: Sequence[int]) -> Looks:
    """Return the looks ordered by source (in the order of the ids `order_of`), then by person, then by time."""
    rank = np.full(max([*order_of, -1]) + 1, len(order_of), np.int64)
    rank[np.asarray(order_of, np.int64)] = np.arange(len(order_of))
    return looks.take(np.lexsort((looks.face, looks.frame, looks.time_s, looks.person, rank[looks.source_id])))


def qualities(looks: Looks) -> np.ndarray:
    """Return the weight of each look, (N, 4) from 0 to 1, by size, sharpness, brightness and pose."""
    size = np.sqrt(np.prod(np.clip(looks.xyxy[:, 2:] - looks.xyxy[:, :2], 0, None), axis=1))
    by_size = (size - _SIZE_PX) / (_FULL_SIZE_PX - _SIZE_PX)
    by_turn = 1 - (1 - _PROFILE_WEIGHT) * (looks.turn - _TURNED) / (1 - _TURNED)
    columns = np.stack([by_size, looks.sharpness / _BLURRED, looks.brightness / _DARK, by_turn], axis=1)
    return np.clip(np.nan_to_num(columns, nan=1.0), _LEAST, 1.0)


def visibility(looks: Looks, weight: np.ndarray) -> np.ndarray:
    """Return the visibility of each face (N,); larger is better. The best look at a person becomes the evidence.

    `weight` (N,) is the product of the `qualities` of each look.
    """
    area = np.prod(np.clip(looks.xyxy[:, 2:] - looks.xyxy[:, :2], 1, None), axis=1)
    return np.sqrt(area) * weight * (1 - 0.5 * np.nan_to_num(looks.turn))
