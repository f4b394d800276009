"""The tracker of faces from frame to frame. Arrays only; a photo is a source of one frame.

The scheme is SORT's (Bewley et al. 2016, arXiv:1602.00763): predict each track's box at constant velocity, then match boxes
by overlap. As in ByteTrack (Zhang et al. 2022, arXiv:2110.06864), unmatched boxes get a second, laxer round. It matches by
distance in face sizes, because a small face in sampled video may not overlap itself. Faces hardly ever overlap each other,
so taking the best pair first gives the same result as an optimal assignment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.settings import TrackerSettings
from maskbatch.types import Faces, Frames

# A walking person's face moves about ten times its own size in a second (1.6 m/s, 0.16 m wide). The reach of the second
# round grows at that speed, within these limits, in face sizes.
_SPEED_PER_S = 10.0
_MIN_REACH, _MAX_REACH = 0.7, 2.0
_MAX_SIZE_RATIO = 2.0
# seconds over which a velocity is averaged, because detections vary by a pixel or two
_VELOCITY_S = 0.2
_MIN_STEP_S = 1e-3


@dataclass(slots=True)
class _Tracks:
    """The T active tracks of one source.

    `xyxy` (T, 4) is the last seen box and `last_s` (T,) its time. `velocity` (T, 2) is that of its centre in pixels per
    second. `num_seen` (T,) is the number of boxes. All are float64 except ids and counts.
    """

    track_id: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    xyxy: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    velocity: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    last_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    num_seen: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    next_id: int = 0
    previous_s: float = -np.inf


class Tracker:
    """The tracker, which sets `track_id`: unique within a source, from 0 in order of appearance.

    Frames of a source must come in order; their grouping into batches changes nothing. A track ends when a frame lacks it
    and it was not seen for more than `max_gap_s`. The next analysed frame may therefore always continue a track, even in a
    sparsely sampled video.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._by_source: dict[int, _Tracks] = {}

    def __call__(self, frames: Frames, faces: Faces) -> Faces:
        """Return the same faces with `track_id`. Drops the state of sources that end with `frames`."""
        track_id = np.full(len(faces), -1, np.int64)
        bounds = np.searchsorted(faces.row, np.arange(len(frames) + 1))
        for row, (source_id, time_s) in enumerate(zip(frames.source_id, frames.timestamp_s, strict=True)):
            tracks = self._by_source.setdefault(int(source_id), _Tracks())
            in_frame = slice(bounds[row], bounds[row + 1])
            track_id[in_frame] = self._follow(tracks, faces.xyxy[in_frame].astype(np.float64), float(time_s))
        for ended in frames.ended:
            self._by_source.pop(ended.source_id, None)
        return faces.with_track_id(track_id)

    def state(self, source_id: int) -> dict[str, object]:
        """Return the state of a source as plain values, for `restore`."""
        tracks = self._by_source.get(source_id, _Tracks())
        values = {item.name: getattr(tracks, item.name) for item in fields(tracks)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    def restore(self, source_id: int, state: Mapping[str, object]) -> None:
        """Continue a source from the state of another tracker."""
        plain = _Tracks()
        for item in fields(plain):
            old, new = getattr(plain, item.name), state[item.name]
            if isinstance(old, np.ndarray):
                new = np.array(new, old.dtype).reshape(-1, *old.shape[1:])
            setattr(plain, item.name, new)
        self._by_source[source_id] = plain

    def _follow(self, tracks: _Tracks, xyxy: np.ndarray, time_s: float) -> np.ndarray:
        """Return the track ids (n,) of the boxes (n, 4) of the source's next frame, and update `tracks`."""
        unseen_s = time_s - tracks.last_s
        _keep(tracks, (unseen_s <= self._settings.max_gap_s) | (tracks.last_s == tracks.previous_s))
        tracks.previous_s = time_s
        track_of_face = self._associate(tracks, xyxy, time_s)
        matched = track_of_face >= 0
        _update(tracks, track_of_face[matched], xyxy[matched], time_s)
        new = np.flatnonzero(~matched)
        track_of_face[new] = len(tracks.track_id) + np.arange(len(new))
        _append(tracks, xyxy[new], time_s)
        return tracks.track_id[track_of_face]

    def _associate(self, tracks: _Tracks, xyxy: np.ndarray, time_s: float) -> np.ndarray:
        """Return the positions in `tracks` (n,) of the boxes (n, 4), or -1 for boxes of no track."""
        track_of_face = np.full(len(xyxy), -1)
        if len(tracks.track_id) == 0 or len(xyxy) == 0:
            return track_of_face
        step_s = time_s - tracks.last_s
        moved = tracks.velocity * np.minimum(step_s, self._settings.max_gap_s)[:, None]
        predicted = tracks.xyxy + np.tile(moved, 2)
        overlap = boxes.iou(predicted, xyxy)
        _take_best(track_of_face, np.where(overlap >= self._settings.iou, overlap, -np.inf))
        if (track_of_face < 0).any():
            # a person may have stopped: the last seen box counts as well as the predicted one
            distance = np.minimum(_distance(predicted, xyxy), _distance(tracks.xyxy, xyxy))
            reach = np.clip(_SPEED_PER_S * step_s, _MIN_REACH, _MAX_REACH)
            reach[step_s > self._settings.max_gap_s] = 0
            _take_best(track_of_face, np.where(distance < reach[:, None], -distance, -np.inf))
        return track_of_face


def _take_best(track_of_face: np.ndarray, affinity: np.ndarray) -> None:
    """Match free tracks and free faces by descending `affinity` (T, n), in place in `track_of_face` (n,).

    Pairs of affinity -inf never match.
    """
    affinity[:, track_of_face >= 0] = -np.inf
    affinity[track_of_face[track_of_face >= 0]] = -np.inf
    tracks, faces = np.nonzero(affinity > -np.inf)
    order = np.argsort(-affinity[tracks, faces], kind="stable")
    taken = set()
    for track, face in zip(tracks[order].tolist(), faces[order].tolist(), strict=True):
        if track not in taken and track_of_face[face] < 0:
            track_of_face[face] = track
            taken.add(track)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distances (T, n) between the centres of boxes (T, 4) and (n, 4), in sizes of the larger face.

    The distance is inf where the sizes differ too much for the same face.
    """
    centre_gap = np.linalg.norm(_centre(first)[:, None] - _centre(second)[None], axis=-1)
    one, other = boxes.size_px(first)[:, None], boxes.size_px(second)[None]
    larger, smaller = np.maximum(one, other), np.minimum(one, other)
    is_similar = (larger <= _MAX_SIZE_RATIO * smaller) & (larger > 0)
    return np.where(is_similar, centre_gap / np.maximum(larger, 1e-6), np.inf)


def _centre(xyxy: np.ndarray) -> np.ndarray:
    return (xyxy[:, :2] + xyxy[:, 2:]) / 2


def _keep(tracks: _Tracks, keep: np.ndarray) -> None:
    """End all tracks except those of the mask `keep` (T,)."""
    if not keep.all():
        for name in ("track_id", "xyxy", "velocity", "last_s", "num_seen"):
            setattr(tracks, name, getattr(tracks, name)[keep])


def _update(tracks: _Tracks, seen: np.ndarray, xyxy: np.ndarray, time_s: float) -> None:
    """Move the tracks at positions `seen` (k,) to the boxes (k, 4)."""
    step_s = np.maximum(time_s - tracks.last_s[seen], _MIN_STEP_S)[:, None]
    velocity = (_centre(xyxy) - _centre(tracks.xyxy[seen])) / step_s
    # the first velocities have equal weights; later, old ones fade out
    weight = np.maximum(1 / tracks.num_seen[seen][:, None], step_s / (step_s + _VELOCITY_S))
    tracks.velocity[seen] += weight * (velocity - tracks.velocity[seen])
    tracks.xyxy[seen] = xyxy
    tracks.last_s[seen] = time_s
    tracks.num_seen[seen] += 1


def _append(tracks: _Tracks, xyxy: np.ndarray, time_s: float) -> None:
    """Begin a track for each of the boxes (k, 4)."""
    num_new = len(xyxy)
    if num_new == 0:
        return
    tracks.track_id = np.append(tracks.track_id, tracks.next_id + np.arange(num_new))
    tracks.xyxy = np.concatenate([tracks.xyxy, xyxy])
    tracks.velocity = np.concatenate([tracks.velocity, np.zeros((num_new, 2))])
    tracks.last_s = np.append(tracks.last_s, np.full(num_new, time_s))
    tracks.num_seen = np.append(tracks.num_seen, np.ones(num_new, np.int64))
    tracks.next_id += num_new
