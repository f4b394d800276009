"""Runs a scan: shards through the pipeline into sinks, one after the other, then the reports."""

import logging
import platform
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
from maskbatch.media.loader import import_ahead, load
from maskbatch.media.sources import make_shards
from maskbatch.outputs import read_run, write_run
from maskbatch.pipeline import Stages, analyse
from maskbatch.report import Summary, write_reports
from maskbatch.runlog import FileLog, Warnings
from maskbatch.sinks import open_sinks
from maskbatch.tracker import Tracker
from maskbatch.trainer.model import classifier_network

log = logging.getLogger(__name__)

OnBatch = Callable[[Batch], None]
_PACKAGES = ("tensorflow", "openvino", "opencv-python", "av", "numpy")


class Engine:
    """A scan on this machine. Opens the device and the networks when made: what cannot run fails before anything is
    written. `warnings` are those that run.json shall list. Raises DeviceError and WeightsError."""

    def __init__(self, settings: ScanSettings, warnings: Warnings | None = None) -> None:
        self.settings = settings
        self._warnings = warnings or Warnings()
        self.device = runtime.choose_device(settings.runtime)
        self._classifier_path = classifier_path(settings.classifier.model)
        faces, masks = centerface.shipped_network(), classifier_network(self._classifier_path)
        self._precision = {
            network.role: runtime.choose_precision(network, self.device, settings.runtime.precision)
            for network in (faces, masks)
        }
        self._detect = Detector(self._open(faces), settings.detector)
        self._classify = Classifier(self._open(masks))
        import_ahead()

    def scan(
        self, sources: Sequence[Source], out: Path, inputs: Sequence[Path] = (), on_batch: OnBatch = lambda _: None
    ) -> Summary:
        """Scans the sources into the folder `out` and writes its reports; `inputs` are the paths the user gave.

        A run that is interrupted, or fails, leaves reports of the shards it finished and a `run.json` whose `finished`
        is null. Raises OSError when `out` cannot be written.
        """
        report, start = ReportSettings(threshold=self.settings.classifier.threshold), time.monotonic()
        record = self._record(inputs) | {"files": len(sources), "report": asdict(report)}
        write_run(out, record)
        log.info("maskbatch %s on %s: %d files into %s", __version__, self.device.description, len(sources), out)
        try:
            for shard in make_shards(sources):
                self.run_shard(shard, out, on_batch)
            record["finished"] = _now()
        finally:
            summary = write_reports(out, report)
            log.info("%s: %s", "finished" if record["finished"] else "stopped before the end", summary)
            warnings = {"num_warnings": self._warnings.number, "warnings": self._warnings.messages}
            seconds = round(time.monotonic() - start, 2)
            write_run(out, record | {"seconds": seconds, "summary": asdict(summary)} | warnings)
        return summary

    def run_shard(self, shard: Shard, out: Path, on_batch: OnBatch) -> None:
        """One shard from files to files. What it writes is renamed into place when whole, its row files last."""
        stages = Stages(self._detect, self._classify, Tracker(self.settings.tracker))
        file_log = FileLog(shard)
        with ExitStack() as stack:
            sinks = [stack.enter_context(sink) for sink in open_sinks(shard, out, self.settings)]
            for batch in analyse(load(shard.sources, self.settings.sampling, self.settings.loader), stages):
                for sink in sinks:
                    sink.write(batch)
                file_log.add(batch)
                on_batch(batch)

    def _open(self, network: runtime.Network) -> runtime.Run:
        return runtime.open_network(network, self.device, self._precision[network.role])

    def _record(self, inputs: Sequence[Path]) -> dict:
        """What is known before the first file."""
        settings = asdict(self.settings)
        settings["output"]["save"] = sorted(settings["output"]["save"])
        return {
            "maskbatch": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in _PACKAGES},
            "device": self.device.description,
            "precision": self._precision,
            "weights": {
                "detector": {"file": "centerface.weights.h5", "sha256": weights.SHIPPED["centerface"].sha256},
                "classifier": {"file": self._classifier_path.name, "sha256": weights.sha256(self._classifier_path)},
            },
            "inputs": [str(path.absolute()) for path in inputs],
            "settings": settings,
            "started": _now(),
            "finished": None,
        }


def report_again(out: Path, threshold: float | None) -> tuple[Summary, bool]:
    """Writes the reports of the scan in `out` again, at its own threshold or another one, which `run.json` then names.

    Returns the summary and whether the scan had finished. Raises MaskbatchError when `out` holds no scan.
    """
    record = read_run(out)
    settings = ReportSettings(**record["report"])
    if threshold is not None:
        settings = ReportSettings(threshold, settings.min_track_s)
    summary = write_reports(out, settings)
    write_run(out, record | {"report": asdict(settings), "summary": asdict(summary)})
    return summary, record["finished"] is not None


def classifier_path(model: str) -> Path:
    """The file of a classifier: the name of a shipped one, or a path. Raises UsageError when there is none."""
    names = [name for name, shipped in weights.SHIPPED.items() if "with_mask" in shipped.labels]
    if model in names:
        return weights.find(model)
    if not Path(model).is_file():
        raise UsageError(
            f"there is no model {model!r}: give a .keras file, or the name of a shipped one: {', '.join(names)}"
        )
    return Path(model)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
