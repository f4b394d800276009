"""Opens files with FFmpeg, by way of PyAV, as what comes from strangers has to be opened: within limits."""

import functools
import stat
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from maskbatch.errors import DecodeError, PassingError
from maskbatch.media.photos import MAX_PIXELS

# Formats that are lists of other files or addresses, devices, or text taken for moving pictures: a scan must read the
# file it was given and nothing else, whatever that file asks for.
_REFUSED_NAMES = (
    "concat dash hds hls imf image2 image2pipe rtp rtsp sap sdp smoothstreaming webm_dash_manifest vobsub "
    "alias_pix alsa fbdev kmsgrab lavfi oss pulse sndio video4linux2,v4l2 x11grab adf bin idf tedcaptions tty xbin"
)


# PyAV before 18 crashes on files whose streams are found late (FLV, MPEG-PS) when it is given options for their decoders
# here; `video_stream` gives them to the decoder that is used in any case
_DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)} if int(av.__version__.split(".")[0]) >= 18 else {}
# PyAV 15 has no name for it
_ARGUMENT_ERROR = getattr(av.error, "ArgumentError", ())


def open_container(path: Path, stall_s: float = 60.0, hwaccel: HWAccel | None = None) -> InputContainer:
    """The file as a PyAV container, of which each packet has to come within `stall_s` seconds; decoded by `hwaccel`, where
    that can.

    Raises DecodeError with the reason.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DecodeError("cannot be read: not a regular file")
        if found.st_size == 0:
            raise DecodeError("file is empty")
        return av.open(
            for_ffmpeg(path), metadata_errors="replace", timeout=stall_s, hwaccel=hwaccel,
            options=_DECODER_OPTIONS,
            container_options={"format_whitelist": _taken_formats(), "protocol_whitelist": "file"},
        )  # fmt: skip
    except av.error.ExitError as error:
        raise PassingError(stalled(stall_s)) from error
    except _ARGUMENT_ERROR as error:
        raise DecodeError("not a video that can be opened: damaged, or a list of other files") from error
    except OSError as error:
        raise PassingError.of(error) from error
    except av.error.FFmpegError as error:
        raise DecodeError(f"not a video that can be opened: {reason_of(error)}") from error


def for_ffmpeg(path: Path) -> str:
    """Return the name by which FFmpeg finds a file to read or to write.

    A relative path such as "a:b/c.mp4" names a protocol for FFmpeg; an absolute path never does.
    """
    return str(path.absolute())


def stalled(stall_s: float) -> str:
    """The reason of a file that was given up."""
    return f"stalled: no frame for {stall_s:g} s (--stall-limit)"


def reason_of(error: av.error.FFmpegError) -> str:
    """What FFmpeg says, in words."""
    return error.strerror or str(error)


@functools.cache
def _taken_formats() -> str:
    return ",".join(sorted(av.formats_available - set(_REFUSED_NAMES.split())))
