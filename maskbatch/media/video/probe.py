"""Read the plausible claims of a video's container: frame rate, duration, size, number of frames."""

from dataclasses import replace
from math import isfinite

import av
from av.container import InputContainer

from maskbatch.media.containers import open_container
from maskbatch.media.video.recorded import recorded
from maskbatch.media.video.streams import frame_rate, start_s, video_stream
from maskbatch.media.video.viewer import Viewer
from maskbatch.types import BT709, Source

# recordings are shorter than a year
_MOST_DURATION_S = 366 * 24 * 3600.0
# containers whose duration is the end time of the last frame, also where the first frame does not begin at 0
_COUNT_FROM_0 = ("matroska", "asf", "nut")

_CLAIMS = ("fps", "time_base", "num_frames", "width", "height", "duration_s")


def probe(source: Source, upright: bool = True) -> Source:
    """Return the video with the current claims of its container, or a photo unchanged. Never raises.

    All claims are None when the container cannot be read. One frame is decoded to find the upright size of the picture.
    Without `upright`, nothing is decoded, and the size is as coded.
    """
    if source.kind == "image":
        return source
    try:
        with open_container(source.path) as container:
            stream = video_stream(container)
            fps = frame_rate(container, stream)
            duration_s = _duration_s(container, stream)
            num_frames = stream.frames or (round(duration_s * fps) if duration_s else None)
            if num_frames and num_frames > source.path.stat().st_size:
                num_frames = None  # every frame has at least one byte
            colours = BT709
            width, height = stream.codec_context.width, stream.codec_context.height
            if upright:  # only a frame has a display matrix
                viewer, frame = Viewer(container, stream), next(container.decode(stream))
                viewer.notice(frame)
                width, height = viewer.size_of(frame)
                colours = viewer.colours_of(frame) or BT709
            return replace(
                source, fps=fps, time_base=stream.time_base, num_frames=num_frames, width=width, height=height,
                duration_s=duration_s, recorded=recorded(container, stream), colours=colours,
            )  # fmt: skip
    except Exception:  # decoding the file will report the error
        return replace(source, **dict.fromkeys(_CLAIMS), recorded=(), colours=BT709)


def _duration_s(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Return the seconds from the start of playback to the end of the video stream, but at most to the container's end.

    Edit lists cut the end. Recorders that begin a new file every minute may leave the time stamps as they are.
    """
    own = float(stream.duration * stream.time_base) if stream.duration else _tagged_duration_s(stream)
    whole = container.duration / av.time_base if container.duration else None
    late_s = max(float(start_s(container, stream)), 0.0) if container.format.name.startswith(_COUNT_FROM_0) else 0.0
    lengths = [seconds - late_s if seconds > late_s else seconds for seconds in (own, whole) if seconds]
    return min((seconds for seconds in lengths if 0 < seconds < _MOST_DURATION_S), default=None)


def _tagged_duration_s(stream: av.VideoStream) -> float | None:
    """Return the duration in the Matroska tag of a stream, such as "00:00:02.002000000"."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        seconds = float(parts[0]) * 3600 + float(parts[1]) * 60 + float(parts[2])
        return seconds if isfinite(seconds) else None
    except (IndexError, ValueError):
        return None
