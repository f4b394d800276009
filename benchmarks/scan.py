"""Times `maskbatch scan` as a user runs it: wall time, rate, CPU time and peak memory of the whole program.

    python benchmarks/scan.py PATH... [--limit N] [--repeats N] [--options "--save none"]

Prints one table row in Markdown for each call, of medians over the repeats with the range of the wall time. Machines
differ and are shared: compare rows of one machine and one day only.
"""

import argparse
import csv
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident megabytes of one run of `maskbatch` (exit 0 or 3)."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "maskbatch", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        raise SystemExit(f"maskbatch {shlex.join(arguments)} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def counts(out: Path) -> tuple[int, int]:
    """Files and analysed frames of a scan."""
    with open(out / "files.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return len(rows), sum(int(row["frames_analysed"]) for row in rows)


def main() -> None:
    """Runs the scans and prints the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--options", default="", help="further options of maskbatch scan, as one string")
    given = parser.parse_args()
    limit = ["--limit", str(given.limit)] if given.limit else []
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(given.repeats):
            out = Path(folder) / str(repeat)
            options = ["--out", str(out), "-q", *limit, *shlex.split(given.options)]
            runs.append(measure(["scan", *given.paths, *options]))
        startup = measure(["scan", *given.paths, "--out", str(Path(folder) / "first"), "-q", "--limit", "1"])[0]
        num_files, num_frames = counts(out)
    wall, cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    spread = f"{min(run[0] for run in runs):.1f}-{max(run[0] for run in runs):.1f}"
    print("| files | frames | options | wall s (range) | frames/s | CPU s | peak MB | one file alone s |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| {num_files} | {num_frames} | `{given.options}` | {wall:.1f} ({spread}) | {num_frames / wall:.1f} "
          f"| {cpu:.1f} | {memory:.0f} | {startup:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
