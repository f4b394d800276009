"""Datasets on disk: class folders and annotated scenes -> `Picture`s with a split that cuts no group."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError
from maskbatch.trainer.data.annotations import LABELS, read_coco, read_voc

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}  # folder: split
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


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
    """The pictures with every empty split filled in: whole groups drawn for `val`, the rest `train`; each source and class
    has its share. A group of which some pictures have a split already goes there.

    The same seed and pictures give the same split.
    """
    given = {picture.group: picture.split for picture in pictures if picture.split}
    kinds = {}  # of each group: its source and its labels, of which both splits should have their share
    for picture in pictures:
        source, labels = kinds.get(picture.group, (picture.source, frozenset()))
        kinds[picture.group] = source, labels | set(picture.label.tolist())
    groups = sorted(set(kinds) - set(given))
    shuffled = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    shuffled.sort(key=lambda group: (kinds[group][0], sorted(kinds[group][1])))
    # every so many-th of the groups in order of kind
    count = np.floor(np.arange(len(groups) + 1) * val_fraction + 0.5)
    drawn = {group for group, step in zip(shuffled, np.diff(count), strict=True) if step}
    splits = given | {group: "val" if group in drawn else "train" for group in groups}
    return [picture if picture.split else replace(picture, split=splits[picture.group]) for picture in pictures]


def _read_dataset(root: Path) -> list[Picture]:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder: give a folder of class folders or of annotated scenes")
    parts = [(root / name, split) for name, split in _SPLITS.items() if (root / name).is_dir()] or [(root, "")]
    pictures = []
    for folder, split in parts:
        found = list(_class_folders(folder)) or list(_scenes(folder))
        pictures += [replace(picture, source=root.name, split=split) for picture in found]
    if not pictures:
        raise DatasetError(
            f"{root} holds no dataset: there must be with_mask/ and without_mask/ folders (maybe below train/, val/, "
            "test/), or images with Pascal VOC or COCO annotations (images/ and annotations/, or .xml or .json files "
            "beside the images)"
        )
    return pictures


def _class_folders(folder: Path) -> Iterable[Picture]:
    for label, name in enumerate(LABELS):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in _SUFFIXES:
                yield Picture(path, None, np.array([label]), folder.name, str(path))


def _scenes(folder: Path) -> Iterable[Picture]:
    annotations = folder / "annotations" if (folder / "annotations").is_dir() else folder
    images = folder / "images" if (folder / "images").is_dir() else folder
    paths = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    by_stem = {path.stem: path for path in paths}
    for annotation in sorted(annotations.rglob("*.xml")):
        if annotation.stem not in by_stem:
            raise DatasetError(f"{annotation} has no picture of that name in {images}")
        path = by_stem[annotation.stem]
        yield Picture(path, *read_voc(annotation), folder.name, str(path))
    by_name = {path.name: path for path in paths}
    for annotation in sorted(annotations.glob("*.json")):
        for name, boxes in read_coco(annotation).items():
            # the name may lead through folders, from wherever the annotators stood
            path = images / name if (images / name).is_file() else by_name.get(Path(name).name)
            if path is None:
                raise DatasetError(f"{annotation} names {name}, which is not in {images}")
            yield Picture(path, *boxes, folder.name, str(path))


def _with_splits(pictures: Sequence[Picture], splits_file: Path) -> list[Picture]:
    with open(splits_file, newline="", encoding="utf-8") as file:
        rows = {str((splits_file.parent / row["path"]).resolve()): row for row in csv.DictReader(file)}
    result = []
    for picture in pictures:
        row = rows.get(str(picture.path.resolve()))
        if row is None or row["split"] not in _SPLITS.values():
            raise DatasetError(f"{splits_file} gives no split for {picture.path}")
        source, group = row.get("set") or picture.source, row.get("cluster") or picture.group
        result.append(replace(picture, split=row["split"], source=source, group=group))
    return result
