"""How long each stage of a run was at work, for `run.json`."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


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

    def seconds(self) -> dict[str, float]:
        """The stages in alphabetical order."""
        with self._lock:
            return {name: round(seconds, 2) for name, seconds in sorted(self._seconds.items())}
