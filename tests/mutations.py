"""Small media files of every kind, and thousands of ways to damage them; all of it repeatable from a seed."""

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from makers import Clip, corners, encode, write_video
from photo_makers import (
    avif,
    colours,
    jpeg_of_several,
    jpeg_with,
    png_with,
    recorded,
    saved,
    segment,
    tiff_with,
    turned,
    webp_with,
)
from PIL import Image

from maskbatch.media.icc import profile_by_numbers

# what a hostile header would claim
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 60_000, 1_000_000_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def make_seeds(folder: Path) -> list[Path]:
    """Whole files, about 2 to 60 kB each: photos of every common format, and videos in seven containers, most with sound."""
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.integers(0, 255, (90, 120, 3), np.uint8), (5, 5), 0)
    photo[20:60, 20:90] = corners(70, 40)
    seeds = {f"photo{suffix}": encode(photo, suffix) for suffix in (".jpg", ".png", ".webp", ".tiff", ".bmp")}
    seeds["progressive.jpg"] = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    seeds["lossless.webp"] = cv2.imencode(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    seeds["deep.tiff"] = encode(photo.astype(np.uint16) * 257, ".tiff")
    seeds |= rich_photos()
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
    frames = [np.ascontiguousarray(np.roll(photo, 6 * step, axis=1)) for step in range(12)]
    clips = {
        "still.gif": (frames[:1], Clip(codec="gif", fps=Fraction(10))),
        "moving.gif": (frames[:5], Clip(codec="gif", fps=Fraction(10))),
        "h264.mp4": (frames, Clip(audio="aac")),
        "mpeg4.mp4": (frames, Clip(codec="mpeg4", audio="ac3")),
        "h264.mkv": (frames, Clip(audio="aac")),
        "mjpeg.mkv": (frames[:5], Clip(codec="mjpeg")),
        "mpeg4.avi": (frames, Clip(codec="mpeg4", audio="libmp3lame")),
        "mjpeg.avi": (frames[:5], Clip(codec="mjpeg")),
        "h264.ts": (frames, Clip(audio="aac")),
        "mpeg2.mpg": (frames, Clip(codec="mpeg2video", audio="mp2")),
        "msmpeg4.wmv": (frames, Clip(codec="msmpeg4v3", audio="wmav2")),
        "h264.mov": (frames, Clip(audio="alac")),
        "h264.flv": (frames, Clip(audio="aac")),
        "opus.mkv": (frames, Clip(codec="mpeg4", audio="libopus")),
    }
    videos = [write_video(folder / name, images, clip) for name, (images, clip) in clips.items()]
    return [*(folder / name for name in seeds), *videos]


def rich_photos() -> dict[str, bytes]:
    """Photos with all that may surround their pixels: EXIF data, profiles, turns, further pictures."""
    image, icc, exif = corners(), profile_by_numbers(12, 13), recorded()
    frames = [Image.fromarray(np.full_like(image, grey)) for grey in (20, 60, 100)]
    about = segment(0xE1, b"Exif\0\0" + exif), segment(0xE2, b"ICC_PROFILE\0\1\1" + icc)
    photos = {
        "phone.jpg": jpeg_with(encode(image, ".jpg"), *about),
        "stereo.jpg": jpeg_of_several((0x030000, encode(image, ".jpg")), (0x020002, encode(image, ".jpg"))),
        "moving.png": png_with(saved(frames, "PNG"), (b"iCCP", b"x\0\0" + zlib.compress(icc)), (b"eXIf", exif)),
        "rich.webp": webp_with(encode(image, ".webp"), (96, 64), 0x28, (b"ICCP", icc), (b"EXIF", exif)),
        "moving.webp": saved(frames, "WEBP"),
        "pages.tiff": saved(frames, "TIFF"),
        "rich.tiff": tiff_with(encode(image, ".tiff"), (274, 3, b"\6\0"), (34675, 7, icc)),
    }
    if cv2.haveImageWriter("x.avif"):
        photos["rich.avif"] = avif(image, [colours(profile=icc), *turned(5)], exif, num_further=2)
    return photos


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`data` after one to three kinds of damage; `other` is what foreign pieces are taken from."""
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
        data = bytes(damage(bytearray(data), other, rng))
    # half of the damaged PNGs get right checksums again, or their readers would never get past them
    return _png_with_checksums(data) if data.startswith(_PNG_MAGIC) and rng.random() < 0.5 else data


def png_of_size(width: int, height: int) -> bytes:
    """A well-formed PNG of a few bytes that claims to be that large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 99))]
    return _PNG_MAGIC + b"".join(_png_chunk(kind, body) for kind, body in [*chunks, (b"IEND", b"")])


def _flip(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(0, max(len(data), 1), int(rng.integers(1, 25))):
        if data:
            data[position] ^= int(rng.integers(1, 256))
    return data


def _cut(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    return data[: int(len(data) * rng.random())]


def _zero(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    start, end = _piece(data, rng)
    data[start:end] = bytes([int(rng.choice([0, 0, 0xFF]))]) * (end - start)
    return data


def _remove(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    start, end = _piece(data, rng)
    del data[start:end]
    return data


def _repeat(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    start, end = _piece(data, rng)
    data[end:end] = data[start:end]
    return data


def _splice(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    start, end = _piece(data, rng)
    from_start, from_end = _piece(other, rng)
    data[start:end] = other[from_start:from_end]
    return data


def _header(data: bytearray, _: bytes, rng: np.random.Generator) -> bytearray:
    """One to four numbers become extremes: near the start, or near the name of a box or chunk."""
    names = [at for at in range(len(data) - 8) if data[at : at + 4].isalpha()] or [0]
    for _ in range(int(rng.integers(1, 5))):
        near = 0 if rng.random() < 0.5 else int(rng.choice(names))
        at = max(0, near + int(rng.integers(-4, 64)))
        kind = str(rng.choice([">I", "<I", ">H", "<H", "B"]))
        size = struct.calcsize(kind)
        if at + size <= len(data):
            struct.pack_into(kind, data, at, int(rng.choice(_EXTREMES)) & (256**size - 1))
    return data


_DAMAGES: tuple[Callable[[bytearray, bytes, np.random.Generator], bytearray], ...] = (
    _flip, _cut, _zero, _remove, _repeat, _splice, _header, _header,
)  # fmt: skip


def _piece(data: bytes | bytearray, rng: np.random.Generator) -> tuple[int, int]:
    """(start, end) of a piece of any length, short ones more often."""
    start = int(rng.integers(0, len(data) + 1))
    length = int(2 ** rng.uniform(0, np.log2(len(data) + 2)))
    return start, min(len(data), start + length)


def _png_with_checksums(data: bytes) -> bytes:
    """The same chunks, each with the right checksum, as far as lengths lead."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            break
        parts.append(_png_chunk(data[at + 4 : at + 8], data[at + 8 : end]))
        at = end + 4
    return b"".join(parts) + data[at:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
