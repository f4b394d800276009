"""EXIF data of photos of every kind, reduced to recording time and camera."""

import struct
from collections.abc import Iterable

from maskbatch.media.photo.chunks import APP1, JPEG, PNG, TIFF, is_heif, is_webp, jpeg_contents, png_chunks, webp_chunks
from maskbatch.media.photo.heif import Heif
from maskbatch.media.photo.tiff import Tiff

_EXIF_DIRECTORY, _EXIF_VERSION = 0x8769, 0x9000
# make, model, date and time; in the EXIF directory: time of recording and of digitizing, UTC offsets, fractions of a second
_KEPT = (0x010F, 0x0110, 0x0132)
_KEPT_EXIF = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292)
# names of the time that a photo was taken, and of its UTC offset
_TIME_NAMES = {0x9003: "DateTimeOriginal", 0x9011: "OffsetTimeOriginal"}
_TEXT, _LONG, _UNDEFINED = 2, 4, 7
_MOST_TEXT_BYTES = 255
# errors that the parsers raise for damaged data
BROKEN = (ValueError, IndexError, OverflowError, struct.error)

Texts = list[tuple[int, bytes]]


def find_exif(data: bytes) -> bytes:
    """Return the TIFF structure of the EXIF data in a photo's bytes `data`, or b"" when there is none.

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
    # some programs write JPEG's prefix into WebP and PNG files too
    return b"" if part is None else data[part.start : part.end].removeprefix(b"Exif\0\0")


def recording_exif(data: bytes) -> bytes:
    """Return new EXIF data with only the recording time and the camera of the photo in `data`; b"" without either.

    Never raises: damaged EXIF data counts as missing.
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


def recorded_tags(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return the recording time of the photo in `data`, and its UTC offset, as (name, text); () without them.

    Never raises: damaged EXIF data counts as missing.
    """
    try:
        _, exif_texts = recording(Tiff(find_exif(data)))
    except BROKEN:
        return ()
    found = {tag: text.decode("ascii", "replace") for tag, text in exif_texts}
    return tuple((name, found[tag]) for tag, name in _TIME_NAMES.items() if tag in found)


def recording(tiff: Tiff) -> tuple[Texts, Texts]:
    """Return (tag, text) of the kept entries of a photo's first directory, and of its EXIF directory.

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
    """Return the entries of a first directory, and the bytes that they refer to, which belong at offset `start`."""
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
    """Return a little-endian TIFF directory of these entries, the last in its chain."""
    in_order = sorted(entries, key=lambda entry: struct.unpack_from("<H", entry))
    return struct.pack("<H", len(in_order)) + b"".join(in_order) + bytes(4)


def _text(value: bytes) -> bytes:
    """Return the text of a value, or b"" when it is not text or too long."""
    text = value.split(b"\0")[0].strip()
    is_text = len(text) <= _MOST_TEXT_BYTES and all(byte >= 0x20 and byte != 0x7F for byte in text)
    return text if is_text else b""
