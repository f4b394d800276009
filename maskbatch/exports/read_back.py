"""Read corrected boxes from CVAT, Label Studio and COCO files."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from maskbatch.errors import UsageError
from maskbatch.media.names import name_text
from maskbatch.states import LABELS


class Corrected(NamedTuple):
    """A corrected box. `source` is "" if the file contains no name.

    Corners are in pixels, or with `is_share` in shares of the picture's sides. With `is_common`, the label is that of all
    boxes of a person.
    """

    source: str
    frame: int
    xyxy: tuple[float, float, float, float]
    label: str
    is_share: bool
    is_common: bool = False


class CorrectedFile(NamedTuple):
    """The boxes of a file, and all its sources, including those without a box."""

    boxes: Sequence[Corrected]
    sources: Sequence[str]


def read_corrections(path: Path) -> CorrectedFile:
    """Return the boxes in a file from CVAT (video 1.1), Label Studio (JSON) or a COCO tool.

    Boxes with unknown labels are left out. Raises UsageError when the file has another format or is damaged.
    """
    try:
        if path.suffix.lower() == ".xml":
            return _cvat(path)
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, list):
            return _label_studio(content)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            return _coco(content)
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise UsageError(f"{path} cannot be read as corrections: {error!r}") from error
    raise UsageError(f"{path} is neither CVAT's XML, nor JSON of Label Studio or COCO")


def _cvat(path: Path) -> CorrectedFile:
    # Python's parser (since expat 2.4.1) rejects entity declarations that would expand too far
    root = ElementTree.parse(path).getroot()
    name, found = root.findtext("meta/task/name") or "", []
    for track in root.iter("track"):
        for box in track.findall("box"):
            if box.get("outside") == "0" and track.get("label") in LABELS:
                corners = tuple(float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
                found.append(Corrected(name, int(box.get("frame")), corners, track.get("label"), False))
    return CorrectedFile(found, [name])


def _coco(content: Mapping) -> CorrectedFile:
    names = {one["id"]: one["name"] for one in content["categories"]}
    images = {one["id"]: (one.get("video", one["file_name"]), int(one.get("frame", 0))) for one in content["images"]}
    found = []
    for one in content["annotations"]:
        if names[one["category_id"]] in LABELS:
            left, top, width, height = map(float, one["bbox"])
            source, frame = images[one["image_id"]]
            found.append(
                Corrected(source, frame, (left, top, left + width, top + height), names[one["category_id"]], False)
            )
    return CorrectedFile(found, list(dict.fromkeys(source for source, _ in images.values())))


def _label_studio(tasks: Sequence[Mapping]) -> CorrectedFile:
    found, sources = [], []
    for task in tasks:
        data = task["data"]
        address = unquote(str(data.get("image") or data.get("video")), errors="surrogateescape")
        source = data.get("source") or name_text(address.rpartition("?d=")[2])
        annotations = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
        if annotations:  # unconfirmed predictions are not corrections
            sources.append(source)
            for region in annotations[-1]["result"]:
                found += _regions(source, region)
    return CorrectedFile(found, sources)


def _regions(source: str, region: Mapping) -> Iterator[Corrected]:
    value = region.get("value", {})
    labels = [label for label in (*value.get("rectanglelabels", ()), *value.get("labels", ())) if label in LABELS]
    if not labels:
        return
    if "sequence" in value:
        for one in value["sequence"]:
            label = one.get("label", labels[0])
            yield Corrected(source, int(one["frame"]) - 1, _share(one), label, True, "label" not in one)
    elif "width" in value:
        yield Corrected(source, 0, _share(value), labels[0], True)


def _share(value: Mapping) -> tuple[float, float, float, float]:
    left, top, width, height = (float(value[name]) / 100 for name in ("x", "y", "width", "height"))
    return left, top, left + width, top + height
