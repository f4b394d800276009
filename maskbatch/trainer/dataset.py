"""Datasets on disk: class folders and annotated scenes -> `Picture`s with a split that cuts no group."""

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError

LABELS = ("without_mask", "with_mask")  # the index is the class: 1 = with_mask, as in p_mask
_SPLITS = ("train", "val", "test")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_LEFT_OUT = {"mask_worn_incorrectly"}  # neither class; too few to be a third


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with labels.

    An annotated scene has `xyxy` (K, 4) float32 pixels and `label` (K,) int64, -1 for faces of neither class; a picture
    from a class folder has `xyxy` None and `label` (1,). `source` names the collection it comes from (balanced in
    training), `group` what must not be cut by a split, `split` is train, val, test or "" where nothing says.
    """

    path: Path
    xyxy: np.ndarray | None
    label: np.ndarray
    source: str
    group: str
    split: str = ""


def read_datasets(roots: Sequence[Path], splits_file: Path | None = None) -> list[Picture]:
    """All pictures of the datasets at `roots`, ordered by path.

    `splits_file`: a CSV with columns `path` (relative to its own folder), `split`, and if present `cluster` (the group)
    and `set` (the source). Raises DatasetError when a folder is no dataset, an annotation is malformed, or a picture is
    missing from the splits file.
    """
    pictures = [picture for root in roots for picture in _read_dataset(root)]
    pictures.sort(key=lambda picture: picture.path.as_posix())
    if splits_file is not None:
        pictures = _with_splits(pictures, splits_file)
    return pictures


def split_pictures(pictures: Sequence[Picture], val_fraction: float, seed: int) -> list[Picture]:
    """The pictures with every empty split filled in: whole groups drawn for `val`, the rest `train`.

    The same seed and pictures give the same split.
    """
    groups = sorted({picture.group for picture in pictures if not picture.split})
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = {groups[i] for i in order[: round(len(groups) * val_fraction)]}
    return [
        picture if picture.split else replace(picture, split="val" if picture.group in drawn else "train")
        for picture in pictures
    ]


def _read_dataset(root: Path) -> list[Picture]:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder: give a folder of class folders or of annotated scenes")
    parts = [(root / split, split) for split in _SPLITS if (root / split).is_dir()] or [(root, "")]
    pictures = []
    for folder, split in parts:
        found = list(_class_folders(folder)) or list(_scenes(folder))
        pictures += [replace(picture, source=root.name, split=split) for picture in found]
    if not pictures:
        raise DatasetError(
            f"{root} holds no dataset: there must be with_mask/ and without_mask/ folders (maybe below train/, val/, "
            "test/), or images with Pascal VOC annotations (images/ and annotations/, or .xml files beside the images)"
        )
    return pictures


def _class_folders(folder: Path) -> Iterable[Picture]:
    for label, name in enumerate(LABELS):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in _SUFFIXES:
                yield Picture(path, None, np.array([label]), folder.name, str(path))


def _scenes(folder: Path) -> Iterable[Picture]:
    separate = (folder / "annotations").is_dir()
    annotations, images = (folder / "annotations", folder / "images") if separate else (folder, folder)
    by_stem = {path.stem: path for path in sorted(images.rglob("*")) if path.suffix.lower() in _SUFFIXES}
    for annotation in sorted(annotations.rglob("*.xml")):
        if annotation.stem not in by_stem:
            raise DatasetError(f"{annotation} has no picture of that name in {images}")
        path = by_stem[annotation.stem]
        xyxy, label = _read_voc(annotation)
        yield Picture(path, xyxy, label, folder.name, str(path))


def _read_voc(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) and labels (K,) of a Pascal VOC annotation."""
    known = {**{name: label for label, name in enumerate(LABELS)}, **dict.fromkeys(_LEFT_OUT, -1)}
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        names = [item.findtext("name", "").strip() for item in objects]
        sides = ("xmin", "ymin", "xmax", "ymax")
        xyxy = [[float(item.findtext(f"bndbox/{side}")) for side in sides] for item in objects]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a Pascal VOC annotation: {error}") from error
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise DatasetError(f"{path} has the label {unknown[0]!r}: known are {', '.join(known)}")
    return np.array(xyxy, np.float32).reshape(-1, 4), np.array([known[name] for name in names], np.int64)


def _with_splits(pictures: Sequence[Picture], splits_file: Path) -> list[Picture]:
    with open(splits_file, newline="", encoding="utf-8") as file:
        rows = {str((splits_file.parent / row["path"]).resolve()): row for row in csv.DictReader(file)}
    result = []
    for picture in pictures:
        row = rows.get(str(picture.path.resolve()))
        if row is None or row["split"] not in _SPLITS:
            raise DatasetError(f"{splits_file} gives no split for {picture.path}")
        source, group = row.get("set") or picture.source, row.get("cluster") or picture.group
        result.append(replace(picture, split=row["split"], source=source, group=group))
    return result
