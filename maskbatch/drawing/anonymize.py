"""Hide faces in a picture, for copies that are passed on."""

import cv2
import numpy as np

MODES = ("solid", "pixelate", "blur")
# margins of a box, as shares of its sides: ears and cheeks, hair, chin and neck
_SIDE, _ABOVE, _BELOW = 0.5, 0.6, 0.5
_LEAST_PX = 4
_GREY = 64
# cells along the longest side of a region: too few to show the features of a face
_CELLS = 6


def hide(image: np.ndarray, xyxy: np.ndarray, mode: str = "solid") -> np.ndarray:
    """Return a picture in which faces are hidden, each with its hair and a margin.

    Only `solid` is safe: it keeps nothing of a region. `pixelate` and `blur` keep the mean of at most 6 x 6 cells.
    Sharpening cannot restore more. Somebody who knows the people may still tell them apart, above all in a video, whose
    frames divide a face into cells in many ways.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        xyxy: (N, 4) float, boxes of faces in pixels; they may extend beyond the picture.
        mode: solid, pixelate or blur.

    Returns:
        A new array of the same shape, or `image` itself when no box lies in the picture.

    Raises:
        ValueError: the mode is unknown.

    Example:
        >>> hide(np.full((100, 100, 3), 200, np.uint8), np.array([[40, 40, 60, 60]]))[50, 50].tolist()
        [64, 64, 64]
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    regions = [region for region in _regions(xyxy, image.shape) if region[2] > region[0] and region[3] > region[1]]
    if not regions:
        return image
    hidden = np.ascontiguousarray(image).copy()
    for left, top, right, bottom in regions:
        hidden[top:bottom, left:right] = _replaced(hidden[top:bottom, left:right], mode)
    return hidden


def grown(xyxy: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) float64 enlarged to cover hair, ears and chin, with a margin for motion."""
    xyxy = np.asarray(xyxy, np.float64).reshape(-1, 4)
    sides = np.clip(xyxy[:, 2:] - xyxy[:, :2], 0, None)
    margin = np.stack([-_SIDE * sides[:, 0], -_ABOVE * sides[:, 1], _SIDE * sides[:, 0], _BELOW * sides[:, 1]], axis=1)
    return xyxy + margin + _LEAST_PX * np.array([-1, -1, 1, 1])


def _regions(xyxy: np.ndarray, shape: tuple[int, ...]) -> list[list[int]]:
    """Return the regions of boxes in whole pixels of the picture."""
    limit = np.array([shape[1], shape[0], shape[1], shape[0]])
    box = np.nan_to_num(grown(xyxy))
    corners = np.concatenate([np.floor(box[:, :2]), np.ceil(box[:, 2:])], axis=1)
    return np.clip(corners, 0, limit).astype(int).tolist()


def _replaced(region: np.ndarray, mode: str) -> np.ndarray:
    if mode == "solid":
        return np.full_like(region, _GREY)
    height, width = region.shape[:2]
    scale = _CELLS / max(height, width)
    cells = max(1, min(width, round(width * scale))), max(1, min(height, round(height * scale)))
    small = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if mode == "pixelate" else cv2.INTER_CUBIC
    return cv2.resize(small, (width, height), interpolation=how)
