"""Finds EXIF data in photos of every kind, and takes from it the recording: when, and with which camera."""

import struct
from collections.abc import Iterable

from maskbatch.media.chunks import APP1, JPEG, PNG, TIFF, is_heif, is_webp, jpeg_contents, png_chunks, webp_chunks
from maskbatch.media.heif import Heif
from maskbatch.media.tiff import Tiff

_EXIF_DIRECTORY, _EXIF_VERSION = 0x8769, 0x9000
# make, model, date and time; in the EXIF directory: when it was taken and digitized, offsets from UTC, parts of a second
_KEPT = (0x010F, 0x0110, 0x0132)
_KEPT_EXIF = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292)
_TEXT, _LONG, _UNDEFINED = 2, 4, 7
_MOST_TEXT_BYTES = 255
# what damaged data makes the parsers raise
BROKEN = (ValueError, IndexError, OverflowError, struct.error)

Texts = list[tuple[int, bytes]]


def find_exif(data: bytes) -> bytes:
    """Return the TIFF structure that holds a photo's EXIF data, b"" when there is none. `data`: the bytes of a file.

    Raises one of `BROKEN` when boxes are damaged.
    """
    if data[:4] in TIFF:
        return data
    if is_heif(data):
        return Heif(data).exif()
    if data.startswith(JPEG):
        parts = jpeg_contents(data, APP1, b"Exif\0\0")
    elif data.startswith(PNG):
        parts = (chunk for chunk in png_chunks(data) if chunk.name == b"eXIf")
    elif is_webp(data):
        parts = (chunk for chunk in webp_chunks(data) if chunk.name == b"EXIF")
    else:
        return b""
    part = next(parts, None)
    # some programs write JPEG's prefix into WebP and PNG too
    return b"" if part is None else data[part.start : part.end].removeprefix(b"Exif\0\0")


def recording_exif(data: bytes) -> bytes:
    """Return EXIF data with the recording time and the camera of a photo's own, and nothing else; b"" when it has neither.

    `data` holds the bytes of a file. Never raises: EXIF data that is damaged counts as missing.
    """
    try:
        texts, exif_texts = recording(Tiff(find_exif(data)))
    except BROKEN:
        return b""
    if not texts and not exif_texts:
        return b""
    num_entries = len(texts) + 1
    entries, rest = layout(texts, exif_texts, 8 + 2 + 12 * num_entries + 4)
    return b"II*\0" + struct.pack("<I", 8) + directory(entries) + rest


def recording(tiff: Tiff) -> tuple[Texts, Texts]:
    """Return (tag, text) of what is kept of a photo's first directory, and of its EXIF directory.

    Raises one of `BROKEN` when the first directory is damaged.
    """
    fields = tiff.fields(tiff.first())
    texts = [(tag, text) for tag in _KEPT if (text := _text(tiff.value(fields, tag)))]
    at = tiff.number(fields, _EXIF_DIRECTORY)
    try:
        fields = tiff.fields(at) if at else {}
        return texts, [(tag, text) for tag in _KEPT_EXIF if (text := _text(tiff.value(fields, tag)))]
    except BROKEN:
        return texts, []


def layout(texts: Texts, exif_texts: Texts, start: int) -> tuple[list[bytes], bytes]:
    """Return the entries of a first directory, and the bytes that they refer to, which shall lie at offset `start`."""
    rest = b""

    def entry(tag: int, text: bytes) -> bytes:
        nonlocal rest
        text += b"\0"
        if len(text) <= 4:
            return struct.pack("<HHI4s", tag, _TEXT, len(text), text)
        offset = start + len(rest)
        rest += text + b"\0" * (len(text) % 2)
        return struct.pack("<HHII", tag, _TEXT, len(text), offset)

    entries = [entry(tag, text) for tag, text in texts]
    exif_entries = [struct.pack("<HHI4s", _EXIF_VERSION, _UNDEFINED, 4, b"0232")]
    exif_entries += [entry(tag, text) for tag, text in exif_texts]
    entries.append(struct.pack("<HHII", _EXIF_DIRECTORY, _LONG, 1, start + len(rest)))
    return entries, rest + directory(exif_entries)


def directory(entries: Iterable[bytes]) -> bytes:
    """Return a little-endian TIFF directory of these entries, the last of its chain."""
    in_order = sorted(entries, key=lambda entry: struct.unpack_from("<H", entry))
    return struct.pack("<H", len(in_order)) + b"".join(in_order) + bytes(4)


def _text(value: bytes) -> bytes:
    """The text of a value; b"" when it is no text, or a long one."""
    text = value.split(b"\0")[0].strip()
    is_text = len(text) <= _MOST_TEXT_BYTES and all(byte >= 0x20 and byte != 0x7F for byte in text)
    return text if is_text else b""
