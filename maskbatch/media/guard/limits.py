"""Time limits for decoders, including those that never return."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ClassVar, TypeVar

from maskbatch.errors import Interrupted, TransientError
from maskbatch.media.decode import Reader, ReaderAround
from maskbatch.overlap import in_own_context
from maskbatch.types import Decoded

Result = TypeVar("Result")
_END = object()
_LOOK_S = 0.2
# time for a decoder to return after the scan was stopped; then its thread is abandoned
_LEAVE_S = 0.6


def with_time_limit(call: Callable[[], Result], limit_s: float, is_over: Callable[[], bool] = lambda: False) -> Result:
    """Run `call` in a thread, and return its result or raise its error.

    Raises TransientError when the call takes longer than `limit_s`, and Interrupted once `is_over()` returns true. The
    call is then abandoned in its thread.
    """
    worker = _Worker.get()
    worker.calls.put(in_own_context(call))
    ends_at = time.monotonic() + limit_s
    while True:
        try:
            answer, error = worker.answers.get(timeout=min(_LOOK_S, limit_s))
            break
        except queue.Empty:
            if time.monotonic() < ends_at and not is_over():
                continue
        worker.calls.put(None)  # ends the thread if the call returns after all
        raise Interrupted("stopped") if is_over() else TransientError(_given_up(limit_s))
    _Worker.idle.append(worker)
    if error is not None:
        raise error
    return answer


def _given_up(limit_s: float) -> str:
    return f"given up: its decoder has not returned for {limit_s:g} s"


class TimeLimitedReader(ReaderAround):
    """A reader that runs another reader in a thread, with a time limit. Nothing is read ahead.

    Raises TransientError and abandons the thread when the other reader makes no progress for `limit_s` seconds. Only
    the end of the process could end a call that never returns. Raises Interrupted soon after `is_over()` returns true,
    even during a frame.
    """

    def __init__(self, reader: Reader, limit_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        super().__init__(reader)
        self._limit_s, self._is_over = limit_s, is_over
        self._worker: _Worker | None = None

    def __enter__(self) -> "TimeLimitedReader":
        self._check_stop()
        self._worker = _Worker.get()
        try:
            self._ask(self._reader.__enter__)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            try:
                self._ask(lambda: self._reader.__exit__(kind, error, trace))
            except (TransientError, Interrupted):
                if kind is not GeneratorExit:  # a GeneratorExit must not be replaced
                    raise
            finally:
                self._release()

    def __iter__(self) -> Iterator[Decoded]:
        frames = iter(self._reader)
        while (frame := self._ask(lambda: next(frames, _END))) is not _END:
            yield frame
            self._check_stop()

    def _check_stop(self) -> None:
        if self._is_over():
            raise Interrupted("stopped")

    def _ask(self, call: Callable) -> object:
        """Run `call` in the thread, and return its result or raise its error, TransientError or Interrupted."""
        self._worker.calls.put(in_own_context(call))
        leave_s = _LEAVE_S
        # count short waits, so that time during which the process was suspended does not count
        wait_s, waited_s, progress = min(_LOOK_S, self._limit_s), 0.0, self._reader.progress
        while waited_s < self._limit_s:
            try:
                answer, error = self._worker.answers.get(timeout=wait_s)
            except queue.Empty:
                before, progress = progress, self._reader.progress
                waited_s = waited_s + wait_s if progress == before else 0.0
                leave_s -= wait_s if self._is_over() else 0.0
                if leave_s <= 0:
                    self._leave()
                    raise Interrupted("stopped") from None
                continue
            if error is not None:
                raise error
            return answer
        self._leave()
        raise TransientError(_given_up(self._limit_s))

    def _leave(self) -> None:
        """Abandon the thread. If its call returns after all, the thread closes the file and ends."""
        self._worker.calls.put(lambda: self._reader.__exit__(None, None, None))
        self._worker.calls.put(None)
        self._worker = None

    def _release(self) -> None:
        if self._worker is not None:
            _Worker.idle.append(self._worker)
            self._worker = None


class _Worker:
    """A thread that runs calls. It is reused, because a new thread would cost more than decoding some photos."""

    idle: ClassVar[list["_Worker"]] = []  # any thread takes and returns a worker in one atomic step

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="maskbatch-decode", daemon=True).start()

    @classmethod
    def get(cls) -> "_Worker":
        """Return an idle worker, or a new one."""
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                answer = call(), None
            except BaseException as error:  # any error belongs to the caller
                answer = None, error
            self.answers.put(answer)
            call = answer = None  # an idle thread keeps no frame alive
