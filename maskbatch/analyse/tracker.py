"""Track faces from frame to frame. Arrays only; a photo is a source of one frame.

The scheme is SORT's (Bewley et al. 2016, arXiv:1602.00763): predict each track's box at constant velocity, then match boxes
by overlap. Unmatched boxes get a second round with wider limits. As in DeepSORT (Wojke et al. 2017, arXiv:1703.07402),
that round weighs place and appearance, because a small face in sampled video may not overlap its last box. As in
ByteTrack (Zhang et al. 2022, arXiv:2110.06864), faces of a low score come last: they continue tracks and begin none. A
cut ends all tracks.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from maskbatch.analyse.appearance import uncovered, unlikeness
from maskbatch.analyse.cuts import compare, small_picture
from maskbatch.analyse.linking import Linker
from maskbatch.analyse.tracks import Tracks
from maskbatch.geometry import boxes
from maskbatch.settings import DetectorSettings, TrackerSettings
from maskbatch.types import Faces, Frames

# a walking person's face moves about ten times its own size in a second (1.6 m/s, 0.16 m wide). The reach of the second
# round grows at this speed, within these limits, in face sizes
_SPEED_PER_S = 10.0
_MIN_REACH, _MAX_REACH = 0.7, 5.0
# a track of this many looks has a reliable velocity: within _KNOWN_S after the last look, its reach grows at this lower
# speed, so that a face that enters the picture a step away does not continue the track
_KNOWN_LOOKS, _KNOWN_S, _KNOWN_SPEED_PER_S = 5, 0.25, 6.0
# maximum distance, in face sizes, between a track and a face of another appearance
_NEAR = 1.0
# number of sure faces before faces of a low score may continue a track: a single one may be a false detection
_CONFIRMED = 2
# minimum overlap of boxes in the same place
_SAME_PLACE = 0.5
_MAX_SIZE_RATIO = 2.0


class _Step(NamedTuple):
    """A frame: its time, and whether the camera stood still since the frame before."""

    time_s: float
    is_steady: bool


class Tracker:
    """Set `track_id`, which is unique within a source, from 0 in order of appearance.

    A face that scores below `sure_score` only continues a track. A face that continues no track keeps the `track_id`
    -1, and does not count.

    Frames of a source must come in order; their grouping into batches changes nothing. A track ends at a cut, or when a
    frame does not show it and it was not seen for more than `max_gap_s`. The next analysed frame may therefore always
    continue a track, even in a sparsely sampled video. `persons` returns the tracks of each person.
    """

    def __init__(self, settings: TrackerSettings, sure_score: float = DetectorSettings().threshold) -> None:
        self._settings, self._sure_score = settings, sure_score
        self._by_source: dict[int, Tracks] = {}
        self._linkers: dict[int, Linker] = {}

    def __call__(self, frames: Frames, faces: Faces) -> Faces:
        """Return the same faces with `track_id`; -1 where a face of a low score continues no track."""
        track_id = np.full(len(faces), -1, np.int64)
        bounds = np.searchsorted(faces.row, np.arange(len(frames) + 1))
        photos = {ended.source_id for ended in frames.ended if ended.frames_analysed == 1}
        for row in np.flatnonzero(frames.is_looked_at).tolist():
            source_id, time_s = frames.source_id[row], frames.timestamp_s[row]
            tracks, linker = self._of(int(source_id))
            seen = faces.take(np.arange(bounds[row], bounds[row + 1]))
            # the picture of a source's only frame would be compared with no other
            is_steady = source_id in photos or self._look(tracks, linker, frames.images[row])
            step = _Step(float(time_s), is_steady)
            track_id[bounds[row] : bounds[row + 1]] = self._follow(tracks, linker, seen, step)
        return faces.with_track_id(track_id)

    def persons(self, source_id: int) -> tuple[tuple[int, int], ...]:
        """End a source, drop its state, and return (track, person) for the tracks of persons with several tracks.

        The number of a person is that of the first track. No frame of this source may follow.
        """
        tracks, linker = self._of(source_id)
        tracks.end(linker, np.ones(len(tracks.track_id), bool))
        del self._by_source[source_id], self._linkers[source_id]
        return linker.persons()

    def state(self, source_id: int) -> dict[str, object]:
        """Return the state of a source as plain values, for `restore`."""
        tracks, linker = self._of(source_id)
        return {**tracks.state(), "linker": linker.state()}

    def restore(self, source_id: int, state: Mapping[str, object]) -> None:
        """Continue a source from the state of another tracker."""
        tracks, linker = self._of(source_id)
        tracks.restore(state)
        linker.restore(state["linker"])

    def _of(self, source_id: int) -> tuple[Tracks, Linker]:
        return (
            self._by_source.setdefault(source_id, Tracks()),
            self._linkers.setdefault(source_id, Linker(self._settings)),
        )

    def _look(self, tracks: Tracks, linker: Linker, image: np.ndarray) -> bool:
        """End all tracks of a source when its next frame `image` follows a cut. Return True when the camera stood still."""
        picture = small_picture(image)
        is_cut, is_steady = compare(tracks.picture if tracks.picture.size else None, picture)
        if is_cut:
            tracks.end(linker, np.ones(len(tracks.track_id), bool))
        tracks.picture = picture
        return is_steady

    def _follow(self, tracks: Tracks, linker: Linker, faces: Faces, step: _Step) -> np.ndarray:
        """Return the track ids (n,) of the `faces` of the source's next frame, -1 for none, and update `tracks`."""
        time_s = step.time_s
        unseen_s = time_s - tracks.last_s
        tracks.end(linker, (unseen_s > self._settings.max_gap_s) & (tracks.last_s != tracks.previous_s))
        linker.forget(time_s, tracks.first_s)
        tracks.previous_s = time_s
        is_sure = faces.score >= self._sure_score
        track_of_face = self._associate(tracks, faces, step)
        matched = track_of_face >= 0
        # tracks learn their appearance from sure faces only, and from parts that nobody else covers
        told = matched & is_sure
        step_s = time_s - tracks.last_s[track_of_face[told]]
        tracks.move(track_of_face[matched], faces.take(matched), time_s)
        tracks.remember(track_of_face[told], uncovered(faces, is_sure)[told], step_s)
        new = np.flatnonzero(~matched & is_sure)
        track_of_face[new] = len(tracks.track_id) + np.arange(len(new))
        tracks.add(faces.take(new), time_s)
        return np.append(tracks.track_id, -1)[track_of_face]

    def _associate(self, tracks: Tracks, faces: Faces, step: _Step) -> np.ndarray:
        """Return the positions in `tracks` (n,) of the faces, or -1 for faces of no track."""
        xyxy, is_sure = faces.xyxy.astype(np.float64), faces.score >= self._sure_score
        track_of_face = np.full(len(xyxy), -1)
        if len(tracks.track_id) == 0 or len(xyxy) == 0:
            return track_of_face
        step_s = step.time_s - tracks.last_s
        moved = tracks.velocity * np.minimum(step_s, self._settings.max_gap_s)[:, None]
        predicted = tracks.xyxy + np.tile(moved, 2)
        unlike = unlikeness(tracks.appearance, faces.appearance)
        overlap = boxes.iou(predicted, xyxy)
        is_soon = step_s <= self._settings.short_gap_s
        alike = unlike < np.where(is_soon, self._settings.unlike, self._settings.unlike_later)[:, None]
        _take_best(track_of_face, np.where(alike & is_sure & (overlap >= self._settings.iou), unlike - overlap, np.inf))
        if (track_of_face < 0).any():
            # a person may have stopped: the last box counts as well as the predicted one
            distance = np.minimum(_distance(predicted, xyxy), _distance(tracks.xyxy, xyxy))
            is_known = (tracks.num_seen >= _KNOWN_LOOKS) & (step_s <= _KNOWN_S)
            speed = np.where(is_known, _KNOWN_SPEED_PER_S, _SPEED_PER_S)
            reach = np.clip(speed * step_s, _MIN_REACH, _MAX_REACH)[:, None]
            is_close = distance < np.minimum(reach, _NEAR)
            is_near = is_sure & ((distance < reach) & alike | is_close & self._may_be(step_s, unlike, step.is_steady))
            cost = distance / reach + unlike / self._settings.unlike
            _take_best(track_of_face, np.where(is_near, cost, np.inf))
            # within `instant_s` nobody else can reach the same place, but a moving camera may show somebody else there
            is_instant = step.is_steady & (step_s <= self._settings.instant_s)
            is_there = is_sure & (overlap >= _SAME_PLACE) & is_instant[:, None]
            _take_best(track_of_face, np.where(is_there, -overlap, np.inf))
            goes_on = ~is_sure & is_close & alike & self._stays_sure(tracks, faces.score)
            _take_best(track_of_face, np.where(goes_on, cost, np.inf))
        return track_of_face

    def _stays_sure(self, tracks: Tracks, score: np.ndarray) -> np.ndarray:
        """Return (T, n) bool: whether the mean score of a track stays sure with a face of `score` (n,).

        A lamp that occasionally looks like a face thus gets no further rows.
        """
        num_seen = tracks.num_seen[:, None]
        total = tracks.score[:, None] * num_seen + score
        return (num_seen >= _CONFIRMED) & (total >= self._sure_score * (num_seen + 1))

    def _may_be(self, step_s: np.ndarray, unlike: np.ndarray, is_steady: bool) -> np.ndarray:
        """Return (T, n) bool: whether the track was seen recently, and its appearance allows the same person."""
        most = self._settings.other if is_steady else self._settings.other_view
        return (step_s <= self._settings.short_gap_s)[:, None] & (unlike < most)


