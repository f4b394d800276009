"""Watch folders: scan new files once they stop growing, and update the tables."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from maskbatch.errors import Interrupted, MaskbatchError
from maskbatch.media.names import from_name_text
from maskbatch.media.sources import Found, look_for
from maskbatch.run.job import Job, Outcome, run_job
from maskbatch.run.options import scan_settings
from maskbatch.run.output import default_out
from maskbatch.run.progress import Listener, counted
from maskbatch.run.stop import Stop, stop_on_signals
from maskbatch.store.database import STORE, is_store, open_store
from maskbatch.store.read import done_sources
from maskbatch.types import Source

_log = logging.getLogger(__name__)
_POLL_S = 0.2

OnOutcome = Callable[[Outcome], None]
Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between two checks for new files, and seconds that a file must stay unchanged before it is scanned."""

    every_s: float = 300.0
    settle_s: float = 10.0


class _State(NamedTuple):
    """State of a file at a check: size and time of its last change, and the time since when it has been unchanged."""

    size: int
    mtime_ns: int
    since_s: float


class Watch:
    """A watch over the folders of a job. Each `round` scans the files that have stopped growing.

    Args:
        job: the scan; its `out` is fixed when the watch begins.
        settle_s: seconds for which the size and the time of a file must stay the same.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, job: Job, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._job = replace(job, out=default_out(job.paths) if job.out is None else job.out)
        self._settle_s, self._clock = settle_s, clock
        self._states: dict[Path, _State] = {}
        self._scanned: set[tuple[Path, int, int]] = set()

    def round(self, listener: Listener, pause: Pause) -> Outcome | None:
        """Look for files, wait until new files have settled, and scan if there is anything new.

        Args:
            listener: receives the progress of the scan.
            pause: waits for a number of seconds.

        Returns:
            The outcome of the scan, None when there was nothing to scan. Files that still grow wait for the next round.

        Raises:
            UsageError, MaskbatchError: as in `run_job`.
        """
        found = self._look()
        if any(not self._is_settled(source) for source in found.sources):
            pause(self._settle_s)
            found = self._look()
        settled = [source for source in found.sources if self._is_settled(source)]
        now = {(source.path, *self._states[source.path][:2]) for source in settled}
        if now <= self._scanned:
            return None
        done, here, ready = self._done(), _names(found.sources), _names(settled)
        growing = here & _names(done) - ready
        gone = [source for source in done if source.name not in here]
        kept = [source for source in found.sources if source.name in ready or source.name in growing]
        sources = tuple(replace(source, id=number) for number, source in enumerate((*gone, *kept)))
        outcome = run_job(self._job, listener, replace(found, sources=sources, growing=growing))
        self._scanned = now
        return outcome

    def _look(self) -> Found:
        """Find all files, and record their present state."""
        found = look_for(self._job.paths, self._job.out, None, self._job.options.include_hidden)
        now_s, states = self._clock(), {}
        for source in found.sources:
            try:
                stat = source.path.stat()
            except OSError:  # gone again, or cannot be read now
                continue
            state, before = _State(stat.st_size, stat.st_mtime_ns, now_s), self._states.get(source.path)
            states[source.path] = before if before is not None and before[:2] == state[:2] else state
        self._states = states
        return found

    def _is_settled(self, source: Source) -> bool:
        state = self._states.get(source.path)
        return state is not None and self._clock() - state.since_s >= self._settle_s

    def _done(self) -> list[Source]:
        """Return the scanned sources, whose results stay in the tables when they are deleted or written again."""
        if not is_store(self._job.out / STORE):
            return []
        with open_store(self._job.out, reader=True) as store, store.transaction() as connection:
            known = done_sources(connection)
        return [Source(0, Path(from_name_text(path)), from_name_text(name), kind) for name, path, kind in known]


def watch(job: Job, rhythm: Rhythm, listener: Listener, on_outcome: OnOutcome = lambda _: None) -> None:
    """Watch folders until Ctrl-C or SIGTERM, which also ends a wait at once.

    Errors of the first scan are raised. Later errors, such as a full disk or a missing drive, are logged, and the next
    round tries again.

    Args:
        job: the scan; an earlier scan in its output folder is continued.
        rhythm: times between checks.
        listener: receives the progress of each scan.
        on_outcome: called with the outcome of each scan.

    Raises:
        UsageError: an option is wrong, none of the paths exists, or the output folder holds something else.
        Interrupted: the user stopped a running scan; the same command continues it.

    Example:
        >>> watch(Job((Path("incoming"),), Path("audit")), Rhythm(every_s=60), Listener())
    """
    scan_settings(job.options)
    watched = Watch(job, rhythm.settle_s)
    has_run = False
    with stop_on_signals(lambda _: None) as stop:
        while not stop.is_asked:
            start = time.monotonic()
            try:
                outcome = watched.round(listener, lambda seconds: _wait(seconds, stop))
                if outcome is not None:
                    has_run = True
                    on_outcome(outcome)
            except Interrupted:
                raise
            except MaskbatchError as error:
                if not has_run:
                    raise
                _log.warning("%s; the next round tries again", error)
            if stop.is_asked:  # a scan that ended nevertheless
                break
            left_s = rhythm.every_s - (time.monotonic() - start)
            listener.say(
                f"watching {counted(len(job.paths), 'path')}; next look in {max(round(left_s), 0)} s; Ctrl-C stops"
            )
            _wait(left_s, stop)
    listener.say("stopped watching; the tables are complete")


def _names(sources: Iterable[Source]) -> frozenset[str]:
    return frozenset(source.name for source in sources)


def _wait(seconds: float, stop: Stop) -> None:
    """Wait for `seconds`, or until the user asks to stop."""
    end = time.monotonic() + seconds
    while not stop.is_asked and (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, _POLL_S))
