"""Label Studio: photos and videos as tasks with predictions (labelstud.io/guide/predictions)."""

from __future__ import annotations

import json
from urllib.parse import quote

from maskbatch.exports.tables import Exported, box_of, number_or_none
from maskbatch.media.names import from_name_text

# Label Studio serves the input folder, its local storage, under this address
_ADDRESS = "/data/local-files/?d="


def as_label_studio(results: Exported) -> str:
    """Return the JSON of tasks: one per image or video, with its faces as predictions with scores.

    The labelling configuration needs `RectangleLabels name="label" toName="image"` for photos, and `VideoRectangle
    name="box" toName="video"` with `Labels name="labels"` for videos. Tasks refer to media by their path below the
    input folder, which must be the local storage of Label Studio. The task of a video contains its frame rate.
    """
    faces_of, tasks = results.faces_of(), []
    for row in results.readable():
        own = faces_of.get(row.source)
        rows = [] if own is None else [face for face in own.itertuples() if face.label]
        data: dict[str, object] = {"source": row.source}
        if row.kind == "image":
            data["image"] = _address(row.source)
            made = [_rectangle(face, row, number) for number, face in enumerate(rows)]
        else:
            data["video"] = _address(row.source)
            data["fps"] = number_or_none(row.fps, 6)
            made = _sequences(rows, row)
        score = sum(face.score for face in rows) / len(rows) if rows else 0.0
        tasks.append({"data": data, "predictions": [{"model_version": f"maskbatch {results.facts.get('maskbatch')}",
                                                      "score": number_or_none(score), "result": made}]})  # fmt: skip
    return json.dumps(tasks, indent=1) + "\n"


def _address(source: str) -> str:
    """Return the address of a file by its own name: tables escape backslashes, line breaks and bytes that are no UTF-8."""
    return _ADDRESS + quote(from_name_text(source), errors="surrogateescape")


def _percent(face: object, row: object) -> dict[str, float]:
    left, top, width, height = box_of(face)
    return {"x": round(100 * left / row.width, 4), "y": round(100 * top / row.height, 4),
            "width": round(100 * width / row.width, 4), "height": round(100 * height / row.height, 4)}  # fmt: skip


def _rectangle(face: object, row: object, number: int) -> dict[str, object]:
    return {
        "id": f"face-{number}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": int(row.width), "original_height": int(row.height), "image_rotation": 0,
        "score": number_or_none(face.score),
        "value": {**_percent(face, row), "rotation": 0, "rectanglelabels": [face.label]},
        "meta": {"p_mask": number_or_none(face.p_mask), "p_incorrect": number_or_none(face.p_incorrect)},
    }  # fmt: skip


def _sequences(rows: list, row: object) -> list[dict[str, object]]:
    """Return a region for each person: boxes by frame (from 1, as Label Studio counts), and the label seen most often."""
    people: dict[int, list] = {}
    for face in rows:
        people.setdefault(int(face.person), []).append(face)
    found = []
    for person, own in sorted(people.items()):
        labels = [face.label for face in own]
        sequence = [{**_percent(face, row), "frame": int(face.frame) + 1, "time": number_or_none(face.time_s),
                     "enabled": number + 1 < len(own), "rotation": 0, "label": face.label,
                     "p_mask": number_or_none(face.p_mask)} for number, face in enumerate(own)]  # fmt: skip
        found.append({
            "id": f"person-{person}", "from_name": "box", "to_name": "video", "type": "videorectangle",
            "value": {"framesCount": int(row.frames_decoded), "duration": number_or_none(row.duration_s, 3),
                      "sequence": sequence, "labels": [max(sorted(set(labels)), key=labels.count)]},
            "score": number_or_none(sum(face.score for face in own) / len(own)),
        })  # fmt: skip
    return found
