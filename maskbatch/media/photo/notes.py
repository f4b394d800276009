"""Notes on the parts of a photo file that are not looked at: further pages, frames, pictures and video clips."""

import re
import struct

from maskbatch.media.photo.chunks import (
    APP1,
    APP2,
    GIF,
    JPEG,
    PNG,
    TIFF,
    boxes,
    is_heif,
    is_webp,
    jpeg_contents,
    png_chunks,
    webp_chunks,
)
from maskbatch.media.photo.exif import BROKEN
from maskbatch.media.photo.headers import image_size
from maskbatch.media.photo.heif import Heif, num_sequence_frames
from maskbatch.media.photo.tiff import Tiff, num_pages

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# tags of Google's phones, as attribute or element
_HAS_CLIP = re.compile(rb"\b(?:MotionPhoto|MicroVideo)(?:\s*=\s*[\"']|>)\s*1\b")
_MP_ENTRIES = 0xB002
# kinds of pictures in a JPEG with several: panorama, stereo, angles, primary; other kinds are previews and maps
_FULL_PICTURES = frozenset((0x020001, 0x020002, 0x020003, 0x030000))
_JPEG_HEADER_BYTES = 1 << 16
_MOST_GIF_BLOCKS = 1 << 20

_CLIP = "an embedded video clip not looked at"


def notes_of(data: bytes) -> tuple[str, ...]:
    """Return a note for each part of the file content `data` that is not looked at. Never raises."""
    try:
        return tuple(_notes_of(data))
    except BROKEN:
        return ()


def _notes_of(data: bytes) -> list[str]:
    if data.startswith(JPEG):
        return _counted(_num_jpeg_pictures(data), "picture") + [_CLIP] * _jpeg_has_clip(data)
    if data[:4] in TIFF:
        return _counted(num_pages(data) - 1, "page")
    if is_heif(data):
        has_clip = any(box.name == b"mpvd" for box in boxes(data))
        pictures = _counted(Heif(data).num_further_pictures(), "picture")
        return _counted(num_sequence_frames(data) - 1, "frame") or pictures + [_CLIP] * has_clip
    if data.startswith(PNG):
        return _counted(_num_png_frames(data), "frame")
    if is_webp(data):
        return _counted(sum(chunk.name == b"ANMF" for chunk in webp_chunks(data)) - 1, "frame")
    return _counted(_num_gif_frames(data) - 1, "frame") if data.startswith(GIF) else []


def _counted(number: int, noun: str) -> list[str]:
    return [f"{number} further {noun}{'s' if number > 1 else ''} not looked at"] if number > 0 else []


def _num_png_frames(data: bytes) -> int:
    """Return the number of frames except the shown picture, which need not be a frame."""
    is_animated = is_first_frame = False
    num_frames = 0
    for chunk in png_chunks(data):
        if chunk.name == b"acTL":
            is_animated = True
        elif chunk.name == b"fcTL":
            num_frames += 1
        elif chunk.name == b"IDAT":
            is_first_frame |= num_frames == 1
            if not is_animated:  # stop here: most files have thousands of IDAT chunks
                return 0
    return num_frames - is_first_frame


def _num_gif_frames(data: bytes) -> int:
    """Return the number of pictures in a GIF, up to the first damaged block."""

    def behind_table(at: int, flags: int) -> int:
        return at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    at, number = behind_table(13, data[10]), 0
    for _ in range(_MOST_GIF_BLOCKS):
        kind = data[at : at + 1]
        if kind == b",":
            number += 1
            at = behind_table(at + 10, data[at + 9]) + 1
        elif kind == b"!":
            at += 2
        else:
            return number
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return number


def _num_jpeg_pictures(data: bytes) -> int:
    """Return the number of full pictures after the first one (stereo cameras, panoramas)."""
    part = next(jpeg_contents(data, APP2, b"MPF\0"), None)
    if part is None:
        return 0
    tiff = Tiff(data[part.start : part.end])
    entries = tiff.value(tiff.fields(tiff.first()), _MP_ENTRIES)
    further = struct.iter_unpack(f"{tiff.order}IIII", entries[16 : len(entries) // 16 * 16])
    return sum(_is_full_picture(data, kind & 0xFFFFFF, part.start + offset) for kind, _, offset, _ in further)


def _is_full_picture(data: bytes, kind: int, at: int) -> bool:
    """Return True when the JPEG at an offset is a full picture, and not a map of depth or brightness from a phone.

    If its kind is undefined, its size and its XMP data decide.
    """
    start = data[at : at + _JPEG_HEADER_BYTES]
    if not start.startswith(JPEG):
        return False
    is_map = any(word in start for word in (b"hdrgm:", b"hdrgainmap", b"depth"))
    return kind in _FULL_PICTURES or (kind == 0 and not is_map and image_size(start) == image_size(data))


def _jpeg_has_clip(data: bytes) -> bool:
    if data.endswith(b"SEFT") and b"MotionPhoto_Data" in data:  # Samsung's trailer
        return True
    return any(_HAS_CLIP.search(data, part.start, part.end) for part in jpeg_contents(data, APP1, _XMP))
