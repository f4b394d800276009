"""Is a file a photo or a video? By its extension; by its first bytes where that says too little.

No decoder opens a file here: the journal, which says what file ended the program, is not open yet.
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
# the brands of the ISO base media files that are photos; "avis" is a film in AVIF
_PHOTO_BRANDS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PACKET, _START_BYTES = 188, 2 * 188 + 1

Kind = Literal["image", "video"]


def kind_by_name(path: Path) -> Kind | None:
    """Return the kind that the extension of a file tells, or None for neither a photo nor a video.

    A GIF may move and a .ts may be a program in TypeScript: their content decides.
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
    """Return the kind of a file whatever its name.

    Known starts of photos and plain text are images. All else is a video: FFmpeg knows hundreds of formats, and says what
    is none of them when its turn comes.
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
    """Return whether a GIF has a second frame, by walking its blocks; False when it cannot be read that far."""
    try:
        with path.open("rb") as file:
            head = file.read(13)
            _skip_colours(file, head[10:11])
            return _skip_to_image(file) and _skip_image(file) and _skip_to_image(file)
    except (OSError, EOFError):
        return False


def _skip_to_image(file: BinaryIO) -> bool:
    """Skip the extensions of a GIF up to behind the sign of the next image; return whether there is one."""
    while (sign := _byte(file)) == 0x21:
        _byte(file)
        _skip_blocks(file)
    return sign == 0x2C


def _skip_image(file: BinaryIO) -> bool:
    """Skip what follows the sign of an image in a GIF."""
    _skip_colours(file, file.read(9)[8:9])
    _byte(file)  # the size of its codes
    _skip_blocks(file)
    return True


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Skip the table of colours that the flags of a GIF or of its image announce."""
    if not flags:
        raise EOFError
    if flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, 1)


def _skip_blocks(file: BinaryIO) -> None:
    """Skip blocks, each of which begins with its length, and the empty one at their end."""
    while length := _byte(file):
        file.seek(length, 1)


def _byte(file: BinaryIO) -> int:
    if not (byte := file.read(1)):
        raise EOFError
    return byte[0]


def _start_of(path: Path) -> bytes:
    """Return the first bytes of a file; none of an empty one, or of one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except OSError:
        return b""


def _may_be_transport_stream(start: bytes) -> bool:
    """Return whether an MPEG transport stream may start so; an empty or unreadable file shall be reported, not ignored."""
    # recordings cut in the middle of a packet have their sync byte anywhere, but then once more a packet later
    return not start or any(
        start[at] == 0x47 and (at + _PACKET >= len(start) or start[at + _PACKET] == 0x47)
        for at in range(min(_PACKET, len(start)))
    )


def _is_text(start: bytes) -> bool:
    """Return whether the bytes hold no control characters but those of text."""
    return all(byte >= 0x20 or byte in b"\t\n\v\f\r\x1b" for byte in start)
