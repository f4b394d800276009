"""Measure the time of each stage of a scan, for `run.json`."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from maskbatch.media.decode import Reader, ReaderAround
from maskbatch.types import Decoded


class Timings:
    """Wall seconds by stage, over all threads. Stages overlap, so their sum may exceed the time of the scan."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block for a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.monotonic() - start

    def timed(self, name: str, function: Callable) -> Callable:
        """Return `function`, wrapped so that the time of each call counts for a stage."""

        def call(*arguments: object) -> object:
            with self.stage(name):
                return function(*arguments)

        return call

    def items(self, name: str, items: Iterable) -> Iterator:
        """Yield the same items, and count the time that making them takes for a stage."""
        iterator, end = iter(items), object()
        while True:
            with self.stage(name):
                item = next(iterator, end)
            if item is end:
                return
            yield item

    def taken(self) -> dict[str, float]:
        """Return the seconds of each stage since the last call."""
        with self._lock:
            seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds


class TimedReader(ReaderAround):
    """A reader whose time counts for the stage "decode"."""

    def __init__(self, reader: Reader, timings: Timings) -> None:
        super().__init__(reader)
        self._timings = timings

    def __enter__(self) -> "TimedReader":
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Decoded]:
        return self._timings.items("decode", self._reader)
