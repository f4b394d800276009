"""Marks on pictures of a dataset: places in which a finding is neither right nor wrong.

Annotators leave people out. A person can look at all findings without a box and mark each of them, so that a face
without a box does not count as false.
"""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskbatch.errors import UsageError
from maskbatch.trainer.data.dataset import Picture

_CORNERS = ("x_min", "y_min", "x_max", "y_max")
# a picture of a face is a drawing, a statue, a poster or a mannequin; a place without a face is only a record
_IGNORED, _COUNTED = ("face", "picture_of_face", "unsure"), ("no_face",)


def with_marks(pictures: Sequence[Picture], file: Path) -> list[Picture]:
    """Return the pictures with the places of a file in `ignored`.

    Args:
        pictures: The dataset's pictures.
        file: A CSV with the columns path, x_min, y_min, x_max, y_max (pixels of the picture) and mark: face,
            picture_of_face, unsure or no_face. A path names the picture whose own path ends with it.

    Raises:
        UsageError: The file is not such a table, names a picture that is not in `pictures` or has no boxes, names two
            with one path, or has no place to ignore.

    Example:
        >>> with_marks(pictures, Path("models/val_marks.csv"))[0].ignored.shape  # doctest: +SKIP
        (2, 4)
    """
    places = _read(file)
    names = [_names_of(picture, places) for picture in pictures]
    _check_names(file, places, Counter(name for own in names for name in own))
    found = [
        replace(picture, ignored=_joined([places[name] for name in own]))
        for picture, own in zip(pictures, names, strict=True)
    ]
    if all(len(picture.ignored) == 0 for picture in found):
        raise UsageError(
            f"{file} has no place to ignore in any of the dataset's pictures: each of its {len(places)} pictures has "
            "marks no_face only, which change nothing. Leave --ignore out"
        )
    without = [picture.path for picture in found if len(picture.ignored) and picture.xyxy is None]
    if without:
        raise UsageError(f"{file} marks {without[0]}, a picture of a class folder: only pictures with boxes have findings "
                         "that count, so delete its rows")  # fmt: skip
    return found


def _read(file: Path) -> dict[tuple[str, ...], np.ndarray]:
    """Return {parts of a path: boxes (M, 4) float32 of the marks to ignore}; a picture may have none."""
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
                if row["mark"] not in _IGNORED + _COUNTED:
                    raise UsageError(
                        f"{file}, line {reader.line_num}: the mark {row['mark']!r} is none of "
                        f"{', '.join(_IGNORED + _COUNTED)}: use one of these"
                    )
                box = [_finite(row[name]) for name in _CORNERS]
                if box[2] <= box[0] or box[3] <= box[1]:
                    raise UsageError(
                        f"{file}, line {reader.line_num}: a place needs an x_max larger than x_min, and a y_max larger "
                        "than y_min"
                    )
                places.setdefault(Path(row["path"]).parts, []).extend([box] if row["mark"] in _IGNORED else [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is not a CSV file in UTF-8 that can be read: {error}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{file}, line {reader.line_num}: a corner of the box is no number ({error}): give pixels of the picture"
        ) from error
    return {parts: np.array(boxes, np.float32).reshape(-1, 4) for parts, boxes in places.items()}


def _finite(text: str) -> float:
    """Return the number in a cell. Raises ValueError for any other text, also for nan and inf."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"not a finite number: {text!r}")
    return number


def _names_of(picture: Picture, places: dict[tuple[str, ...], np.ndarray]) -> list[tuple[str, ...]]:
    """Return the parts of all paths in the file that name the picture."""
    parts = picture.path.resolve().parts
    return [parts[start:] for start in range(len(parts)) if parts[start:] in places]


def _check_names(file: Path, places: dict[tuple[str, ...], np.ndarray], num_named: Counter) -> None:
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


def _joined(places: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty((0, 4), np.float32), *places])
