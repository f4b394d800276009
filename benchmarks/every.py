"""What reading every N-th frame of a video costs, with and without decoding the frames between.

    python benchmarks/every.py VIDEO [--every 10] [--repeats 3]

CPU seconds of reading alone, both ways in turn; the frames that come out must be the same.
"""

import argparse
import statistics
import time
import zlib
from functools import partial
from pathlib import Path

from maskbatch.media.video import reader as videos
from maskbatch.media.video.skipping import Skipping
from maskbatch.settings import SamplingSettings


def decoding_all(codec, clock, sampler, may_skip, *start) -> Skipping:
    """A `Skipping` that skips nothing."""
    return Skipping(codec, clock, sampler, False, *start)


def read(video: Path, every: int, skipping) -> tuple[float, list[tuple[int, float, int]]]:
    """CPU seconds, and (index, time, checksum) of each frame."""
    videos.Skipping = skipping
    frames, checking_s, start = [], 0.0, time.process_time()
    with videos.VideoReader(video, SamplingSettings(every=every)) as reader:
        for index, time_s, image, _ in reader:
            before = time.process_time()
            frames.append((index, time_s, zlib.crc32(image)))
            checking_s += time.process_time() - before
    return time.process_time() - start - checking_s, frames


def main() -> None:
    """Prints both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    one = partial(read, given.video, given.every)
    rounds = [(one(decoding_all), one(Skipping)) for _ in range(given.repeats)]
    if any(whole[1] != skipped[1] for whole, skipped in rounds):
        raise SystemExit("the frames differ")
    whole, skipped = (statistics.median(both[side][0] for both in rounds) for side in (0, 1))
    print(f"every {given.every}th of {given.video.name}: all decoded {whole:.2f} CPU s, skipping {skipped:.2f} CPU s, "
          f"{whole / skipped:.2f} x")  # fmt: skip


if __name__ == "__main__":
    main()
