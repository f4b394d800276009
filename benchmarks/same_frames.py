"""Count the frames of an annotated copy that are those of its recording, to the bit.

    python benchmarks/same_frames.py RECORDING COPY

The program compares frame by frame, and says how many frames each file has, how many are the same, and how many are at
other times.
"""

import argparse
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("copy", type=Path)
    given = parser.parse_args()
    num, num_copied, num_same, num_elsewhere = 0, 0, 0, 0
    with av.open(str(given.recording)) as recording, av.open(str(given.copy)) as copy:
        for stored, copied in zip_longest(recording.decode(video=0), copy.decode(video=0)):
            num += stored is not None
            num_copied += copied is not None
            if stored is not None and copied is not None:
                num_same += np.array_equal(stored.to_ndarray(), copied.to_ndarray())
                num_elsewhere += stored.time != copied.time
    print(f"{num} frames, {num_copied} in the copy: {num_same} are the same, {num_elsewhere} at other times")


if __name__ == "__main__":
    main()
