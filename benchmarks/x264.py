"""Compare settings of libx264 for annotated copies: CPU time, size and PSNR of the same frames.

    python benchmarks/x264.py VIDEO... [--frames 240]

The first row has the settings of a scan (`media/write/encoders.py`), the others what was tried beside them. Each setting
encodes the frames, which are decoded before, with all of its threads; CPU time is that of the whole process. PSNR is that of
luma, over every tenth frame.
"""

import argparse
import io
import os
import time
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from maskbatch.media.write.encoders import encoder_options

_CRF = 23
_SETTINGS = {
    "scan": encoder_options("libx264", _CRF),
    "veryfast": {"preset": "veryfast", "x264-params": "cpu-independent=1"},
    "superfast": {"preset": "superfast", "x264-params": "cpu-independent=1"},
    "superfast, subme 2": {"preset": "superfast", "x264-params": "cpu-independent=1:mbtree=1:rc-lookahead=10:subme=2"},
    "ultrafast": {"preset": "ultrafast", "x264-params": "cpu-independent=1"},
}


class Result(NamedTuple):
    """Milliseconds of CPU and wall time for each frame, megabytes of the file, and decibels."""

    cpu_ms: float
    wall_ms: float
    size_mb: float
    psnr_db: float


def read(path: Path, num_frames: int) -> list[np.ndarray]:
    """Return up to `num_frames` frames as planes (H + H / 2, W) uint8."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            even = frame.reformat(frame.width // 2 * 2, frame.height // 2 * 2, "yuv420p")
            frames.append(even.to_ndarray())
            if len(frames) == num_frames:
                break
    return frames


def encode(frames: list[np.ndarray], options: dict[str, str]) -> Result:
    """Encode frames with libx264 and compare what a decoder gets with what was given."""
    file, cpu, wall = io.BytesIO(), _cpu_s(), time.perf_counter()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(_CRF), **options})
        stream.height, stream.width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
        stream.pix_fmt, stream.codec_context.max_b_frames = "yuv420p", 0
        for pts, planes in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    cpu, wall, size_mb = _cpu_s() - cpu, time.perf_counter() - wall, len(file.getvalue()) / 1e6
    return Result(1000 * cpu / len(frames), 1000 * wall / len(frames), size_mb, _psnr_db(frames, file))


def _psnr_db(frames: list[np.ndarray], file: io.BytesIO) -> float:
    file.seek(0)
    errors = []
    with av.open(file) as container:
        for number, (planes, frame) in enumerate(zip(frames, container.decode(video=0), strict=True)):
            if number % 10 == 0:
                given, got = planes[: frame.height], frame.to_ndarray()[: frame.height]
                errors.append(np.mean((got.astype(np.float32) - given) ** 2))
    return float(10 * np.log10(255**2 / np.mean(errors)))


def _cpu_s() -> float:
    return sum(os.times()[:2])


def main() -> None:
    """Print a table for each video."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--frames", type=int, default=240)
    given = parser.parse_args()
    for video in given.videos:
        frames = read(video, given.frames)
        print(
            f"{video.name}, {len(frames)} frames\n\n| settings | CPU ms | wall ms | MB | PSNR dB |\n|---|---|---|---|---|"
        )
        for name, options in _SETTINGS.items():
            result = encode(frames, options)
            print(
                f"| {name} | {result.cpu_ms:.1f} | {result.wall_ms:.1f} | {result.size_mb:.2f} | {result.psnr_db:.2f} |"
            )
        print()


if __name__ == "__main__":
    main()
