"""Describe the appearance of the person around a face, and the visibility of the face. Arrays only.

Mean colours in CIE Lab describe hair, forehead, shoulders and chest, as in re-identification by parts (Farenzena et al.
2010, "Person re-identification by symmetry-driven accumulation of local features"). The lower half of the face is left
out, so that a mask taken off changes nothing. Unlike the classifier's features, the colours do not depend on the model
in use. They distinguish people within one recording only, and are never stored with results.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from maskbatch.geometry import boxes
from maskbatch.geometry.resize import resize
from maskbatch.types import APPEARANCE_SIZE, Faces

# the region is 3 face sides wide and 4 high, begins 3/4 of a side above the face, and is a grid of cells of 1/4 side
_COLUMNS, _ROWS, _CELL = 12, 16, 0.25
_ABOVE = 0.75
# parts as (first row, last row, first column, last column), without the last row and column; the background may show at
# the edges of a part
_PARTS = (
    (2, 3, 5, 7),  # hair, hat
    (3, 5, 4, 8),  # forehead, eyes
    (7, 9, 5, 7),  # neck, collar
    (9, 11, 4, 8),  # chest
    (11, 13, 4, 8),  # below it
    (9, 13, 3, 4),  # the shoulder on the left
    (9, 13, 8, 9),  # the shoulder on the right
)
# number of parts that are compared: the most similar ones, because others may be covered, or show the background
_BEST_PARTS = 5
# minimum share of a part that must lie in the picture
_LEAST_SHARE = 0.6
# typical difference of one person's lightness and colours between two looks; light changes more than colour
_SCALES = np.tile(np.array([30.0, 9.0, 9.0], np.float32), len(_PARTS))
# maximum difference of a part, minimum number of parts that both show, and the unlikeness where they show fewer
_MOST, _LEAST_PARTS, _UNKNOWN = 3.0, 2, 0.15
# head and body as left, top, right, bottom in face sides, relative to the middle of the face's upper edge
_FIGURE = ((-0.7, -0.4, 0.7, 1.0), (-1.25, 1.0, 1.25, 4.0))
# minimum size of the face in front, as a share of the other face; minimum share of a part that makes it covered
_IN_FRONT, _COVERED = 0.9, 0.25
# side in pixels to which a face is scaled before its sharpness is measured
_FACE_PX = 32
# ratio of fine detail to contrast in a sharp face of that size
_SHARP = 0.6


def describe(images: Sequence[np.ndarray], faces: Faces, with_appearance: bool = True) -> Faces:
    """Return the faces with `appearance`, `sharpness`, `brightness` and `turn`.

    Args:
        images: arrays (H, W, 3) uint8 RGB that `faces.row` indexes.
        faces: faces with boxes and landmarks.
        with_appearance: False leaves `appearance` as it is; people in photos are not followed.

    Returns:
        The same faces. Parts of a person that lie outside the picture are NaN in `appearance`.
    """
    if not len(faces):
        return faces
    where = [(images[row], xyxy) for row, xyxy in zip(faces.row.tolist(), faces.xyxy, strict=True)]
    sharpness, brightness = zip(*(_look(*one) for one in where), strict=True)
    appearance = np.stack([_appearance(*one) for one in where]) if with_appearance else faces.appearance
    return replace(
        faces, appearance=appearance, sharpness=np.array(sharpness, np.float32),
        brightness=np.array(brightness, np.float32), turn=turn_of(faces.xyxy, faces.landmarks),
    )  # fmt: skip


def unlikeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the difference (T, N) float32 between the appearances (T, D) and (N, D).

    On rendered clips (benchmarks/rendered.py), the difference is below 0.34 in 99 % of the pairs of looks at one person
    within half a second, and below 0.36 in 95 % of the later pairs. For two people, it is above 0.46 in 95 % of the
    pairs. Where both show fewer than two parts, it is 0.15, so that place and time decide.
    """
    gap = np.minimum(np.abs(first[:, None] - second[None]) / _SCALES, _MOST)
    by_part = np.sort(gap.reshape(*gap.shape[:2], len(_PARTS), -1).mean(-1), axis=-1)  # NaN last
    best = by_part[..., :_BEST_PARTS]
    num_known = (~np.isnan(best)).sum(-1)
    mean = np.nan_to_num(best).sum(-1) / np.maximum(num_known, 1)
    return np.where(num_known >= _LEAST_PARTS, mean, _UNKNOWN).astype(np.float32)


