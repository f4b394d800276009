"""The classifier of tracked faces that may show something new. Arrays only.

A sure track is classified again after a while. A larger or sharper face is classified at once, and so is a face whose
lower half has changed, for example because a mask was taken off. Faces between two looks at a track keep the
probabilities of the first look.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from maskbatch.geometry import boxes
from maskbatch.types import Faces, Frames

# number of consecutive looks, sure of the same state, that make a track sure
_ENOUGH = 2
# maximum distance of the probabilities of a sure look from 0 or 1
_SURE = 0.1
# a face is classified again when it is larger by this factor, or sharper by this difference
_LARGER, _SHARPER = 1.3, 0.15
# columns and rows of cells in the lower half of a face, and the mean distance in CIE Lab that counts as a change. Among
# 27,000 pairs of a bare and a masked face with similar foreheads, in annotated photos, no pair differs by less; in grey,
# 1.4 % do
_GRID, _CHANGED = (4, 3), 8.0
# shares of `again_s`: a look is due after _ABOUT, because time stamps are rounded, and forgotten after _FORGOTTEN
_ABOUT, _FORGOTTEN = 0.95, 2.0

_Key = tuple[int, int]  # source and track


class _Look(NamedTuple):
    """A look at a track. The last `num_sure` looks were sure of the same state. `lower` is the result of `_lower_half`."""

    time_s: float
    size_px: float
    sharpness: float
    lower: Sequence[Sequence[float]]
    p: Sequence[float] = (np.nan, np.nan)
    num_sure: int = 0


class SparingClassifier:
    """The classifier of tracked faces, which sets `p_mask` and `p_incorrect`.

    All faces of a track are classified until the track is sure. Afterwards, at least one face is classified in every
    `again_s` seconds. Frames of a source must come in order; the results do not depend on the batches.
    """

    def __init__(self, classify: Callable[[Sequence[np.ndarray], Faces], Faces], again_s: float) -> None:
        self._classify, self._again_s = classify, again_s
        self._last: dict[_Key, _Look] = {}

    def __call__(self, frames: Frames, faces: Faces) -> Faces:
        """Return the same faces, each with the probabilities of the last look at its track."""
        p = np.full((len(faces), 2), np.nan, np.float32)
        seen, waiting = _seen(frames, faces), _by_track(frames, faces)
        while waiting:
            # classify the next due face of every track in one call, which is faster than one call per face
            due: dict[_Key, int] = {}
            for key, positions in waiting.items():
                while positions and key not in due:
                    at = positions.pop(0)
                    if self._is_due(key, seen[at]):
                        due[key] = at
                    else:
                        p[at] = self._last[key].p
            if due:
                chosen = np.array(list(due.values()))
                found = self._classify(frames.images, faces.take(chosen))
                p[chosen] = np.stack([found.p_mask, found.p_incorrect], 1)
            for key, at in due.items():
                last, own = self._before(key, seen[at]), p[at].tolist()
                self._last[key] = seen[at]._replace(p=own, num_sure=_num_sure(last, own))
            waiting = {key: positions for key, positions in waiting.items() if positions}
        self._forget(frames)
        return faces.with_state(*p.T)

    def state(self, source_id: int) -> list:
        """Return the last looks at the tracks of a source as plain values, for `restore`."""
        return [[track, *look] for (source, track), look in self._last.items() if source == source_id]

    def restore(self, source_id: int, state: Sequence) -> None:
        """Continue a source from the state of another classifier."""
        self._last |= {(source_id, track): _Look(*look) for track, *look in state}

    def _is_due(self, key: _Key, now: _Look) -> bool:
        last = self._before(key, now)
        return (
            last is None
            or last.num_sure < _ENOUGH
            or now.time_s - last.time_s >= _ABOUT * self._again_s
            or now.size_px > _LARGER * last.size_px
            or now.sharpness > last.sharpness + _SHARPER
            # NaN, from outside the picture, counts as a change
            or not np.linalg.norm(np.subtract(now.lower, last.lower), axis=1).mean() < _CHANGED
        )

    def _before(self, key: _Key, now: _Look) -> _Look | None:
        last = self._last.get(key)
        return None if last is None or now.time_s - last.time_s > _FORGOTTEN * self._again_s else last

    def _forget(self, frames: Frames) -> None:
        """Drop the looks that no later face needs."""
        until_s = dict(zip(frames.source_id.tolist(), frames.timestamp_s.tolist(), strict=True))
        until_s |= {ended.source_id: np.inf for ended in frames.ended}
        for (source, track), look in list(self._last.items()):
            if until_s.get(source, look.time_s) - look.time_s > _FORGOTTEN * self._again_s:
                del self._last[source, track]


def _by_track(frames: Frames, faces: Faces) -> dict[_Key, list[int]]:
    """Return the positions of each track's faces, in order of time."""
    found: dict[_Key, list[int]] = {}
    for at, key in enumerate(zip(frames.source_id[faces.row].tolist(), faces.track_id.tolist(), strict=True)):
        found.setdefault(key, []).append(at)
    return found


def _seen(frames: Frames, faces: Faces) -> list[_Look]:
    """Return the faces as looks that are not classified yet."""
    columns = frames.timestamp_s[faces.row], boxes.size_px(faces.xyxy), faces.sharpness
    lower = [_lower_half(frames.images[row], xyxy) for row, xyxy in zip(faces.row.tolist(), faces.xyxy, strict=True)]
    return [_Look(*values) for values in zip(*(column.tolist() for column in columns), lower, strict=True)]


def _num_sure(last: _Look | None, p: Sequence[float]) -> int:
    """Return the number of consecutive looks that are sure of the same state, up to the look with probabilities `p`."""
    known = np.array(p)[~np.isnan(p)]
    if (np.abs(known - 0.5) < 0.5 - _SURE).any():
        return 0
    is_same = last is not None and np.array_equal(np.round(last.p), np.round(p), equal_nan=True)
    return last.num_sure + 1 if is_same else 1


def _lower_half(image: np.ndarray, xyxy: np.ndarray) -> list[list[float]]:
    """Return the colours of the lower half of one face (4,): L, a, b of each cell; NaN outside `image`."""
    left, top, right, bottom = np.round(xyxy).astype(int)
    height, width = image.shape[:2]
    seen = image[max((top + bottom) // 2, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if not seen.size:
        return [[np.nan] * 3]
    small = cv2.resize(seen, _GRID, interpolation=cv2.INTER_AREA)
    return (
        cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(float).round(1).tolist()
    )
