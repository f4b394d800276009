"""Groups of pictures that no split may cut: near-duplicates by perceptual hash, or groups from a file."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from maskbatch.errors import UsageError
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.tables import read_table

_HASH_PX, _LOW_PX = 32, 8
_NUM_BITS = _LOW_PX**2 - 1
# bits that may differ; the correlation of thumbnails then separates near-duplicates from pictures that are only similar
_MAX_DISTANCE, _MIN_CORRELATION = 8, 0.9
_THUMB_PX = 16
# grey levels; flatter pictures have no detail to compare
_MIN_CONTRAST = 2.0
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Grouping:
    """A description of groups.

    `by` names the method. `groups` counts groups of two or more pictures, `pictures` counts the pictures in them, and
    `cut` counts the groups that the given splits cut nevertheless.
    """

    by: str
    groups: int
    pictures: int
    cut: int

    def __str__(self) -> str:
        cut = f"; the given split cuts {self.cut} of them" if self.cut else ""
        return f"{self.groups} groups of {self.pictures} pictures by {self.by}{cut}"


def group_by_file(pictures: Sequence[Picture], groups_file: Path) -> list[Picture]:
    """Return the pictures with groups from a CSV of `path` (relative to the CSV's own folder) and `group`.

    Pictures that are not in the file keep their own group. Raises UsageError when the file lacks a column or names no
    picture.
    """
    rows = read_table(groups_file, ["group"])
    groups = [rows.get(picture.path.resolve(), {}).get("group") for picture in pictures]
    if not any(groups):
        raise UsageError(f"{groups_file} names no picture of the dataset: its paths are relative to its own folder")
    return [
        replace(picture, group=group) if group else picture for picture, group in zip(pictures, groups, strict=True)
    ]


def group_near_duplicates(pictures: Sequence[Picture]) -> list[Picture]:
    """Put near-duplicates, also mirrored ones, into one group, named after its first picture; return all pictures."""
    leader = near_duplicates([picture.path for picture in pictures])
    # pictures that share a group already stay together
    firsts = {}
    for i, picture in enumerate(pictures):
        _join(leader, i, firsts.setdefault(picture.group, i))
    return [replace(picture, group=pictures[_find(leader, i)].group) for i, picture in enumerate(pictures)]


def describe_groups(pictures: Sequence[Picture], by: str) -> Grouping:
    """Return the counts of groups with more than one picture."""
    sizes = Counter(picture.group for picture in pictures)
    splits = defaultdict(set)
    for picture in pictures:
        splits[picture.group].add(picture.split)
    shared = [size for size in sizes.values() if size > 1]
    return Grouping(by, len(shared), sum(shared), sum(len(found) > 1 for found in splits.values()))


def near_duplicates(paths: Sequence[Path]) -> np.ndarray:
    """Return (N,) int64: for each picture the position of its first near-duplicate, or its own."""
    with ThreadPoolExecutor() as pool:
        greys = list(pool.map(_read_grey, paths))
    seen = np.array([i for i, grey in enumerate(greys) if grey is not None], np.int64)
    leader = np.arange(len(paths))
    if not len(seen):
        return leader
    grey = np.stack([greys[i] for i in seen])
    for one in (grey, grey[:, :, ::-1]):
        for i, j in _alike(one, grey):
            _join(leader, seen[i], seen[j])
    return np.array([_find(leader, i) for i in range(len(paths))], np.int64)


def _read_grey(path: Path) -> np.ndarray | None:
    """Return the picture as (32, 32) float32 grey; None if the picture cannot be read or is flat."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:  # the picture will be left out, with a warning
        return None
    # a JPEG decodes several times faster at a fraction of its size
    how = cv2.IMREAD_REDUCED_GRAYSCALE_4 if len(content) > 200_000 else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(content, how) if len(content) else None
    if image is None:
        return None
    grey = cv2.resize(image, (_HASH_PX, _HASH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return grey if grey.std() >= _MIN_CONTRAST else None


def _alike(one: np.ndarray, other: np.ndarray):
    """Yield the pairs (i, j) of near-duplicates between two lists of grey pictures (N, 32, 32) float32."""
    hash_one, hash_other = _hash(one), _hash(other)
    thumb_one, thumb_other = _thumb(one), _thumb(other)
    for start in range(0, len(one), _ROWS):
        # the product of two vectors of -1 and 1 is the number of equal bits minus the number of different bits
        equal = hash_one[start : start + _ROWS] @ hash_other.T
        rows, columns = np.nonzero(equal >= _NUM_BITS - 2 * _MAX_DISTANCE)
        rows, columns = rows[columns > rows + start] + start, columns[columns > rows + start]
        correlation = np.einsum("nd,nd->n", thumb_one[rows], thumb_other[columns])
        yield from zip(*(side[correlation >= _MIN_CORRELATION].tolist() for side in (rows, columns)), strict=True)


def _hash(grey: np.ndarray) -> np.ndarray:
    """Return the 63-bit perceptual hash (Zauner 2010) of pictures (N, 32, 32), as (N, 63) float32 of -1 and 1.

    The bits are the signs of the lowest frequencies of the cosine transform, without the mean, about their median.
    """
    low = np.stack([cv2.dct(np.ascontiguousarray(one))[:_LOW_PX, :_LOW_PX].ravel()[1:] for one in grey])
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def _thumb(grey: np.ndarray) -> np.ndarray:
    """Return thumbnails (N, 256) float32 of mean 0 and length 1."""
    side = _HASH_PX // _THUMB_PX
    small = grey.reshape(len(grey), _THUMB_PX, side, _THUMB_PX, side).mean((2, 4)).reshape(len(grey), -1)
    small = small - small.mean(axis=1, keepdims=True)
    return small / np.linalg.norm(small, axis=1, keepdims=True)


def _find(leader: np.ndarray, i: int) -> int:
    while leader[i] != i:
        leader[i] = leader[leader[i]]
        i = leader[i]
    return int(i)


def _join(leader: np.ndarray, i: int, j: int) -> None:
    i, j = _find(leader, i), _find(leader, j)
    leader[max(i, j)] = min(i, j)
