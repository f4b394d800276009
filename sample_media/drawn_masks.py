"""Masks drawn onto bare faces: cloth in a face's own coordinates, warped by its five landmarks, lit by its light.

numpy and OpenCV only, 2 to 4 ms for a 200 px face.

Face coordinates: x is -1 and 1 at the sides of the face and 0 on its midline through the nose, y is 0 at the eyes, 1 at
the mouth and about 1.85 at the chin. A mask is painted once in these coordinates (a "cut" of straps, outline, folds and
texture), kept, and looked up for every face pixel.
"""

from functools import lru_cache

import cv2
import mask_cuts
import numpy as np

STYLES = mask_cuts.STYLES

# where the nose tip and the chin of an average face lie on the y axis; faces are stretched to agree with the cuts
_NOSE_Y, _CHIN_Y = 0.56, 1.85
_NUM_VARIANTS = 6
_GRAIN_PX = 96


def draw_mask(
    image: np.ndarray, landmarks: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator, style: str | None = None
) -> np.ndarray:
    """A copy of the image (H, W, 3) uint8 RGB in which one face wears a mask.

    `landmarks` (5, 2) float32 px as seen in the image: left eye, right eye, nose tip, left and right mouth corner;
    `xyxy` (4,) the face's box in px; `style` one of STYLES, drawn from `rng` when None. Deterministic for an `rng`.
    A face that is too small to carry a mask, or outside the picture, returns an unchanged copy.
    """
    style = STYLES[rng.integers(len(STYLES))] if style is None else style
    if style not in STYLES:
        raise ValueError(f"unknown mask style {style!r}; choose one of {', '.join(STYLES)}")
    variant, tint = int(rng.integers(_NUM_VARIANTS)), rng.uniform(0.92, 1.05) * rng.uniform(0.97, 1.03, 3)
    grain = rng.standard_normal((_GRAIN_PX, _GRAIN_PX), np.float32)
    result = image.copy()
    region = _region(landmarks, xyxy, image.shape)
    if region is None:
        return result
    left, top, right, bottom = region
    window = result[top:bottom, left:right]
    x, y = _face_coordinates(landmarks - (left, top), xyxy - (left, top, left, top), window.shape[:2])
    face_px = float(xyxy[2] - xyxy[0])
    cloth = _look_up(_cut(style, variant, _level(face_px)), x, y)
    cloth = cv2.transform(cloth, np.diag([*(_light_colour(image, xyxy) * tint), 1]))
    window[:] = _blend(window, cloth, grain, face_px)
    return result


def _region(landmarks: np.ndarray, xyxy: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom in px of the part of the picture that a mask may touch; None when there is none."""
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    width, height = xyxy[2:] - xyxy[:2]
    if min(width, height) < 4 or np.hypot(*(mouth - eyes)) < 2:
        return None
    margin = 0.1 * max(width, height)
    # an upright face needs nothing above its eyes; a turned one may need all of its box
    turned = abs(landmarks[1, 1] - landmarks[0, 1]) > 0.7 * abs(landmarks[1, 0] - landmarks[0, 0])
    top = xyxy[1] - margin if turned else landmarks[:2, 1].min()
    corners = np.round([xyxy[0] - margin, top, xyxy[2] + margin, xyxy[3] + margin]).astype(int)
    left, top, right, bottom = np.clip(corners, 0, [shape[1], shape[0]] * 2).tolist()
    return (left, top, right, bottom) if right - left >= 2 and bottom - top >= 2 else None


def _face_coordinates(landmarks: np.ndarray, xyxy: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x and y (H, W) float32 of every pixel of a window of `size` (H, W), in face coordinates."""
    eyes, mouth, nose = landmarks[:2].mean(0), landmarks[3:].mean(0), landmarks[2]
    down = mouth - eyes
    across = (landmarks[1] - landmarks[0]) / 2 + (landmarks[4] - landmarks[3]) / 2
    across = across / max(np.hypot(*across), 1e-3)
    down_px = max(abs(across[0] * down[1] - across[1] * down[0]), 1e-3)
    # solve pixel = eyes + a * across + b * down
    inverse = np.linalg.inv(np.stack([across, down], 1))
    columns, rows = np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32)[:, None]
    columns, rows = columns - np.float32(eyes[0]), rows - np.float32(eyes[1])
    a, b = (columns * row[0] + rows * row[1] for row in inverse.astype(np.float32))
    nose_a, nose_b = inverse @ (nose - eyes)
    nose_b, nose_a = float(np.clip(nose_b, 0.35, 0.8)), float(nose_a)
    chin_b = 1 + float(np.clip(_chin_px(eyes, mouth, xyxy) / down_px, 0.6, 1.15))
    # three straight stretches: eyes to nose, nose to mouth, mouth to chin
    slopes = _NOSE_Y / nose_b, (1 - _NOSE_Y) / (1 - nose_b), (_CHIN_Y - 1) / (chin_b - 1)
    y = slopes[0] * np.minimum(b, nose_b)
    y += slopes[1] * np.clip(b - nose_b, 0, 1 - nose_b)
    y += slopes[2] * np.maximum(b - 1, 0)
    # a turned head shows its nose, and the cloth over it, to one side of the line from eyes to mouth
    middle = nose_a * np.clip(1.25 - np.abs(y - 0.75), 0, 1)
    left_a, right_a = _sides(landmarks, xyxy, across)
    a -= middle
    return a / np.maximum(np.where(a < 0, middle + left_a, right_a - middle), 1), y


