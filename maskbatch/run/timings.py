"""How long each stage of a run was at work, for `run.json`."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from maskbatch.media.decode import Reader
from maskbatch.types import Decoded


class Timings:
    """Wall seconds by stage, over all threads: stages overlap, so that their sum may pass the run's."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block belongs to that stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.monotonic() - start

    def timed(self, name: str, function: Callable) -> Callable:
        """`function`, each call of which belongs to that stage."""

        def call(*arguments: object) -> object:
            with self.stage(name):
                return function(*arguments)

        return call

    def items(self, name: str, items: Iterable) -> Iterator:
        """The same items; making each belongs to that stage."""
        iterator, end = iter(items), object()
        while True:
            with self.stage(name):
                item = next(iterator, end)
            if item is end:
                return
            yield item

    def taken(self) -> dict[str, float]:
        """Give the seconds of each stage since the last call."""
        with self._lock:
            seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds


class TimedReader:
    """A reader whose work is timed as the stage "decode"."""

    def __init__(self, reader: Reader, timings: Timings) -> None:
        self._reader, self._timings = reader, timings

    @property
    def frames_decoded(self) -> int:
        return self._reader.frames_decoded

    @property
    def progress(self) -> int:
        return self._reader.progress

    @property
    def notes(self) -> tuple[str, ...]:
        return self._reader.notes

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        return self._reader.pieces

    @property
    def end_s(self) -> float | None:
        return self._reader.end_s

    def __enter__(self) -> "TimedReader":
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Decoded]:
        return self._timings.items("decode", self._reader)
