"""Insert EXIF data into encoded photos."""

import struct
import zlib

from maskbatch.media.photo.chunks import JPEG, PNG, is_webp, webp_chunks
from maskbatch.media.photo.exif import directory, layout, recording
from maskbatch.media.photo.headers import image_size
from maskbatch.media.photo.tiff import Tiff

_PNG_HEADER_END = 33
_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08


def with_exif(encoded: bytes, exif: bytes) -> bytes:
    """Return the photo `encoded` by OpenCV, with `exif` from `recording_exif` added.

    Supports JPEG, PNG, WebP and TIFF; photos of other kinds are returned unchanged.
    """
    if not exif:
        return encoded
    if encoded.startswith(JPEG):
        return _jpeg_with(encoded, exif)
    if encoded.startswith(PNG):
        chunk = b"eXIf" + exif
        chunk = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return encoded[:_PNG_HEADER_END] + chunk + encoded[_PNG_HEADER_END:]
    if is_webp(encoded):
        return _webp_with(encoded, exif)
    if encoded.startswith(b"II*\0"):
        return _tiff_with(encoded, exif)
    return encoded


def _jpeg_with(jpeg: bytes, exif: bytes) -> bytes:
    """Insert the EXIF segment after the JFIF segment, which must come first."""
    at = 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == b"\xff\xe0" else 2
    content = b"Exif\0\0" + exif
    return jpeg[:at] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[at:]


def _webp_with(webp: bytes, exif: bytes) -> bytes:
    """Insert the EXIF chunk, and the extended header that it needs before all other chunks."""
    if webp[12:16] == b"VP8X":
        chunks = bytearray(webp[12:])
        chunks[8] |= _WEBP_EXIF
    else:
        width, height = image_size(webp)
        has_alpha = any(chunk.name == b"VP8L" and webp[chunk.start + 4] & 0x10 for chunk in webp_chunks(webp))
        flags = _WEBP_EXIF | (_WEBP_ALPHA if has_alpha else 0)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = b"VP8X" + struct.pack("<IB3x", 10, flags) + size + webp[12:]
    chunks = bytes(chunks) + b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _tiff_with(tiff: bytes, exif: bytes) -> bytes:
    """Append a new first directory with the entries of the old one and of `exif`."""
    old = struct.unpack_from("<I", tiff, 4)[0]
    num_old = struct.unpack_from("<H", tiff, old)[0]
    old_entries = [tiff[at : at + 12] for at in range(old + 2, old + 2 + 12 * num_old, 12)]
    tiff += b"\0" * (len(tiff) % 2)
    entries, rest = layout(*recording(Tiff(exif)), len(tiff))
    return tiff[:4] + struct.pack("<I", len(tiff) + len(rest)) + tiff[8:] + rest + directory([*old_entries, *entries])
