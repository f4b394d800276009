"""Batches that worker processes make, in order, for a training on a GPU."""

import mmap
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

# batches that a worker makes ahead
_SLOTS = 3
_WAIT_S = 60


class Part(NamedTuple):
    """Type and shape of one array of a batch."""

    dtype: str
    shape: tuple[int, ...]


class Step(NamedTuple):
    """A step of a training: its number, the share of the training that is over before it, seconds, and its batch."""

    number: int
    share: float
    spent_s: float
    waited_s: float
    batch: list[np.ndarray]


class Feed:
    """An iterable of batches: lists of arrays, each valid until the next batch is asked for.

    The workers are forked, so that they share what `fill` knows: make the feed before the GPU is used.

    Args:
        parts: The arrays of a batch.
        steps: Number of batches.
        num_workers: Number of processes.
        fill: Writes batch `number` into the arrays, and depends on nothing but the number.
    """

    def __init__(
        self, parts: Sequence[Part], steps: int, num_workers: int, fill: Callable[[int, list[np.ndarray]], None]
    ) -> None:
        self._fill, self._steps, self._num_workers = fill, steps, num_workers
        context = multiprocessing.get_context("fork")
        self._slots = [[_shared(parts) for _ in range(_SLOTS)] for _ in range(num_workers)]
        self._free = [context.Semaphore(_SLOTS) for _ in range(num_workers)]
        self._ready = [context.Semaphore(0) for _ in range(num_workers)]
        self._workers = [context.Process(target=self._work, args=(w,), daemon=True) for w in range(num_workers)]
        for worker in self._workers:
            worker.start()

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        for number in range(self._steps):
            worker, slot = number % self._num_workers, number // self._num_workers % _SLOTS
            if not self._ready[worker].acquire(timeout=_WAIT_S):
                raise RuntimeError("a process that makes batches has stopped")
            yield self._slots[worker][slot]
            self._free[worker].release()

    def within(self, seconds: float) -> Iterator[Step]:
        """Yield steps until all batches are used or the time is over, whichever comes first.

        The share follows the one that is further, so that a learning rate that depends on it ends at zero in any case.
        """
        begun = last = time.monotonic()
        waited_s = 0.0
        for number, batch in enumerate(self):
            now = time.monotonic()
            waited_s += now - last
            share = max(number / self._steps, (now - begun) / seconds)
            if share >= 1:
                return
            yield Step(number, share, now - begun, waited_s, batch)
            last = time.monotonic()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()

    def _work(self, worker: int) -> None:
        for number in range(worker, self._steps, self._num_workers):
            self._free[worker].acquire()
            self._fill(number, self._slots[worker][number // self._num_workers % _SLOTS])
            self._ready[worker].release()


def _shared(parts: Sequence[Part]) -> list[np.ndarray]:
    """Return arrays in memory that forked processes share."""
    found = []
    for part in parts:
        num_bytes = int(np.prod(part.shape)) * np.dtype(part.dtype).itemsize
        found.append(np.frombuffer(mmap.mmap(-1, num_bytes), part.dtype).reshape(part.shape))
    return found
