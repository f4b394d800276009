"""Recognition of photos and videos by their extension, or by their first bytes when the extension is ambiguous.

No decoder opens a file here, because the store, which would record a file that crashes the process, is not open yet.
"""

from pathlib import Path
from typing import BinaryIO, Literal

_PHOTO_NAMES = "jpg jpeg jpe jfif png webp bmp dib tif tiff avif heic heif hif jp2 ppm pgm pbm pnm"
_VIDEO_NAMES = (
    "mp4 m4v mov qt mkv webm avi divx mpg mpeg mpe m1v m2v mpv vob ts mts m2ts trp wmv asf flv f4v 3gp 3g2 ogv ogm mxf "
    "nut ivf y4m mjpeg mjpg h264 264 avc h265 265 hevc dav rm rmvb"
)
PHOTO_SUFFIXES = frozenset(f".{name}" for name in _PHOTO_NAMES.split())
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEO_NAMES.split())

# JPEG, PNG, BMP, TIFF (also BigTIFF), JPEG 2000 (boxes, codestream), OpenEXR, Radiance HDR, Sun raster
_PHOTO_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51", b"\x76\x2f\x31\x01", b"#?RADIANCE", b"\x59\xa6\x6a\x95",
)  # fmt: skip
_PNM_KINDS = b"1234567fF"
# brands of ISO base media files that are photos; "avis" is an image sequence in AVIF
_PHOTO_BRANDS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PACKET, _START_BYTES = 188, 2 * 188 + 1

Kind = Literal["image", "video"]


def kind_by_name(path: Path) -> Kind | None:
    """Return the kind of a file by its extension, or None for neither a photo nor a video.

    The content decides for a GIF, which may be animated, and for a .ts, which may be TypeScript.
    """
    suffix = path.suffix.lower()
    if suffix == ".gif":
        return kind_by_content(path)
    if suffix == ".ts" and not _may_be_transport_stream(_start_of(path)):
        return None
    if suffix in PHOTO_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def kind_by_content(path: Path) -> Kind:
    """Return the kind of a file by its content.

    Files that start like a photo or like plain text are images. All others are videos: FFmpeg knows hundreds of formats,
    and reports files of unknown formats later.
    """
    start = _start_of(path)
    if start.startswith(b"GIF8"):
        return "video" if gif_moves(path) else "image"
    is_pnm = start[:1] == b"P" and start[1:2] in _PNM_KINDS and start[2:3].isspace()
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_photo_box = start[4:8] == b"ftyp" and start[8:12] in _PHOTO_BRANDS
    if is_pnm or is_webp or is_photo_box or start.startswith(_PHOTO_STARTS):
        return "image"
    return "image" if _is_text(start) and not start.startswith(b"YUV4MPEG2") else "video"


def gif_moves(path: Path) -> bool:
    """Return True when a GIF has a second frame, and False when its blocks cannot be read that far."""
    try:
        with path.open("rb") as file:
            head = file.read(13)
            _skip_colours(file, head[10:11])
            return _skip_to_image(file) and _skip_image(file) and _skip_to_image(file)
    except (OSError, EOFError):
        return False


def _skip_to_image(file: BinaryIO) -> bool:
    """Skip a GIF's extensions to just after the marker of the next image. Return False when there is no such image."""
    while (sign := _byte(file)) == 0x21:
        _byte(file)
        _skip_blocks(file)
    return sign == 0x2C


def _skip_image(file: BinaryIO) -> bool:
    """Skip an image of a GIF, from just after its marker."""
    _skip_colours(file, file.read(9)[8:9])
    _byte(file)  # the code size
    _skip_blocks(file)
    return True


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Skip the colour table that the flags of a GIF or of its image announce."""
    if not flags:
        raise EOFError
    if flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, 1)


def _skip_blocks(file: BinaryIO) -> None:
    """Skip blocks that begin with their length, up to and including the empty block that ends them."""
    while length := _byte(file):
        file.seek(length, 1)


def _byte(file: BinaryIO) -> int:
    if not (byte := file.read(1)):
        raise EOFError
    return byte[0]


def _start_of(path: Path) -> bytes:
    """Return the first bytes of a file, or no bytes when it is empty or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except OSError:
        return b""


def _may_be_transport_stream(start: bytes) -> bool:
    """Return True when an MPEG transport stream may start with these bytes.

    No bytes also give True, because an empty or unreadable file must be reported and not ignored.
    """
    # a recording that starts in the middle of a packet has its sync byte anywhere, and again one packet later
    return not start or any(
        start[at] == 0x47 and (at + _PACKET >= len(start) or start[at + _PACKET] == 0x47)
        for at in range(min(_PACKET, len(start)))
    )


def _is_text(start: bytes) -> bool:
    """Return True when the bytes have no control characters except those of text."""
    return all(byte >= 0x20 or byte in b"\t\n\v\f\r\x1b" for byte in start)
