"""Which stream of a container is its video, where that starts, how many frames a second it has."""

from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Disposition

from maskbatch.errors import DecodeError
from maskbatch.media.clock import DEFAULT_FPS
from maskbatch.media.photos import MAX_PIXELS, check_pixels

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# what lies outside is no rate of frames, but damage
_LEAST_FPS, _MOST_FPS = Fraction(1, 24 * 3600), 1_000_000


def video_stream(container: InputContainer) -> av.VideoStream:
    """Return the main video stream; a cover picture is none.

    Raises:
        DecodeError: There is none, no decoder for it, or its frames are too large.
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
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a frame further on may be larger
    return stream


def further_streams(container: InputContainer) -> tuple[str, ...]:
    """Return remarks about the video streams and sound tracks of which a scan takes only the main one."""
    kinds = (("video stream", len(_moving(container))), ("sound track", len(container.streams.audio)))
    return tuple(f"{kind}: 1 of {number} used" for kind, number in kinds if number > 1)


def _moving(container: InputContainer) -> list[av.VideoStream]:
    """Return the video streams that are no pictures to go with sound (covers, thumbnails of chapters)."""
    return [stream for stream in container.streams.video if not stream.disposition & _STILLS]


def start_s(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """The time stamp, in seconds, at which playing starts; video and audio are both counted from here.

    That is the container's start, so that a video that comes in after its audio does so in the output too. But audio
    often starts a fraction of a frame early (its codec's padding); then the first video frame is the start.
    """
    first = Fraction(stream.start_time) * stream.time_base if stream.start_time is not None else None
    whole = Fraction(container.start_time, av.time_base) if container.start_time is not None else None
    if first is None or whole is None:
        return first or whole or Fraction(0)
    return first if first - whole <= 1 / frame_rate(container, stream) else whole


def frame_rate(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """Frames per second, exact; a raw stream has no times to average over, so its codec's word counts."""
    is_timed = container.duration is not None or stream.duration is not None
    rates = (stream.average_rate, stream.guessed_rate) if is_timed else (stream.guessed_rate, stream.average_rate)
    return next((Fraction(rate) for rate in rates if rate and _LEAST_FPS <= rate <= _MOST_FPS), DEFAULT_FPS)
