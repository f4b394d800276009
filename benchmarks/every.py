"""Measure what reading every N-th frame of a video costs, with and without decoding the frames between.

    python benchmarks/every.py VIDEO [--every 10] [--repeats 3]

The figures are CPU seconds of reading alone, both ways in turn. Both must give the same frames.
"""

import argparse
import statistics
import time
import zlib
from pathlib import Path

from maskbatch.media.video.reader import VideoReader
from maskbatch.settings import SamplingSettings
from maskbatch.types import Source


def read(video: Path, sampling: SamplingSettings) -> tuple[float, list[tuple[int, float, int]]]:
    """Return CPU seconds, and (index, time, checksum) of each frame."""
    frames, checking_s, start = [], 0.0, time.process_time()
    with VideoReader(Source(0, video, video.name, "video"), sampling) as reader:
        for frame in reader:
            before = time.process_time()
            frames.append((frame.index, frame.timestamp_s, zlib.crc32(frame.image)))
            checking_s += time.process_time() - before
    return time.process_time() - start - checking_s, frames


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    ways = [SamplingSettings(every=given.every, decode_all=decode_all) for decode_all in (True, False)]
    rounds = [[read(given.video, sampling) for sampling in ways] for _ in range(given.repeats)]
    if any(whole[1] != skipped[1] for whole, skipped in rounds):
        raise SystemExit("the frames differ")
    whole, skipped = (statistics.median(both[side][0] for both in rounds) for side in (0, 1))
    print(f"every {given.every}th of {given.video.name}: all decoded {whole:.2f} CPU s, skipping {skipped:.2f} CPU s, "
          f"{whole / skipped:.2f} x")  # fmt: skip


if __name__ == "__main__":
    main()
