"""FiftyOne: the samples of a dataset directory (docs.voxel51.com, FiftyOneDataset)."""

from __future__ import annotations

import json

from maskbatch.exports.tables import Exported, box_of, number_or_none


def as_fiftyone(results: Exported) -> dict[str, str]:
    """Return the files of a dataset directory that `fiftyone.Dataset.from_dir(dataset_type=FiftyOneImageDetectionDataset)`
    imports: photos with their faces. Needs no FiftyOne.

    Videos are not in it: `coco` and `cvat` have their frames and tracks.
    """
    faces_of, labels = results.faces_of(), {}
    paths = {}
    for row in results.readable():
        if row.kind == "image":
            own = faces_of.get(row.source)
            labels[row.source] = (
                [] if own is None else [_detection(face, row) for face in own.itertuples() if face.label]
            )
            paths[row.source] = str(results.paths[row.source])
    classes = sorted({one["label"] for own in labels.values() for one in own})
    content = {"classes": None, "labels": labels}
    return {
        "labels.json": json.dumps(content, indent=1) + "\n",
        "data.json": json.dumps(paths, indent=1, ensure_ascii=True) + "\n",
        "classes.txt": "".join(f"{name}\n" for name in classes),
    }


def _detection(face: object, row: object) -> dict[str, object]:
    left, top, width, height = box_of(face)
    box = [left / row.width, top / row.height, width / row.width, height / row.height]
    return {
        "label": face.label, "bounding_box": [round(one, 5) for one in box], "confidence": number_or_none(face.score),
        "attributes": {"p_mask": number_or_none(face.p_mask), "p_incorrect": number_or_none(face.p_incorrect),
                       "face": int(face.face)},
    }  # fmt: skip
