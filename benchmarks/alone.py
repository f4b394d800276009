"""Measure what each stage costs on its own: the same frames, from memory, one stage after the other.

    python benchmarks/alone.py PATH [--num-frames N] [--det-size PX] [--device auto] [--precision auto]

CPU time is that of the whole process, so that the threads of codecs and networks count. A stage that runs on one core
takes as much wall as CPU time; the sum of the CPU column over the number of cores is the least a scan can take.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskbatch.settings import CPU_BATCH, GPU_BATCH, DetectorSettings, RuntimeSettings, ScanSettings, Thresholds


@dataclass
class Costs:
    """Wall and CPU seconds of each stage."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    networks: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block as the stage `name`, without the networks that run in it."""
        self.networks = [0.0, 0.0]
        start = _clocks()
        yield
        spent = [after - before - inside for before, after, inside in zip(start, _clocks(), self.networks, strict=True)]
        self.seconds[name] = spent
        if any(self.networks):
            self.seconds[f"{name}: network"] = self.networks

    def network(self, run: Callable) -> Callable:
        """Return `run`, with its time counted apart."""

        def timed(images: np.ndarray, **options):
            start = _clocks()
            outputs = run(images, **options)
            self.networks = [
                sum_ + after - before for sum_, before, after in zip(self.networks, start, _clocks(), strict=True)
            ]
            return outputs

        timed.size_px = run.size_px
        return timed


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def costs_of(path: Path, num_frames: int, settings: ScanSettings) -> tuple[Costs, int, int]:
    """Return the costs, frames and faces of the first `num_frames` frames at `path`."""
    from maskbatch.media.decode import open_source
    from maskbatch.media.sources import find_sources
    from maskbatch.run import stages

    costs, open_network = Costs(), stages.open_network
    stages.open_network = lambda *args: costs.network(open_network(*args))
    with costs.stage("start: imports and networks"):
        networks = stages.open_networks(settings)
    sources = find_sources([path], exclude=None, limit=num_frames)
    frames = []
    with costs.stage("decode, convert to RGB"):
        for source in sources:
            with open_source(source, settings.sampling) as reader:
                for frame in itertools.islice(reader, num_frames - len(frames)):
                    frames.append((source, frame.index, frame.timestamp_s, frame.image))
    num_faces = _arrays(costs, settings, networks, frames)
    return costs, len(frames), num_faces


def _arrays(costs: Costs, settings: ScanSettings, networks, frames: list) -> int:
    """Detect, crop and classify, track, annotate, write; return the number of faces."""
    from maskbatch.analyse.classifier import cut_crop
    from maskbatch.analyse.tracker import Tracker
    from maskbatch.drawing.annotate import annotate
    from maskbatch.overlap import never
    from maskbatch.types import Frames

    sources, index, times_s, images = zip(*frames, strict=True)
    detect, classify = networks.detector(never), networks.classifier(never)
    classify(images[:64], detect(images[:64]))  # compiles for each shape
    size = settings.loader.batch_size or (GPU_BATCH if networks.device.is_gpu else CPU_BATCH)
    batches = [slice(first, first + size) for first in range(0, len(images), size)]
    with costs.stage("detect"):
        faces = [detect(images[batch]) for batch in batches]
    with costs.stage("crop"):
        for batch, found in zip(batches, faces, strict=True):
            for row, xyxy in zip(found.row, found.xyxy, strict=True):
                cut_crop(images[batch][row], xyxy)
    with costs.stage("classify"):
        faces = [classify(images[batch], found) for batch, found in zip(batches, faces, strict=True)]
    tracker, ids = Tracker(settings.tracker), np.array([source.id for source in sources])
    with costs.stage("track"):
        for batch, found in zip(batches, faces, strict=True):
            tracker(Frames(images[batch], ids[batch], np.array(index[batch]), np.array(times_s[batch])), found)
    with costs.stage("annotate"):
        drawn = [
            annotate(image, found.take(found.row == row), Thresholds())
            for batch, found in zip(batches, faces, strict=True)
            for row, image in enumerate(images[batch])
        ]
    _write(costs, settings.output, sources, times_s, drawn)
    return sum(map(len, faces))


def _write(costs: Costs, output, sources: tuple, times_s: tuple, drawn: list[np.ndarray]) -> None:
    from maskbatch.media.write.files import write_image
    from maskbatch.media.write.video import VideoWriter

    with tempfile.TemporaryDirectory() as folder, costs.stage("encode, write"):
        if sources[0].kind == "video":
            with VideoWriter(Path(folder) / "out.mp4", sources[0], output) as writer:
                for time_s, image in zip(times_s, drawn, strict=True):
                    writer.write(image, time_s)
        else:
            for source, image in zip(sources, drawn, strict=True):
                write_image(Path(folder) / f"{source.id}.jpg", image)


def table(costs: Costs, num_frames: int, num_faces: int) -> str:
    """Return the table in Markdown, in the order of the pipeline."""
    lines = [
        f"| {num_frames} frames, {num_faces} faces | wall ms/frame | CPU ms/frame | share of CPU |",
        "|---|---|---|---|",
    ]
    steady = {name: spent for name, spent in costs.seconds.items() if not name.startswith("start")}
    total = [sum(column) for column in zip(*steady.values(), strict=True)]
    for name, (wall_s, cpu_s) in {**steady, "sum": total}.items():
        per_frame = [1000 * seconds / num_frames for seconds in (wall_s, cpu_s)]
        lines.append(f"| {name} | {per_frame[0]:.2f} | {per_frame[1]:.2f} | {100 * cpu_s / total[1]:.0f} % |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--num-frames", type=int, default=150)
    parser.add_argument("--det-size", type=int, default=DetectorSettings().size_px)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    settings = ScanSettings(
        runtime=RuntimeSettings(device=given.device, precision=given.precision),
        detector=DetectorSettings(size_px=given.det_size),
    )
    print(table(*costs_of(given.path, given.num_frames, settings)))


if __name__ == "__main__":
    main()
