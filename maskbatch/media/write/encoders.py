"""Find a working H.264 encoder by encoding a frame, and set its quality."""

import io
from fractions import Fraction
from functools import cache

import av
import numpy as np

from maskbatch.errors import UsageError
from maskbatch.media.video.parameter_sets import OWN_ID

# fastest first; the first three need their own hardware and drivers
ENCODERS = ("h264_nvenc", "h264_qsv", "h264_videotoolbox", "libx264")
# side of the trial frame in pixels, large enough for every hardware encoder
_TRIAL_PX = 256


def choose_encoder(codec: str) -> str:
    """Return `codec`, or for "auto" the first of NVENC, Quick Sync, VideoToolbox and libx264 that works.

    Raises UsageError when `codec` cannot encode on this machine.
    """
    if codec == "auto":
        return next((name for name in ENCODERS if why_not(name) is None), ENCODERS[-1])
    reason = why_not(codec)
    if reason is not None:
        raise UsageError(f"the encoder {codec} does not work here ({reason}): use --codec auto")
    return codec


@cache
def why_not(codec: str) -> str | None:
    """Return the reason why an encoder cannot write an MP4 on this machine, or None when it can."""
    try:
        if av.codec.Codec(codec, "w").type != "video":
            return "it is not for video"
        with av.open(io.BytesIO(), "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=Fraction(25), options=encoder_options(codec, 23))
            stream.width = stream.height = _TRIAL_PX
            stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((_TRIAL_PX * 3 // 2, _TRIAL_PX), np.uint8), format="yuv420p")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.codec.codec.UnknownCodecError:
        return "it is unknown"
    except (av.error.FFmpegError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def encoder_options(codec: str, crf: int) -> dict[str, str]:
    """Return an encoder's options for a quality that corresponds to libx264's `crf` (0 to 51, lower is better)."""
    if codec == "libx264":
        # without cpu-independent, the output of x264 depends on the CPU, and with AVX-512 it even differs between runs.
        # the id sets these pictures apart from those of a recording in the same file. superfast with macroblock trees takes
        # 0.55 to 0.77 of the time of veryfast, and its files are 0.98 to 1.12 times as large (benchmarks/x264.py)
        return {
            "preset": "superfast",
            "crf": str(crf),
            "x264-params": f"cpu-independent=1:mbtree=1:rc-lookahead=10:sps-id={OWN_ID}",
        }
    if codec == "libx265":
        return {"preset": "veryfast", "crf": str(crf)}
    if codec.endswith("_nvenc"):
        return {"preset": "p4", "rc": "vbr", "cq": str(crf)}
    if codec.endswith("_qsv"):
        return {"preset": "veryfast", "global_quality": str(crf)}
    if codec.endswith("_videotoolbox"):
        return {"q:v": str(max(1, 100 - 2 * crf))}
    return {}
