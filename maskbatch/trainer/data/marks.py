"""Marks on pictures of a dataset: places in which a finding is neither right nor wrong, and boxes with a wrong label.

Annotators leave people out, and sometimes choose the wrong label. A person can look at all findings without a box and
mark each of them, so that a face without a box does not count as false. The same file corrects labels that are plainly
wrong.
"""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskbatch.errors import UsageError
from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.labels import STATES

_CORNERS = ("x_min", "y_min", "x_max", "y_max")
# a picture of a face is a drawing, a statue, a poster or a mannequin; a place without a face is only a record
_IGNORED, _COUNTED = ("face", "picture_of_face", "unsure"), ("no_face",)
_MARKS = (*_IGNORED, *_COUNTED, *STATES)
# minimum overlap of a mark with the box whose label it corrects: the corners in the file are rounded
_SAME_BOX_IOU = 0.8

_Places = dict[tuple[str, ...], list[tuple[list[float], str]]]


def with_marks(pictures: Sequence[Picture], file: Path) -> list[Picture]:
    """Return the pictures with the places of a file in `ignored`, and with its corrections in `label`.

    Args:
        pictures: The dataset's pictures.
        file: A CSV with the columns path, x_min, y_min, x_max, y_max (pixels of the picture) and mark: face,
            picture_of_face, unsure, no_face, or the correct label of an annotated box. A path names the picture whose
            own path ends with it.

    Raises:
        UsageError: The file is not such a table, names a picture that is not in `pictures` or has no boxes, names two
            with one path, gives a label to a place without a box or two labels to one box, or changes nothing.

    Example:
        >>> with_marks(pictures, Path("models/val_marks.csv"))[0].ignored.shape  # doctest: +SKIP
        (2, 4)
    """
    places = _read(file)
    names = [_names_of(picture, places) for picture in pictures]
    _check_names(file, places, Counter(name for own in names for name in own))
    marked = [[one for name in own for one in places[name] if one[1] not in _COUNTED] for own in names]
    if not any(marked):
        raise UsageError(
            f"{file} ignores no place and corrects no label: each of its {len(places)} pictures has marks no_face only, "
            "which change nothing. Leave --ignore out"
        )
    return [_marked(picture, own, file) if own else picture for picture, own in zip(pictures, marked, strict=True)]


def _marked(picture: Picture, marks: Sequence[tuple[list[float], str]], file: Path) -> Picture:
    """Return the picture with its marks.

    Raises UsageError without boxes, for a label at a place without a box, and for two labels of one box.
    """
    if picture.xyxy is None:
        raise UsageError(f"{file} marks {picture.path}, a picture of a class folder: only pictures with boxes have findings "
                         "that count, so delete its rows")  # fmt: skip
    ignored = [box for box, mark in marks if mark in _IGNORED]
    label, corrected = picture.label.copy(), {}
    for box, mark in marks:
        if mark in STATES:
            overlap = boxes.iou(np.float32([box]), picture.xyxy)[0]
            if overlap.max(initial=0) < _SAME_BOX_IOU:
                raise UsageError(
                    f"{file} gives the label {mark} to {box} in {picture.path.name}, where no box is: give the corners of "
                    "the annotated box"
                )
            at = int(overlap.argmax())
            if corrected.setdefault(at, mark) != mark:
                raise UsageError(
                    f"{file} gives the labels {corrected[at]} and {mark} to one box in {picture.path.name}: delete one of "
                    "these rows"
                )
            label[at] = STATES.index(mark)
    return replace(picture, label=label, ignored=np.array(ignored, np.float32).reshape(-1, 4))


def _read(file: Path) -> _Places:
    """Return {parts of a path: (box, mark) of its places}."""
    places = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = {"path", "mark", *_CORNERS} - set(reader.fieldnames or [])
            if missing:
                raise UsageError(
                    f"{file}, line 1, lacks the columns {', '.join(sorted(missing))}: add them, or give another file"
                )
            for row in reader:
                if row["mark"] not in _MARKS:
                    raise UsageError(
                        f"{file}, line {reader.line_num}: the mark {row['mark']!r} is none of {', '.join(_MARKS)}: use "
                        "one of these"
                    )
                box = [_finite(row[name]) for name in _CORNERS]
                if box[2] <= box[0] or box[3] <= box[1]:
                    raise UsageError(
                        f"{file}, line {reader.line_num}: a place needs an x_max larger than x_min, and a y_max larger "
                        "than y_min"
                    )
                places.setdefault(Path(row["path"]).parts, []).append((box, row["mark"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is not a CSV file in UTF-8 that can be read: {error}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{file}, line {reader.line_num}: a corner of the box is no number ({error}): give pixels of the picture"
        ) from error
    return places


def _finite(text: str) -> float:
    """Return the number in a cell. Raises ValueError for any other text, also for nan and inf."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"not a finite number: {text!r}")
    return number


def _names_of(picture: Picture, places: _Places) -> list[tuple[str, ...]]:
    """Return the parts of all paths in the file that name the picture."""
    parts = picture.path.resolve().parts
    return [parts[start:] for start in range(len(parts)) if parts[start:] in places]


def _check_names(file: Path, places: _Places, num_named: Counter) -> None:
    """Raise UsageError when a path in the file names no picture, or several."""
    unknown = [name for name in places if not num_named[name]]
    if unknown:
        raise UsageError(
            f"{file} marks pictures that are not in the dataset ({len(unknown)}), such as {'/'.join(unknown[0])!r}: give "
            "the dataset that was marked, or delete their rows"
        )
    shared = [name for name in places if num_named[name] > 1]
    if shared:
        raise UsageError(f"{file}: the path {'/'.join(shared[0])} names several pictures: put their folders before it")
