"""Show if memory stays flat: peak and course of the resident memory of short and of long scans.

    python benchmarks/memory.py --data DATA --work DIR [--photos 2000 20000] [--minutes 1 30] [-- SCAN OPTIONS]

Photos are hard links to the 300 of the `photos` workload, clips the packets of the 720p clip over and over. Scans run
with `--save none` unless the options say otherwise. On two cores, 20,000 photos take about ten minutes and 30 minutes of
720p about half an hour; `--photos` or `--minutes` without a number leaves that part out.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import workloads
from measure import scan, scan_command
from stages import count

_SAMPLE_S = 0.25
_NUM_SHOWN = 10


class Timeline:
    """Sample the resident megabytes of a child of this process while it runs."""

    def __init__(self) -> None:
        self.resident_mb: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Timeline":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for child in children[:1]:
                self.resident_mb += _resident_mb(int(child))

    def shown(self) -> str:
        """Return the course in a few numbers, each the median of a tenth of the run."""
        size = max(1, len(self.resident_mb) // _NUM_SHOWN)
        parts = [self.resident_mb[first : first + size] for first in range(0, len(self.resident_mb), size)]
        return " ".join(f"{statistics.median(part):.0f}" for part in parts[:_NUM_SHOWN])


def _resident_mb(process: int) -> list[float]:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has just ended
        return []
    return [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")]


def many_photos(source: Path, folder: Path, num_photos: int) -> Path:
    """Make a folder of `num_photos` hard links to the photos of `source`, with different names."""
    if not folder.exists():
        folder.mkdir(parents=True)
        photos = sorted(source.iterdir())
        for number in range(num_photos):
            photo = photos[number % len(photos)]
            os.link(photo, folder / f"{number:06d}{photo.suffix}")
    return folder


def long_clip(source: Path, target: Path, times: int) -> Path:
    """Copy the packets of `source`, `times` over."""
    if not target.exists():
        partial = target.with_name(f"part-{target.name}")
        workloads.join(source, partial, times=times)
        partial.rename(target)
    return target


def row(name: str, path: Path, options: list[str]) -> str:
    """Scan `path`; give a row of the table."""
    with tempfile.TemporaryDirectory() as folder, Timeline() as timeline:
        out = Path(folder) / "out"
        run = scan(path, out, options)
        _, num_frames, num_faces = count(out)
    return (
        f"| {name} | {num_frames} | {num_faces} | {run.wall_s:.0f} | {num_frames / run.wall_s:.1f} "
        f"| {run.peak_mb:.0f} | {timeline.shown()} |"
    )


def main() -> None:
    """Print a table, a row as soon as it is measured; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--minutes", type=int, nargs="*", default=[1, 30])
    parser.add_argument("--quick", action="store_true", help="a tenth of the workloads the inputs are made of")
    given = parser.parse_args(sys.argv[1:split])
    options = sys.argv[split + 1 :] or ["--save", "none"]
    sizes = workloads.Sizes.quick() if given.quick else workloads.Sizes()
    print(f"`{' '.join(scan_command(Path('INPUT'), Path('OUT'), options)[1:])}`, {time.strftime('%F')}\n")
    print("| input | frames | faces | wall s | frames/s | peak MB | resident MB, by tenths of the run |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for num_photos in given.photos:
        photos = workloads.make("photos", given.data, given.work, sizes).path
        path = many_photos(photos, given.work / "memory" / f"photos-{num_photos}-of-{len(list(photos.iterdir()))}",
                           num_photos)  # fmt: skip
        print(row(f"{num_photos} photos", path, options), flush=True)
    for minutes in given.minutes:
        clip = workloads.make("video720", given.data, given.work, sizes).path
        path = long_clip(clip, given.work / "memory" / f"{minutes}min-of-{sizes.clip_s}s.mp4",
                         minutes * 60 // sizes.clip_s)  # fmt: skip
        print(row(f"720p clip of {minutes} min", path, options), flush=True)


if __name__ == "__main__":
    main()
