"""Colour profiles of photos of every kind."""

import struct
import zlib

from maskbatch.media.photo.chunks import (
    APP2,
    BMP,
    JP2,
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
from maskbatch.media.photo.exif import BROKEN, find_exif
from maskbatch.media.photo.heif import Heif
from maskbatch.media.photo.icc import ADOBE_RGB, SRGB, gamma_curve, make_profile, profile_by_numbers, srgb_curve
from maskbatch.media.photo.tiff import Tiff

MOST_PROFILE_BYTES = 1 << 22
_PROFILE_TAG, _EXIF_DIRECTORY, _INTEROP_DIRECTORY = 34675, 0x8769, 0xA005


def profile_of(data: bytes) -> bytes:
    """Return the ICC profile of the file content `data`, or a profile made for the colours that the photo names.

    The result is b"" without a profile, and for sRGB by name. Never raises: a damaged profile counts as missing.
    """
    try:
        return _profile_of(data)
    except (*BROKEN, zlib.error):
        return b""


def _profile_of(data: bytes) -> bytes:
    if data.startswith(JPEG):
        return _of_jpeg(data) or _adobe_rgb_by_exif(data)
    if data.startswith(PNG):
        return _of_png(data)
    if is_webp(data):
        return next((data[chunk.start : chunk.end] for chunk in webp_chunks(data) if chunk.name == b"ICCP"), b"")
    if data[:4] in TIFF:
        tiff = Tiff(data)
        return tiff.value(tiff.fields(tiff.first()), _PROFILE_TAG)
    if is_heif(data):
        return _of_heif(data)
    if data.startswith(JP2):
        return _of_jp2(data)
    return _of_bmp(data) if data.startswith(BMP) else b""


def _of_jpeg(data: bytes) -> bytes:
    """Return the ICC profile of a JPEG, joined from its numbered pieces of at most 64 KiB."""
    pieces = {data[part.start]: data[part.start + 2 : part.end] for part in jpeg_contents(data, APP2, b"ICC_PROFILE\0")
              if part.end >= part.start + 2}  # fmt: skip
    return b"".join(pieces[number] for number in sorted(pieces))


def _adobe_rgb_by_exif(data: bytes) -> bytes:
    """Return the profile of Adobe RGB when the EXIF data says "R03", the only sign that some cameras write."""
    tiff = Tiff(find_exif(data))
    fields = tiff.fields(tiff.first())
    for tag in (_EXIF_DIRECTORY, _INTEROP_DIRECTORY):
        fields = tiff.fields(tiff.number(fields, tag) or len(tiff.data))
    return make_profile(ADOBE_RGB, gamma_curve(563 / 256)) if tiff.value(fields, 1)[:3] == b"R03" else b""


def _of_png(data: bytes) -> bytes:
    """Return the profile of a PNG by the first chunk in the standard's order: cICP, iCCP, sRGB, gAMA with cHRM."""
    found = {}
    for chunk in png_chunks(data):
        if chunk.name in (b"IDAT", b"IEND"):
            break
        if chunk.name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            found.setdefault(chunk.name, data[chunk.start : chunk.end])
    if b"cICP" in found:
        return profile_by_numbers(*found[b"cICP"][:2])
    if b"iCCP" in found:
        # the chunk has a name, 0, the method, and the deflated profile
        packed = found[b"iCCP"].partition(b"\0")[2][1:]
        return zlib.decompressobj().decompress(packed, MOST_PROFILE_BYTES + 1)
    if b"sRGB" in found or b"gAMA" not in found:
        return b""
    gamma = 100_000 / max(1, struct.unpack(">I", found[b"gAMA"])[0])
    if not 0.5 < gamma < 4:  # no camera or screen has such a gamma
        return b""
    if b"cHRM" not in found:
        return b"" if abs(gamma - 2.2) < 0.1 else make_profile(SRGB, gamma_curve(gamma))
    white_x, white_y, *primaries = (value / 100_000 for value in struct.unpack(">8I", found[b"cHRM"]))
    curve = srgb_curve() if abs(gamma - 2.2) < 0.1 and tuple(primaries) == SRGB else gamma_curve(gamma)
    return make_profile(primaries, curve, (white_x, white_y))


def _of_heif(data: bytes) -> bytes:
    heif = Heif(data)
    # a picture of tiles may have its colours in the tiles only
    tiles = [part for item, parts in heif.references(b"dimg") if item == heif.primary for part in parts[:1]]
    for item in (heif.primary, *tiles):
        colours = [body for name, body in heif.properties(item) if name == b"colr"]
        for colour in sorted(colours, key=lambda body: body[:4] == b"nclx"):
            if colour[:4] in (b"prof", b"rICC"):
                return colour[4:]
            if colour[:4] == b"nclx":
                return profile_by_numbers(*struct.unpack_from(">HH", colour, 4))
    return b""


def _of_jp2(data: bytes) -> bytes:
    for header in boxes(data):
        for box in boxes(data, header.start, header.end) if header.name == b"jp2h" else ():
            if box.name == b"colr" and data[box.start] in (2, 3):  # a profile rather than a number
                return data[box.start + 3 : box.end]
    return b""


def _of_bmp(data: bytes) -> bytes:
    if int.from_bytes(data[14:18], "little") < 124 or data[70:74] != b"DEBM":  # "MBED" backwards: embedded
        return b""
    offset, size = struct.unpack_from("<II", data, 126)
    return data[14 + offset : 14 + offset + size]
