"""Scan shards in a worker for a driver elsewhere. This module does not need Ray."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from maskbatch import __version__
from maskbatch.errors import MaskbatchError
from maskbatch.run.shard import run_shard
from maskbatch.run.stages import NetworkFacts, open_networks
from maskbatch.settings import ScanSettings
from maskbatch.types import Checkpoint, SegmentResult, Shard


@dataclass(frozen=True, slots=True)
class Said:
    """A result, or the error that ended a shard, with the warnings since the last result as (logger, text)."""

    result: SegmentResult | None = None
    error: Exception | None = None
    warnings: tuple[tuple[str, str], ...] = ()


class Worker:
    """A worker process on any machine of the cluster. One thread scans shards; another thread receives `stop`."""

    def __init__(self) -> None:
        self._stopped: set[int] = set()

    def facts(self, settings: ScanSettings) -> tuple[str, NetworkFacts | Exception]:
        """Open the networks; return the version of maskbatch, and the facts about the networks or the error."""
        try:
            return __version__, open_networks(settings).facts()
        except MaskbatchError as error:
            return __version__, error

    def scan(self, number: int, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings) -> Iterator[Said]:
        """Yield the results of `run_shard` until `stop(number)`, and its error as the last item."""
        with _heard() as warnings:
            try:
                for result in run_shard(shard, checkpoint, settings, lambda: number in self._stopped):
                    yield Said(result, warnings=_taken(warnings))
            except Exception as error:
                yield Said(error=_plain(error), warnings=_taken(warnings))

    def stop(self, number: int) -> None:
        """End the scan with this number after its batch."""
        self._stopped.add(number)


class _Kept(logging.Handler):
    """A handler that keeps the warnings of a worker as (logger, text)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.name, record.getMessage()))


@contextmanager
def _heard() -> Iterator[_Kept]:
    """Keep the warnings of the block, all of which belong to the one shard that the worker is scanning."""
    handler, logger = _Kept(), logging.getLogger("maskbatch")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def _taken(warnings: _Kept) -> tuple[tuple[str, str], ...]:
    kept, warnings.kept = warnings.kept, []
    return tuple(kept)


def _plain(error: Exception) -> Exception:
    """Return an error that can be pickled: errors of maskbatch and of the system as such, others as their text."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error))
    return error if isinstance(error, MaskbatchError) else MaskbatchError(f"a worker failed: {error!r}")