def uncovered(faces: Faces, is_sure: np.ndarray) -> np.ndarray:
    """Return the appearances (N, D) of the faces of one frame, with NaN for parts that somebody else may cover.

    The person with the larger face is in front; of two faces of about the same size, either may be. Only people with a
    face in the mask `is_sure` (N,) cover others.
    """
    if len(faces) < 2:
        return faces.appearance
    xyxy = faces.xyxy.astype(np.float64)
    side = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).max(axis=1), 1e-3)
    top = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1]], axis=1)
    apart = np.abs(top[:, None] - top).max(axis=-1) / (side[:, None] + side)
    is_pair = is_sure[:, None] & (side[:, None] >= _IN_FRONT * side) & (apart < _ROWS * _CELL)
    np.fill_diagonal(is_pair, False)
    front, behind = np.nonzero(is_pair)
    rows, columns = np.array(_PARTS)[:, :2] * _CELL - _ABOVE, (np.array(_PARTS)[:, 2:] - _COLUMNS / 2) * _CELL
    parts = np.stack([columns[:, 0], rows[:, 0], columns[:, 1], rows[:, 1]], axis=1)
    parts = parts * side[behind, None, None] + np.tile(top[behind], 2)[:, None]
    is_covered = np.zeros((len(faces), len(_PARTS)), bool)
    for figure in _FIGURE:
        other = (np.array(figure) * side[front, None] + np.tile(top[front], 2))[:, None]
        shared = np.minimum(parts[..., 2:], other[..., 2:]) - np.maximum(parts[..., :2], other[..., :2])
        share = np.clip(shared, 0, None).prod(-1) / (parts[..., 2:] - parts[..., :2]).prod(-1)
        np.logical_or.at(is_covered, behind, share > _COVERED)
    return np.where(np.repeat(is_covered, 3, axis=1), np.float32(np.nan), faces.appearance)


def turn_of(xyxy: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the turn (N,) float32 of faces (N, 4) with landmarks (N, 5, 2): 0 from the front to 1 in profile.

    The nose tip of a turned face lies to the side of the middle between the eyes, and the eyes come closer together.
    """
    eyes = landmarks[:, 1] - landmarks[:, 0]
    apart = np.linalg.norm(eyes, axis=1)
    size = np.maximum(boxes.size_px(xyxy), 1e-3)
    aside = np.einsum("ij,ij->i", landmarks[:, 2] - landmarks[:, :2].mean(1), eyes) / np.maximum(apart, 1e-3)
    # from the front the eyes are about 0.4 of the face's size apart, and the nose is less than 0.05 aside
    by_nose = np.abs(aside) / (0.25 * size)
    by_eyes = 1 - apart / (0.35 * size)
    return np.clip(np.maximum(by_nose, by_eyes), 0, 1).astype(np.float32)


def _look(image: np.ndarray, xyxy: np.ndarray) -> tuple[float, float]:
    """Return sharpness and brightness of one face (4,) in `image` (H, W, 3); NaN outside the image."""
    face = _cut(image, *np.round(xyxy).astype(int))
    if not face.size:
        return np.nan, np.nan
    luma = cv2.cvtColor(resize(face, (_FACE_PX, _FACE_PX)), cv2.COLOR_RGB2GRAY)
    return _sharpness(luma), float(luma.mean())


def _sharpness(luma: np.ndarray) -> float:
    """Return the sharpness of a face (S, S) uint8, from 0 to 1, by the ratio of fine detail to contrast."""
    detail = cv2.Laplacian(luma, cv2.CV_32F, ksize=1).std()
    return float(np.clip(detail / max(luma.std(), 4.0) / _SHARP, 0, 1))


def _appearance(image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Return the colours (D,) of the person around a face (4,); NaN for a face outside the image."""
    if not _cut(image, *np.round(xyxy).astype(int)).size:
        return np.full(APPEARANCE_SIZE, np.nan, np.float32)
    side = float(np.max(xyxy[2:] - xyxy[:2]))
    left = (xyxy[0] + xyxy[2]) / 2 - side * _COLUMNS * _CELL / 2
    top = xyxy[1] - _ABOVE * side
    right, bottom = left + side * _COLUMNS * _CELL, top + side * _ROWS * _CELL
    height, width = image.shape[:2]
    seen = _cut(image, *(round(float(value)) for value in (left, top, right, bottom)))
    if not seen.size:
        return np.full(APPEARANCE_SIZE, np.nan, np.float32)
    # the grid's cells that lie in the picture, at the place they have in the region
    first, last = _cells(left, right, width, _COLUMNS), _cells(top, bottom, height, _ROWS)
    cells = np.full((_ROWS, _COLUMNS, 3), np.nan, np.float32)
    size = first[1] - first[0], last[1] - last[0]
    if min(size) > 0:
        small = cv2.resize(_thinned(seen, size), size, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        cells[last[0] : last[1], first[0] : first[1]] = lab
    return np.concatenate([_part(cells[a:b, c:d]) for a, b, c, d in _PARTS])


def _thinned(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return every n-th row and column of a large image: eight samples across a cell are enough for its mean."""
    steps = [max(1, have // (8 * want)) for have, want in zip(image.shape[:2], size[::-1], strict=True)]
    return np.ascontiguousarray(image[:: steps[0], :: steps[1]])


def _cells(begin: float, end: float, length: int, num_cells: int) -> tuple[int, int]:
    """Divide `begin` to `end` into `num_cells` cells, and return the range of the cells within 0 to `length`."""
    cell = (end - begin) / num_cells
    first = int(np.clip(round((0 - begin) / cell), 0, num_cells))
    return first, int(np.clip(round((length - begin) / cell), first, num_cells))


def _part(cells: np.ndarray) -> np.ndarray:
    """Return the mean Lab colour (3,) of cells (h, w, 3), NaN when too few of them lie in the picture."""
    is_seen = ~np.isnan(cells[..., 0])
    if is_seen.mean() < _LEAST_SHARE:
        return np.full(3, np.nan, np.float32)
    return cells[is_seen].mean(0)


def _cut(image: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    height, width = image.shape[:2]
    return image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