def _take_best(track_of_face: np.ndarray, cost: np.ndarray) -> None:
    """Match free tracks and free faces at the least total `cost` (T, n), in place in `track_of_face` (n,).

    Pairs of cost inf never match.
    """
    cost[:, track_of_face >= 0] = np.inf
    cost[track_of_face[track_of_face >= 0]] = np.inf
    may = np.isfinite(cost)
    if (may.sum(axis=0) <= 1).all() and (may.sum(axis=1) <= 1).all():
        tracks, faces = np.nonzero(may)  # nobody has a choice
    else:
        # takes a third of a second to import, which many videos and all photos do without
        from scipy.optimize import linear_sum_assignment

        tracks, faces = linear_sum_assignment(np.where(may, cost, 1e6))
        tracks, faces = tracks[may[tracks, faces]], faces[may[tracks, faces]]
    track_of_face[faces] = tracks


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distances (T, n) between the centres of boxes (T, 4) and (n, 4), in sizes of the larger face.

    The distance is inf where the sizes differ too much for the same face.
    """
    centre_gap = np.linalg.norm(boxes.centre(first)[:, None] - boxes.centre(second)[None], axis=-1)
    one, other = boxes.size_px(first)[:, None], boxes.size_px(second)[None]
    larger, smaller = np.maximum(one, other), np.minimum(one, other)
    is_similar = (larger <= _MAX_SIZE_RATIO * smaller) & (larger > 0)
    return np.where(is_similar, centre_gap / np.maximum(larger, 1e-6), np.inf)
