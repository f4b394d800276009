"""Lets two steps of a chain of iterators run at the same time."""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType

_END = object()


class Ahead:
    """The same items in the same order, made in a thread of their own while the caller works on those before.

    Up to `depth` of them wait. An exception in the thread is raised where its item would have come. Leaving the `with`
    block stops the thread and closes `items`, also when it is left early.
    """

    def __init__(self, items: Iterable, depth: int = 1) -> None:
        self._items = items
        self._waiting: queue.Queue = queue.Queue(depth)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._make, name="maskbatch-ahead", daemon=True)

    def __enter__(self) -> "Ahead":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def __iter__(self) -> Iterator:
        while True:
            item, error = self._waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def _make(self) -> None:
        try:
            for item in self._items:
                self._put(item, None)
                if self._left.is_set():
                    return
            self._put(_END, None)
        except BaseException as error:  # whatever it is, it belongs to the caller
            self._put(None, error)
        finally:
            getattr(self._items, "close", lambda: None)()

    def _put(self, item: object, error: BaseException | None) -> None:
        while not self._left.is_set():
            try:
                return self._waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
