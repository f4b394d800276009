"""Drawing of faces on a picture: box, label and probability."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from maskbatch.settings import Thresholds
from maskbatch.states import INCORRECT_MASK, WITH_MASK, WITHOUT_MASK, labels_of
from maskbatch.types import Faces

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class _Look:
    """The words and RGB colours of one class.

    Every kind of colour vision can tell the blue, purple and orange of Okabe and Ito apart; they differ in brightness too.
    """

    word: str
    fill: tuple[int, int, int]
    text: tuple[int, int, int]


_LOOKS = {
    WITH_MASK: _Look("mask", (0, 114, 178), _WHITE),
    INCORRECT_MASK: _Look("worn incorrectly", (204, 121, 167), _BLACK),
    WITHOUT_MASK: _Look("no mask", (230, 159, 0), _BLACK),
}


@dataclass(frozen=True, slots=True)
class _Label:
    """A version of a label: `text` with capitals of `height_px` in a filled box of `size` (width, height)."""

    text: str
    height_px: int
    size: tuple[int, int]


def annotate(image: np.ndarray, faces: Faces, thresholds: Thresholds, with_numbers: bool = False) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) uint8 RGB with the faces of this one image drawn into it.

    Every face gets its box. Large faces get their label first; a label without a free place is shortened, then left out.
    Faces without a p_mask count as without_mask and show no probability. `with_numbers`: a label begins with the track.
    """
    drawn = np.ascontiguousarray(image).copy()
    if len(faces) == 0:
        return drawn
    labels = labels_of(faces.p_mask, faces.p_incorrect, thresholds)
    looks, p_labels = [_LOOKS[label] for label in labels.tolist()], _p_labels(faces, labels)
    xyxy = np.nan_to_num(faces.xyxy)
    strokes = _strokes(xyxy, image.shape)
    outer = np.array([_draw_box(drawn, *item) for item in zip(xyxy, strokes, looks, strict=True)])
    taken = outer
    largest_first = np.argsort(-(outer[:, 2] - outer[:, 0]) * (outer[:, 3] - outer[:, 1]), kind="stable")
    for face in largest_first:
        number = f"#{faces.track_id[face]} " if with_numbers else ""
        versions = _versions(number, looks[face], p_labels[face], (outer[face], image.shape))
        placed = _place(versions, outer[face], np.delete(taken, face, axis=0), image.shape)
        if placed is not None:
            label, left, top = placed
            _draw_label(drawn, label, (left, top), looks[face])
            taken = np.vstack([taken, [left, top, left + label.size[0], top + label.size[1]]])
    return drawn


def _p_labels(faces: Faces, labels: np.ndarray) -> list[float]:
    """Return the probability of each face's own label, NaN for a face that is not classified."""
    p_mask, p_incorrect = faces.p_mask.astype(np.float64), faces.p_incorrect.astype(np.float64)
    return np.select([labels == WITH_MASK, labels == INCORRECT_MASK], [p_mask, p_incorrect], 1 - p_mask).tolist()


