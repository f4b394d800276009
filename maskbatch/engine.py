"""Runs a scan: shards through the pipeline into sinks, one after the other, then the reports."""

import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from maskbatch import __version__, centerface, runtime, weights
from maskbatch.classifier import Classifier
from maskbatch.config import ReportSettings, ScanSettings
from maskbatch.data import Batch, Shard, Source
from maskbatch.detector import Detector
from maskbatch.errors import UsageError
from maskbatch.media.loader import load
from maskbatch.media.sources import make_shards
from maskbatch.pipeline import Stages, analyse
from maskbatch.report import Summary, write_reports
from maskbatch.sinks import open_sinks
from maskbatch.tracker import Tracker
from maskbatch.trainer.model import model_loader

log = logging.getLogger(__name__)

OnBatch = Callable[[Batch], None]
_WRITTEN = ("annotated", "crops", ".state", "faces.csv", "files.csv", "summary.csv", "run.json")


class Engine:
    """A scan on this machine. Opens the device and the networks when made: what cannot run fails before anything is
    written. Raises DeviceError and WeightsError."""

    def __init__(self, settings: ScanSettings) -> None:
        self.settings = settings
        self.device = runtime.choose_device(settings.runtime)
        self._classifier_path = classifier_path(settings.classifier.model)
        precision = settings.runtime.precision
        faces = centerface.shipped_network()
        masks = runtime.Network(self._classifier_path, model_loader(self._classifier_path))
        self._detect = Detector(runtime.open_network(faces, self.device, precision), settings.detector)
        self._classify = Classifier(runtime.open_network(masks, self.device, precision))

    def scan(self, sources: Sequence[Source], out: Path, on_batch: OnBatch = lambda _: None) -> Summary:
        """Scans the sources into the folder `out` and writes its reports. Raises OSError when `out` cannot be written."""
        started, start = datetime.now(timezone.utc), time.monotonic()
        for shard in make_shards(sources):
            self.run_shard(shard, out, on_batch)
        summary = write_reports(out, ReportSettings(threshold=self.settings.classifier.threshold))
        timing = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - start, 2)}
        self._write_run(out, timing, summary)
        return summary

    def run_shard(self, shard: Shard, out: Path, on_batch: OnBatch) -> None:
        """One shard from files to files. What it writes is renamed into place when whole, its row files last."""
        stages = Stages(self._detect, self._classify, Tracker(self.settings.tracker))
        with ExitStack() as stack:
            sinks = [stack.enter_context(sink) for sink in open_sinks(shard, out, self.settings)]
            for batch in analyse(load(shard.sources, self.settings.sampling, self.settings.loader), stages):
                for sink in sinks:
                    sink.write(batch)
                _log_ended(batch, shard)
                on_batch(batch)

    def _write_run(self, out: Path, timing: dict, summary: Summary) -> None:
        """`run.json`: what an auditor needs to know to get these numbers again."""
        settings = asdict(self.settings)
        settings["output"]["save"] = sorted(settings["output"]["save"])
        record = {
            "maskbatch": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in ("tensorflow", "openvino", "opencv-python", "av", "numpy")},
            "device": self.device.description,
            "weights": {
                "detector": {"file": "centerface.weights.h5", "sha256": weights.SHIPPED["centerface"].sha256},
                "classifier": {"file": self._classifier_path.name, "sha256": weights.sha256(self._classifier_path)},
            },
            "settings": settings,
            "timing": timing,
            "summary": asdict(summary),
        }
        partial = out / ".run.json.part"
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(out / "run.json")


def _log_ended(batch: Batch, shard: Shard) -> None:
    """A line for each file that is done."""
    names = {source.id: source.name for source in shard.sources}
    for ended in batch.frames.ended:
        log.info("%s: %s, %d frames analysed", names[ended.source_id], ended.error or "ok", ended.frames_analysed)


def classifier_path(model: str) -> Path:
    """The file of a classifier: the name of a shipped one, or a path. Raises UsageError when there is none."""
    if model in weights.SHIPPED:
        return weights.find(model)
    if not Path(model).is_file():
        raise UsageError(f"there is no model {model!r}: give a .keras file, or one of {', '.join(weights.SHIPPED)}")
    return Path(model)


def check_out(out: Path, overwrite: bool) -> None:
    """Whether a scan may write to `out`; touches nothing. Raises UsageError when it holds something already."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")
    earlier = _earlier(out)
    if earlier and not (out / ".state").is_dir():
        raise UsageError(
            f"{out} holds {earlier[0].name}, which is not from maskbatch: choose another folder with --out"
        )
    if earlier and not overwrite:
        raise UsageError(f"{out} holds an earlier scan: choose another --out, or replace it with --if-exists overwrite")


def prepare_out(out: Path) -> None:
    """Makes the output folder; what an earlier scan wrote there is removed, and nothing else. Raises UsageError."""
    try:
        for path in _earlier(out):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (out / ".state").mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}. Choose another folder with --out") from error


def _earlier(out: Path) -> list[Path]:
    return [out / name for name in _WRITTEN if (out / name).exists()]
