"""Draw the zones and lines of a camera onto a frame, to check them by eye."""

import cv2
import numpy as np

from maskbatch.drawing.canvas import Label, RgbCanvas

# colours of Okabe and Ito, which are distinct for all kinds of colour vision
_COLOURS = ((0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
_IGNORED, _LINE = (90, 90, 90), (230, 159, 0)
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_FILL = 0.25
# places that are tried for a label, in halves of its size around the wanted place
_STEPS = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), axis=-1).reshape(-1, 2) / 2


def draw_places(image: np.ndarray, polygons: list, lines: list) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) uint8 RGB with zones and lines.

    Args:
        image: a frame.
        polygons: (name, corners (M, 2) in pixels, True for a zone to ignore) of each zone.
        lines: (name, start (2,), end (2,), in pixels) of each line. An arrow shows the direction that counts as in.
    """
    drawn = np.ascontiguousarray(image).copy()
    stroke = max(2, round(min(image.shape[:2]) / 300))
    texts: list[tuple[str, np.ndarray]] = []
    for number, (name, corners, is_ignored) in enumerate(polygons):
        colour = _IGNORED if is_ignored else _COLOURS[number % len(_COLOURS)]
        points = np.round(corners).astype(np.int32)
        filled = drawn.copy()
        cv2.fillPoly(filled, [points], colour)
        cv2.addWeighted(filled, _FILL, drawn, 1 - _FILL, 0, dst=drawn)
        cv2.polylines(drawn, [points], True, colour, stroke, cv2.LINE_AA)
        texts.append((f"{name} (ignored)" if is_ignored else name, points.mean(axis=0)))
    taken = []
    for name, begin, end in lines:
        arrow = _draw_line(drawn, np.array(begin, np.float64), np.array(end, np.float64), stroke)
        taken.append(np.hstack([arrow.min(axis=0) - 5 * stroke, arrow.max(axis=0) + 5 * stroke]))
        texts.append((f"{name}: in", arrow[1]))
    for text, at in texts:
        taken.append(_write(RgbCanvas(drawn), text, at, np.array(taken).reshape(-1, 4)))
    return drawn


def _draw_line(drawn: np.ndarray, start: np.ndarray, stop: np.ndarray, stroke: int) -> np.ndarray:
    """Draw a line and the arrow across its middle; return both ends of the arrow (2, 2)."""
    cv2.line(drawn, _pixel(start), _pixel(stop), _LINE, stroke, cv2.LINE_AA)
    along = stop - start
    # to the right of the line, seen from its start; y points down
    right = np.array([-along[1], along[0]]) / max(np.linalg.norm(along), 1e-9)
    middle = (start + stop) / 2
    tip = middle + right * 12 * stroke
    cv2.arrowedLine(drawn, _pixel(middle), _pixel(tip), _LINE, stroke, cv2.LINE_AA, tipLength=0.4)
    return np.stack([middle, tip])


def _write(canvas: RgbCanvas, text: str, at: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Write `text` as near to the point `at` (2,) as the boxes `taken` (M, 4) allow, and return its own box (4,)."""
    label = Label(text, max(9, round(min(canvas.shape) / 40)), _BLACK, _WHITE)
    size = np.array(label.size)
    most = np.maximum(np.array(canvas.shape[::-1]) - size, 0)
    corners = np.clip(np.round(at - size / 2 + _STEPS * size), 0, most)
    hits = (corners[:, None] < taken[None, :, 2:]) & (corners[:, None] + size > taken[None, :, :2])
    away = np.linalg.norm(corners + size / 2 - at, axis=1)
    left, top = corners[np.lexsort((away, hits.all(axis=2).any(axis=1)))[0]].astype(int)
    canvas.write(label, int(left), int(top))
    return np.array([left, top, left + size[0], top + size[1]])


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
