"""Convert photos to sRGB, the colours of the networks' training pictures, with LittleCMS (in Pillow)."""

import functools
import io

import cv2
import numpy as np
from PIL import Image, ImageCms

from maskbatch.media.photo.chunks import JPEG, TIFF
from maskbatch.media.photo.pillow import PILLOW_ERRORS, open_with_pillow
from maskbatch.media.photo.profiles import MOST_PROFILE_BYTES

_STRIPE_PIXELS = 1 << 18
# a profile that changes no colour by more than this is sRGB under another name
_MOST_LEVELS = 3
# Pillow's names of pixel formats, by the names in profiles
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
# relative colorimetric with black point compensation, as in browsers; no cache: many threads use the transforms
_INTENT = 1
_FLAGS = 0x2000 | 0x0040


def to_srgb(image: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert `image` (H, W, 3) uint8 from the colours of the ICC `profile` to sRGB, in place, and return it.

    A profile that is damaged, for another pixel format, or equal to sRGB has no effect.
    """
    mode = _MODES.get(profile[16:20])
    if mode not in ("RGB", "L") or not image.size:
        return image
    transform = _transform(profile, mode)
    if transform is None or (mode == "L" and not _is_grey(image)):
        return image
    for rows in _stripes(image.shape):
        stripe = image[rows] if mode == "RGB" else np.ascontiguousarray(image[rows, :, 0])
        image[rows] = _converted(stripe, transform)
    return image


def decode_cmyk(data: bytes, profile: bytes) -> np.ndarray | None:
    """Decode the JPEG or TIFF in `data` to (H, W, 3) uint8 sRGB when it has a CMYK profile, else return None.

    OpenCV would convert such photos without their profile.
    """
    if profile[16:20] != b"CMYK" or not (data.startswith(JPEG) or data[:4] in TIFF):
        return None
    transform = _transform(profile, "CMYK")
    if transform is None:
        return None
    try:
        with open_with_pillow(data, "JPEG", "TIFF") as photo:
            if photo.mode != "CMYK":
                return None
            photo.load()
            image = np.empty((photo.height, photo.width, 3), np.uint8)
            for rows in _stripes(image.shape):
                image[rows] = np.asarray(transform.apply(photo.crop((0, rows.start, photo.width, rows.stop))))
            return image
    except PILLOW_ERRORS:  # OpenCV may decode the photo, or give the reason
        return None


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return a transform from this mode to sRGB, or None when none is needed or the profile cannot be used."""
    if len(profile) > MOST_PROFILE_BYTES:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb(), mode, "RGB", _INTENT, _FLAGS
        )
        probe = _probe(mode)
        is_same = mode != "CMYK" and np.abs(_converted(probe, transform) - _as_rgb(probe)).max() <= _MOST_LEVELS
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if is_same else transform


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(pixels: np.ndarray, transform: ImageCms.ImageCmsTransform) -> np.ndarray:
    """Return `pixels`, (H, W, 3) or (H, W) uint8, as (H, W, 3) uint8 sRGB."""
    return np.asarray(transform.apply(Image.fromarray(pixels)))


def _probe(mode: str) -> np.ndarray:
    """Return test pixels across the colour space: a grid of 729 colours, or all greys."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    return (np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels).astype(np.int16)


def _is_grey(image: np.ndarray) -> bool:
    return all(not cv2.absdiff(image[rows, :, :2], image[rows, :, 1:]).any() for rows in _stripes(image.shape))


def _stripes(shape: tuple[int, ...]) -> list[slice]:
    """Return groups of rows to convert together, small enough for the processor's cache."""
    step = max(1, _STRIPE_PIXELS // shape[1])
    return [slice(top, min(top + step, shape[0])) for top in range(0, shape[0], step)]