def _chin_px(eyes: np.ndarray, mouth: np.ndarray, xyxy: np.ndarray) -> float:
    """Distance in px from the mouth (2,) to the chin: the mean of a proportion of the face and the end of its box."""
    down = mouth - eyes
    length = max(float(np.hypot(*down)), 1e-3)
    centre, half = (xyxy[:2] + xyxy[2:]) / 2, (xyxy[2:] - xyxy[:2]) / 2
    to_edge = float(np.dot(centre - mouth, down) / length + np.dot(half, np.abs(down)) / length)
    return 0.5 * 0.85 * length + 0.5 * to_edge


def _sides(landmarks: np.ndarray, xyxy: np.ndarray, across: np.ndarray) -> tuple[float, float]:
    """Distances in px from the midline to the face's left and right side, by its box and by its eyes and mouth."""
    middle = (landmarks[:2].mean(0) + landmarks[3:].mean(0)) / 2
    spread = max(float(np.hypot(*(landmarks[1] - landmarks[0]))), float(np.hypot(*(landmarks[4] - landmarks[3]))))
    nose_off = float(np.dot(landmarks[2] - middle, across))
    box = np.array([middle[0] - xyxy[0], xyxy[2] - middle[0]])
    # the box of a tilted head says less about its sides
    trust = 0.6 * max(abs(float(across[0])) * 3 - 2, 0)
    eyes = np.array([spread + nose_off, spread - nose_off])
    nearest = 0.3 * float(xyxy[2] - xyxy[0])
    left, right = np.maximum(trust * box + (1 - trust) * eyes, nearest)
    # neither side may be nearer than the nose
    return max(float(left), nearest - nose_off), max(float(right), nearest + nose_off)


def _level(face_px: float) -> int:
    """How often a cut is halved, so that a small face samples it without aliasing."""
    return int(np.clip(np.round(np.log2(mask_cuts.FACE_PX / max(face_px, 1.0))), 0, 4))


@lru_cache(maxsize=128)
def _cut(style: str, variant: int, level: int) -> np.ndarray:
    """One painted cut (T, T, 4) uint8, RGB premultiplied by coverage and coverage, halved `level` times."""
    full = mask_cuts.paint(style, np.random.default_rng([variant, STYLES.index(style)]))
    size = mask_cuts.SIZE_PX >> level
    return full if level == 0 else cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA)


