"""Lets two steps of a chain of iterators run at the same time."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def ahead(items: Iterable[Item], depth: int = 1) -> Iterator[Iterator[Item]]:
    """The same items in the same order, made in a thread of their own while the caller works on those before.

    Up to `depth` of them wait. An exception in the thread is raised where its item would have come. Leaving the block
    stops the thread and closes `items`, also when it was left early.
    """
    waiting: queue.Queue = queue.Queue(depth)
    left = threading.Event()

    def put(what: tuple) -> bool:
        while not left.is_set():
            try:
                waiting.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, StopIteration()))
        except BaseException as error:
            put((None, error))
        finally:
            getattr(items, "close", lambda: None)()

    def taken() -> Iterator[Item]:
        while True:
            item, end = waiting.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item

    thread = threading.Thread(target=make, name="maskbatch-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        left.set()
        thread.join()
