"""The parts of photo files: segments, chunks and boxes. Each iterator ends at the first truncated part."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

JPEG, PNG, GIF, BMP, JP2 = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"\0\0\0\x0cjP  "
# classic and BigTIFF, either byte order
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
START_OF_SCAN = 0xDA
APP1, APP2 = 0xE1, 0xE2

# brands of photos, and of sequences of photos; an MP4 has none of them
_HEIF_BRANDS = frozenset(
    b"avif avis heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf avci jpeg j2ki".split()
)  # fmt: skip
_MOST_BRAND_BYTES = 1 << 10
_MATROSKA = b"\x1a\x45\xdf\xa3"

# normal files have fewer parts; a hostile file must not keep a scan busy for minutes
_MOST_PARTS = 1 << 18


class Part(NamedTuple):
    """A part's name, and the start and end of its content in the file."""

    name: bytes
    start: int
    end: int


def is_webp(data: bytes) -> bool:
    """Return True for a WebP file; other RIFF files hold sound or video."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def is_heif(data: bytes) -> bool:
    """Return True for a file of the HEIF family, AVIF or HEIC: its main brand or another one says so."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), _MOST_BRAND_BYTES)
    return any(data[at : at + 4] in _HEIF_BRANDS for at in (8, *range(16, end, 4)))


def is_video(data: bytes) -> bool:
    """Return True for a file of a common kind of video: MP4, MOV, AVI, Matroska or WebM."""
    is_mp4 = data[4:8] == b"ftyp" and not is_heif(data)
    return is_mp4 or data.startswith(_MATROSKA) or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (marker, offset of its length field) of each segment up to and including the first start of scan."""
    return islice(_jpeg_segments(data), _MOST_PARTS)


def jpeg_contents(data: bytes, marker: int, magic: bytes) -> Iterator[Part]:
    """Yield the segments with this marker whose content begins with `magic`; `start` is the offset after `magic`."""
    for found, offset in jpeg_segments(data):
        start, end = offset + 2 + len(magic), offset + int.from_bytes(data[offset : offset + 2], "big")
        if found == marker and data[offset + 2 : start] == magic and start <= end <= len(data):
            yield Part(magic, start, end)


def png_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks of a PNG."""
    return islice(_chunks(data, 8, is_png=True), _MOST_PARTS)


def webp_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks of a WebP."""
    return islice(_chunks(data, 12, is_png=False), _MOST_PARTS)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Part]:
    """Yield the boxes (ISO base media, JPEG 2000) between `start` and `end`, but not the boxes inside them."""
    return islice(_boxes(data, start, len(data) if end is None else min(end, len(data))), _MOST_PARTS)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    offset = 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            return
        marker = data[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        yield marker, offset + 2
        if marker == START_OF_SCAN:
            return
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")


def _chunks(data: bytes, at: int, is_png: bool) -> Iterator[Part]:
    """Yield the chunks from `at` on.

    PNG: length, name, content, checksum. WebP: name, length, content, padded to an even length.
    """
    while at + 8 <= len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        name, length = (second, int.from_bytes(first, "big")) if is_png else (first, int.from_bytes(second, "little"))
        end = at + 8 + length
        if end > len(data):
            return
        yield Part(name, at + 8, end)
        at = end + (4 if is_png else length % 2)


def _boxes(data: bytes, at: int, end: int) -> Iterator[Part]:
    while at + 8 <= end:
        length, name, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if length == 1:  # the length follows the name, in 64 bits
            length, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        next_at = end if length == 0 else at + length
        if not start <= next_at <= end:
            return
        yield Part(name, start, next_at)
        at = next_at
