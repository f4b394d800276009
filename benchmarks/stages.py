"""Measure where the time of a scan goes: its stages, timed inside a real run, without a change to the product.

    python benchmarks/stages.py PATH [-- SCAN OPTIONS]

Each stage's function is replaced by one that reads clocks around it. Wall time excludes stages called inside, on the same
thread; stages on different threads overlap, so the sum may exceed the run's wall time. CPU time is that of the calling
thread alone. Networks and codecs also work in threads of their own, which only the run's total includes (`alone.py`
shows how it divides).
"""

import argparse
import importlib
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# (stage, module, name inside it); several may count as one stage. What is imported by name is replaced where it is used
TARGETS = (
    ("start: imports and networks", "maskbatch.run.local", "Driver.__init__"),
    ("decode", "maskbatch.media.photo.reader", "PhotoReader.__iter__"),
    ("decode", "maskbatch.media.video.reader", "VideoReader._sampled"),
    ("convert to RGB", "maskbatch.media.video.viewer", "Viewer.rgb"),
    ("wait for frames", "maskbatch.run.shard", "load"),
    ("detect: letterbox, boxes, NMS", "maskbatch.analyse.detector", "Detector.__call__"),
    ("network", "maskbatch.networks.openvino", "OpenVinoNetwork.__call__"),
    ("network", "maskbatch.networks.tensorflow", "TensorFlowNetwork.__call__"),
    ("crop", "maskbatch.analyse.classifier", "cut_crop"),
    ("classify: stack and share", "maskbatch.analyse.classifier", "Classifier.__call__"),
    ("track", "maskbatch.analyse.tracker", "Tracker.__call__"),
    ("convert to planes", "maskbatch.media.video.viewer", "Viewer.planes"),
    ("annotate", "maskbatch.sinks.annotated", "draw_faces"),
    ("encode and write video", "maskbatch.media.write.video", "VideoWriter.write"),
    ("encode and write video", "maskbatch.media.write.video", "VideoWriter.__exit__"),
    ("join parts and sound", "maskbatch.sinks.copies", "join"),
    ("encode photo", "maskbatch.sinks.copies", "encode_image"),
    ("encode photo", "maskbatch.sinks.crops", "encode_image"),
    ("sync photos", "maskbatch.media.write.files", "Unnamed.settle"),
    ("store", "maskbatch.run.local", "add_results"),
    ("reports", "maskbatch.reports.tables", "write_reports"),
)


@dataclass(slots=True)
class Stage:
    """Sums over all calls of one stage, less what other stages took inside."""

    calls: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class Clock:
    """Collects stages; a stack per thread tells whose time it is."""

    stages: dict[str, Stage] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, name: str, call: Callable[[], object]) -> object:
        """Return what `call` returns, and add its time to the stage `name`."""
        stack = self._local.__dict__.setdefault("stack", [])
        stack.append([0.0, 0.0])
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return call()
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            inside = stack.pop()
            if stack:
                stack[-1][0] += wall
                stack[-1][1] += cpu
            with self._lock:
                stage = self.stages.setdefault(name, Stage())
                stage.calls += 1
                stage.wall_s += wall - inside[0]
                stage.cpu_s += cpu - inside[1]

    def wrap(self, name: str, function: Callable) -> Callable:
        """Yield `function`, timed; a generator is timed while it makes its next item."""
        if not inspect.isgeneratorfunction(function):
            return lambda *args, **named: self.timed(name, lambda: function(*args, **named))

        def iterate(*args, **named) -> Iterator:
            items = function(*args, **named)
            end = object()
            while (item := self.timed(name, lambda: next(items, end))) is not end:
                yield item

        return iterate


def install(clock: Clock, targets: tuple = TARGETS) -> list[str]:
    """Replace the stages' functions for the rest of this process; return those that do not exist."""
    missing = []
    for stage, module, path in targets:
        *owners, name = path.split(".")
        try:
            owner = importlib.import_module(module)
            for part in owners:
                owner = getattr(owner, part)
            setattr(owner, name, clock.wrap(stage, getattr(owner, name)))
        except (ImportError, AttributeError):
            missing.append(f"{module}.{path}")
    return missing


def table(clock: Clock, wall_s: float, cpu_s: float, num_frames: int) -> str:
    """Return the table in Markdown, the stage that takes longest first."""
    lines = ["| stage | calls | wall s | wall ms/frame | own thread's CPU s |", "|---|---|---|---|---|"]
    for name, stage in sorted(clock.stages.items(), key=lambda item: -item[1].wall_s):
        per_frame = 1000 * stage.wall_s / max(num_frames, 1)
        lines.append(f"| {name} | {stage.calls} | {stage.wall_s:.2f} | {per_frame:.2f} | {stage.cpu_s:.2f} |")
    lines.append(f"| whole run, {num_frames} frames | | {wall_s:.2f} | {1000 * wall_s / max(num_frames, 1):.2f} "
                 f"| all threads: {cpu_s:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Run the scan in this process and print the table; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    given = parser.parse_args(sys.argv[1:split])
    from maskbatch.cli.main import main as maskbatch

    clock, before = Clock(), time.perf_counter()
    missing = install(clock)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        start, start_cpu = time.perf_counter(), sum(os.times()[:4])
        maskbatch(["scan", str(given.path), "--out", str(out), "-q", *sys.argv[split + 1 :]], standalone_mode=False)
        wall_s, cpu_s = time.perf_counter() - start, sum(os.times()[:4]) - start_cpu
        num_frames = count(out)[1]
    print(table(clock, wall_s, cpu_s, num_frames))
    print(f"\nimports before the run: {start - before:.1f} s")
    if missing:
        print(f"not timed, because the product has no such function: {', '.join(missing)}")


def count(out: Path) -> tuple[int, int, int]:
    """Return the numbers of files, analysed frames and faces of a scan."""
    import csv

    with open(out / "files.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(out / "faces.csv", newline="", encoding="utf-8") as file:
        num_faces = sum(1 for _ in csv.DictReader(file))
    return len(rows), sum(int(row["frames_analysed"] or 0) for row in rows), num_faces


if __name__ == "__main__":
    main()
