"""Drawing of faces on a picture: box, label and probability."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maskbatch.drawing.canvas import Canvas, Colour, Label, RgbCanvas
from maskbatch.settings import Thresholds
from maskbatch.states import INCORRECT_MASK, WITH_MASK, WITHOUT_MASK, labels_of
from maskbatch.types import Faces

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class _Look:
    """The words and RGB colours of one class.

    The blue, purple and orange of Okabe and Ito are distinct for every kind of colour vision, and differ in brightness.
    """

    word: str
    fill: Colour
    text: Colour


_LOOKS = {
    WITH_MASK: _Look("mask", (0, 114, 178), _WHITE),
    INCORRECT_MASK: _Look("worn incorrectly", (204, 121, 167), _BLACK),
    WITHOUT_MASK: _Look("no mask", (230, 159, 0), _BLACK),
}


def annotate(image: np.ndarray, faces: Faces, thresholds: Thresholds, with_numbers: bool = False) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) uint8 RGB with its faces drawn into it (see `draw_faces`)."""
    drawn = np.ascontiguousarray(image).copy()
    draw_faces(RgbCanvas(drawn), faces, thresholds, with_numbers)
    return drawn


def draw_faces(canvas: Canvas, faces: Faces, thresholds: Thresholds, with_numbers: bool = False) -> None:
    """Draw the faces of one picture.

    Every face gets a box. Large faces are labelled first; a label without a free place is shortened, then left out.
    Faces without a p_mask count as without_mask and show no probability. With `with_numbers`, a label begins with the
    track.
    """
    if len(faces) == 0:
        return
    labels = labels_of(faces.p_mask, faces.p_incorrect, thresholds)
    looks, p_labels = [_LOOKS[label] for label in labels.tolist()], _p_labels(faces, labels)
    xyxy = np.nan_to_num(faces.xyxy)
    strokes = _strokes(xyxy, canvas.shape)
    outer = np.array([_draw_box(canvas, *item) for item in zip(xyxy, strokes, looks, strict=True)])
    taken = outer
    largest_first = np.argsort(-(outer[:, 2] - outer[:, 0]) * (outer[:, 3] - outer[:, 1]), kind="stable")
    for face in largest_first:
        number = f"#{faces.track_id[face]} " if with_numbers else ""
        versions = _versions(number, looks[face], p_labels[face], (outer[face], canvas.shape))
        placed = _place(versions, outer[face], np.delete(taken, face, axis=0), canvas.shape)
        if placed is not None:
            label, left, top = placed
            canvas.write(label, left, top)
            taken = np.vstack([taken, [left, top, left + label.size[0], top + label.size[1]]])


def _p_labels(faces: Faces, labels: np.ndarray) -> list[float]:
    """Return the probability of each face's label, NaN for a face that is not classified."""
    p_mask, p_incorrect = faces.p_mask.astype(np.float64), faces.p_incorrect.astype(np.float64)
    return np.select([labels == WITH_MASK, labels == INCORRECT_MASK], [p_mask, p_incorrect], 1 - p_mask).tolist()


def _strokes(xyxy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return line widths (N,) in pixels: wider in large images, which screens scale down, and thinner on small faces."""
    by_image = min(shape[:2]) / 270
    by_face = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) / 8
    return np.maximum(1, np.rint(np.minimum(by_image, by_face))).astype(int)


def _draw_box(canvas: Canvas, xyxy: np.ndarray, stroke: int, look: _Look) -> np.ndarray:
    """Draw three frames around the face and return the outer edge (4,) int.

    The frames are white, coloured and black, from the face outwards. One of the three differs from any background. Lines
    that would lie outside the image are moved inside.
    """
    height, width = canvas.shape
    edge = max(1, round(stroke / 3))
    left, top = np.clip(np.floor(xyxy[:2]), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(xyxy[2:]), (left + 1, top + 1), (width, height)).astype(int)
    total = stroke + 2 * edge
    outer = np.array(
        [max(left - total, 0), max(top - total, 0), min(right + total, width), min(bottom + total, height)]
    )
    left, top, right, bottom = outer.tolist()
    frames = []
    for line, colour in ((edge, _BLACK), (stroke, look.fill), (edge, _WHITE)):
        frames.append((line, colour, (left, top, right, bottom)))
        left, top, right, bottom = left + line, top + line, right - line, bottom - line
        if right <= left or bottom <= top:
            break
    # the coloured frame comes last: its colour then wins where the chroma of video is coarse
    for line, colour, (left, top, right, bottom) in sorted(frames, key=lambda frame: frame[1] == look.fill):
        canvas.fill(left, top, right, min(top + line, bottom), colour)
        canvas.fill(left, max(bottom - line, top), right, bottom, colour)
        canvas.fill(left, top, min(left + line, right), bottom, colour)
        canvas.fill(max(right - line, left), top, right, bottom, colour)
    return outer


def draw_clock(canvas: Canvas, text: str) -> None:
    """Write `text` into the lower left corner, white on black."""
    label = Label(text, max(9, round(min(canvas.shape) / 50)), _BLACK, _WHITE)
    canvas.write(label, 0, max(canvas.shape[0] - label.size[1], 0))


def _versions(number: str, look: _Look, p_label: float, place: tuple[np.ndarray, tuple[int, ...]]) -> Iterator[Label]:
    """Yield versions of a face's label, best first: the full text, then the percentage only, each in two sizes.

    `place` holds the face's own box (4,) and the shape of the image. Text grows with the face: it is readable when the
    image fills a screen, and never so large that it dominates the image.
    """
    outer, shape = place
    short_side = min(shape[:2])
    smallest = max(9, round(short_side / 80))
    preferred = int(np.clip((outer[2] - outer[0]) * 0.12, smallest, max(smallest, short_side / 28)))
    percent = "" if np.isnan(p_label) else f"{100 * p_label:.0f}%"
    for text in dict.fromkeys((f"{number}{look.word} {percent}".strip(), f"{number}{percent}".strip())):
        for height_px in dict.fromkeys((preferred, smallest)):
            if text:
                yield Label(text, height_px, look.fill, look.text)


def _place(
    labels: Iterator[Label], outer: np.ndarray, taken: np.ndarray, shape: tuple[int, ...]
) -> tuple[Label, int, int] | None:
    """Return the first label that has a free place, with its left and top, or None when no label fits.

    `outer` (4,) is the face's own box; `taken` (M, 4) holds the other boxes and the labels drawn so far.
    """
    for label in labels:
        corners = np.array(list(_corners(label.size, outer, shape)))
        placed = np.hstack([corners, corners + label.size])
        inside = (corners >= 0).all(axis=1) & (placed[:, 2:] <= (shape[1], shape[0])).all(axis=1)
        # a gap to other faces, so that the label does not seem to belong to them
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
