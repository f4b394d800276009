"""Write the figures of `run.py` as Markdown tables."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from measure import Run, spread
from rivals import RIVALS

from maskbatch.run.versions import installed

ANALYSIS, ANNOTATED = "analysis only", "annotated"
_PACKAGES = ("tensorflow", "openvino", "cv2", "av", "numpy")


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%T')} {text}", file=sys.stderr, flush=True)


class Tables:
    """Print tables as they are ready, and keep them for `results.md` in the work folder."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._parts: list[str] = []
        self._print(f"{_machine()}\n")

    def add(self, results) -> None:
        """Print the table of one workload."""
        files, frames, faces = results.size[ANALYSIS]
        lines = [
            f"## {results.workload}: {files} files, {frames} frames, {faces} faces\n",
            "| program | frames | wall s | frames/s | first result s | CPU/wall | peak MB | against |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, runs in results.runs.items():
            num_frames = results.size.get(name, results.size[ANNOTATED])[1]
            lines.append(_row(name, num_frames, runs, _against(name, results)))
        walls = [run.wall_s for run in results.runs[ANALYSIS]]
        lines.append(f"| the networks alone | {frames} | {spread(results.limit_s)} "
                     f"| {frames / statistics.median(results.limit_s):.1f} | | | | |")  # fmt: skip
        lines.append(f"\nend-to-end / limit, analysis only: **{_ratios(results.limit_s, walls)}**")
        self._print("\n".join([*lines, "", results.stages, ""]))

    def write(self, all_results: Sequence, started: Sequence[tuple[str, Run]]) -> None:
        """Print the headline and the start-up, and write the file of all tables."""
        lines = [
            "## Headline\n",
            "| workload | end-to-end / limit | of it after start-up | annotated (aizoo: analysis only), against |",
            "|---|---|---|---|",
        ]
        start_s = started[-1][1].wall_s
        for results in all_results:
            walls = [run.wall_s for run in results.runs[ANALYSIS]]
            steady = [max(wall_s - start_s, 1e-3) for wall_s in walls]
            rivals = [
                f"{name}: {_against(_beside(name), results, name)}" for name in results.runs if _is_rival(name, results)
            ]
            lines.append(f"| {results.workload} | {_ratios(results.limit_s, walls)} "
                         f"| {_ratios(results.limit_s, steady)} | {'; '.join(rivals)} |")  # fmt: skip
        lines += [
            "\n| start-up: one photo, annotated | wall s | first result s | CPU s | peak MB |",
            "|---|---|---|---|---|",
        ]
        for name, run in started:
            lines.append(
                f"| {name} | {run.wall_s:.1f} | {run.first_s or 0:.1f} | {run.cpu_s:.1f} | {run.peak_mb:.0f} |"
            )
        self._print("\n".join(lines))
        (self._work / "results.md").write_text("\n".join(self._parts) + "\n")

    def _print(self, text: str) -> None:
        self._parts.append(text)
        print(text, flush=True)


def _row(name: str, num_frames: int, runs: list[Run], against: str) -> str:
    walls = [run.wall_s for run in runs]
    first = spread([run.first_s for run in runs]) if all(run.first_s for run in runs) else ""
    cores, peak = (
        statistics.median(values) for values in zip(*((run.cores, run.peak_mb) for run in runs), strict=True)
    )
    rate = num_frames / statistics.median(walls)
    return (
        f"| `{name}` | {num_frames} | {spread(walls)} | {rate:.1f} | {first} | {cores:.2f} | {peak:.0f} | {against} |"
    )


def _is_rival(name: str, results) -> bool:
    return name not in results.size


def _beside(rival: str) -> str:
    """Return which scan a rival is compared with."""
    return ANNOTATED if RIVALS[rival].draws else ANALYSIS


def _against(name: str, results, other: str | None = None) -> str:
    """Say how many times as fast `name` was as its rivals, or as the default options."""
    if other is not None:
        return f"{_ratios(_walls(other, results), _walls(name, results), 2)} x"
    if _is_rival(name, results):
        return f"{_beside(name)} is {_against(_beside(name), results, name)} as fast"
    if name in (ANALYSIS, ANNOTATED):
        return ""
    return f"{_ratios(_walls(ANALYSIS, results), _walls(name, results), 2)} x analysis only"


def _walls(name: str, results) -> list[float]:
    return [run.wall_s for run in results.runs[name]]


def _ratios(above: Sequence[float], below: Sequence[float], digits: int = 2) -> str:
    """Return the ratios within each round: the median, and the range."""
    return spread([one / other for one, other in zip(above, below, strict=True)], digits)


def _machine() -> str:
    """Describe the machine and the libraries."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    packages = ", ".join(f"{name} {number}" for name, number in installed(_PACKAGES).items())
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{time.strftime('%F %T')}, {len(os.sched_getaffinity(0))} cores of {model}, load before {load}; {packages}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
