"""Choose the boxes to hide in each frame. Arrays only.

A found face is hidden for a while before and after, in case the detector misses the face in some frames. A frame that
shows another scene than the analysed frames around it is hidden completely. Unless the gate chose the analysed frames,
the same holds for a frame that is far from all of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from maskbatch.analyse.cuts import is_other_scene, small_picture
from maskbatch.settings import Thresholds
from maskbatch.states import WITHOUT_MASK, labels_of
from maskbatch.types import Batch, Faces, Frames

# seconds for which a face is hidden before and after each look
_HOLD_S = 0.5
# minimum score of faces that are hidden, below the score of faces that count
HIDE_SCORE = 0.2

# (source id, boxes (N, 4), size of the picture) -> (N,) bool: faces that may be shown
MayShow = Callable[[int, np.ndarray, tuple[int, int]], np.ndarray]


class HideRules(NamedTuple):
    """The rules that choose the people to hide.

    Attributes:
        whom: everyone; masked (faces not labelled `without_mask`); without (faces labelled `without_mask`); or
            except-zones (faces for which `may_show` returns False).
        threshold: the detector's threshold; faces with lower scores are always hidden.
        thresholds: the classifier's thresholds of labels.
        is_gated: motion chose the analysed frames, so the frames between them show no change.
        may_show: used with except-zones only.
    """

    whom: str
    threshold: float
    thresholds: Thresholds
    is_gated: bool
    may_show: MayShow | None = None


class _Look(NamedTuple):
    """An analysed frame: its time, the boxes (N, 4) to hide, and its small picture, None after a checkpoint."""

    time_s: float
    boxes: np.ndarray
    picture: np.ndarray | None


class Hider:
    """A stage that adds to each frame the boxes to hide.

    `note` receives the faces of analysed frames in order. `over` yields each batch with `hidden`, once `note` has
    received another half second of the source. The boxes do not depend on the grouping of frames into batches.
    """

    def __init__(self, rules: HideRules) -> None:
        self._rules = rules
        self._noted: dict[int, deque[_Look]] = {}

    def note(self, frames: Frames, faces: Faces, uncertain: Faces) -> None:
        """Note the faces of a batch's analysed frames: `faces` that count, and `uncertain` faces that do not."""
        hidden = faces.take(self._is_hidden(frames, faces))
        for row in np.flatnonzero(frames.is_looked_at).tolist():
            boxes = np.concatenate([hidden.xyxy[hidden.row == row], uncertain.xyxy[uncertain.row == row]])
            noted = self._noted.setdefault(int(frames.source_id[row]), deque())
            noted.append(_Look(float(frames.timestamp_s[row]), boxes, small_picture(frames.images[row])))

    def state(self, source_id: int) -> list:
        """Return the last notes of a source as plain values, for `restore`."""
        noted = self._noted.get(source_id, ())
        last_s = noted[-1].time_s if noted else 0.0
        return [[look.time_s, look.boxes.tolist()] for look in noted if look.time_s >= last_s - _HOLD_S]

    def restore(self, source_id: int, state: Sequence) -> None:
        """Continue a source from the state of another hider."""
        self._noted[source_id] = deque(
            _Look(time_s, np.array(boxes, np.float32).reshape(-1, 4), None) for time_s, boxes in state
        )

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches with the boxes to hide on each frame."""
        waiting: deque[Batch] = deque()
        seen_s: dict[int, float] = {}
        over: set[int] = set()
        for batch in batches:
            waiting.append(batch)
            for source_id, time_s in zip(
                batch.frames.source_id.tolist(), batch.frames.timestamp_s.tolist(), strict=True
            ):
                seen_s[source_id] = time_s
            over |= {ended.source_id for ended in batch.frames.ended}
            while waiting and self._is_known(waiting[0].frames, seen_s, over):
                yield self._with_hidden(waiting.popleft())
        while waiting:
            yield self._with_hidden(waiting.popleft())

    def _is_known(self, frames: Frames, seen_s: dict[int, float], over: set[int]) -> bool:
        """Return whether all notes for a batch are there. Only the last source of a batch can have later frames."""
        if not len(frames):
            return True
        source_id = int(frames.source_id[-1])
        return source_id in over or seen_s[source_id] >= float(frames.timestamp_s[-1]) + _HOLD_S

    def _with_hidden(self, batch: Batch) -> Batch:
        frames, drawn = batch.frames, batch.drawn.take(self._is_hidden(batch.frames, batch.drawn))
        hidden = []
        for row in range(len(frames)):
            source_id, time_s = int(frames.source_id[row]), float(frames.timestamp_s[row])
            around = self._around(source_id, time_s)
            if around is None or (not frames.is_looked_at[row] and self._is_new(source_id, time_s, frames.images[row])):
                hidden.append(np.array([[0, 0, *frames.size(row)]], np.float32))
            else:
                hidden.append(np.concatenate([around, drawn.xyxy[drawn.row == row]]))
        for source_id in set(frames.source_id.tolist()):
            last_s = float(frames.timestamp_s[frames.source_id == source_id][-1])
            self._forget(source_id, last_s)
        for ended in frames.ended:
            self._noted.pop(ended.source_id, None)
        return replace(batch, hidden=tuple(hidden))

    def _around(self, source_id: int, time_s: float) -> np.ndarray | None:
        """Return the boxes (N, 4) noted around a time; None when the whole frame must be hidden."""
        noted = self._noted.get(source_id, ())
        near = [look.boxes for look in noted if abs(look.time_s - time_s) <= _HOLD_S]
        before = [look.boxes for look in noted if look.time_s <= time_s]
        if not near and not (before and self._rules.is_gated):
            return None
        return np.concatenate([np.empty((0, 4), np.float32), *near, *before[-1:]])

    def _is_new(self, source_id: int, time_s: float, image: np.ndarray | None) -> bool:
        """Return True when a picture shows another scene than the looks before and after it, such as behind a last cut."""
        noted = self._noted.get(source_id, ())
        before = [look.picture for look in noted if look.time_s <= time_s]
        after = [look.picture for look in noted if time_s < look.time_s <= time_s + _HOLD_S]
        known = [picture for picture in (*before[-1:], *after[:1]) if picture is not None]
        if image is None or not known:
            return False
        now = small_picture(image)
        return all(is_other_scene(picture, now) for picture in known)

    def _forget(self, source_id: int, until_s: float) -> None:
        """Drop the notes that no later frame needs, except the last note."""
        noted = self._noted.get(source_id, deque())
        while len(noted) > 1 and noted[1].time_s <= until_s and noted[0].time_s < until_s - _HOLD_S:
            noted.popleft()

    def _is_hidden(self, frames: Frames, faces: Faces) -> np.ndarray:
        """Return (N,) bool, the faces to hide. Uncertain faces are hidden, because their labels are not reliable."""
        return (faces.score < self._rules.threshold) | self._is_chosen(frames, faces)

    def _is_chosen(self, frames: Frames, faces: Faces) -> np.ndarray:
        whom = self._rules.whom
        if whom == "everyone" or not len(faces):
            return np.ones(len(faces), bool)
        if whom == "except-zones":
            shown = np.zeros(len(faces), bool)
            for row in np.unique(faces.row).tolist():
                own = faces.row == row
                shown[own] = self._rules.may_show(int(frames.source_id[row]), faces.xyxy[own], frames.size(row))
            return ~shown
        is_bare = labels_of(faces.p_mask, faces.p_incorrect, self._rules.thresholds) == WITHOUT_MASK
        return ~is_bare if whom == "masked" else is_bare
