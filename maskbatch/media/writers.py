"""Writes photos and rows. What is written has a temporary name until it is whole, and is removed when it is not."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from maskbatch.media.embed import with_exif
from maskbatch.media.names import fitted_path

_JPEG_QUALITY = 95
_WEBP_QUALITY = 90


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` at the end of the block, removed when the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = fitted_path(path.with_name(f".{path.stem}.part{path.suffix}"))
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_image(path: Path, rgb: np.ndarray, exif: bytes = b"") -> None:
    """Write `rgb` (H, W, 3) uint8 in the format of the path's extension, with `exif` where the format takes it.

    Raises OSError with the reason.
    """
    suffix = ".jpg" if path.suffix.lower() == ".jfif" else path.suffix.lower()
    # full colour resolution in JPEG: thin coloured lines and text smear otherwise
    options = {
        cv2.IMWRITE_JPEG_QUALITY: _JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    }
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
    with partial_file(path) as partial:
        partial.write_bytes(with_exif(encoded.tobytes(), exif) if exif else encoded)


class PhotoWriter:
    """A photo as a video of one frame: the same three calls as `VideoWriter`."""

    def __init__(self, path: Path, exif: bytes = b"") -> None:
        """`exif`: what `recording_exif` returns, b"" for none."""
        self._path, self._exif = path, exif

    def __enter__(self) -> "PhotoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open."""

    def write(self, rgb: np.ndarray, timestamp_s: float) -> None:
        """Writes `rgb` (H, W, 3) uint8. Raises OSError."""
        write_image(self._path, rgb, self._exif)


class RowWriter:
    """Writes rows to a CSV file (UTF-8, RFC 4180 quoting) that appears when the `with` block ends without an error."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = columns

    def __enter__(self) -> "RowWriter":
        self._partial = partial_file(self._path)
        # newline="": the csv module writes its own line ends
        self._file = self._partial.__enter__().open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(self._columns)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            # a power cut must not leave a name without its rows
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._partial.__exit__(kind, error, trace)

    def position(self) -> int:
        """Bytes written so far."""
        self._file.flush()
        return self._file.buffer.tell()

    def write(self, row: Sequence[object]) -> None:
        """Append one row; its values stand in the order of the columns."""
        if len(row) != len(self._columns):
            raise ValueError(f"a row needs {len(self._columns)} values, got {len(row)}")
        self._rows.writerow(row)
