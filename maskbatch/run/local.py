"""The driver of a scan: hand out shards, store their results, and write the reports."""

import json
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maskbatch import __version__
from maskbatch.errors import Interrupted, MaskbatchError
from maskbatch.media.names import named
from maskbatch.media.sources import make_shards
from maskbatch.media.walk import NotLookedAt
from maskbatch.overlap import for_each
from maskbatch.reports.content import with_same_content
from maskbatch.reports.manifest import write_manifest
from maskbatch.reports.run_json import write_run_json
from maskbatch.run.engine import Engine, Here, Losses, WorkerLost
from maskbatch.run.identity import facts_of, identity_of
from maskbatch.run.log import FileLog, Warnings
from maskbatch.run.memory import check_address_space, trim
from maskbatch.run.progress import Listener
from maskbatch.run.quarantine import after_loss, set_aside
from maskbatch.run.session import OfCaller, Session
from maskbatch.run.shard import HANG, probed
from maskbatch.run.stop import Stop
from maskbatch.run.threshold import follow_threshold, with_known_states
from maskbatch.settings import ScanSettings
from maskbatch.sinks.relabel import remove_crops_without_rows
from maskbatch.store.database import Store
from maskbatch.store.folder import remove_empty_segments, remove_temporary_media, segments_of
from maskbatch.store.lock import Lock
from maskbatch.store.plan import Plan, Standard, make_plan
from maskbatch.store.resume import begin, check_identity, is_done, note_times, usable_checkpoint
from maskbatch.store.write import add_results, begin_session, close_sources, end_session, open_sources
from maskbatch.types import Shard, Source

if TYPE_CHECKING:
    from maskbatch.reports.tables import Written

_log = logging.getLogger(__name__)
_NO_LOSS = Losses()

_CANNOT_WRITE = (
    "cannot write to {}: {}. All finished work is kept: once the folder can be written and has room, the same command "
    "continues the scan"
)


