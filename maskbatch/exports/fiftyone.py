"""FiftyOne: photos and videos as two dataset directories (docs.voxel51.com), written without FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from maskbatch.exports.tables import Exported, box_of, number_or_none

if TYPE_CHECKING:
    import pandas as pd


def as_fiftyone(results: Exported) -> dict[str, str]:
    """Return the files of up to two dataset directories by name: `photos` and `videos`.

    `photos` is a FiftyOneImageDetectionDataset. `videos` is a FiftyOneVideoLabelsDataset: faces are detections in
    frames, which FiftyOne counts from 1, with the person as `index`; episodes are temporal detections. Media stay in
    place: both directories refer to them by absolute paths.
    """
    faces_of = results.faces_of()
    rows = {kind: [row for row in results.readable() if row.kind == kind] for kind in ("image", "video")}
    made = {}
    if rows["image"]:
        # the importer requires a data folder even if all paths are absolute, and skips hidden files
        made["photos/data/.empty"] = ""
        made["photos/labels.json"] = _photos(results, rows["image"], faces_of)
    if rows["video"]:
        made |= _videos(results, rows["video"], faces_of)
    return made


def _photos(results: Exported, rows: Sequence, faces_of: Mapping[str, pd.DataFrame]) -> str:
    labels = {}
    for row in rows:
        labels[str(results.paths[row.source].absolute())] = [
            {"label": face.label, "bounding_box": [left, top, right - left, bottom - top],
             "confidence": number_or_none(face.score), "attributes": dict(_numbers(face, ("p_mask", "p_incorrect", "face")))}
            for face in _labelled(faces_of, row) for left, top, right, bottom in [_shares(face, row)]
        ]  # fmt: skip
    return json.dumps({"classes": None, "labels": labels}, indent=1) + "\n"


def _videos(results: Exported, rows: Sequence, faces_of: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return the index of all videos, and the labels of each."""
    index, made = [], {}
    episodes_of = dict(iter(results.episodes.groupby("source", sort=False)))
    for number, row in enumerate(rows):
        name = f"labels/{number:06d}.json"
        index.append({"data": str(results.paths[row.source].absolute()), "labels": name})
        frames: dict[str, dict] = {}
        for face in _labelled(faces_of, row):
            at = int(face.frame) + 1
            frame = frames.setdefault(str(at), {"frame_number": at, "objects": {"objects": []}})
            frame["objects"]["objects"].append(_detection(face, row))
        events = [
            _event(one, faces_of[row.source]) for one in episodes_of.get(row.source, results.episodes[:0]).itertuples()
        ]
        made[f"videos/{name}"] = json.dumps({"frames": frames, "events": {"events": events}}, indent=1) + "\n"
    dataset = {"type": "eta.core.datasets.LabeledVideoDataset", "description": "maskbatch", "index": index}
    return {"videos/manifest.json": json.dumps(dataset, indent=1) + "\n", **made}


def _detection(face: object, row: object) -> dict[str, object]:
    left, top, right, bottom = _shares(face, row)
    names = ("time_s", "p_mask", "p_incorrect", "face", "track_id")
    return {
        "type": "eta.core.objects.DetectedObject", "label": face.label, "confidence": number_or_none(face.score),
        "bounding_box": {"top_left": {"x": left, "y": top}, "bottom_right": {"x": right, "y": bottom}},
        "index": int(face.person), "attrs": _attributes(face, names),
    }  # fmt: skip


def _event(one: object, faces: pd.DataFrame) -> dict[str, object]:
    """Return an episode, which spans the frames with looks at its person during that time."""
    is_own = (faces["person"] == one.person) & (faces["time_s"] >= one.from_s) & (faces["time_s"] <= one.to_s)
    frames = faces["frame"][is_own]
    first, last = (frames.min(), frames.max()) if len(frames) else (one.best_frame, one.best_frame)
    return {
        "type": "eta.core.events.VideoEvent", "label": one.state, "name": "episodes",
        "support": {"ranges": f"{int(first) + 1}-{int(last) + 1}"},
        "attrs": _attributes(one, ("person", "from_s", "to_s", "p_mask")),
    }  # fmt: skip


def _attributes(row: object, names: Sequence[str]) -> dict[str, object]:
    kind = "eta.core.data.NumericAttribute"
    return {"attrs": [{"type": kind, "name": name, "value": value} for name, value in _numbers(row, names)]}


def _numbers(row: object, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield name and value of the numbers that are known."""
    for name in names:
        if (value := number_or_none(getattr(row, name))) is not None:
            yield name, value


def _labelled(faces_of: Mapping[str, pd.DataFrame], row: object) -> list:
    return [face for face in faces_of[row.source].itertuples() if face.label] if row.source in faces_of else []


def _shares(face: object, row: object) -> tuple[float, float, float, float]:
    """Return the box (left, top, right, bottom) in shares of the picture's sides."""
    left, top, width, height = box_of(face)
    sides = left / row.width, top / row.height, (left + width) / row.width, (top + height) / row.height
    return tuple(round(float(side), 6) for side in sides)
