"""Measure what each stage of a scan costs by itself: CPU time, one stage after the other.

    python benchmarks/alone.py PATH [-- SCAN OPTIONS]
    python benchmarks/alone.py --data ../shared/data --work /tmp/bench [--night CLIP]     one table of several workloads

The scan runs in this process, but nothing in it overlaps: a batch is decoded, analysed, drawn and written before the next
one is decoded. A stage's CPU time is then that of the whole process while the stage is at work, threads of codecs and
networks included, and without the stages called inside it. The sum over the number of cores is the least that a scan can
take after start-up. The same scan also runs as users run it, twice, and the second one is compared with that.

Other programs on the machine make CPU time longer, too, where two cores share caches: compare figures of one run.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import workloads
from measure import Run, scan
from stages import Clock, Stage, count, install

# (stage, module, name inside it) in the order of a scan. A stage of which the product has no function is left out and said,
# and its time is then that of the stage around it. "network" becomes a row for each stage that calls one
TARGETS = (
    ("start: networks", "maskbatch.run.local", "Driver.__init__"),
    ("decode", "maskbatch.media.photo.reader", "PhotoReader.__iter__"),
    ("decode", "maskbatch.media.video.reader", "VideoReader.__enter__"),
    ("decode", "maskbatch.media.video.reader", "VideoReader._sampled"),
    ("decode: gate", "maskbatch.media.video.reader", "VideoReader._is_looked_at"),
    ("decode: YUV to RGB", "maskbatch.media.video.viewer", "Viewer.rgb"),
    ("group frames", "maskbatch.run.shard", "load"),
    ("detect: views, boxes, NMS", "maskbatch.analyse.detector", "Detector.__call__"),
    ("detect: letterbox", "maskbatch.analyse.detector", "resize"),
    ("network", "maskbatch.networks.openvino", "OpenVinoNetwork.__call__"),
    ("network", "maskbatch.networks.tensorflow", "TensorFlowNetwork.__call__"),
    ("classify: stack", "maskbatch.analyse.classifier", "Classifier.__call__"),
    ("classify: crops", "maskbatch.analyse.classifier", "cut_crop"),
    ("appearance", "maskbatch.analyse.pipeline", "describe"),
    ("track", "maskbatch.analyse.tracker", "Tracker.__call__"),
    ("boxes between frames", "maskbatch.analyse.pipeline", "between"),
    ("write: other", "maskbatch.sinks.shard", "Sinks.write"),
    ("write: drawing", "maskbatch.sinks.annotated", "draw_faces"),
    ("write: drawing", "maskbatch.sinks.annotated", "draw_clock"),
    ("write: colours", "maskbatch.media.write.video", "VideoWriter._frame"),
    ("write: encoding of video", "maskbatch.media.write.video", "VideoWriter.write"),
    ("write: encoding of video", "maskbatch.media.write.video", "VideoWriter.__exit__"),
    ("write: decoding of still frames", "maskbatch.media.video.left_out", "LeftOut.planes"),
    ("write: encoding of photos", "maskbatch.sinks.copies", "encode_image"),
    ("write: files of photos, and evidence", "maskbatch.media.write.files", "Unnamed.write"),
    ("write: sync", "maskbatch.media.write.files", "Unnamed.settle"),
    ("write: evidence", "maskbatch.sinks.evidence", "EvidenceSink.write"),
    ("write: evidence", "maskbatch.sinks.evidence", "EvidenceSink.end"),
    ("write: joining, sound", "maskbatch.sinks.copies", "join"),
    ("store", "maskbatch.run.local", "add_results"),
    ("end: reports", "maskbatch.reports.tables", "write_reports"),
)
# stages whose threads work on after the call: they are waited for
_LATE = frozenset({"decode", "write: encoding of video"})
# stages that a scan does once: they do not grow with its input
_ONCE = ("start", "end")
_CALM_S = 0.002
_MADE = ("photos", "photos12mp", "video720")


@dataclass(frozen=True, slots=True)
class Costs:
    """What a scan cost: CPU seconds by stage, and the [wall, CPU] seconds of start-up and of the scan as users run it."""

    num_decoded: int
    num_analysed: int
    num_faces: int
    rows: dict[str, float]
    start: list[float]
    usual: list[float]
    missing: list[str]

    def compared(self) -> str:
        """Say how the scan compares with the least that the sum of its stages allows."""
        cores = len(os.sched_getaffinity(0))
        least_s = self.start[0] + self.rows["sum"] / cores
        missing = f"; not timed, because the product has no such function: {', '.join(self.missing)}" * bool(
            self.missing
        )
        return (
            f"start-up {self.start[0]:.1f} s ({self.start[1]:.1f} of CPU), sum {self.rows['sum']:.1f} s on {cores} cores: "
            f"at least {least_s:.1f} s; as users run it {self.usual[0]:.1f} s ({self.usual[1]:.1f} of CPU), "
            f"{self.usual[0] / least_s:.2f} x of that{missing}"
        )


class Alone(Clock):
    """A clock for stages that follow one another: it counts the CPU time of all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._stack: list[tuple[str, list[float]]] = []

    def timed(self, name: str, call: Callable[[], object]) -> object:
        """Return what `call` returns, and add its time to the stage `name`, also where it is called on another thread."""
        if name == "network" and self._stack:
            name = f"{self._stack[-1][0].partition(':')[0]}: network"
        self._stack.append((name, [0.0]))
        start = time.process_time()
        try:
            return call()
        finally:
            if name in _LATE:
                _wait_until_calm()
            cpu_s = time.process_time() - start
            _, inside = self._stack.pop()
            if self._stack:
                self._stack[-1][1][0] += cpu_s
            stage = self.stages.setdefault(name, Stage())
            stage.calls += 1
            stage.cpu_s += cpu_s - inside[0]

    def steady_s(self, cpu_s: float) -> float:
        """Return what remains of `cpu_s` without the stages that a scan does once."""
        return cpu_s - sum(stage.cpu_s for name, stage in self.stages.items() if name.startswith(_ONCE))


