"""MegaDetector batch results, version 1.6, for Timelapse and AddaxAI (lila.science/megadetector-output-format)."""

from __future__ import annotations

import json

from maskbatch.exports.tables import Exported, box_of, number_or_none
from maskbatch.states import LABELS

_VERSION = "1.6"
_FACE = "1"


def as_megadetector(results: Exported) -> str:
    """Return the JSON of MegaDetector's batch results.

    Every file has an entry; files without a frame have `failure`. The label of a face, with its probability, is its
    classification. `frames_processed` of a video are its known analysed frames (see `_frames_processed`).
    """
    faces_of, images, every = results.faces_of(), [], _every(results)
    for row in results.files.itertuples():
        if not row.frames_analysed:
            images.append({"file": row.source, "failure": row.error or "no frame", "detections": None})
            continue
        own = faces_of.get(row.source)
        rows = [] if own is None else list(own.itertuples())
        entry: dict[str, object] = {"file": row.source, "detections": [_detection(face, row) for face in rows]}
        if row.kind == "video":
            entry["frame_rate"] = number_or_none(row.fps, 6) or 1.0
            entry["frames_processed"] = _frames_processed(row, rows, every)
        images.append(entry)
    info = {
        "format_version": _VERSION,
        "detector": _file(results, "detector"),
        "classifier": _file(results, "classifier"),
    }
    names = {str(number): label for number, label in enumerate(LABELS, 1)}
    return json.dumps({"info": info, "detection_categories": {_FACE: "face"}, "classification_categories": names,
                       "images": images}, indent=1) + "\n"  # fmt: skip


def _frames_processed(row: object, faces: list, every: int | None) -> list[int]:
    """Return the analysed frames of a video: all frames, or every n-th, if that matches their number.

    Otherwise (`--sample-fps` with a number or auto), return the frames with a face: the store does not keep the others.
    """
    for step in (1, every):
        if step and row.frames_analysed == len(range(0, row.frames_decoded, step)):
            return list(range(0, row.frames_decoded, step))
    return sorted({int(face.frame) for face in faces})


def _every(results: Exported) -> int | None:
    """Return n when every n-th frame was analysed, None when frames were chosen by their time."""
    sampling = (results.facts.get("settings") or {}).get("sampling") or {}
    return None if sampling.get("sample_fps") is not None or sampling.get("is_gated") else sampling.get("every")


def _detection(face: object, row: object) -> dict[str, object]:
    left, top, width, height = box_of(face)
    box = [left / row.width, top / row.height, width / row.width, height / row.height]
    found: dict[str, object] = {
        "category": _FACE,
        "conf": number_or_none(face.score),
        "bbox": [round(one, 5) for one in box],
    }
    if row.kind == "video":
        found["frame_number"] = int(face.frame)
    if face.label:
        p = {"with_mask": face.p_mask, "without_mask": 1 - face.p_mask}.get(face.label, face.p_incorrect)
        found["classifications"] = [[str(LABELS.index(face.label) + 1), number_or_none(p)]]
    return found


def _file(results: Exported, network: str) -> str:
    weights = results.facts.get("weights") or {}
    return str(weights.get(network, {}).get("file", "unknown"))
