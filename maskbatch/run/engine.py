"""Engines that scan shards: this process, or the workers of a cluster.

Only the driver reads and writes the store. An engine takes a shard with its checkpoint, and yields the results of
`run_shard`.
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
    """The worker that scanned a shard died, or was ended because it gave no results. The message says which."""


# a lost worker takes a few batches of unsent results with it
_SAME_PLACE_FRAMES = 32


@dataclass(frozen=True, slots=True)
class Losses:
    """Workers lost on a shard since its last progress: `num` in a row at the same place, `num_all` anywhere.

    A bad file kills its workers at the same place, unlike a cause that kills workers at random. The last worker began
    after `begin` frames, and was lost after `at` frames.
    """

    num: int = 0
    num_all: int = 0
    begin: int = 0
    at: int = 0

    def another(self, begin: int, at: int) -> "Losses":
        """Return the losses after another loss. A worker that began later than the worker before had made progress.

        Example:
            >>> Losses().another(0, 800).another(0, 790).num, Losses().another(0, 800).another(0, 600).num
            (2, 1)
        """
        if begin > self.begin:
            return Losses(1, 1, begin, at)
        is_here = self.num > 0 and abs(at - self.at) <= _SAME_PLACE_FRAMES
        return Losses(self.num + 1 if is_here else 1, self.num_all + 1, begin, at)


class Engine(Protocol):
    """An engine that scans up to `num_at_once` shards at once; `networks` are facts about its networks, for the record."""

    networks: NetworkFacts
    num_at_once: int

    def scan(
        self, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver
    ) -> Iterator[SegmentResult]:
        """Yield the results of a shard, and raise errors, like `run_shard`. Also raises WorkerLost."""

    def close(self) -> None:
        """End everything that the engine has started."""


class Here:
    """The engine of this process. Raises DeviceError, UsageError and WeightsError when the networks cannot be opened."""

    def __init__(self, settings: ScanSettings) -> None:
        self.networks = open_networks(settings).facts()
        self.num_at_once = settings.workers

    def scan(
        self, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver
    ) -> Iterator[SegmentResult]:
        """Yield the results of `run_shard`."""
        return run_shard(shard, checkpoint, settings, is_over)

    def close(self) -> None:
        """Do nothing: the networks stay open for the next scan in this process."""
