"""Write photos, and any file under a temporary name until it is complete."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

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


class _Waiting(NamedTuple):
    """A file that waits for its own name. `failed` gets the error of a later step."""

    partial: Path
    path: Path
    failed: Callable[[OSError], None]


class Unnamed:
    """Files that are complete, but have temporary names: they get their own names together, once they are on the disk.

    Syncing takes most of the time of writing a small file. It is faster for many files together, and another thread can
    do it while the next files are written.

    Example:
        >>> files = Unnamed()
        >>> files.write(Path("a.jpg"), encode_image(Path("a.jpg"), image), print)  # doctest: +SKIP
        >>> files.settle()
    """

    def __init__(self) -> None:
        self._files: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._files)

    def write(self, path: Path, content: bytes | np.ndarray, failed: Callable[[OSError], None]) -> None:
        """Write a file under a temporary name. `failed` gets an OSError of `settle` about it. Raises OSError."""
        partial = _temporary(path)
        try:
            partial.write_bytes(content)
        except BaseException:
            _delete(partial)
            raise
        self._files.append(_Waiting(partial, path, failed))

    def settle(self) -> None:
        """Sync all files to the disk, and then rename them. An error concerns one file, unless its `failed` raises it."""
        synced = [file for file in self._files if _try(file, lambda file: _sync(file.partial))]
        for file in synced:
            _try(file, lambda file: os.replace(file.partial, file.path))
        self._files.clear()

    def drop(self) -> None:
        """Delete the files that have no name yet."""
        for file in self._files:
            _delete(file.partial)
        self._files.clear()


def _try(file: _Waiting, step: Callable[[_Waiting], None]) -> bool:
    """Return whether a step of a file succeeds. If not, delete the file and tell `failed`."""
    try:
        step(file)
    except OSError as error:
        _delete(file.partial)
        file.failed(error)
        return False
    return True


@contextmanager
def partial_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path beside each path. All files are renamed at the end of the block, or removed if it raises.

    Every file is synced to disk before the first rename, so that a power failure leaves no empty or truncated file
    under its final name. The renames follow each other immediately, so that readers hardly ever find new and old files
    together.
    """
    partials = [_temporary(path) for path in paths]
    try:
        yield tuple(partials)
        for partial in partials:
            _sync(partial)
        for partial, path in zip(partials, paths, strict=True):
            os.replace(partial, path)
    except BaseException:
        for partial in partials:
            _delete(partial)
        raise


def _temporary(path: Path) -> Path:
    """Return a temporary path beside `path`, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".part{os.getpid()}-{threading.get_native_id()}"
    short = path.with_name(fitted(path.name, _MOST_BYTES - len(mark)))
    return path.with_name(f".{short.stem}{mark}{short.suffix}")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _delete(path: Path) -> None:
    with suppress(OSError):  # the error that led here is the one to tell
        path.unlink(missing_ok=True)


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
    with partial_file(path) as partial:
        partial.write_bytes(encode_image(path, rgb, exif))


def encode_image(path: Path, rgb: np.ndarray, exif: bytes = b"", is_drawn_on: bool = True) -> bytes | np.ndarray:
    """Return `rgb` (H, W, 3) uint8 in the format of the path's extension, with `exif` if the format supports it.

    Small JPEGs keep the full colour resolution if they are drawn on, because thin coloured lines and text would blur.
    Raises OSError with the reason.
    """
    half_colour = not is_drawn_on or rgb.shape[0] * rgb.shape[1] >= _HALF_COLOUR_PIXELS
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
    return with_exif(encoded.tobytes(), exif) if exif else encoded
