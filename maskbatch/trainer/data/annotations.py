"""Read annotated scenes: Pascal VOC (an XML file for each picture) and COCO (one JSON file for many pictures)."""

import json
import logging
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotated faces of one picture in `file`.

    `picture` is the picture's name in the file, maybe with folders before it, or "" without a name. `xyxy` (K, 4) is in
    float32 pixels; `names` (K,) are the dataset's own labels.
    """

    file: Path
    picture: str
    xyxy: np.ndarray
    names: tuple[str, ...]


def read_voc(path: Path) -> Annotation:
    """Read a Pascal VOC annotation. Raises DatasetError."""
    try:
        root = ElementTree.parse(path).getroot()
        objects = root.findall("object")
        names = [item.findtext("name", "") for item in objects]
        sides = ("xmin", "ymin", "xmax", "ymax")
        xyxy = [[float(item.findtext(f"bndbox/{side}")) for side in sides] for item in objects]
        return _annotation(path, root.findtext("filename", ""), xyxy, names)
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a Pascal VOC annotation: {error}") from error


def read_coco(path: Path) -> list[Annotation]:
    """Return the annotation of each picture that a COCO file of instances lists; an empty list for other JSON.

    Regions marked `iscrowd` are left out. Raises DatasetError.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
            return []
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        found = {image["id"]: (str(image["file_name"]), [], []) for image in content["images"]}
        for item in content["annotations"]:
            if not item.get("iscrowd"):
                x, y, width, height = map(float, item["bbox"])
                found[item["image_id"]][1].append([x, y, x + width, y + height])
                found[item["image_id"]][2].append(names[item["category_id"]])
        return [_annotation(path, *one) for one in found.values()]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a COCO file of instances: {type(error).__name__} {error}") from error


def _annotation(path: Path, picture: str, xyxy: list[list[float]], names: Sequence[str]) -> Annotation:
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("a side of a box is not a finite number")
    is_box = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not is_box.all():
        _log.warning(
            "%s: %d boxes have no area, because the right side is not right of the left one or the bottom not below the "
            "top, and are left out", path, (~is_box).sum(),
        )  # fmt: skip
    kept = tuple(name.strip() for name, keep in zip(names, is_box, strict=True) if keep)
    return Annotation(path, picture.strip(), boxes[is_box], kept)
