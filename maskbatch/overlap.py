"""Lets steps of a chain of iterators run at the same time."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import TypeVar

from maskbatch.errors import Interrupted

Item, Result = TypeVar("Item"), TypeVar("Result")
_END = object()
_LOOK_S = 0.2
_log = logging.getLogger(__name__)


class Ahead:
    """The same items in the same order, made in a thread of their own while the caller works on those before.

    Up to `depth` of them wait. An exception in the thread is raised where its item would have come. Leaving the `with`
    block stops the thread and closes `items`, also when it is left early. Once `is_over()` says so, the items that are
    made already come, and no others.
    """

    def __init__(self, items: Iterable, depth: int = 1, is_over: Callable[[], bool] = lambda: False) -> None:
        self._items, self._is_over = items, is_over
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
            try:
                item, error = self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._is_over():
                    return
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def _make(self) -> None:
        try:
            for item in self._items:
                self._put(item, None)
                if self._left.is_set() or self._is_over():
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


def in_order(function: Callable[[Item], Result], items: Iterable[Item], num_at_once: int) -> Iterator[Result]:
    """`function` of each item, in the order of the items, up to `num_at_once` of them computed at the same time.

    An exception of `function` is raised where its result would have come. Closing the iterator waits for what runs.
    """
    pool = ThreadPoolExecutor(num_at_once, thread_name_prefix="maskbatch-at-once")
    try:
        running = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == num_at_once:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def for_each(
    function: Callable[[Item], object], items: Iterable[Item], num_at_once: int, halt: Callable[[], None]
) -> None:
    """Calls `function` with each item, up to `num_at_once` at the same time, begun in the order of the items.

    After an exception no item is begun any more; `halt` is called, so that those at work can end early, and when they
    have, whatever comes meanwhile, one is raised: Ctrl-C before what went wrong, and that before `Interrupted`.
    """
    items, running, errors = iter(items), set(), []
    with ThreadPoolExecutor(num_at_once, thread_name_prefix="maskbatch-worker") as pool:
        while running or not errors:
            try:
                if not errors:
                    running |= {pool.submit(function, item) for item in islice(items, num_at_once - len(running))}
                    if not running:
                        return
                # not for ever: on Windows, a thread that waits learns of Ctrl-C only afterwards
                done, running = wait(running, _LOOK_S, FIRST_COMPLETED)
                found = [error for each in done if (error := each.exception()) is not None]
            except BaseException as error:  # also Ctrl-C, which comes to the thread that waits here
                found = [error]
            if found and not errors:
                halt()
            errors += found
            for error in found:
                # one that is alone is the caller's at once
                if not isinstance(error, (Interrupted, KeyboardInterrupt)) and (running or len(errors) > 1):
                    _log.warning("stopping when what is at work has ended: %s", str(error) or repr(error))
    raise min(errors, key=lambda error: (not isinstance(error, KeyboardInterrupt), isinstance(error, Interrupted)))
