"""Change training faces as recording does. Functions over arrays; every random choice comes from `rng`.

Each step takes and returns an image (H, W, 3) uint8 RGB. Steps that move pixels also take and return the face's box xyxy
(4,) float32. The crop itself is cut afterwards by `cut_crop`, as in a scan.
"""

from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np

Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def recorded(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make the face far, blurred, compressed, badly lit, turned or partly hidden, and its box as inexact as a detector's."""
    image, xyxy = flip(image, xyxy, rng)
    image, xyxy = turn(image, xyxy, rng, max_degrees=20 if rng.random() < 0.8 else 45)
    image = light(image, rng)
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
        image = film(image, rng)
    elif how < 0.65:
        image = compress(image, rng)
    return image, jitter(xyxy, rng)


def reference(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, zoom and flip, as the reference system does."""
    image, xyxy = flip(image, xyxy, rng)
    image, xyxy = turn(image, xyxy, rng, max_degrees=20)
    return image, _scaled(xyxy, np.full(2, rng.uniform(0.85, 1.15)))


def flip(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Swap left and right, half of the time."""
    if rng.random() < 0.5:
        return image, xyxy
    width = image.shape[1]
    return image[:, ::-1], np.array([width - xyxy[2], xyxy[1], width - xyxy[0], xyxy[3]], np.float32)


def turn(
    image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator, max_degrees: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the image about the middle of the face, whose box stays in place."""
    centre = tuple(float(c) for c in (xyxy[:2] + xyxy[2:]) / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-max_degrees, max_degrees), 1.0)
    size = image.shape[1::-1]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), xyxy


def light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gain, contrast, gamma, white balance and saturation; sometimes to grey, as from a night camera."""
    values = image.astype(np.float32) / 255
    values = np.power(values, np.exp(rng.normal(0, 0.3)), dtype=np.float32)
    values = (values - 0.5) * np.exp(rng.normal(0, 0.2)) + 0.5 + rng.normal(0, 0.08)
    values = values * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.08 else np.exp(rng.normal(0, 0.3))
    return (np.clip(grey + (values - grey) * saturation, 0, 1) * 255).astype(np.uint8)


def occlude(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hide a part of the face behind a flat or textured ellipse, like a hand, a shoulder or a pole."""
    image = image.copy()
    size = np.maximum(xyxy[2:] - xyxy[:2], 2)
    # from outside the face inwards, so that most of a mask stays in sight
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
    """Shrink the face to 9 to 150 px, small sizes as likely as large ones; a face is never enlarged."""
    face_px = float((xyxy[2:] - xyxy[:2]).max())
    scale = np.exp(rng.uniform(np.log(9), np.log(150))) / max(face_px, 1)
    if scale >= 1:
        return image, xyxy
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    how = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(4)]
    factor = np.array(size) / image.shape[1::-1]
    return cv2.resize(image, size, interpolation=how), (xyxy * np.tile(factor, 2)).astype(np.float32)


def blur(image: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur by defocus or motion, up to an eighth of the face."""
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
    grain = rng.normal(0, rng.uniform(1, 15), image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG at quality 20 to 95, on a random 8-pixel grid as if cut from a larger frame."""
    top, left = rng.integers(0, 8, 2)
    framed = cv2.copyMakeBorder(image, int(top), 0, int(left), 0, cv2.BORDER_REPLICATE)
    _, jpeg = cv2.imencode(".jpg", framed, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 96))])
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[top:, left:]


def film(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress as one frame of H.264 at a constant rate factor of 20 to 40, with halved colour and smoothed blocks."""
    height, width = image.shape[:2]
    # yuv420p needs even sides
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(rng.integers(20, 41)), "preset": "ultrafast", "tune": "zerolatency"}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(even, format="rgb24")), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return frames[0].to_ndarray(format="rgb24")[:height, :width]


def jitter(xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift the box by about 5 % and scale it by about 10 %, because a detector's box differs from an annotator's."""
    size = xyxy[2:] - xyxy[:2]
    shift = np.clip(rng.normal(0, 0.05, 2), -0.15, 0.15) * size
    factor = np.exp(np.clip(rng.normal(0, 0.1) + rng.normal(0, 0.05, 2), -0.3, 0.3))
    return _scaled(xyxy + np.tile(shift, 2), factor)


def _scaled(xyxy: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Scale the box about its middle by (x, y) factors."""
    centre, half = (xyxy[:2] + xyxy[2:]) / 2, (xyxy[2:] - xyxy[:2]) / 2 * factor
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
