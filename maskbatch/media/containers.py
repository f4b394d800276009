"""Open untrusted media files with FFmpeg (PyAV): without other files or the network, and in limited time."""

import functools
import stat
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from maskbatch.errors import DecodeError, TransientError
from maskbatch.media.photo.reader import MAX_PIXELS
from maskbatch.media.storage import Remote

# formats that list other files or addresses, devices, and text that FFmpeg takes for video: a scan must read only the
# given file, and no file that it refers to
_REFUSED_NAMES = (
    "concat dash hds hls imf image2 image2pipe rtp rtsp sap sdp smoothstreaming webm_dash_manifest vobsub "
    "alias_pix alsa fbdev kmsgrab lavfi oss pulse sndio video4linux2,v4l2 x11grab adf bin idf tedcaptions tty xbin"
)


# PyAV before 18 crashes on files whose streams are found late (FLV, MPEG-PS) when it gets decoder options at opening;
# `video_stream` passes the options to the decoder in any case
_DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)} if int(av.__version__.split(".")[0]) >= 18 else {}
# PyAV 15 has no name for it
_ARGUMENT_ERROR = getattr(av.error, "ArgumentError", ())


def open_container(path: Path | Remote, stall_s: float = 60.0, hwaccel: HWAccel | None = None) -> InputContainer:
    """Open a file as a PyAV container. Every packet must arrive within `stall_s` seconds; `hwaccel` decodes if it can.

    Raises DecodeError with the reason.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DecodeError("cannot be read: not a regular file")
        if found.st_size == 0:
            raise DecodeError("file is empty")
        file = path.open("rb") if isinstance(path, Remote) else for_ffmpeg(path)
        return av.open(
            file, metadata_errors="replace", timeout=stall_s, hwaccel=hwaccel, options=_DECODER_OPTIONS,
            container_options={"format_whitelist": _taken_formats(), "protocol_whitelist": "file"},
        )  # fmt: skip
    except av.error.ExitError as error:
        raise TransientError(stalled(stall_s)) from error
    except _ARGUMENT_ERROR as error:
        raise DecodeError("not a video that can be opened: damaged, or a list of other files") from error
    except OSError as error:
        raise TransientError.from_os_error(error) from error
    except av.error.FFmpegError as error:
        raise DecodeError(f"not a video that can be opened: {reason_of(error)}") from error


def for_ffmpeg(path: Path) -> str:
    """Return the file name for FFmpeg, for reading or writing.

    FFmpeg reads a protocol into a relative path such as "a:b/c.mp4", but never into an absolute one.
    """
    return str(path.absolute())


def stalled(stall_s: float) -> str:
    """Return the error message for a file that gave no frame in time."""
    return f"stalled: no frame for {stall_s:g} s (--stall-limit)"


def reason_of(error: av.error.FFmpegError) -> str:
    """Return FFmpeg's reason in words."""
    return error.strerror or str(error)


@functools.cache
def _taken_formats() -> str:
    return ",".join(sorted(av.formats_available - set(_REFUSED_NAMES.split())))
