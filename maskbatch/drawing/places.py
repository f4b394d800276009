"""Draw the zones and lines of a camera onto a frame, to check them by eye."""

import cv2
import numpy as np

from maskbatch.drawing.annotate import draw_label
from maskbatch.drawing.canvas import RgbCanvas

# colours of Okabe and Ito, which are distinct for all kinds of colour vision
_COLOURS = ((0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
_IGNORED, _LINE = (90, 90, 90), (230, 159, 0)
_FILL = 0.25


def draw_places(image: np.ndarray, polygons: list, lines: list) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) uint8 RGB with zones and lines.

    Args:
        image: a frame.
        polygons: (name, corners (M, 2) in pixels, True for a zone to ignore) of each zone.
        lines: (name, start (2,), end (2,), in pixels) of each line. An arrow shows the direction that counts as in.
    """
    drawn = np.ascontiguousarray(image).copy()
    stroke = max(2, round(min(image.shape[:2]) / 300))
    for number, (name, corners, is_ignored) in enumerate(polygons):
        colour = _IGNORED if is_ignored else _COLOURS[number % len(_COLOURS)]
        points = np.round(corners).astype(np.int32)
        filled = drawn.copy()
        cv2.fillPoly(filled, [points], colour)
        cv2.addWeighted(filled, _FILL, drawn, 1 - _FILL, 0, dst=drawn)
        cv2.polylines(drawn, [points], True, colour, stroke, cv2.LINE_AA)
        draw_label(RgbCanvas(drawn), f"{name} (ignored)" if is_ignored else name, points.mean(axis=0))
    for name, begin, end in lines:
        start, stop = np.array(begin, np.float64), np.array(end, np.float64)
        cv2.line(drawn, _pixel(start), _pixel(stop), _LINE, stroke, cv2.LINE_AA)
        along = stop - start
        # to the right of the line, seen from its start; y points down
        right = np.array([-along[1], along[0]]) / max(np.linalg.norm(along), 1e-9)
        middle = (start + stop) / 2
        tip = middle + right * 12 * stroke
        cv2.arrowedLine(drawn, _pixel(middle), _pixel(tip), _LINE, stroke, cv2.LINE_AA, tipLength=0.4)
        draw_label(RgbCanvas(drawn), f"{name}: in", tip + right * 6 * stroke)
    return drawn


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