def _strokes(xyxy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return line widths (N,) in pixels: wider in large images, which screens show reduced, and thinner on small faces."""
    by_image = min(shape[:2]) / 270
    by_face = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) / 8
    return np.maximum(1, np.rint(np.minimum(by_image, by_face))).astype(int)


def _draw_box(drawn: np.ndarray, xyxy: np.ndarray, stroke: int, look: _Look) -> np.ndarray:
    """Draw three frames around the face and return the outer edge (4,) int.

    The frames are white, coloured and black, from the face outwards. One of the three differs from any background. Lines
    that would lie outside the image are moved inside.
    """
    height, width = drawn.shape[:2]
    edge = max(1, round(stroke / 3))
    left, top = np.clip(np.floor(xyxy[:2]), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(xyxy[2:]), (left + 1, top + 1), (width, height)).astype(int)
    total = stroke + 2 * edge
    outer = np.array(
        [max(left - total, 0), max(top - total, 0), min(right + total, width), min(bottom + total, height)]
    )
    left, top, right, bottom = outer
    for line, colour in ((edge, _BLACK), (stroke, look.fill), (edge, _WHITE)):
        for rows, columns in (
            (slice(top, top + line), slice(left, right)),
            (slice(max(bottom - line, top), bottom), slice(left, right)),
            (slice(top, bottom), slice(left, left + line)),
            (slice(top, bottom), slice(max(right - line, left), right)),
        ):
            drawn[rows, columns] = colour
        left, top, right, bottom = left + line, top + line, right - line, bottom - line
        if right <= left or bottom <= top:
            break
    return outer


def draw_clock(drawn: np.ndarray, text: str) -> None:
    """Write `text` into the lower left corner of `drawn` (H, W, 3) uint8 RGB, white on black, in place."""
    height_px = max(9, round(min(drawn.shape[:2]) / 50))
    label = _measured(text, height_px)
    place = 0, max(drawn.shape[0] - label.size[1], 0)
    _draw_label(drawn, label, place, _Look("", _BLACK, _WHITE))


def draw_label(drawn: np.ndarray, text: str, middle: np.ndarray) -> None:
    """Write `text` around the point `middle` (2,) into `drawn` (H, W, 3) uint8 RGB, white on black, in place."""
    label = _measured(text, max(9, round(min(drawn.shape[:2]) / 40)))
    left, top = (round(float(at) - side / 2) for at, side in zip(middle, label.size, strict=True))
    left = min(max(left, 0), max(drawn.shape[1] - label.size[0], 0))
    top = min(max(top, 0), max(drawn.shape[0] - label.size[1], 0))
    _draw_label(drawn, label, (left, top), _Look("", _BLACK, _WHITE))


def _versions(number: str, look: _Look, p_label: float, place: tuple[np.ndarray, tuple[int, ...]]) -> Iterator[_Label]:
    """Yield versions of a face's label, best first: the full text, then the percentage only, each in two sizes.

    `place` are the face's own box (4,) and the shape of the image. Text grows with the face, from a size that is readable
    when the image fills a screen to one that does not dominate it.
    """
    outer, shape = place
    short_side = min(shape[:2])
    smallest = max(9, round(short_side / 80))
    preferred = int(np.clip((outer[2] - outer[0]) * 0.12, smallest, max(smallest, short_side / 28)))
    percent = "" if np.isnan(p_label) else f"{100 * p_label:.0f}%"
    for text in dict.fromkeys((f"{number}{look.word} {percent}".strip(), f"{number}{percent}".strip())):
        for height_px in dict.fromkeys((preferred, smallest)):
            if text:
                yield _measured(text, height_px)


@lru_cache(maxsize=1024)  # measuring costs more than drawing
def _measured(text: str, height_px: int) -> _Label:
    (text_width, _), _ = cv2.getTextSize(text, _FONT, _scale(height_px), _pen(height_px))
    return _Label(text, height_px, (text_width + height_px, 2 * height_px - height_px // 4))


def _scale(height_px: int) -> float:
    return height_px / 21  # capitals of this font are 21 pixels tall at scale 1


def _pen(height_px: int) -> int:
    return max(1, round(height_px / 9))


def _place(
    labels: Iterator[_Label], outer: np.ndarray, taken: np.ndarray, shape: tuple[int, ...]
) -> tuple[_Label, int, int] | None:
    """Return the first label with a free place, its left and its top, or None when there is none.

    `outer` (4,) is the face's own box; `taken` (M, 4) are the other boxes and the labels so far.
    """
    for label in labels:
        corners = np.array(list(_corners(label.size, outer, shape)))
        placed = np.hstack([corners, corners + label.size])
        inside = (corners >= 0).all(axis=1) & (placed[:, 2:] <= (shape[1], shape[0])).all(axis=1)
        # a gap to other faces, so that the label does not seem to be theirs
        gap = label.height_px // 3
        hits = (placed[:, None, :2] < taken[None, :, 2:] + gap) & (placed[:, None, 2:] > taken[None, :, :2] - gap)
        free = np.flatnonzero(inside & ~hits.all(axis=2).any(axis=1))
        if len(free):
            left, top = corners[free[0]]
            return label, int(left), int(top)
    return None


def _corners(size: tuple[int, int], outer: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield places (left, top) for a label of `size` (width, height), best first.

    The places are above, below and beside the box, and inside it when the face is so large that the label hides little.
    """
    width, height = size
    left, top, right, bottom = outer.tolist()
    middle = (left + right - width) // 2
    # moved along the edge into the image
    columns = [min(max(x, 0), shape[1] - width) for x in (left, right - width, middle)]
    for row in (top - height, bottom):
        for column in columns:
            yield column, row
    for column in (right, left - width):
        yield column, min(max(top, 0), shape[0] - height)
    if 5 * height <= bottom - top and width <= right - left:
        yield left, top
        yield left, bottom - height


def _draw_label(drawn: np.ndarray, label: _Label, corner: tuple[int, int], look: _Look) -> None:
    left, top = corner
    width, height = label.size
    edge = max(1, label.height_px // 12)
    cv2.rectangle(drawn, (left, top), (left + width - 1, top + height - 1), _BLACK, -1)
    cv2.rectangle(drawn, (left + edge, top + edge), (left + width - 1 - edge, top + height - 1 - edge), look.fill, -1)
    baseline = top + (height + label.height_px) // 2
    cv2.putText(
        drawn, label.text, (left + label.height_px // 2, baseline), _FONT, _scale(label.height_px), look.text,
        _pen(label.height_px), cv2.LINE_AA,
    )  # fmt: skip
