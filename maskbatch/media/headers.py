"""What the first bytes of a photo say: its size before any pixel is decoded, and whether a JPEG has its end."""

import struct
from collections.abc import Callable

from maskbatch.media.chunks import START_OF_SCAN, jpeg_segments

# SOF0..SOF15 carry the size; C4, C8 and CC in between are tables
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# tags of TIFF, and the type of a 16-bit number
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _SHORT = 256, 257, 322, 323, 3
_BOXES_WITHIN = 1 << 16


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels as stored (before EXIF rotation), or None when the header is of another kind or cut.

    Knows JPEG, PNG, BMP, GIF, WebP, TIFF, JPEG 2000, AVIF and HEIC; for all other kinds the decoder's own limit has to do.
    """
    start = data[4:12] if data[4:8] == b"ftyp" else data  # the length of that box comes first
    read_size = next((read for magic, read in _SIZE_READERS.items() if start.startswith(magic)), None)
    try:
        return None if read_size is None else read_size(data)
    except (struct.error, IndexError):
        return None


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the coded image of a JPEG reaches its end marker.

    Segments are walked up to the first scan, because an EXIF thumbnail is a JPEG of its own with its own end marker.
    """
    scan = next((offset for marker, offset in jpeg_segments(data) if marker == START_OF_SCAN), None)
    # inside coded data every 0xFF is followed by 0x00 or a restart marker, so the end marker cannot occur by chance
    return scan is not None and data.find(b"\xff\xd9", scan) >= 0


def png_is_cut(data: bytes) -> bool:
    """Whether a chunk of a PNG claims more bytes than the file has. OpenCV 5 would take memory for them, up to 4 GiB."""
    at, end, unpack = 8, len(data) - 8, struct.Struct(">I4s").unpack_from
    while at <= end:  # a plain loop: large photos have thousands of chunks
        length, name = unpack(data, at)
        at += 12 + length
        if name == b"IEND":
            break
    return at > len(data) + 4  # a checksum may be missing


def gif_is_whole(end: bytes) -> bool:
    """Whether the last bytes of a GIF hold its end mark (some programs fill up with zeros behind it)."""
    return end.rstrip(b"\0").endswith(b";")


def jpeg_has_scan(data: bytes) -> bool:
    """Whether the file is a JPEG that was cut no earlier than in its coded image."""
    return any(marker == START_OF_SCAN for marker, _ in jpeg_segments(data))


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, offset in jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, offset + 3)
            return width, height
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[8:16].removeprefix(b"WEBP")  # RIFF holds WAV and AVI too
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
    return abs(width), abs(height)  # a negative height only means that rows run from top to bottom


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Of the first picture; of one of its tiles, where those claim to be larger than the picture."""
    order = "<" if data[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", data, 4)[0]
    values = dict.fromkeys((_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT), 0)
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from(order + "H", data, first)[0], 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in values:
            values[tag] = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, at + 8)[0]
    picture, tile = (values[_WIDTH], values[_HEIGHT]), (values[_TILE_WIDTH], values[_TILE_HEIGHT])
    largest = max(picture, tile, key=lambda size: size[0] * size[1])
    return largest if all(largest) else None


def _box_size(name: bytes) -> Callable[[bytes], tuple[int, int] | None]:
    """A reader of the largest size that a box of this name gives: AVIF's width first, JPEG 2000's height first."""

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
    b"\0\0\0\x0cjP  ": _box_size(b"ihdr"),
    b"ftyp": _box_size(b"ispe"),
}
