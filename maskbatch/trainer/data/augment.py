"""Degrade training faces like a recording does. Functions over arrays; every random choice comes from `rng`.

Each step takes and returns an image (H, W, 3) uint8 RGB. Steps that move pixels also take and return the face's box
xyxy (4,) float32. Afterwards, `cut_crop` cuts the crop as in a scan.
"""

from collections.abc import Callable

import cv2
import numpy as np

from maskbatch.trainer.data.recompress import compress, film, webp

# image, xyxy, label (0 without a mask, 1 with, 2 worn incorrectly), rng
Augment = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def recorded(
    image: np.ndarray, xyxy: np.ndarray, label: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Make the face small, blurred, compressed, badly lit, turned or partly hidden, and its box inexact.

    Some masks get another colour or a pattern, because skin-coloured and patterned masks are rare in training data.
    """
    return _recorded(image, xyxy, label, rng, film)


def recorded_webp(
    image: np.ndarray, xyxy: np.ndarray, label: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same as `recorded`, with `webp` in place of `film`, for machines without FFmpeg."""
    return _recorded(image, xyxy, label, rng, webp)


def _recorded(
    image: np.ndarray, xyxy: np.ndarray, label: int, rng: np.random.Generator, compress_film: Callable
) -> tuple[np.ndarray, np.ndarray]:
    image, xyxy = flip(image, xyxy, rng)
    if label == 1 and rng.random() < 0.3:
        image = repaint(image, xyxy, rng)
    image, xyxy = turn(image, xyxy, rng, max_degrees=20 if rng.random() < 0.8 else 45)
    image = night(image, rng) if rng.random() < 0.06 else light(image, rng, 0.25 if rng.random() < 0.1 else 0.08)
    if rng.random() < 0.25:
        image = occlude(image, xyxy, rng)
    if rng.random() < 0.7:
        image, xyxy = shrink(image, xyxy, rng)
    if rng.random() < 0.35:
        image = blur(image, xyxy, rng)
    if rng.random() < 0.4:
        image = noise(image, rng)
    how = rng.random()
    if how < 0.2:
        image = compress_film(image, rng)
    elif how < 0.65:
        image = compress(image, rng)
    return image, jitter(xyxy, rng)


def reference(
    image: np.ndarray, xyxy: np.ndarray, label: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, zoom and flip, like the reference system."""
    image, xyxy = flip(image, xyxy, rng)
    image, xyxy = turn(image, xyxy, rng, max_degrees=20)
    return image, _scaled(xyxy, np.full(2, rng.uniform(0.85, 1.15)))


def flip(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Swap left and right half of the time."""
    if rng.random() < 0.5:
        return image, xyxy
    width = image.shape[1]
    return image[:, ::-1], np.array([width - xyxy[2], xyxy[1], width - xyxy[0], xyxy[3]], np.float32)


def turn(
    image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator, max_degrees: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate the image about the middle of the face, whose box stays in place."""
    centre = tuple(float(c) for c in (xyxy[:2] + xyxy[2:]) / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-max_degrees, max_degrees), 1.0)
    size = image.shape[1::-1]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), xyxy


def light(image: np.ndarray, rng: np.random.Generator, colour: float = 0.08) -> np.ndarray:
    """Change gain, contrast, gamma, white balance and saturation, sometimes to grey like a night camera.

    `colour` is the standard deviation of the white balance, as a logarithm per channel; 0.25 gives coloured light.
    """
    tone = _toned(np.exp(rng.normal(0, 0.3)), np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.08))
    white = np.exp(rng.normal(0, colour, 3))
    saturation = 0.0 if rng.random() < 0.08 else np.exp(rng.normal(0, 0.3))
    return _coloured(image, np.outer(tone, white), saturation)


def night(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Imitate a night camera: grey or greenish, with bright mid-tones, low contrast and much noise."""
    tone = _toned(rng.uniform(0.4, 1.2), rng.uniform(0.5, 1.1), rng.uniform(-0.15, 0.15))
    tint = np.array([rng.uniform(0.5, 1), 1, rng.uniform(0.5, 1)]) if rng.random() < 0.3 else np.ones(3)
    return noise(_tinted(_coloured(image, np.outer(tone, np.ones(3)), 0.0), tint), rng)


def repaint(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give the lower half of an upright face another hue, the colour of the upper half, or a pattern, with a soft edge.

    Light and shade stay, so that a mask keeps its folds.
    """
    (left, top), (width, height) = xyxy[:2], np.maximum(xyxy[2:] - xyxy[:2], 1)
    first, last = (int(np.clip(top + share * height, 0, image.shape[0])) for share in (0.42, 1.12))
    start, end = (int(np.clip(left + share * width, 0, image.shape[1])) for share in (0.0, 1.0))
    if last - first < 4 or end - start < 4:
        return image
    part = np.ascontiguousarray(image[first:last, start:end])
    y, x = np.ogrid[first:last, start:end]
    distance = ((x - left - width / 2) / (0.5 * width)) ** 2 + ((y - top - 0.78 * height) / (0.34 * height)) ** 2
    share = np.clip((1.15 - distance) / 0.3, 0, 1)[..., None].astype(np.float32) * np.float32(rng.uniform(0.6, 1))
    how = rng.random()
    if how < 0.4:
        painted = _hued(part, rng)
    elif how < 0.7:
        painted = _shade(part, rng) * _skin(image, xyxy, rng)
    else:
        painted = _shade(part, rng) * _pattern(part.shape[:2], rng)
    image = image.copy()
    image[first:last, start:end] = np.clip(part + (painted - part) * share, 0, 255)
    return image


def occlude(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hide a part of the face behind a flat or textured ellipse, like a hand, a shoulder or a pole."""
    image = image.copy()
    size = np.maximum(xyxy[2:] - xyxy[:2], 2)
    # from outside the face inwards, so that most of a mask stays visible
    angle = rng.uniform(0, 2 * np.pi)
    middle = (xyxy[:2] + xyxy[2:]) / 2 + size * 0.6 * np.array([np.cos(angle), np.sin(angle)])
    axes = tuple(int(a) for a in np.maximum(size * rng.uniform(0.1, 0.4, 2), 1))
    hidden = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(hidden, tuple(int(c) for c in middle), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    if rng.random() < 0.5:
        patch = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), image.shape)
    else:  # another part of the same picture
        patch = np.roll(image, (image.shape[0] // 2, image.shape[1] // 3), axis=(0, 1))
    image[hidden > 0] = patch[hidden > 0]
    return image


def shrink(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shrink the face to 9 to 150 px, with small sizes as likely as large ones. Never enlarge a face."""
    face_px = float((xyxy[2:] - xyxy[:2]).max())
    scale = np.exp(rng.uniform(np.log(9), np.log(150))) / max(face_px, 1)
    if scale >= 1:
        return image, xyxy
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    how = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(4)]
    factor = np.array(size) / image.shape[1::-1]
    return cv2.resize(image, size, interpolation=how), (xyxy * np.tile(factor, 2)).astype(np.float32)


def blur(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur by defocus or motion, by up to an eighth of the face."""
    reach = float((xyxy[2:] - xyxy[:2]).max()) * rng.uniform(0.01, 0.125)
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), max(reach / 2, 0.3))
    length = max(3, round(reach)) | 1
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    matrix = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1.0)
    kernel = cv2.warpAffine(kernel, matrix, (length, length))
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6), borderType=cv2.BORDER_REPLICATE)


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise with a standard deviation of up to 15 grey levels."""
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 15))
    return cv2.add(image, grain, dtype=cv2.CV_8U)


def jitter(xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift the box by about 5 % and scale it by about 10 %, because a detector's box differs from an annotator's."""
    size = xyxy[2:] - xyxy[:2]
    shift = np.clip(rng.normal(0, 0.05, 2), -0.15, 0.15) * size
    factor = np.exp(np.clip(rng.normal(0, 0.1) + rng.normal(0, 0.05, 2), -0.3, 0.3))
    return _scaled(xyxy + np.tile(shift, 2), factor)


def _toned(gamma: float, contrast: float, brightness: float) -> np.ndarray:
    """Return the new value (256,) of each grey level, in 0-1 but not clipped."""
    return (np.power(np.arange(256) / 255, gamma) - 0.5) * contrast + 0.5 + brightness


def _coloured(image: np.ndarray, levels: np.ndarray, saturation: float) -> np.ndarray:
    """Map each channel through `levels` (256, 3) in 0-1, then change the saturation; 0 is grey."""
    values = cv2.LUT(np.ascontiguousarray(image), (levels * 255).astype(np.float32)[None])
    mix = np.eye(3) * saturation + (1 - saturation) / 3
    return np.clip(cv2.transform(values, mix.astype(np.float32)), 0, 255).astype(np.uint8)


def _tinted(image: np.ndarray, tint: np.ndarray) -> np.ndarray:
    return _coloured(image, np.outer(np.arange(256) / 255, tint), 1.0)


def _hued(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part with another hue and saturation; white and grey also get a colour."""
    hsv = cv2.cvtColor(part, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + rng.integers(180)) % 180
    saturation = hsv[..., 1] * np.float32(np.exp(rng.normal(0, 0.4))) + np.float32(rng.uniform(0, 110))
    hsv[..., 1] = np.minimum(saturation, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)


def _shade(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light and shade (h, w, 1) of the part around 1, without stretching dark parts to full contrast."""
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32) + 20
    return (grey / grey.mean())[..., None].clip(0.2, 1.8) * np.float32(rng.uniform(0.8, 1.2))


def _skin(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a colour (3,) float32 close to that of the face between forehead and nose."""
    height, width = image.shape[:2]
    (left, top), (right, bottom) = xyxy[:2], xyxy[2:]
    rows = slice(int(max(top + 0.15 * (bottom - top), 0)), int(np.clip(top + 0.45 * (bottom - top), 1, height)))
    columns = slice(int(max(left + 0.25 * (right - left), 0)), int(np.clip(right - 0.25 * (right - left), 1, width)))
    upper = image[rows, columns].reshape(-1, 3)
    colour = np.median(upper, axis=0) if len(upper) else np.array([200, 150, 130])
    return (colour * np.exp(rng.normal(0, 0.08, 3))).astype(np.float32)


def _pattern(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return spots, checks or stripes (h, w, 3) float32 of two to four colours."""
    colours = rng.uniform(0, 255, (rng.integers(2, 5), 3)).astype(np.float32)
    rows, columns = rng.integers(3, 13, 2)
    rows, columns = ((rows, columns), (rows, 1), (1, columns))[rng.choice(3, p=(0.6, 0.2, 0.2))]
    cells = colours[rng.integers(len(colours), size=(rows, columns))]
    how = cv2.INTER_NEAREST if rng.random() < 0.4 else cv2.INTER_CUBIC
    return cv2.resize(cells, shape[::-1], interpolation=how)


def _scaled(xyxy: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Scale the box about its middle by (x, y) factors."""
    centre, half = (xyxy[:2] + xyxy[2:]) / 2, (xyxy[2:] - xyxy[:2]) / 2 * factor
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
