"""Read datasets (class folders and annotated scenes) as `Picture`s, and split them without cutting groups."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.data.annotations import read_coco, read_voc
from maskbatch.trainer.data.labels import LabelRules, check_labels
from maskbatch.trainer.data.pairing import pair
from maskbatch.trainer.data.tables import check_all_named, read_table

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}  # folder: split
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_SCENE_FOLDERS = ("images", "annotations")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with labels.

    An annotated scene has `xyxy` (K, 4) float32 pixels and `label` (K,) int64, an index of `STATES`. A picture from a
    class folder has `xyxy` None and `label` (1,). `source` names the collection of the picture; training balances
    collections. No split may cut a `group`. `split` is train, val, test, or "" if not given. In the places `ignored`
    (M, 4) float32, a finding is neither right nor wrong.
    """

    path: Path
    xyxy: np.ndarray | None
    label: np.ndarray
    source: str
    group: str
    split: str = ""
    ignored: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A picture with the dataset's own labels; `xyxy` as in `Picture`."""

    path: Path
    xyxy: np.ndarray | None
    names: tuple[str, ...]


def read_datasets(
    roots: Sequence[Path], splits_file: Path | None = None, rules: LabelRules | None = None
) -> list[Picture]:
    """Return all pictures of the datasets at `roots`, ordered by path.

    `splits_file` is a CSV with the columns `path` (relative to its own folder), `split`, and optionally `cluster` (the
    group) and `set` (the source). `rules` give the meaning of labels that are not ours.

    Raises:
        DatasetError: A folder is not a dataset, or an annotation is malformed or ambiguous.
        UsageError: A label is unknown, or the splits file does not fit.
    """
    rules = rules or LabelRules()
    found = [(root, part) for root in roots for part in _read_dataset(root, rules)]
    check_labels(Counter(name for _, (labelled, _) in found for name in labelled.names), rules)
    pictures = [_picture(root, labelled, split, rules) for root, (labelled, split) in found]
    pictures = [picture for picture in pictures if picture.xyxy is not None or len(picture.label)]
    pictures.sort(key=lambda picture: picture.path.as_posix())
    _check_once(pictures)
    if splits_file is not None:
        pictures = _with_splits(pictures, splits_file)
    return pictures


def split_pictures(pictures: Sequence[Picture], val_fraction: float, seed: int) -> list[Picture]:
    """Return the pictures with every empty split filled in.

    Whole groups are drawn for `val`, with a share of each source and class; the rest is `train`. If a picture of a
    group already has a split, the whole group goes to that split. The same seed and pictures give the same split.
    """
    given = {picture.group: picture.split for picture in pictures if picture.split}
    kinds = {}  # {group: (source, labels)}; both splits get a share of each kind
    for picture in pictures:
        source, labels = kinds.get(picture.group, (picture.source, frozenset()))
        kinds[picture.group] = source, labels | set(picture.label.tolist())
    groups = sorted(set(kinds) - set(given))
    shuffled = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    shuffled.sort(key=lambda group: (kinds[group][0], sorted(kinds[group][1])))
    # groups at equal distances in the order of kinds
    count = np.floor(np.arange(len(groups) + 1) * val_fraction + 0.5)
    drawn = {group for group, step in zip(shuffled, np.diff(count), strict=True) if step}
    splits = given | {group: "val" if group in drawn else "train" for group in groups}
    return [picture if picture.split else replace(picture, split=splits[picture.group]) for picture in pictures]


def _read_dataset(root: Path, rules: LabelRules) -> list[tuple[_Labelled, str]]:
    """Return the labelled pictures of one dataset, each with its split, or "" if not given."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder: give a folder of class folders or of annotated scenes")
    parts = [(root / name, split) for name, split in _SPLITS.items() if (root / name).is_dir()] or [(root, "")]
    found = [(labelled, split) for folder, split in parts for labelled in _read_part(folder, rules)]
    if not found:
        raise DatasetError(
            f"{root} holds no dataset: there must be with_mask/ and without_mask/ folders (maybe below train/, val/, "
            "test/), or images with Pascal VOC or COCO annotations (images/ and annotations/, or .xml or .json files "
            "beside the images)"
        )
    return found


def _read_part(folder: Path, rules: LabelRules) -> list[_Labelled]:
    """Return class folders if one has a known label, else scenes, else class folders with unknown labels."""
    by_class = _class_folders(folder)
    if any(rules.class_of(name) is not None for name in by_class):
        return [one for found in by_class.values() for one in found]
    others = (found for name, found in by_class.items() if name not in _SCENE_FOLDERS)
    return _scenes(folder) or [one for found in others for one in found]


def _class_folders(folder: Path) -> dict[str, list[_Labelled]]:
    """Return {name of a subfolder: its pictures}, without empty, hidden and system folders."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._@")
    found = {name: [_Labelled(path, None, (name,)) for path in _picture_files(folder / name)] for name in names}
    return {name: pictures for name, pictures in found.items() if pictures}


def _scenes(folder: Path) -> list[_Labelled]:
    images, annotations = (folder / name if (folder / name).is_dir() else folder for name in _SCENE_FOLDERS)
    found = [read_voc(path) for path in sorted(annotations.rglob("*.xml")) if not _is_note(path)]
    found += [one for path in sorted(annotations.glob("*.json")) if not _is_note(path) for one in read_coco(path)]
    if not found:
        return []
    paired = pair(found, _picture_files(images), folder)
    return [_Labelled(path, annotation.xyxy, annotation.names) for path, annotation in paired.items()]


def _picture_files(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES)
    return [path for path in found if not _is_note(path) and not path.is_dir()]


def _is_note(path: Path) -> bool:
    """Return True for the notes of macOS beside files on other file systems and in archives: `._a.jpg` for `a.jpg`."""
    return path.name.startswith("._")


def _picture(root: Path, labelled: _Labelled, split: str, rules: LabelRules) -> Picture:
    """Return the picture with our labels, and without the boxes of ignored labels."""
    classes = [rules.class_of(name) for name in labelled.names]
    kept = np.array([label is not None for label in classes], bool)
    label = np.array([label for label in classes if label is not None], np.int64)
    xyxy = None if labelled.xyxy is None else labelled.xyxy[kept]
    return Picture(labelled.path, xyxy, label, root.name, str(labelled.path), split)


def _check_once(pictures: Sequence[Picture]) -> None:
    """Raise UsageError when two datasets hold the same picture, which could then be in both splits."""
    for path, count in Counter(picture.path.resolve() for picture in pictures).items():
        if count > 1:
            raise UsageError(f"{path} is read {count} times: give each dataset once, and none inside another")


def _with_splits(pictures: Sequence[Picture], splits_file: Path) -> list[Picture]:
    rows = read_table(splits_file, ["split"])
    of_picture = [rows.get(picture.path.resolve()) for picture in pictures]
    missing = [picture.path for picture, row in zip(pictures, of_picture, strict=True) if row is None]
    check_all_named(splits_file, missing, len(pictures))
    result = []
    for picture, row in zip(pictures, of_picture, strict=True):
        if row["split"] not in _SPLITS.values():
            raise UsageError(f"{splits_file} gives {picture.path} the split {row['split']!r}: use train, val or test")
        source, group = row.get("set") or picture.source, row.get("cluster") or picture.group
        result.append(replace(picture, split=row["split"], source=source, group=group))
    return result
