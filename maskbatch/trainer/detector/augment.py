"""Cut training views from scenes: square windows with small and large faces, flipped, recoloured and degraded.

Functions over arrays; every random choice comes from `rng`. A view is an image (S, S, 3) uint8 RGB and its `SceneFaces`.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from maskbatch.geometry import boxes
from maskbatch.trainer.data import augment
from maskbatch.trainer.detector.scene import DetectorScene, SceneFaces

View = tuple[np.ndarray, SceneFaces]

# longest side of a picture at a scale factor of 1
_SCANNED_PX = 640
# range of scale factors of a view
_SCALE = (0.45, 1.6)
# alternatively, the scale gives one face a size from one of these ranges, with small sizes as likely as large ones
_SMALL_PX, _LARGE_PX = (7.0, 64.0), (64.0, 360.0)
_SMALL_SHARE, _LARGE_SHARE = 0.35, 0.15
_MAX_ENLARGED = 1.6
_TURNED_SHARE = 0.08
_MOSAIC_SHARE = 0.3
# a picture covers at least this share of its view's side, because black teaches nothing; mosaics have small faces too
_MIN_COVERED = 0.6
# smaller faces are left out of the loss, because they could be anything
_MIN_FACE_PX = 5.0
_MIN_VISIBLE = 0.5
# indices of left and right eye, nose, left and right mouth corner in a mirrored face
_MIRRORED = [1, 0, 2, 4, 3]
# face size that determines the strength of blur: up to 3 px
_BLURRED_AS = np.array([0, 0, 24, 24], np.float32)


def training_view(scenes: Sequence[DetectorScene], position: int, side_px: int, rng: np.random.Generator) -> View:
    """Return a view of the scene at `position`, sometimes a mosaic with three other scenes (Bochkovskiy et al. 2020)."""
    if rng.random() < _MOSAIC_SHARE:
        others = rng.integers(0, len(scenes), 3)
        parts = [window(scenes[i], side_px // 2, rng) for i in (position, *others)]
        image, faces = _tiled(parts, side_px // 2)
    else:
        image, faces = window(scenes[position], side_px, rng)
    image, faces = turn(*flip(image, faces, rng), rng)
    return degrade(image, rng), faces


def window(scene: DetectorScene, side_px: int, rng: np.random.Generator) -> View:
    """Cut a square from the scene at a random scale, usually with a face in it; black beyond the picture's edge."""
    image, faces = scene.image(), scene.faces
    chosen = int(rng.integers(len(faces))) if len(faces) else None
    scale = max(_scale(image, faces, chosen, rng), _MIN_COVERED * side_px / max(image.shape[:2]))
    reach = side_px / scale
    if chosen is not None and rng.random() < 0.8:
        centre = boxes.centre(faces.xyxy[chosen])
        corner = centre - reach * rng.uniform(0.1, 0.9, 2)
    else:
        corner = rng.uniform(0, 1, 2) * (np.array(image.shape[1::-1]) - reach)
    # no more black than needed: a scan has black on two sides at most
    room = np.array(image.shape[1::-1]) - reach
    corner = np.clip(corner, np.minimum(0, room), np.maximum(0, room))
    return cut(image, faces, (float(corner[0]), float(corner[1]), scale), side_px)