class Driver:
    """A scan that this process directs and `engine` runs; None means this process.

    The constructor opens the networks, so that a scan that cannot run fails before it writes anything. `warnings` are
    listed in run.json. `third_state` is the user's choice, None by default. Raises DeviceError, UsageError and
    WeightsError.
    """

    def __init__(
        self,
        settings: ScanSettings,
        warnings: Warnings | None = None,
        third_state: bool | None = None,
        engine: Engine | None = None,
    ) -> None:
        check_address_space()
        self._engine = engine or Here(settings)
        self.networks = self._engine.networks
        self.settings = with_known_states(settings, self.networks, third_state)
        self._warnings = warnings or Warnings()
        self._limit_s = HANG * settings.sampling.stall_s

    def plan(
        self,
        store: Store,
        sources: Sequence[Source],
        inputs: Sequence[Path] = (),
        not_looked_at: NotLookedAt | None = None,
        growing: Container[str] = (),
    ) -> Plan:
        """Return the plan of work in the folder of `store`.

        `inputs` are the paths that the user gave. `not_looked_at` are the entries that were skipped below them. The
        results of sources with names in `growing` stay. Raises UsageError when an earlier session in this folder had
        other settings or other inputs.
        """
        check_identity(store, identity_of(self.settings, inputs, self.networks))
        standard = Standard(self.settings.output.save, growing, partial(with_same_content, store.folder))
        plan = make_plan(store, sources, inputs, standard)
        return plan if not_looked_at is None else replace(plan, not_looked_at=not_looked_at)

    def scan(self, plan: Plan, store: Store, lock: Lock, stop: Stop, listener: Listener | None = None) -> "Written":
        """Scan the pending sources, and write the reports of all finished sources.

        `listener` receives the pending sources once, and then each result. After an interruption or an error, the
        reports cover the finished sources, and `finished` in `run.json` is null. Raises Interrupted when `stop` was
        requested, and MaskbatchError when the folder can no longer be written.
        """
        start = time.monotonic()
        _log.info("maskbatch %s on %s: %d files into %s, %d of them done", __version__,
                  self.networks.device.description, len(plan.sources), plan.out, plan.num_done)  # fmt: skip
        with _writing(plan.out):
            number = begin_session(store, identity_of(self.settings, plan.inputs, self.networks),
                                   facts_of(self.settings, plan, self.networks))  # fmt: skip
            session = Session(number, store, lock, stop, listener or Listener())
            plan = self._begin(plan, store)
        threading.Thread(target=_import_tables, name="maskbatch-imports").start()
        try:
            self._scan_pending(plan, session)
        except (Exception, KeyboardInterrupt) as error:
            self._break_off(session, error, time.monotonic() - start)
            if isinstance(error, OfCaller):
                raise error.__cause__ from None
            if isinstance(error, OSError):
                lock.check()
                raise _cannot_write(plan.out, error) from error
            raise
        with _writing(plan.out):
            note_times(store, plan)
            written = self._end(session, "finished", time.monotonic() - start)
        _log.info("finished: %s", written.summary)
        return written

    def close(self) -> None:
        """End the engine's workers, if it has any."""
        self._engine.close()

    def _begin(self, plan: Plan, store: Store) -> Plan:
        """Prepare the folder for the pending sources, and return the plan with the ids of the store."""
        write_run_json(store, plan.out)
        plan = begin(store, plan)
        if self.settings.output.save & {"crops", "evidence"}:
            remove_crops_without_rows(store)
        follow_threshold(store, self.settings)
        return plan

    def _break_off(self, session: Session, error: BaseException, seconds: float) -> None:
        """Write the reports of finished sources, unless the folder cannot be written or the user stopped twice."""
        how = "interrupted" if isinstance(error, (Interrupted, KeyboardInterrupt)) else str(error) or repr(error)
        _log.info("stopped before the end: %s", how)
        if session.lock.is_there() and not session.stop.now:
            with suppress(OSError, MaskbatchError):
                self._end(session, how, seconds)

    def _end(self, session: Session, how: str, seconds: float) -> "Written":
        """Store the end of the session, and then write the reports.

        A `report` that runs at the same time checks for this end after it has renamed its tables. If the session has
        ended, it writes the tables again. This order ensures that the last tables are complete.
        """
        from maskbatch.reports import tables  # see `_import_tables`

        used = self.settings.classifier.thresholds
        report = replace(self.settings.report, threshold=used.mask, incorrect_threshold=used.incorrect)
        figures = {
            "seconds": round(seconds, 2), "frames": session.frames["analysed"],
            "num_warnings": self._warnings.number, "warnings": json.dumps(self._warnings.messages),
            "stages": json.dumps({name: round(value, 2) for name, value in sorted(session.seconds.items())}),
        }  # fmt: skip
        end_session(session.store, session.id, how, figures)
        written = tables.write_reports(session.store, report)
        write_run_json(session.store, session.store.folder, report, asdict(written.summary))
        if how == "finished":
            remove_empty_segments(session.store.folder)
            checksum = write_manifest(session.store, tables.WRITTEN, session.is_over)
            _log.info("manifest.json has the SHA-256 %s", checksum)
        return written

    def _scan_pending(self, plan: Plan, session: Session) -> None:
        pending = set_aside(plan, session.store, self.settings, session.stop)
        pending = self._probed(pending, session)
        session.listener.expect(pending)
        for_each(partial(self._scan_shard, session=session), make_shards(pending), self._engine.num_at_once,
                 halt=session.failed.set)  # fmt: skip
        if session.lost.is_set():
            remove_temporary_media(session.store.folder)
        if session.stop.is_asked and not is_done(session.store):
            raise Interrupted("stopped")

    def _probed(self, sources: Sequence[Source], session: Session) -> list[Source]:
        """Return the sources with probed videos, for the estimate of time. The scan of a video probes it again.

        The store lists the videos as open meanwhile, so that the next session finds a video that killed the process.
        """
        videos = [source for source in sources if source.kind == "video"]
        open_sources(session.store, session.id, videos)
        limit_s, is_over = self._limit_s, session.is_over
        found = [source if is_over() else probed(source, limit_s, upright=False, is_over=is_over) for source in sources]
        close_sources(session.store, videos)
        return found

    def _scan_shard(self, shard: Shard, session: Session, losses: Losses = _NO_LOSS) -> None:
        """Scan one shard, and store its results. When its worker is lost, another worker gets the rest of the shard."""
        if session.is_over():
            return
        frames: Counter = Counter()
        try:
            self._scan_once(shard, session, frames)
        except WorkerLost as error:
            session.lost.set()
            _log.warning("%s while it had %s", error, named([source.name for source in shard.sources]))
            losses = losses.another(frames["before"], frames.total())
            left = after_loss(shard, losses, session.store, self.settings, session.stop)
            num_left = sum(len(rest.sources) for rest in left)
            if num_left < len(shard.sources):  # some sources are finished: the next loss is at another place
                losses = Losses(1, 1)
            for rest in left:
                self._scan_shard(rest, session, losses)

    def _scan_once(self, shard: Shard, session: Session, frames: Counter) -> None:
        """Scan a shard from its checkpoint. `frames` counts analysed frames, `before` the checkpoint and `now`."""
        store = session.store
        checkpoint = usable_checkpoint(store, shard.sources[0])  # before the store lists its file as open
        open_sources(store, session.id, shard.sources)
        frames["before"] = 0 if checkpoint is None else checkpoint.frames_analysed
        file_log, waiting = FileLog(), []
        with closing(self._engine.scan(shard, checkpoint, self.settings, session.is_over)) as results:
            for result in results:
                session.lock.check()
                frames["now"] += result.num_frames
                waiting.append(result)
                if result.is_whole:
                    add_results(store, waiting)
                    waiting.clear()
                for source, _ in result.ended:
                    shutil.rmtree(segments_of(store.folder, source.id), ignore_errors=True)
                file_log.add(result)
                session.tell(shard, result)
        trim()  # otherwise memory grows with the number of photos


def _import_tables() -> None:
    """Import the tables and pandas, and compile the page, while the networks work: nobody waits for this half second."""
    with suppress(Exception):  # the end of the scan raises it again
        import maskbatch.reports.tables  # noqa: F401
        from maskbatch.reports.page.render import page_template

        page_template()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Raise MaskbatchError in place of an OSError from writes to the output folder."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> MaskbatchError:
    return MaskbatchError(_CANNOT_WRITE.format(out, error.strerror or error))
