"""The reader of photos: one upright sRGB image, decoded by OpenCV, or by pillow-heif (if installed) for HEIC."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from maskbatch.errors import DecodeError, TransientError
from maskbatch.media.photo.chunks import JPEG, PNG, TIFF, is_heif, is_video, is_webp
from maskbatch.media.photo.exif import recorded_tags
from maskbatch.media.photo.headers import gif_is_whole, image_size, jpeg_has_scan, jpeg_is_whole, png_is_cut
from maskbatch.media.photo.notes import notes_of
from maskbatch.media.photo.pillow import PILLOW_ERRORS, open_with_pillow
from maskbatch.media.photo.profiles import profile_of
from maskbatch.media.photo.srgb import decode_cmyk, to_srgb
from maskbatch.media.photo.view import View, view_of
from maskbatch.types import Decoded

MAX_PIXELS = 250_000_000  # the same as in cli/standard_streams.py
MAX_FILE_BYTES = 1 << 30

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# OpenCV before 4.11 has no flag for RGB
_READ_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
# from this size, numpy's memory has huge pages; OpenCV's memory never has
_LARGE_BYTES = 1 << 22


class PhotoReader:
    """A reader that yields the one frame of a photo as `Decoded`.

    Iterating raises DecodeError when there is no image, and after the image when the file is truncated within it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.frames_decoded = self.progress = 0
        self.notes: tuple[str, ...] = ()
        self.pieces: tuple[tuple[int, int], ...] = ()
        self.end_s: float | None = None
        self.recorded: tuple[tuple[str, str], ...] = ()

    def __enter__(self) -> "PhotoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: the file is read at once and never stays open."""

    def __iter__(self) -> Iterator[Decoded]:
        data = read_bytes(self._path)
        self.notes, self.recorded = notes_of(data), recorded_tags(data)
        is_cut_jpeg = data.startswith(JPEG) and jpeg_has_scan(data) and not jpeg_is_whole(data)
        # OpenCV rejects a JPEG without an end marker; with one it decodes the existing part and leaves the rest grey
        image = decode_photo(data + b"\xff\xd9" if is_cut_jpeg else data)
        self.frames_decoded = 1
        yield Decoded(0, 0.0, image)
        if is_cut_jpeg or (data[:4] == b"GIF8" and not gif_is_whole(data[-64:])):
            raise DecodeError("truncated: the file ends before its image, the rest is blank")


def decode_photo(data: bytes) -> np.ndarray:
    """Decode the file content `data` to (H, W, 3) uint8 sRGB, upright, and cropped as the file says.

    16-bit values are scaled. Float values from 0 to 1, or to the brightest value if that is above 1, become 0 to 255.
    Alpha is dropped. Raises DecodeError with the reason.
    """
    if not data:
        raise DecodeError("file is empty")
    check_pixels(image_size(data))
    if data.startswith(PNG) and png_is_cut(data):
        raise DecodeError(_why_not(data))
    profile = profile_of(data)
    image = decode_cmyk(data, profile)
    if image is not None:
        # Pillow turns a TIFF upright, as OpenCV does
        return view_of(data).seen(image)
    image, view = _decode_stored(data)
    check_pixels(image.shape[1::-1])
    return view.seen(to_srgb(image, profile))


def _decode_stored(data: bytes) -> tuple[np.ndarray, View]:
    """Return the decoded photo in the colours of its profile, and the view that makes it upright."""
    if is_heif(data) and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8 : int.from_bytes(data[:4], "big")]:
        return _decode_heic(data), View()
    try:
        image = _imdecode_rgb(data)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise DecodeError("too large: more pixels than the limit of 250 megapixels") from error
        raise DecodeError(f"not decodable: {error.err}") from error
    if image is None and data[:4] == b"GIF8":
        image = _decode_gif(data)
    if image is None and (is_webp(data) or is_heif(data)):
        image = _decode_by_pillow(data)
    if image is None:
        raise DecodeError(_why_not(data))
    return image, view_of(data)


def check_pixels(size: tuple[int, int] | None) -> None:
    """Raise DecodeError when (width, height) has more pixels than `MAX_PIXELS`. None (unknown) passes."""
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        megapixels = size[0] * size[1] / 1e6
        raise DecodeError(f"too large: {size[0]} x {size[1]} is {megapixels:.0f} megapixels, the limit is 250")