def cut(image: np.ndarray, faces: SceneFaces, where: tuple[float, float, float], side_px: int) -> View:
    """Cut a square of `side_px` out of the image; `where` is its (x, y) in the image, and the scale.

    Faces outside are dropped. Faces that are cut off or too small become places to leave out of the loss.
    """
    height, width = image.shape[:2]
    scale, reach = where[2], side_px / where[2]
    left, top = max(0, int(np.floor(where[0]))), max(0, int(np.floor(where[1])))
    right, bottom = min(width, int(np.ceil(where[0] + reach))), min(height, int(np.ceil(where[1] + reach)))
    region = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    size = tuple(max(1, min(side_px * 2, round(side * scale))) for side in region.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    region = cv2.resize(region, size, interpolation=how)
    x, y = round((left - where[0]) * scale), round((top - where[1]) * scale)
    canvas = np.zeros((side_px, side_px, 3), np.uint8)
    shown = region[max(0, -y) : side_px - y, max(0, -x) : side_px - x]
    x, y = max(x, 0), max(y, 0)
    canvas[y : y + shown.shape[0], x : x + shown.shape[1]] = shown
    return canvas, _visible(faces.moved(scale, (-where[0] * scale, -where[1] * scale)), side_px)


def flip(image: np.ndarray, faces: SceneFaces, rng: np.random.Generator) -> View:
    """Swap left and right half of the time, also in the landmarks."""
    if rng.random() < 0.5:
        return image, faces
    width = image.shape[1]
    xyxy = faces.xyxy[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32) + np.array(
        [width, 0, width, 0], np.float32
    )
    sign, shift = np.array([-1, 1], np.float32), np.array([width, 0], np.float32)
    landmarks = faces.landmarks[:, _MIRRORED] * sign + shift
    return np.ascontiguousarray(image[:, ::-1]), SceneFaces(xyxy, landmarks, faces.score, faces.sized)


def turn(image: np.ndarray, faces: SceneFaces, rng: np.random.Generator) -> View:
    """Rotate a few views by 90, 180 or 270 degrees, because people lie down and cameras are mounted sideways."""
    if rng.random() >= _TURNED_SHARE:
        return image, faces
    for _ in range(rng.integers(1, 4)):
        width = image.shape[1]  # a quarter turn anticlockwise: (x, y) -> (y, width - x)
        left, top, right, bottom = faces.xyxy.T
        xyxy = np.stack([top, width - right, bottom, width - left], axis=1).astype(np.float32)
        x, y = faces.landmarks[..., 0], faces.landmarks[..., 1]
        faces = replace(faces, xyxy=xyxy, landmarks=np.stack([y, width - x], axis=-1).astype(np.float32))
        image = np.rot90(image)
    return np.ascontiguousarray(image), faces


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change light and colour, blur, add noise and compress, less than for the classifier: faces must stay visible."""
    if rng.random() < 0.6:
        image = augment.light(image, rng)
    if rng.random() < 0.15:
        image = augment.blur(image, _BLURRED_AS, rng)
    if rng.random() < 0.1:
        image = augment.noise(image, rng)
    if rng.random() < 0.3:
        image = augment.compress(image, rng)
    return np.ascontiguousarray(image)


def _scale(image: np.ndarray, faces: SceneFaces, chosen: int | None, rng: np.random.Generator) -> float:
    as_scanned = _SCANNED_PX / max(image.shape[:2])
    scale = as_scanned * np.exp(rng.uniform(*np.log(_SCALE)))
    drawn = rng.random()
    if chosen is not None and drawn < _SMALL_SHARE + _LARGE_SHARE:
        face_px = float(boxes.size_px(faces.xyxy[chosen]))
        sizes = _SMALL_PX if drawn < _SMALL_SHARE else _LARGE_PX
        scale = np.exp(rng.uniform(*np.log(sizes))) / max(face_px, 1.0)
        scale = np.clip(scale, 0.2 * as_scanned, 2.5 * as_scanned)
    return float(min(scale, _MAX_ENLARGED))


def _visible(faces: SceneFaces, side_px: int) -> SceneFaces:
    """Return the faces in a view; the score is 0 for a face that is cut off by more than half, or too small."""
    inside = boxes.clip(faces.xyxy, side_px, side_px)
    shown = boxes.area(inside) / np.maximum(boxes.area(faces.xyxy), 1e-6)
    whole = (shown >= _MIN_VISIBLE) & (boxes.size_px(faces.xyxy) >= _MIN_FACE_PX)
    centre = boxes.centre(faces.xyxy)
    whole &= ((centre >= 0) & (centre < side_px)).all(axis=1)
    faces = replace(faces, score=np.where(whole, faces.score, 0).astype(np.float32))
    return faces.take(shown > 0)


def _tiled(parts: Sequence[View], side_px: int) -> View:
    """Tile four views (side_px, side_px) into one; places to leave out end at the edge of their quarter."""
    rows = [np.concatenate([image for image, _ in parts[i : i + 2]], axis=1) for i in (0, 2)]
    moved = []
    for i, (_, faces) in enumerate(parts):
        ended = np.where(faces.score[:, None] > 0, faces.xyxy, boxes.clip(faces.xyxy, side_px, side_px))
        shift = (side_px * (i % 2), side_px * (i // 2))
        moved.append(replace(faces, xyxy=ended).moved(1.0, shift))
    return np.concatenate(rows), SceneFaces.concatenate(moved)
