"""COCO: photos and the frames of videos that have a face, for training tools (cocodataset.org/#format-data)."""

from __future__ import annotations

import json

from maskbatch.exports.tables import Exported, box_of, number_or_none
from maskbatch.states import LABELS


def as_coco(results: Exported) -> str:
    """Return the JSON of a COCO dataset.

    A frame of a video is an image with `video`, `frame` and `time_s`. Its file name is `<video>/<frame>.jpg`; the file
    is not written. Faces keep score, probabilities, track and person in extra keys, which COCO allows. `maskbatch
    evaluate` and `train` can read the photos.
    """
    images, annotations, faces_of = [], [], results.faces_of()
    for row in results.readable():
        own = faces_of.get(row.source)
        if row.kind == "image":
            images.append(
                {"id": len(images) + 1, "file_name": row.source, "width": int(row.width), "height": int(row.height)}
            )
            numbers = {0: len(images)}
        else:
            numbers = {}
            for frame, time_s in () if own is None else own.groupby("frame").time_s.first().items():
                images.append({
                    "id": len(images) + 1, "file_name": f"{row.source}/{frame:06d}.jpg", "width": int(row.width),
                    "height": int(row.height), "video": row.source, "frame": int(frame), "time_s": round(time_s, 4),
                })  # fmt: skip
                numbers[int(frame)] = len(images)
        for face in () if own is None else own.itertuples():
            if face.label:
                annotations.append(_annotation(len(annotations) + 1, numbers[int(face.frame)], face))
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)]
    info = {"description": "maskbatch", "version": str(results.facts.get("maskbatch"))}
    return json.dumps({"info": info, "images": images, "annotations": annotations, "categories": categories}) + "\n"


def _annotation(number: int, image: int, face: object) -> dict[str, object]:
    left, top, width, height = (round(float(one), 1) for one in box_of(face))
    return {
        "id": number, "image_id": image, "category_id": LABELS.index(face.label) + 1, "bbox": [left, top, width, height],
        "area": round(width * height, 2), "iscrowd": 0, "score": number_or_none(face.score),
        "p_mask": number_or_none(face.p_mask), "p_incorrect": number_or_none(face.p_incorrect),
        "track_id": int(face.track_id), "person": int(face.person), "face": int(face.face),
    }  # fmt: skip
