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


@dataclass(frozen=True, slots=True)
class Losses:
    """The workers in a row that were lost over a shard, none of which got further than the one before; and the frames that
    the furthest one analysed. Who kills workers at random moments must not look like a file that kills its worker."""

    num: int = 0
    furthest: int = 0

    def another(self, frames: int) -> "Losses":
        """Return the losses after another one, whose worker had analysed so many frames."""
        return Losses(1 if frames > self.furthest else self.num + 1, max(frames, self.furthest))


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
