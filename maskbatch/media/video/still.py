"""Read one frame of a video by its time."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container, reason_of
from maskbatch.media.video.streams import start_s, video_stream
from maskbatch.media.video.viewer import Viewer

# maximum number of frames decoded before the requested one: a keyframe every five minutes at 30 fps
_MOST_FRAMES = 9000


def frame_at(path: Path, time_s: float) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 RGB that a video shows at a time, upright and with square pixels.

    Decoding begins at the keyframe before. If the clock of the recording jumps, the picture may be an earlier or later
    one.

    Args:
        path: the video.
        time_s: seconds from the start; a time past the end means the last frame.

    Raises:
        DecodeError: no frame can be decoded there, or the keyframe before is too far away.

    Example:
        >>> frame_at(Path("sample_media/video/visitors.mp4"), 2.0).shape
        (480, 640, 3)
    """
    container = open_container(path)
    with container:
        try:
            stream = video_stream(container)
            viewer, first = Viewer(container, stream), start_s(container, stream)
            wanted = first + Fraction(time_s)
            container.seek(max(0, int(wanted / stream.time_base)), stream=stream, backward=True)
            last = None
            for number, frame in enumerate(container.decode(stream)):
                if number > _MOST_FRAMES:
                    raise DecodeError(f"no frame at {time_s:.1f} s: the keyframe before is {number} frames away")
                viewer.notice(frame)
                last = frame
                # times in the store are rounded
                if frame.pts is None or frame.pts * stream.time_base >= wanted - Fraction(1, 1000):
                    break
        except av.error.FFmpegError as error:
            raise DecodeError(f"no frame at {time_s:.1f} s: {reason_of(error)}") from error
        if last is None:
            raise DecodeError(f"no frame at {time_s:.1f} s")
        return viewer.rgb(last)