def _wait_until_calm() -> None:
    """Wait until no thread of this process is at work."""
    is_calm = False
    while not is_calm:
        before = time.process_time()
        time.sleep(_CALM_S)
        is_calm = time.process_time() - before < _CALM_S / 4


class _InTurn:
    """Stands for `overlap.Ahead`: items are made when they are asked for."""

    def __init__(self, items: Iterable, depth: int = 1, is_over: Callable[[], bool] = lambda: False) -> None:
        self._items = items

    def __enter__(self) -> "_InTurn":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        getattr(self._items, "close", lambda: None)()

    def __iter__(self) -> Iterator:
        yield from self._items


class _AtOnce:
    """Stands for `overlap.Behind`: calls are made at once, by the caller."""

    def __init__(self, depth: int) -> None:
        pass

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call the function."""
        function(*arguments)

    def finish(self) -> None:
        """Do nothing: no call waits."""

    drop = finish


def _one_after_the_other() -> None:
    """Take the overlap of stages out of the product, for the rest of this process."""
    from maskbatch.analyse import pipeline
    from maskbatch.media import read_ahead
    from maskbatch.run import shard
    from maskbatch.sinks import copies

    copies.Behind = _AtOnce
    read_ahead.Ahead = shard.Ahead = _InTurn
    pipeline.in_order = lambda function, items, num_at_once: (function(item) for item in items)


def rows_of(clock: Alone, cpu_s: float) -> dict[str, float]:
    """Return the CPU seconds of each stage, in the order of a scan, for a run that took `cpu_s` in this process."""
    order = list(dict.fromkeys(stage for stage, *_ in TARGETS))
    stages = sorted(clock.stages.items(), key=lambda item: _place(item[0], order))
    rows = {name: stage.cpu_s for name, stage in stages if not name.startswith(_ONCE)}
    total_s = clock.steady_s(cpu_s)
    return {**rows, "other": total_s - sum(rows.values()), "sum": total_s}


def table(costs: Costs) -> str:
    """Return the costs in Markdown."""
    num_frames = max(costs.num_decoded, 1)
    lines = [
        f"| {costs.num_decoded} frames decoded, {costs.num_analysed} analysed, {costs.num_faces} faces "
        "| CPU s | ms a frame | share |",
        "|---|---|---|---|",
    ]
    for name, stage_s in costs.rows.items():
        share = 100 * stage_s / costs.rows["sum"]
        lines.append(f"| {name} | {stage_s:.2f} | {1000 * stage_s / num_frames:.2f} | {share:.0f} % |")
    return "\n".join([*lines, "", costs.compared()])


def _installed(clock: Clock) -> list[str]:
    """Time the stages' functions; return the stages of which the product has none."""
    absent = install(clock, TARGETS)
    there = {stage for stage, module, name in TARGETS if f"{module}.{name}" not in absent}
    return [stage for stage in dict.fromkeys(stage for stage, *_ in TARGETS) if stage not in there]


