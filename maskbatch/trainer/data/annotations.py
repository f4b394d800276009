"""Boxes and labels of annotated scenes: Pascal VOC (an XML file for each picture) and COCO (one JSON file for many)."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError

LABELS = ("without_mask", "with_mask")  # the index is the class: 1 = with_mask, as in p_mask
WORN_INCORRECTLY = -1  # neither class, and too few to be a third
_KNOWN = {
    **{name: label for label, name in enumerate(LABELS)},
    # the second spelling is that of a much copied data set
    **dict.fromkeys(("mask_worn_incorrectly", "mask_weared_incorrect"), WORN_INCORRECTLY),
}

Boxes = tuple[np.ndarray, np.ndarray]


def read_voc(path: Path) -> Boxes:
    """Boxes (K, 4) float32 xyxy and labels (K,) int64 of a Pascal VOC annotation. Raises DatasetError."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        names = [item.findtext("name", "").strip() for item in objects]
        sides = ("xmin", "ymin", "xmax", "ymax")
        xyxy = [[float(item.findtext(f"bndbox/{side}")) for side in sides] for item in objects]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a Pascal VOC annotation: {error}") from error
    return _boxes(xyxy, names, path)


def read_coco(path: Path) -> dict[str, Boxes]:
    """{file name as it stands there: boxes (K, 4) float32 xyxy and labels (K,) int64} of a COCO file of instances.

    Regions marked `iscrowd` are left out. Empty for JSON that is something else. Raises DatasetError.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
            return {}
        names = {category["id"]: category["name"] for category in content["categories"]}
        found = {image["id"]: (image["file_name"], [], []) for image in content["images"]}
        for item in content["annotations"]:
            if not item.get("iscrowd"):
                x, y, width, height = map(float, item["bbox"])
                found[item["image_id"]][1].append([x, y, x + width, y + height])
                found[item["image_id"]][2].append(names[item["category_id"]])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a COCO file of instances: {type(error).__name__} {error}") from error
    return {file_name: _boxes(xyxy, labels, path) for file_name, xyxy, labels in found.values()}


def _boxes(xyxy: list[list[float]], names: list[str], path: Path) -> Boxes:
    unknown = sorted(set(names) - set(_KNOWN))
    if unknown:
        raise DatasetError(f"{path} has the label {unknown[0]!r}: known are {', '.join(_KNOWN)}")
    return np.array(xyxy, np.float32).reshape(-1, 4), np.array([_KNOWN[name] for name in names], np.int64)
