"""Hardware decoders of videos that this FFmpeg supports and this machine has."""

import logging
from functools import cache

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from maskbatch.errors import UsageError

# older versions of PyAV lose a frame's rotation, colours and duration in the copy from the device
_LEAST_PYAV = 18

_log = logging.getLogger(__name__)


def check_hwaccel(name: str) -> str:
    """Return `name` when it is none, auto or a kind of device in this FFmpeg's build. Raises UsageError for other names."""
    names = ("none", "auto", *hwdevices_available())
    if name not in names:
        raise UsageError(f"--hwaccel takes {', '.join(names[:-1])} or {names[-1]} here, not {name!r}")
    if name != "none" and int(av.__version__.split(".")[0]) < _LEAST_PYAV:
        raise UsageError(f"--hwaccel needs PyAV {_LEAST_PYAV} or newer, this is {av.__version__}: pip install -U av")
    return name


@cache
def open_hwaccel(name: str) -> HWAccel | None:
    """Return the hardware decoder for `name`, a kind of device or auto (the first that works).

    Returns None, with a warning the first time, when it cannot be opened.
    """
    if name == "none":
        return None
    names = hwdevices_available() if name == "auto" else [name]
    reasons = {one: _why_not(one) for one in names}
    works = next((one for one in names if reasons[one] is None), None)
    if works is None:
        _log.warning("--hwaccel %s: videos are decoded in software (%s)", name,
                     "; ".join(f"{one}: {reason}" for one, reason in reasons.items()) or "no kind of device")  # fmt: skip
        return None
    return HWAccel(works, allow_software_fallback=True)


@cache
def note_software(name: str, codec: str) -> None:
    """Warn once that the device does not decode videos of this codec."""
    _log.warning("--hwaccel %s: videos in %s are decoded in software, the device has no decoder for them", name, codec)


def _why_not(name: str) -> str | None:
    """Return why a kind of device cannot be opened for H.264, which every device decodes; None when it can."""
    try:
        HWAccel(name).create(av.codec.Codec("h264", "r"))
    except (av.error.FFmpegError, NotImplementedError, RuntimeError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None
