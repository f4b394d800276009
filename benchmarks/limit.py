"""Measure the limit: the networks of a scan alone, on the arrays the scan gave them, from memory, nothing else running.

    python benchmarks/limit.py record PATH --tape FILE [--num-frames N] [-- SCAN OPTIONS]
    python benchmarks/limit.py replay --tape FILE [-- SCAN OPTIONS]

`record` runs a scan and keeps the input of its networks. `replay` opens the same networks as a scan with these options,
runs that input through them in batches of one shape, and prints images and seconds of each network as JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

BATCH = 64
_MOST_BYTES = 4 << 30

Arrays = dict[str, list[np.ndarray]]


def networks_of(path: Path, options: Sequence[str], wrap: Callable[[str, Callable], Callable]) -> None:
    """Scan `path` in this process, with each network's `Run` replaced by `wrap(role, run)`."""
    from maskbatch.cli.main import main as maskbatch
    from maskbatch.run import stages

    open_network = stages.open_network

    def wrapped(network, device, *rest):
        opened = open_network(network, device, *rest)
        replaced = wrap(network.role, opened)
        replaced.size_px = opened.size_px
        return replaced

    stages.open_network = wrapped
    try:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["scan", str(path), "--out", f"{folder}/out", "-q", "--save", "none", *options]
            maskbatch(arguments, standalone_mode=False)
    finally:
        stages.open_network = open_network


def record(path: Path, tape: Path, num_frames: int, options: Sequence[str]) -> None:
    """Keep the input of the networks in a scan of `path`, of `num_frames` frames spread over it, in `tape`."""
    taken: Arrays = defaultdict(list)
    num_bytes = 0

    def wrap(role: str, run: Callable) -> Callable:
        def recording(images: np.ndarray, **options):
            nonlocal num_bytes
            if num_bytes < _MOST_BYTES:
                taken[role].extend(np.array(images))
                num_bytes += images.nbytes
            return run(images, **options)

        return recording

    networks_of(path, [*_every(path, num_frames), *options], wrap)
    stacked = {}
    for role, images in taken.items():
        for shape in {image.shape for image in images}:
            stacked[f"{role}/{'x'.join(map(str, shape))}"] = np.stack([i for i in images if i.shape == shape])
    np.savez(tape, **stacked)


def replay(tape: Path, options: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return images and seconds of each network on what `tape` holds."""
    with np.load(tape) as file:
        arrays = {name: file[name] for name in file.files}
    runs = {}

    def wrap(role: str, run: Callable) -> Callable:
        runs[role] = run
        return run

    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "one.jpg"
        cv2.imwrite(str(photo), next(iter(arrays.values()))[0])
        networks_of(photo, options, wrap)
    figures = {}
    for role, run in runs.items():
        own = [images for name, images in arrays.items() if name.split("/")[0] == role]
        for images in own:  # compiles for each shape
            run(images[:BATCH])
        start = time.perf_counter()
        for images in own:
            for first in range(0, len(images), BATCH):
                run(images[first : first + BATCH])
        figures[role] = {"images": sum(map(len, own)), "seconds": time.perf_counter() - start}
    return figures


def seconds_for(figures: dict[str, dict[str, float]], num_frames: int, num_faces: int) -> float:
    """Return the networks' seconds for so many frames and faces: the detector sees frames, the classifier faces."""
    seconds = 0.0
    for role, figure in figures.items():
        if figure["images"]:
            seconds += figure["seconds"] / figure["images"] * (num_frames if role == "yunet" else num_faces)
    return seconds


def _every(path: Path, num_frames: int) -> list[str]:
    """Return sampling options with which a clip gives about `num_frames` frames from all of its length."""
    if path.is_dir():
        return []
    import av

    with av.open(str(path)) as clip:
        return ["--every", str(max(1, clip.streams.video[0].frames // num_frames))]


def main() -> None:
    """Run one of the two commands; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = sys.argv[split + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["record", "replay"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--tape", type=Path, required=True)
    parser.add_argument("--num-frames", type=int, default=300)
    given = parser.parse_args(sys.argv[1:split])
    if given.command == "record":
        record(given.path, given.tape, given.num_frames, options)
    else:
        print(json.dumps(replay(given.tape, options)))


if __name__ == "__main__":
    main()