def _place(name: str, order: list[str]) -> float:
    """Return the place of a row: a stage's network follows its other rows."""
    if name in order:
        return order.index(name)
    group = [place for place, other in enumerate(order) if other.startswith(name.partition(":")[0])]
    return max(group, default=len(order)) + 0.5


def costs_of(path: Path, options: list[str]) -> Costs:
    """Scan `path` as users do, then in this process with one stage after the other."""
    from maskbatch.cli.main import main as maskbatch

    clock = Alone()
    with tempfile.TemporaryDirectory() as folder:
        start = _start_up(Path(folder))
        usual = [scan(path, Path(folder) / f"usual{number}", options) for number in range(2)][-1]
        missing = _installed(clock)
        _one_after_the_other()
        out, begun_s = Path(folder) / "out", time.process_time()
        maskbatch(["scan", str(path), "--out", str(out), "-q", *options], standalone_mode=False)
        rows = rows_of(clock, time.process_time() - begun_s)
        (num_decoded, num_analysed), num_faces = _frames(out), count(out)[2]
    return Costs(
        num_decoded, num_analysed, num_faces, rows, [start.wall_s, start.cpu_s], [usual.wall_s, usual.cpu_s], missing
    )


def all_workloads(given: argparse.Namespace) -> str:
    """Return one table of all workloads: milliseconds a decoded frame. Each workload is measured in its own process."""
    inputs = {name: workloads.make(name, given.data, given.work, workloads.Sizes()).cut for name in _MADE}
    runs = {
        "photos": [inputs["photos"]],
        "photos12mp": [inputs["photos12mp"]],
        "video720": [inputs["video720"]],
        "video720, none": [inputs["video720"], "--", "--save", "none"],
    }
    if given.night:
        runs["night, none"] = [given.night, "--", "--save", "none"]
    columns = {}
    for name, arguments in runs.items():
        target = given.work / "alone.json"
        command = [sys.executable, __file__, "--json", str(target), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        columns[name] = Costs(**json.loads(target.read_text()))
        print(f"{name}: {columns[name].compared()}", file=sys.stderr, flush=True)
    order = list(dict.fromkeys(stage for stage, *_ in TARGETS))
    stages = sorted({stage for costs in columns.values() for stage in costs.rows} - {"other", "sum"},
                    key=lambda stage: _place(stage, order))  # fmt: skip
    lines = [f"| ms a frame | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for title in ("num_decoded", "num_analysed", "num_faces"):
        numbers = " | ".join(str(getattr(costs, title)) for costs in columns.values())
        lines.append(f"| {title.removeprefix('num_')} | {numbers} |")
    for stage in [*stages, "other", "sum"]:
        cells = [
            f"{1000 * costs.rows[stage] / max(costs.num_decoded, 1):.2f}" if stage in costs.rows else ""
            for costs in columns.values()
        ]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {name}: {costs.compared()}" for name, costs in columns.items())])


def main() -> None:
    """Print the table; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, nargs="?", help="measure a scan of this; without it, all workloads")
    parser.add_argument("--data", type=Path, help="the shared data set, of which workloads are made")
    parser.add_argument("--work", type=Path, help="where workloads are kept")
    parser.add_argument("--night", type=Path, help="a night's clip, made by rendered.py")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args(sys.argv[1:split])
    if given.path is None:
        print(all_workloads(given))
        return
    costs = costs_of(given.path, sys.argv[split + 1 :])
    print(table(costs))
    if given.json:
        given.json.write_text(json.dumps(asdict(costs)))


def _start_up(folder: Path) -> Run:
    """Return the second scan of one small photo."""
    (folder / "photo").mkdir()
    cv2.imwrite(str(folder / "photo" / "grey.jpg"), np.full((480, 640, 3), 128, np.uint8))
    return [scan(folder / "photo", folder / f"start{number}") for number in range(2)][-1]


def _frames(out: Path) -> tuple[int, int]:
    """Return the numbers of decoded and of analysed frames of a scan."""
    with open(out / "files.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(sum(int(row[name] or 0) for row in rows) for name in ("frames_decoded", "frames_analysed"))


if __name__ == "__main__":
    main()
