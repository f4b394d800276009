"""Runs a scan: shards through the pipeline into sinks, one or several at a time, then the reports."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from maskbatch import __version__, centerface, runtime, weights
from maskbatch.allocator import check_address_space, trim
from maskbatch.aside import set_aside, silence
from maskbatch.classifier import Classifier
from maskbatch.config import CPU_BATCH, GPU_BATCH, LoaderSettings, ReportSettings, SamplingSettings, ScanSettings
from maskbatch.data import Batch, Shard, Source
from maskbatch.detector import Detector
from maskbatch.errors import Interrupted, MaskbatchError, UsageError
from maskbatch.journal import Journal, NotedReader, NotedSound
from maskbatch.lock import Lock, reporting
from maskbatch.marks import ROWS, next_unit, read_marks
from maskbatch.media.decode import open_source
from maskbatch.media.limited import LimitedReader
from maskbatch.media.loader import load
from maskbatch.media.read_ahead import by_tf_data, by_threads
from maskbatch.media.sound import SoundReader
from maskbatch.media.sources import make_shards
from maskbatch.outputs import read_run, write_run
from maskbatch.overlap import Ahead, for_each
from maskbatch.pipeline import Stages, analyse
from maskbatch.plan import Plan, begin, check_settings, deciding, make_plan, note_settings
from maskbatch.record import Record, facts_of
from maskbatch.report import Summary, write_reports
from maskbatch.runlog import FileLog, Warnings
from maskbatch.shard_sink import open_shard
from maskbatch.stopping import Stop
from maskbatch.timings import Timings
from maskbatch.tracker import Tracker
from maskbatch.trainer.model import classifier_network

log = logging.getLogger(__name__)

# times the stall limit: what may take that long, and be ended in good order, comes first
_HANG = 2
OnBatch = Callable[[Batch], None]
_CANNOT_WRITE = (
    "cannot write to {}: {}. What was finished is kept: when there is room, and the folder can be written, the same "
    "command goes on"
)


@dataclass(frozen=True, slots=True)
class Run:
    """What the shards of one run share. `on_batch` is called by one of them at a time."""

    out: Path
    journal: Journal
    lock: Lock
    stop: Stop
    on_batch: OnBatch
    timings: Timings
    telling: threading.Lock = field(default_factory=threading.Lock)
    failed: threading.Event = field(default_factory=threading.Event)

    def is_over(self) -> bool:
        """Whether what is at work shall end after its batch: the user asked for it, or another shard failed."""
        return self.stop.is_asked or self.failed.is_set()

    def tell(self, batch: Batch) -> None:
        """A batch is written."""
        with self.telling:
            self.on_batch(batch)


class Engine:
    """A scan on this machine. Opens the device and the networks when made: what cannot run fails before anything is
    written. `warnings` are those that run.json shall list. Raises DeviceError and WeightsError."""

    def __init__(self, settings: ScanSettings, warnings: Warnings | None = None) -> None:
        check_address_space()
        self.settings, self._run = settings, None
        self._warnings = warnings or Warnings()
        self.device = runtime.choose_device(settings.runtime)
        faces = centerface.shipped_network()
        masks = classifier_network(classifier_path(settings.classifier.model))
        self._precision = {
            network.role: runtime.choose_precision(network, self.device, settings.runtime.precision)
            for network in (faces, masks)
        }
        self._weights = {"detector": self._used(faces), "classifier": self._used(masks)}
        self._detect = Detector(self._open(faces), settings.detector)
        self._classify = Classifier(self._open(masks))
        self._loader, self._limit_s = _share(settings, self.device), _HANG * settings.sampling.stall_s
        # batches with the networks: one for each GPU; of a shard that is alone, one while another is between two networks
        self._num_at_once = -(-max(2, len(self.device.names)) // settings.workers)
        self._timings = Timings()
        self._read_ahead = by_tf_data if self.device.runtime == "tensorflow" else by_threads

    def plan(self, sources: Sequence[Source], out: Path, inputs: Sequence[Path] = ()) -> Plan:
        """What is to be done in the prepared folder `out`; `inputs` are the paths the user gave. Raises UsageError when an
        earlier run there had other settings."""
        check_settings(out, self._identity(inputs))
        return make_plan(sources, out, inputs)

    def _identity(self, inputs: Sequence[Path]) -> dict:
        """All that decides the rows and media of a run."""
        return deciding(self.settings, inputs) | {
            "runtime": self.device.runtime,
            "precision": self._precision,
            "weights": {name: used["sha256"] for name, used in self._weights.items()},
        }

    def scan(
        self,
        plan: Plan,
        lock: Lock,
        stop: Stop,
        on_batch: OnBatch = lambda _: None,
        on_pending: Callable[[Sequence[Source]], None] = lambda _: None,
    ) -> Summary:
        """Scans what is pending and writes the reports of all that is done. `on_pending` is called once before the first
        batch, with the sources that will be scanned and what is known of them.

        A run that is interrupted, or fails, leaves reports of the sources it finished and a `run.json` whose `finished` is
        null. Raises Interrupted when `stop` was asked for, MaskbatchError when `out` cannot be written any more.
        """
        report = ReportSettings(threshold=self.settings.classifier.threshold)
        facts = facts_of(self.settings, self.device.description, self._weights)
        record = Record(plan, {"report": asdict(report), "precision": self._precision} | facts)
        log.info("maskbatch %s on %s: %d files into %s, %d of them done", __version__, self.device.description,
                 len(plan.sources), plan.out, plan.num_done)  # fmt: skip
        try:
            begin(plan)
            note_settings(plan.out, self._identity(plan.inputs))
            with reporting(plan.out):
                record.write()
            self._scan_pending(plan, lock, stop, record.counting(on_batch), on_pending)
        except (Exception, KeyboardInterrupt) as error:
            how = "interrupted" if isinstance(error, (Interrupted, KeyboardInterrupt)) else str(error) or repr(error)
            log.info("stopped before the end: %s", how)
            if lock.is_there() and not stop.now:
                with suppress(OSError, MaskbatchError):
                    self._end(record, how, plan.out, report)
            if isinstance(error, OSError):
                lock.check()
                raise MaskbatchError(_CANNOT_WRITE.format(plan.out, error.strerror or error)) from error
            raise
        summary = self._end(record, "finished", plan.out, report)
        log.info("finished: %s", summary)
        return summary

    def _end(self, record: Record, how: str, out: Path, report: ReportSettings) -> Summary:
        """Writes the reports, and that the session ended."""
        with reporting(out):
            summary = write_reports(out, report)
            warnings = {"num_warnings": self._warnings.number, "warnings": self._warnings.messages}
            record.end(how, asdict(summary), warnings, self._timings.seconds())
        return summary

    def _scan_pending(self, plan: Plan, lock: Lock, stop: Stop, on_batch: OnBatch, on_pending: Callable) -> None:
        unit = next_unit(plan.out / ROWS)
        pending = set_aside(plan, self.settings, unit, stop)
        unit += len(plan.pending) - len(pending)
        silenced = silence(plan, pending, self.settings, stop)
        with Journal(plan.out, silenced, lambda: stop.is_asked) as journal:
            # once for the estimate of time, and again when its turn comes
            pending = [
                source if stop.is_asked else journal.probed(source, self._limit_s, upright=False) for source in pending
            ]
            on_pending(pending)
            run = self._run = Run(plan.out, journal, lock, stop, on_batch, self._timings)
            shards = (replace(shard, index=unit + shard.index) for shard in make_shards(pending))
            for_each(partial(self._shard_and_trim, run=run), shards, self.settings.workers, halt=run.failed.set)
        if stop.is_asked and not read_marks(plan.out / ROWS).keys() >= {source.name for source in plan.sources}:
            raise Interrupted("stopped")

    def _shard_and_trim(self, shard: Shard, run: Run) -> None:
        self.run_shard(shard, run)
        trim()  # else memory grows with the number of photos

    def run_shard(self, shard: Shard, run: Run) -> None:
        """One shard from files to files. What it writes is renamed into place when whole, the marks of its sources last."""
        if run.is_over():
            return
        timed = run.timings.timed
        # hours may have gone since the run began, and a recording may have grown
        shard = replace(shard, sources=tuple(run.journal.probed(source, self._limit_s) for source in shard.sources))

        def guard(reader: SoundReader) -> LimitedReader:
            return LimitedReader(NotedSound(reader, run.journal, shard.sources[0].name), self._limit_s)

        with open_shard(shard, run.out, self.settings, guard) as sink:
            file_log, write = FileLog(shard), timed("annotate, encode, write", sink.write)
            track = sink.tracking(Tracker(self.settings.tracker))
            stages = Stages(timed("detect", self._detect), timed("classify", self._classify), timed("track", track))

            def opener(source: Source, sampling: SamplingSettings) -> LimitedReader:
                reader = open_source(source, sampling, sink.segments)
                # one that is left behind stays open in the journal: it may still take the process with it
                noted = NotedReader(reader, run.journal, source.name, run.timings)
                return LimitedReader(noted, self._limit_s, run.is_over)

            loading = load(
                shard.sources, self.settings.sampling, self._loader, opener, sink.segments.cuts, self._read_ahead
            )
            analysed = analyse(loading, stages, num_at_once=self._num_at_once)
            # the next batch is analysed while this one is drawn, encoded and written; nothing is decoded after the block.
            # Once the run is over, reader and networks raise Interrupted, and batches that are analysed are still written
            with closing(loading), suppress(Interrupted), Ahead(analysed, is_over=run.is_over) as batches:
                for batch in batches:
                    run.lock.check()
                    write(batch)
                    file_log.add(batch)
                    run.tell(batch)
            if run.is_over():
                sink.stop()

    def _open(self, network: runtime.Network) -> runtime.Run:
        return runtime.open_network(network, self.device, self._precision[network.role], self._is_over)

    def _is_over(self) -> bool:
        """Whether the networks shall stop within the image at work. They are opened before there is a run."""
        return self._run is not None and self._run.is_over()

    def _used(self, network: runtime.Network) -> dict[str, str]:
        """The weight file that runs, for the record."""
        path = network.int8 if self._precision[network.role] == "int8" else network.path
        return {"file": path.name, "sha256": weights.sha256(path)}


def _share(settings: ScanSettings, device: runtime.Device) -> LoaderSettings:
    """How each of several shards at a time is read: what it may hold in memory, decode at once, give the networks."""
    loader, num_shards = settings.loader, settings.workers
    usual = GPU_BATCH if device.is_gpu else CPU_BATCH
    return replace(
        loader,
        batch_size=loader.batch_size or usual,
        max_batch_pixels=max(1, loader.max_batch_pixels // num_shards),
        num_parallel=max(1, loader.num_parallel // num_shards),
        prefetch=max(1, loader.prefetch // num_shards),
    )


def report_again(out: Path, threshold: float | None) -> tuple[Summary, bool]:
    """Writes the reports of the scan in `out` again, at its own threshold or another one, which `run.json` then names.

    Returns the summary and whether the scan had finished. Raises MaskbatchError when `out` holds no scan.
    """
    with reporting(out):
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
