"""Write photos, and any file under a temporary name until it is complete."""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from maskbatch.media.names import fitted
from maskbatch.media.photo.embed import with_exif

# temporary names: .<stem>.part<process>-<thread><suffix>
_PARTIAL = re.compile(r"\..+\.part\d+-\d+(\.[^.]*)?", re.DOTALL)
_MOST_BYTES = 254  # of a file name, without the leading dot
_JPEG_QUALITY = 95
# minimum number of pixels for half the colour resolution, which nearly all JPEGs have: lines and text are then so large
# that nobody sees a difference, encoding takes 0.62 of the time, and files have 0.82 of the size
_HALF_COLOUR_PIXELS = 250_000
_WEBP_QUALITY = 90


@contextmanager
def partial_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path beside each path. All files are renamed at the end of the block, or removed if it raises.

    Every file is synced to disk before the first rename, so that a power failure leaves no empty or truncated file
    under its final name. The renames follow each other immediately, so that readers hardly ever find new and old files
    together.
    """
    partials = []
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = f".part{os.getpid()}-{threading.get_native_id()}"
        short = path.with_name(fitted(path.name, _MOST_BYTES - len(mark)))
        partials.append(path.with_name(f".{short.stem}{mark}{short.suffix}"))
    try:
        yield tuple(partials)
        for partial in partials:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        for partial, path in zip(partials, paths, strict=True):
            os.replace(partial, path)
    except BaseException:
        for partial in partials:
            partial.unlink(missing_ok=True)
        raise


def is_partial(name: str) -> bool:
    """Return whether a file name is one that `partial_files` gives, and not that of a user, such as `a.part2.mp4`."""
    return _PARTIAL.fullmatch(name) is not None


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`: `partial_files` with one file."""
    with partial_files(path) as (partial,):
        yield partial


def write_image(path: Path, rgb: np.ndarray, exif: bytes = b"") -> None:
    """Write `rgb` (H, W, 3) uint8 in the format of the path's extension, with `exif` if the format supports it.

    Raises OSError with the reason.
    """
    # small JPEGs need the full colour resolution, because thin coloured lines and text would blur
    encoded = _encoded(path, rgb, half_colour=rgb.shape[0] * rgb.shape[1] >= _HALF_COLOUR_PIXELS)
    with partial_file(path) as partial:
        partial.write_bytes(with_exif(encoded.tobytes(), exif) if exif else encoded)


def write_images(pictures: Mapping[Path, np.ndarray]) -> None:
    """Write all or none of the pictures (H, W, 3) uint8 RGB, which have no drawings.

    Syncing the files together is faster, because they share most of the disk's time. Raises OSError with the reason.
    """
    encoded = [_encoded(path, rgb, half_colour=True) for path, rgb in pictures.items()]
    with partial_files(*pictures) as partials:
        for partial, content in zip(partials, encoded, strict=True):
            partial.write_bytes(content)


def _encoded(path: Path, rgb: np.ndarray, half_colour: bool) -> np.ndarray:
    """Return the bytes of a picture in the format of the path's extension. Raises OSError with the reason."""
    suffix = ".jpg" if path.suffix.lower() == ".jfif" else path.suffix.lower()
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if half_colour else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = {cv2.IMWRITE_JPEG_QUALITY: _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR: sampling}
    if suffix == ".webp":
        options = {cv2.IMWRITE_WEBP_QUALITY: _WEBP_QUALITY}
    elif suffix not in (".jpg", ".jpeg", ".jpe"):
        options = {}
    try:
        flat_options = [number for pair in options.items() for number in pair]
        is_encoded, encoded = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flat_options)
    except cv2.error as error:
        raise OSError(f"cannot write {path}: {error.err}") from error
    if not is_encoded:
        raise OSError(f"cannot write {path}: {rgb.shape[1]} x {rgb.shape[0]} pixels do not fit the format")
    return encoded
