"""The main video stream of a container, its start time and its frame rate."""

from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Disposition

from maskbatch.errors import DecodeError
from maskbatch.media.photo.reader import MAX_PIXELS, check_pixels
from maskbatch.media.video.clock import DEFAULT_FPS

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# a frame rate outside these limits is damage
_LEAST_FPS, _MOST_FPS = Fraction(1, 24 * 3600), 1_000_000


def video_stream(container: InputContainer) -> av.VideoStream:
    """Return the main video stream, which is never a cover picture.

    Raises DecodeError when there is none, when no decoder supports it, or when its frames are too large.
    """
    found = _moving(container)
    if not found:
        why = "no video: only sound and a cover picture" if container.streams.video else "the file has no video stream"
        raise DecodeError(why)
    best = container.streams.best("video")
    stream = best if best in found else found[0]
    if stream.codec_context is None:
        raise DecodeError("the video's codec is not supported")
    check_pixels((stream.codec_context.width, stream.codec_context.height))
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a later frame may be larger
    return stream


def further_streams(container: InputContainer) -> tuple[str, ...]:
    """Return notes on further video streams and sound tracks, since a scan uses one of each."""
    kinds = (("video stream", len(_moving(container))), ("sound track", len(container.streams.audio)))
    return tuple(f"{kind}: 1 of {number} used" for kind, number in kinds if number > 1)


def _moving(container: InputContainer) -> list[av.VideoStream]:
    """Return the video streams without still pictures that go with sound (covers, thumbnails of chapters)."""
    return [stream for stream in container.streams.video if not stream.disposition & _STILLS]


def start_s(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """Return the time stamp in seconds at which playback starts, from which video and audio are counted.

    This is the start of the container, so that a video that starts after its audio also does so in the output. Audio
    often starts a fraction of a frame early because of its codec's padding; in that case, the first video frame is the
    start.
    """
    first = Fraction(stream.start_time) * stream.time_base if stream.start_time is not None else None
    whole = Fraction(container.start_time, av.time_base) if container.start_time is not None else None
    if first is None or whole is None:
        return first or whole or Fraction(0)
    return first if first - whole <= 1 / frame_rate(container, stream) else whole


def frame_rate(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """Return the exact frames per second. A raw stream has no time stamps, so its codec's rate counts."""
    is_timed = container.duration is not None or stream.duration is not None
    rates = (stream.average_rate, stream.guessed_rate) if is_timed else (stream.guessed_rate, stream.average_rate)
    return next((Fraction(rate) for rate in rates if rate and _LEAST_FPS <= rate <= _MOST_FPS), DEFAULT_FPS)