def read_bytes(path: Path) -> bytes:
    """Return the content of a photo file. Raises DecodeError with the reason, also for pipes and files over 1 GiB."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe could block forever
            raise DecodeError("cannot be read: not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise DecodeError("too large: a photo file over 1 GiB")
        return path.read_bytes()  # not cv2.imread, which cannot open every non-ASCII path on Windows
    except OSError as error:
        raise TransientError.from_os_error(error) from error


def _imdecode_rgb(data: bytes) -> np.ndarray | None:
    """Decode a file's content to (H, W, 3) uint8 RGB, or None. The image is as stored; only a TIFF is turned upright."""
    encoded = np.frombuffer(data, np.uint8)
    if data[:4] in TIFF:
        return _imdecode_tiff(encoded)
    # versions of OpenCV turn different formats, and no image must be turned twice
    if _READ_RGB is not None:
        flags = _READ_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        image = _imread(data, flags) if _is_large_jpeg(data) else None
        return cv2.imdecode(encoded, flags) if image is None else image
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_large_jpeg(data: bytes) -> bool:
    width, height = (data.startswith(JPEG) and image_size(data)) or (0, 0)
    return 3 * width * height >= _LARGE_BYTES


def _imread(data: bytes, flags: int) -> np.ndarray | None:
    """Decode a file's content like `cv2.imdecode`, but into a numpy array; None where that is impossible.

    This takes 0.7 of the time for 12 megapixels. `imdecode` decodes into memory of OpenCV, whose small pages the system
    hands out one by one, and copies from there. Only `imread` avoids the copy, and it needs a path: that of a Linux
    file in memory.
    """
    try:
        file = os.memfd_create("photo")
    except (AttributeError, OSError):
        return None
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(data)
        return cv2.imread(f"/proc/self/fd/{file}", None, flags)
    except OSError:
        return None
    finally:
        os.close(file)


def _imdecode_tiff(encoded: np.ndarray) -> np.ndarray | None:
    """Decode a TIFF to (H, W, 3) uint8 RGB, or None. OpenCV itself rejects or brightens float values."""
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(image.astype(np.float32), posinf=0.0, neginf=0.0)
    brightest = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else max(1.0, float(values.max()))
    return (np.clip(values / brightest, 0, 1) * 255).round().astype(np.uint8)


def _decode_gif(data: bytes) -> np.ndarray | None:
    """Return the first frame of a GIF. OpenCV before 4.11 lacks GIF, and no version decodes a truncated GIF."""
    try:
        with av.open(io.BytesIO(data)) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")
    except (av.error.FFmpegError, StopIteration):
        return None


def _decode_by_pillow(data: bytes) -> np.ndarray | None:
    """Return the first frame of an animated WebP, or an AVIF photo. OpenCV before 4.11 lacks both."""
    try:
        with open_with_pillow(data, "WEBP", "AVIF") as photo:
            return np.array(photo.convert("RGB"))
    except PILLOW_ERRORS:
        return None


def _decode_heic(data: bytes) -> np.ndarray:
    # PyAV opens HEIC too, but returns single tiles of a phone's photo, not turned upright
    try:
        from pillow_heif import open_heif  # an optional package
    except ImportError as error:
        raise TransientError("HEIC photos need one more package: pip install pillow-heif") from error
    try:
        heif = open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        check_pixels(heif.size)
        image = np.asarray(heif)
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else np.array(image[:, :, :3])
    except (ValueError, OSError, RuntimeError, IndexError) as error:
        raise DecodeError(f"not decodable: {error}") from error


def _why_not(data: bytes) -> str:
    if is_video(data):
        return "not decodable: a video with the name of a photo"
    if data.startswith(PNG):
        return "not decodable: " + ("a damaged PNG" if b"IEND" in data[-64:] else "truncated, the PNG has no end")
    if data[:4] == b"RIFF" and len(data) < int.from_bytes(data[4:8], "little") + 8:
        return "not decodable: truncated, the file is shorter than its header says"
    if data[:2] == b"BM" and len(data) < int.from_bytes(data[2:6], "little"):
        return "not decodable: truncated, the file is shorter than its header says"
    if data.startswith(JPEG):
        return "not decodable: " + ("a damaged JPEG" if jpeg_has_scan(data) else "truncated, the JPEG has no image")
    if image_size(data) is None and data[:4] not in TIFF:
        return "not decodable: not a photo of a known kind, or damaged"
    return "not decodable: damaged or truncated"