def _look_up(cut: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cut's colour and coverage (H, W, 4) uint8 at face coordinates x, y (H, W); nothing outside the cut."""
    size = cut.shape[0]
    (x_min, x_max), (y_min, y_max) = mask_cuts.X_RANGE, mask_cuts.Y_RANGE
    columns = (x - x_min) * (size / (x_max - x_min)) - 0.5
    rows = (y - y_min) * (size / (y_max - y_min)) - 0.5
    return cv2.remap(cut, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _light_colour(image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Strength and colour (3,) of the light on a face, 1 where a white cloth would look white."""
    x_min, y_min, x_max, y_max = np.clip(xyxy, 0, [image.shape[1] - 1, image.shape[0] - 1] * 2).astype(int)
    step = max((y_max - y_min) // 32, 1)
    face = image[y_min : y_max + 1 : step, x_min : x_max + 1 : step]
    face = cv2.resize(face, (16, 16), interpolation=cv2.INTER_AREA)[4:12, 4:12]
    level = np.clip((np.percentile(face.max(axis=2), 85) / 205) ** 0.9, 0.08, 1.12)
    skin = face.reshape(-1, 3).mean(0) + 8
    # skin is redder than white cloth: only what differs from usual skin is the light's own colour
    return level * (skin / skin.mean() / np.array([1.27, 0.96, 0.77])) ** 0.25


def _slow_light(window: np.ndarray) -> np.ndarray:
    """The slow changes (H, W) float32 of light over a window (H, W, 3), about 1: sides in shadow, a lamp on one side."""
    step = max(min(window.shape[:2]) // 32, 1)
    small = cv2.resize(window[::step, ::step], (24, 24), interpolation=cv2.INTER_AREA).max(axis=2)
    slow = cv2.GaussianBlur(small.astype(np.float32) + 12, (0, 0), 4.5)
    slow = np.clip((slow / slow[6:18, 6:18].mean()) ** 0.55, 0.6, 1.2)
    return cv2.resize(slow, window.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _blend(window: np.ndarray, cloth: np.ndarray, grain: np.ndarray, face_px: float) -> np.ndarray:
    """The window (H, W, 3) uint8 with the cloth (H, W, 4) uint8 over it: lit, grained, soft-edged, casting a shadow."""
    height, width = window.shape[:2]
    # arithmetic is OpenCV's on three equal channels: numpy broadcasts (H, W, 1) over (H, W, 3) several times slower
    cloth = cv2.GaussianBlur(cloth, (0, 0), 0.35 + 0.0014 * min(face_px, 400))
    cover = cv2.extractChannel(cloth, 3).astype(np.float32) * np.float32(1 / 255)
    bare = 1 - cover
    reach = max(0.035 * face_px, 0.6)
    quarter = cv2.resize(cover, (max(width // 4, 1), max(height // 4, 1)))
    shadow = cv2.GaussianBlur(quarter, (0, 0), max(reach / 4, 0.3))
    # light comes from above, so the shadow falls below the edge
    shift = np.array([[1, 0, 0], [0, 1, reach / 4]], np.float32)
    shadow = cv2.warpAffine(shadow, shift, shadow.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    keep = bare * (1 - 0.38 * cv2.resize(shadow, (width, height)) * bare)
    below = cv2.multiply(window, cv2.merge([keep] * 3), dtype=cv2.CV_32F)
    lit = cv2.multiply(cv2.cvtColor(cloth, cv2.COLOR_RGBA2RGB), cv2.merge([_slow_light(window)] * 3), dtype=cv2.CV_32F)
    repeats = (height // _GRAIN_PX + 1, width // _GRAIN_PX + 1)
    speckle = np.tile(grain, repeats)[:height, :width] * (cover * _noise(window))
    return cv2.add(cv2.add(below, lit), cv2.merge([speckle] * 3), dtype=cv2.CV_8U)


def _noise(window: np.ndarray) -> float:
    """Standard deviation in grey levels of grain that suits the window: a part of its finest detail."""
    detail = cv2.Laplacian(cv2.extractChannel(window[::4], 1), cv2.CV_16S, ksize=1)
    return float(np.clip(np.median(np.abs(detail)) * 0.35, 0.4, 5))
