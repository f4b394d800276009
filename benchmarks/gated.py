"""Measure which candidates of rendered clips the gate looks at, with somebody there and with nobody.

    python benchmarks/gated.py CLIPS [--names rain lights ...]

CLIPS is the folder that benchmarks/rendered.py wrote. There are six candidates a second, and a gate that sleeps looks at
one every two seconds. Somebody is there from 1.5 s before to 1.5 s after a face of the truth. A wait is the time from one
look to the next while a face is in sight. The first look at a person is late by the time from the first face on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from maskbatch.analyse.gate import Gate
from maskbatch.media.video.reader import VideoReader
from maskbatch.run.options import scan_settings
from maskbatch.run.scan_options import ScanOptions
from maskbatch.settings import CANDIDATES_PER_S
from maskbatch.types import Source

_AROUND_S = 1.5


def looks(clip: Path) -> np.ndarray:
    """Return the times in seconds (K,) of the frames that are looked at."""
    options = scan_settings(ScanOptions(save="none"))
    with VideoReader(
        Source(0, clip, clip.name, "video"), options.sampling, options.output.segment_s, gate=Gate()
    ) as reader:
        return np.array([frame.timestamp_s for frame in reader])


def measured(clip: Path) -> str:
    """Return a row of the table for one clip."""
    truth, facts = pd.read_csv(clip.with_suffix(".csv")), json.loads(clip.with_suffix(".json").read_text())
    truth, looked = truth[truth.is_static == 0], looks(clip)
    # also those of still groups of frames, which no gate sees because they are not even decoded
    candidates = np.arange(0, facts["length_s"], 1 / CANDIDATES_PER_S)
    seen_s = np.sort(truth.time_s.unique())
    is_near = [np.abs(seen_s[:, None] - times).min(0) <= _AROUND_S for times in (candidates, looked)]
    # no share where nobody is ever away
    share = [100 * own[1].sum() / max(1, own[0].sum()) for own in (is_near, [~own for own in is_near])]
    waits = [np.diff(looked[(looked >= own.time_s.min()) & (looked <= own.time_s.max())]).max(initial=0.0)
             for _, own in truth.groupby("person")]  # fmt: skip
    late = [looked[looked >= own.time_s.min() - 1e-6].min() - own.time_s.min() for _, own in truth.groupby("person")]
    return (f"| {clip.stem} | {len(looked)} of {len(candidates)} | {share[0]:.0f} % | {share[1]:.0f} % | "
            f"{max(waits):.2f} | {max(late):.2f} |")  # fmt: skip


def main() -> None:
    """Print a table of all clips."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--names", nargs="+")
    given = parser.parse_args()
    print("| clip | looked at | somebody there | nobody there | longest wait, s | first look late by, s |")
    print("|---" * 6 + "|")
    for clip in sorted(given.clips.glob("*.mp4")):
        if given.names is None or clip.stem in given.names:
            print(measured(clip), flush=True)


if __name__ == "__main__":
    main()
