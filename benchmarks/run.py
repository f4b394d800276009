"""Measure every workload end to end, beside its limit and beside other programs, in turn.

    python benchmarks/run.py --data ../shared/data --work /tmp/bench [--workloads photos,video720] [--quick]

In each round of a workload each program runs once, so that a machine that slows down slows them all; ratios are taken
within a round. The program prints Markdown tables, and writes them with all figures (`results.md`, `results.json`) to the
work folder. README.md here says what is measured, and how.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import limit
import report
import workloads
from measure import Run, measure, scan
from rivals import RIVALS, Rival
from stages import count
from workloads import Workload

_ROUNDS = {"photos": 3, "video720": 3}  # workloads with a target against another program; 2 for all others
_EXTRAS = {"photos": ["--runtime tensorflow", "--precision fp32"]}
ANALYSIS, ANNOTATED, LIMIT = "analysis only", "annotated", "limit"


@dataclass
class Results:
    """All figures of one workload: `runs` of each program, one for each round; `limit_s` the networks' seconds for the same
    work; `size` the (files, frames, faces) of each scan; `stages` finished tables."""

    workload: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    limit_s: list[float] = field(default_factory=list)
    size: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    stages: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """One call of this program: its options, its work folder, and the folder that keeps all outputs until the end.

    Where files were deleted in the last minutes, ext4 takes longer to make new ones.
    """

    work: Path
    outputs: Path
    repeats: int
    extras: list[str]
    rivals: list[Rival]
    with_stages: bool

    def measure(self, workload: Workload) -> Results:
        """Run all rounds of a workload."""
        results = Results(workload.name)
        programs = list(self._programs(workload, results))
        for number in range(self.repeats):
            for name, run in programs:
                report.say(f"{workload.name}, round {number + 1}: {name}")
                run()
        if self.with_stages:
            report.say(f"{workload.name}: stages")
            results.stages = self._tool("stages.py", workload.cut) + "\n\n" + self._tool("alone.py", workload.cut)
        return results

    def _programs(self, workload: Workload, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield (name, function that runs it once), programs to be compared next to each other."""
        yield ANALYSIS, lambda: self._scan(results, ANALYSIS, workload.path, ["--save", "none"])
        tape = self.work / "tapes" / f"{workload.path.parent.name}.npz"
        tape.parent.mkdir(exist_ok=True)
        self._python("limit.py", "record", str(workload.path), "--tape", str(tape))
        yield LIMIT, lambda: self._limit(results, tape)
        for options in self.extras:
            yield (
                options,
                lambda options=options: self._scan(
                    results, options, workload.path, ["--save", "none", *shlex.split(options)]
                ),
            )
        yield ANNOTATED, lambda: self._scan(results, ANNOTATED, workload.cut, [])
        for rival in self.rivals:
            if rival.reads_clips == workload.is_clip and workload.has_faces:
                yield rival.name, lambda rival=rival: self._rival(results, rival, workload)

    def _scan(self, results: Results, name: str, path: Path, options: list[str]) -> None:
        out = Path(tempfile.mkdtemp(dir=self.outputs)) / "out"
        results.runs.setdefault(name, []).append(scan(path, out, options))
        results.size[name] = count(out)

    def _limit(self, results: Results, tape: Path) -> None:
        figures = json.loads(self._python("limit.py", "replay", "--tape", str(tape)).splitlines()[-1])
        _, num_frames, num_faces = results.size[ANALYSIS]
        results.limit_s.append(limit.seconds_for(figures, num_frames, num_faces))

    def _rival(self, results: Results, rival: Rival, workload: Workload) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.outputs))
        run = measure(rival.command(rival.bin(self.work), workload.cut, folder / "out"), folder / "log")
        if not any(path.stat().st_size for path in (folder / "out").iterdir()):
            raise SystemExit(f"{rival.name} wrote nothing for {workload.name}")
        results.runs.setdefault(rival.name, []).append(run)

    def start_up(self, photos: Workload) -> list[tuple[str, Run]]:
        """Scan one photo with nothing converted yet, and then again."""
        runs = []
        folder, kept = Path(tempfile.mkdtemp(dir=self.outputs)), os.environ["MASKBATCH_CACHE"]
        os.environ["MASKBATCH_CACHE"] = f"{folder}/cache"
        for name in ("first run ever", "second run"):
            report.say(f"start-up: {name}")
            runs.append((name, scan(photos.path, folder / name.split()[0], ["--limit", "1"])))
        os.environ["MASKBATCH_CACHE"] = kept
        return runs

    def _tool(self, name: str, path: Path) -> str:
        return self._python(name, str(path)).strip()

    @staticmethod
    def _python(script: str, *arguments: str) -> str:
        """Run a script of this folder, and give its output."""
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"{shlex.join(command)} failed:\n{ran.stderr[-3000:]}")
        return ran.stdout


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data set")
    parser.add_argument("--work", type=Path, required=True, help="where inputs, environments and results are kept")
    parser.add_argument("--workloads", default=",".join(workloads.NAMES), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, help="rounds (default: 3 of photos and video720, else 2)")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one round: does it all run?")
    parser.add_argument("--extra", action="append", metavar="OPTIONS", help="further maskbatch options to measure, as one "
                        "string, analysis only (default: TensorFlow and fp32, on photos; '' for none)")  # fmt: skip
    parser.add_argument("--rivals", default=",".join(RIVALS), help="'' for none (default: %(default)s)")
    parser.add_argument("--cut", type=int, default=15, metavar="S", help="seconds of a clip that annotated runs and "
                        "rivals get (default: %(default)s)")  # fmt: skip
    parser.add_argument("--photos", type=int, default=300, metavar="N", help="photos of the workload of that name; those of "
                        "the data set come again when there are fewer (default: %(default)s)")  # fmt: skip
    parser.add_argument("--no-stages", action="store_true", help="leave the tables of stages out")
    return parser.parse_args()


def main() -> None:
    """Make the missing workloads, measure, print."""
    given = _options()
    given.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MASKBATCH_CACHE", str(given.work / "cache"))
    names = given.workloads.split(",")
    if unknown := set(names) - set(workloads.NAMES):
        raise SystemExit(f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(workloads.NAMES)}")
    rivals = [RIVALS[name] for name in given.rivals.split(",") if name]
    for rival in rivals:
        rival.set_up(given.work)
    sizes = workloads.Sizes.quick() if given.quick else workloads.Sizes(given.photos, cut_s=given.cut)
    results, tables = [], report.Tables(given.work)
    made = [workloads.make(name, given.data, given.work, sizes) for name in names]
    photos = workloads.make("photos", given.data, given.work, sizes)
    with tempfile.TemporaryDirectory(dir=given.work) as outputs:
        for workload in made:
            extras = _EXTRAS.get(workload.name, []) if given.extra is None else given.extra
            repeats = 1 if given.quick else given.repeats or _ROUNDS.get(workload.name, 2)
            chosen = [text for text in extras if text], rivals, not given.no_stages
            bench = Bench(given.work, Path(outputs), repeats, *chosen)
            results.append(bench.measure(workload))
            tables.add(results[-1])
        started = bench.start_up(photos)
    tables.write(results, started)
    (given.work / "results.json").write_text(json.dumps([asdict(one) for one in results], indent=1))


if __name__ == "__main__":
    main()
