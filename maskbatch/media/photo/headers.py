"""Headers of photos: the size before any pixel is decoded, and checks for truncated files.

The package `imagesize` does not protect a decoder. It ignores larger tiles of a TIFF, and finds no size in Radiance
HDR, and in damaged AVIF and JPEG 2000 files.
"""

import re
import struct
from collections.abc import Callable

from maskbatch.media.photo.chunks import START_OF_SCAN, jpeg_segments
from maskbatch.media.photo.tiff import Tiff

# SOF0..SOF15 hold the size; C4, C8 and CC in between are tables
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# tags of width and height in a TIFF: of the picture, and of its tiles
_TIFF_SIZES = ((256, 257), (322, 323))
_BOXES_WITHIN = 1 << 16
# bytes in which a header of text is searched
_TEXT_BYTES = 1 << 20


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as stored, before EXIF rotation; None for an unknown or truncated header.

    All kinds of photos that a scan decodes are supported. If a header has several sizes, the largest counts.
    """
    start = data[4:12] if data[4:8] == b"ftyp" else data  # the length of the box comes first
    read_size = next((read for magic, read in _SIZE_READERS.items() if start.startswith(magic)), None)
    try:
        return None if read_size is None else read_size(data)
    except (struct.error, IndexError, ValueError):
        return None


def jpeg_is_whole(data: bytes) -> bool:
    """Return True when the coded image of a JPEG reaches its end marker.

    Segments are walked up to the first scan, because an EXIF thumbnail is a JPEG with its own end marker.
    """
    scan = next((offset for marker, offset in jpeg_segments(data) if marker == START_OF_SCAN), None)
    # inside coded data every 0xFF is followed by 0x00 or a restart marker, so the end marker cannot occur by chance
    return scan is not None and data.find(b"\xff\xd9", scan) >= 0


def png_is_cut(data: bytes) -> bool:
    """Return True when a chunk of a PNG claims more bytes than the file has. OpenCV 5 would allocate up to 4 GiB."""
    at, end, unpack = 8, len(data) - 8, struct.Struct(">I4s").unpack_from
    while at <= end:  # a plain loop: large photos have thousands of chunks
        length, name = unpack(data, at)
        at += 12 + length
        if name == b"IEND":
            break
    return at > len(data) + 4  # a checksum may be missing


def gif_is_whole(end: bytes) -> bool:
    """Return True when the last bytes of a GIF contain its end marker. Some programs write zeros after it."""
    return end.rstrip(b"\0").endswith(b";")


def jpeg_has_scan(data: bytes) -> bool:
    """Return True for a JPEG that is complete, or truncated within its coded image."""
    return any(marker == START_OF_SCAN for marker, _ in jpeg_segments(data))


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, offset in jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, offset + 3)
            return width, height
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[8:16].removeprefix(b"WEBP")  # WAV and AVI are RIFF files too
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means that rows run from top to bottom


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return the size of the first picture, or of a tile when tiles claim to be larger than the picture."""
    tiff = Tiff(data)
    fields = tiff.fields(tiff.first())
    sizes = [[tiff.number(fields, tag) or 0 for tag in sides] for sides in _TIFF_SIZES]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return (width, height) if width and height else None


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    text = re.sub(rb"#[^\r\n]*", b"", data[:_TEXT_BYTES])  # comments
    found = re.match(rb"P.\s*(\d{1,10})\s+(\d{1,10})", text)
    return None if found is None else (int(found[1]), int(found[2]))


def _pam_size(data: bytes) -> tuple[int, int]:
    return tuple(
        max((int(number) for number in re.findall(name + rb"\s+(\d{1,10})", data[:_TEXT_BYTES])), default=0)
        for name in (rb"WIDTH", rb"HEIGHT")
    )


def _radiance_size(data: bytes) -> tuple[int, int] | None:
    sizes = re.findall(rb"[-+]Y +(\d{1,10}) +[-+]X +(\d{1,10})", data[:_TEXT_BYTES])
    return max(((int(x), int(y)) for y, x in sizes), key=lambda size: size[0] * size[1], default=None)


def _box_size(name: bytes) -> Callable[[bytes], tuple[int, int] | None]:
    """Return a reader of the largest size in boxes with a name. JPEG 2000 has the height first, AVIF the width."""

    def read_size(data: bytes) -> tuple[int, int] | None:
        head, sizes, at = data[:_BOXES_WITHIN], [], -1
        while (at := head.find(name, at + 1)) >= 0 and at + 16 <= len(head):
            sizes.append(struct.unpack_from(">II", head, at + 8) if name == b"ispe" else
                         struct.unpack_from(">II", head, at + 4)[::-1])  # fmt: skip
        return max(sizes, key=lambda size: size[0] * size[1], default=None)

    return read_size


_SIZE_READERS: dict[bytes, Callable[[bytes], tuple[int, int] | None]] = {
    b"\xff\xd8\xff": _jpeg_size,
    b"\x89PNG\r\n\x1a\n": lambda data: struct.unpack_from(">II", data, 16),
    b"BM": _bmp_size,
    b"GIF8": lambda data: struct.unpack_from("<HH", data, 6),
    b"RIFF": _webp_size,
    b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size,
    b"II+\0": _tiff_size,
    b"MM\0+": _tiff_size,
    b"\0\0\0\x0cjP  ": _box_size(b"ihdr"),
    b"\xff\x4f\xff\x51": lambda data: struct.unpack_from(">II", data, 8),
    b"ftyp": _box_size(b"ispe"),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"PF", b"Pf"), _pnm_size),
    b"P7": _pam_size,
    b"#?RADIANCE": _radiance_size,
    b"#?RGBE": _radiance_size,
    b"\x59\xa6\x6a\x95": lambda data: struct.unpack_from(">II", data, 4),
}
