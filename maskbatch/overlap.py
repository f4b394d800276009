"""Concurrent steps in a chain of iterators."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TypeVar

from maskbatch.errors import Interrupted

Item, Result = TypeVar("Item"), TypeVar("Result")
_END = object()
_LOOK_S = 0.2
_log = logging.getLogger(__name__)


IsOver = Callable[[], bool]


def never() -> bool:
    """Return False: the work is never stopped."""
    return False


def in_own_context(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return `function` bound to a copy of the current context variables, for calls in another thread.

    The variables identify the scan that a warning belongs to. Two threads must not call the returned function at once.
    """
    return partial(copy_context().run, function)


class Ahead:
    """An iterator over `items`, which a thread computes ahead while the caller works on earlier items.

    Up to `depth` items wait. An exception in the thread is raised in place of its item. Leaving the `with` block, even
    early, stops the thread and closes `items`. Once `is_over()` returns true, only items that already exist are
    yielded.
    """

    def __init__(self, items: Iterable, depth: int = 1, is_over: IsOver = never) -> None:
        self._items, self._is_over = items, is_over
        self._waiting: queue.Queue = queue.Queue(depth)
        self._left = threading.Event()
        self._thread = threading.Thread(target=in_own_context(self._make), name="maskbatch-ahead", daemon=True)

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
        except BaseException as error:  # any error belongs to the caller
            self._put(None, error)
        finally:
            getattr(self._items, "close", lambda: None)()

    def _put(self, item: object, error: BaseException | None) -> None:
        while not self._left.is_set():
            try:
                return self._waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue


class Behind:
    """A thread that works through calls in order, while the caller goes on. Up to `depth` calls wait or run.

    Use `finish` to wait for all calls, or `drop` to forget those that wait; both end the thread.
    """

    def __init__(self, depth: int) -> None:
        self._depth, self._calls = depth, deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="maskbatch-behind")

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Let the thread call `function`. Raises the exception of an earlier call in place of the call."""
        while len(self._calls) >= self._depth:
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(in_own_context(function), *arguments))

    def finish(self) -> None:
        """Wait for all calls. Raises the exception of the first call that failed."""
        try:
            while self._calls:
                self._calls.popleft().result()
        finally:
            self.drop()

    def drop(self) -> None:
        """Forget the calls that wait, and wait for the one that runs."""
        self._pool.shutdown(cancel_futures=True)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], num_at_once: int) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computing up to `num_at_once` results at the same time.

    An exception in `function` is raised in place of its result, and one of `items` after the results of earlier items.
    Closing the iterator waits for running calls.
    """
    pool = ThreadPoolExecutor(num_at_once, thread_name_prefix="maskbatch-at-once")
    running, ended = deque(), []
    try:
        for item in _until_error(items, ended):
            running.append(pool.submit(in_own_context(function), item))
            if len(running) == num_at_once:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    if ended:
        raise ended[0]


def _until_error(items: Iterable[Item], errors: list[Exception]) -> Iterator[Item]:
    """Yield the items; an exception ends them, and is appended to `errors`."""
    try:
        yield from items
    except Exception as error:
        errors.append(error)


def for_each(
    function: Callable[[Item], object], items: Iterable[Item], num_at_once: int, halt: Callable[[], None]
) -> None:
    """Call `function` with each item, up to `num_at_once` at the same time, started in the order of the items.

    After an exception, no further call is started, and `halt` is called so that running calls can end early. When they
    have ended, one exception is raised: Ctrl-C if there was one, else any other error, else `Interrupted`.
    """
    items, running, errors = iter(items), set(), []
    with ThreadPoolExecutor(num_at_once, thread_name_prefix="maskbatch-worker") as pool:
        while running or not errors:
            try:
                if not errors:
                    started = islice(items, num_at_once - len(running))
                    running |= {pool.submit(in_own_context(function), item) for item in started}
                    if not running:
                        return
                # with a time limit: on Windows, a waiting thread receives Ctrl-C only after the wait
                done, running = wait(running, _LOOK_S, FIRST_COMPLETED)
                found = [error for each in done if (error := each.exception()) is not None]
            except BaseException as error:  # also Ctrl-C, which interrupts the waiting thread
                found = [error]
            if found and not errors:
                halt()
            errors += found
            for error in found:
                # a single error is raised at once, without a warning
                if not isinstance(error, (Interrupted, KeyboardInterrupt)) and (running or len(errors) > 1):
                    _log.warning("stopping after the files in progress: %s", str(error) or repr(error))
    raise min(errors, key=lambda error: (not isinstance(error, KeyboardInterrupt), isinstance(error, Interrupted)))
