"""Check that a video is complete: compare the frames read with the claims of its container."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer

from maskbatch.errors import DecodeError
from maskbatch.media.photo.headers import gif_is_whole
from maskbatch.media.video.streams import frame_rate

# containers whose header states the duration; for others FFmpeg estimates it from the bit rate or the existing part
_DECLARES_DURATION = ("mov", "matroska", "flv", "asf")


class Read(NamedTuple):
    """The read part of a file: number of frames, end of the last packet in seconds, and errors in words."""

    path: Path
    num_frames: int
    until_s: Fraction
    damage: Sequence[str]


def check_whole(container: InputContainer, stream: av.VideoStream, read: Read) -> None:
    """Raise DecodeError when nothing could be decoded, or the video is damaged or ends early."""
    if read.num_frames == 0:
        because = f": {read.damage[0]}" if read.damage else ""
        raise DecodeError(f"no frame can be decoded{because}")
    expected = _num_missing(container, stream, read) + read.num_frames
    if expected > read.path.stat().st_size:
        claim = f"the header claims {expected}, more than the file has bytes"
        raise DecodeError(f"damaged: {read.num_frames} frames, but {claim}")
    if expected > read.num_frames:
        raise DecodeError(f"ends early: {read.num_frames} of about {expected} frames")
    if container.format.name == "gif" and not gif_is_whole(_last_bytes(read.path)):
        raise DecodeError("truncated: the GIF has no end")
    if read.damage:
        raise DecodeError(f"damaged: {len(read.damage)} packets could not be decoded in full ({read.damage[0]})")


def _num_missing(container: InputContainer, stream: av.VideoStream, read: Read) -> int:
    """Return the number of frames that the header claims but the file lacks, or 0 when this is uncertain."""
    fps, missing_s = frame_rate(container, stream), Fraction(0)
    if container.duration and container.format.name.startswith(_DECLARES_DURATION):
        # most containers count the duration from their first time stamp, some from 0: assume the milder case
        missing_s = Fraction(container.duration, av.time_base) - read.until_s
    elif container.format.name == "avi":
        missing_s = (stream.frames - read.num_frames) / fps
    tolerance_s = max(Fraction(1, 4), 3 / fps, Fraction(container.duration or 0, av.time_base) / 50)
    return round(missing_s * fps) if missing_s > tolerance_s else 0


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), 2)
        return file.read()
