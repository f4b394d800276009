"""Engines that scan shards: this process, or the workers of a cluster.

The driver alone reads and writes the store. An engine takes a shard with its checkpoint, and yields what `run_shard` yields.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from maskbatch.overlap import IsOver
from maskbatch.run.shard import run_shard
from maskbatch.run.stages import NetworkFacts, open_networks
from maskbatch.settings import ScanSettings
from maskbatch.types import Checkpoint, SegmentResult, Shard


class WorkerLost(Exception):
    """The worker that scanned a shard has died, or was ended because nothing came from it. The message says which."""


# results that were on their way are lost with a worker: a few batches
_SAME_PLACE_FRAMES = 32


@dataclass(frozen=True, slots=True)
class Losses:
    """Workers that were lost over a shard since it last got on: `num` in a row at one place, `num_all` anywhere.

    A file that kills its worker does so at one place. Whoever kills workers at random moments must not look like it. The
    last worker began behind `begin` frames, and was lost after `at`.
    """

    num: int = 0
    num_all: int = 0
    begin: int = 0
    at: int = 0

    def another(self, begin: int, at: int) -> "Losses":
        """Return the losses after another one. A worker that begins further on than the one before has something stored.

        Example:
            >>> Losses().another(0, 800).another(0, 790).num, Losses().another(0, 800).another(0, 600).num
            (2, 1)
        """
        if begin > self.begin:
            return Losses(1, 1, begin, at)
        is_here = self.num > 0 and abs(at - self.at) <= _SAME_PLACE_FRAMES
        return Losses(self.num + 1 if is_here else 1, self.num_all + 1, begin, at)


class Engine(Protocol):
    """Scans up to `num_at_once` shards at the same time; `networks` is what a record keeps of its networks."""

    networks: NetworkFacts
    num_at_once: int

    def scan(
        self, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver
    ) -> Iterator[SegmentResult]:
        """Yield the results of a shard, as `run_shard` does, with its errors. Raises WorkerLost as well."""

    def close(self) -> None:
        """End what the engine has started."""


class Here:
    """Scans shards in this process. Raises DeviceError, UsageError and WeightsError when the networks cannot be opened."""

    def __init__(self, settings: ScanSettings) -> None:
        self.networks = open_networks(settings).facts()
        self.num_at_once = settings.workers

    def scan(
        self, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver
    ) -> Iterator[SegmentResult]:
        """Yield the results of `run_shard`."""
        return run_shard(shard, checkpoint, settings, is_over)

    def close(self) -> None:
        """Do nothing: the networks stay open for the next scan of this process."""
