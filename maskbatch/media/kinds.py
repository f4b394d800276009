"""Is a file a photo or a video? By its extension; by its content where that says too little."""

from pathlib import Path
from typing import Literal

import av
import cv2

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container

_PHOTO_NAMES = "jpg jpeg jpe jfif png webp bmp dib tif tiff avif heic heif hif jp2 ppm pgm pbm pnm"
_VIDEO_NAMES = (
    "mp4 m4v mov qt mkv webm avi divx mpg mpeg mpe m1v m2v mpv vob ts mts m2ts trp wmv asf flv f4v 3gp 3g2 ogv ogm mxf "
    "nut ivf y4m mjpeg mjpg h264 264 avc h265 265 hevc dav rm rmvb"
)
PHOTO_SUFFIXES = frozenset(f".{name}" for name in _PHOTO_NAMES.split())
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEO_NAMES.split())

Kind = Literal["image", "video"]


def kind_by_name(path: Path) -> Kind | None:
    """What the file's extension says it is, or None: neither photo nor video.

    A GIF is opened, because only its content tells whether it moves; so is a .ts, which may be a program in TypeScript.
    """
    suffix = path.suffix.lower()
    if suffix == ".gif":
        return "video" if has_several_frames(path) else "image"
    if suffix == ".ts" and not _starts_like_transport_stream(path):
        return None
    if suffix in PHOTO_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def kind_by_content(path: Path) -> Kind:
    """What the file holds, whatever its name. One that is neither counts as a photo, and fails when it is decoded."""
    try:
        with open_container(path) as container:
            name = container.format.name
            if name.endswith("_pipe") or not container.streams.video:
                return "image"
    except (av.error.FFmpegError, DecodeError):
        return "image"
    # AVIF and HEIC are, for PyAV, videos of one frame
    return "image" if cv2.haveImageReader(str(path)) and not has_several_frames(path) else "video"


def has_several_frames(path: Path) -> bool:
    """Whether the file's video stream has a second packet; False when it cannot be opened."""
    try:
        with open_container(path) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            return next(packets, None) is not None and next(packets, None) is not None
    except (av.error.FFmpegError, DecodeError, IndexError):
        return False


def _starts_like_transport_stream(path: Path) -> bool:
    """An empty or unreadable file passes: it shall be reported, not ignored."""
    try:
        with path.open("rb") as file:
            start = file.read(377)
    except OSError:
        return True
    # recordings cut in the middle of a packet have their sync byte anywhere, but then once more 188 bytes later
    return not start or any(
        start[at] == 0x47 and (at + 188 >= len(start) or start[at + 188] == 0x47) for at in range(min(188, len(start)))
    )
