"""Reads with a limit of time that holds for decoders which never return, too."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ClassVar, TypeVar

import numpy as np

from maskbatch.errors import Interrupted, PassingError
from maskbatch.media.decode import Reader

Result = TypeVar("Result")
_END = object()
_LOOK_S = 0.2
# for a decoder to come back after the run was stopped; then it is left behind
_LEAVE_S = 0.6


def limited(call: Callable[[], Result], limit_s: float, is_over: Callable[[], bool] = lambda: False) -> Result:
    """What `call` returns or raises. Raises PassingError, the call left behind in its thread, when that takes too long, and
    Interrupted, once `is_over()` says so."""
    worker = _Worker.get()
    worker.calls.put(call)
    ends_at = time.monotonic() + limit_s
    while True:
        try:
            answer, error = worker.answers.get(timeout=min(_LOOK_S, limit_s))
            break
        except queue.Empty:
            if time.monotonic() < ends_at and not is_over():
                continue
        worker.calls.put(None)  # for the case that it comes back after all
        raise Interrupted("stopped") if is_over() else PassingError(_given_up(limit_s))
    _Worker.idle.append(worker)
    if error is not None:
        raise error
    return answer


def _given_up(limit_s: float) -> str:
    return f"given up: its decoder has not returned for {limit_s:g} s"


class LimitedReader:
    """The frames of another reader, which does its work in a thread of its own, when it is asked to.

    When it makes no progress for `limit_s` seconds the thread is left behind, and PassingError raised; a call that never
    returns cannot be ended by other means without ending the process. Once `is_over()` says so no frame is read any more,
    the one at work is waited for no longer than a moment, and Interrupted is raised. Nothing is read ahead.
    """

    def __init__(self, reader: Reader, limit_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        self._reader, self._limit_s, self._is_over = reader, limit_s, is_over
        self._worker: _Worker | None = None

    @property
    def frames_decoded(self) -> int:
        return self._reader.frames_decoded

    @property
    def progress(self) -> int:
        return self._reader.progress

    @property
    def notes(self) -> tuple[str, ...]:
        return self._reader.notes

    def __enter__(self) -> "LimitedReader":
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
            except (PassingError, Interrupted):
                if kind is not GeneratorExit:  # which must not be replaced
                    raise
            finally:
                self._release()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        frames = iter(self._reader)
        while (frame := self._ask(lambda: next(frames, _END))) is not _END:
            yield frame
            self._check_stop()

    def _check_stop(self) -> None:
        if self._is_over():
            raise Interrupted("stopped")

    def _ask(self, call: Callable) -> object:
        """What `call` returns or raises in the thread. Raises PassingError when that takes too long, and Interrupted."""
        self._worker.calls.put(call)
        leave_s = _LEAVE_S
        # counted in short waits, so that time for which the whole process was stopped does not count
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
        raise PassingError(_given_up(self._limit_s))

    def _leave(self) -> None:
        """Lets the thread be; for the case that it comes back after all, it is told to close the file."""
        self._worker.calls.put(lambda: self._reader.__exit__(None, None, None))
        self._worker.calls.put(None)
        self._worker = None

    def _release(self) -> None:
        if self._worker is not None:
            _Worker.idle.append(self._worker)
            self._worker = None


class _Worker:
    """A thread that does what it is told, and is kept for the next reader; a new one for each photo would cost more than
    reading some of them."""

    idle: ClassVar[list["_Worker"]] = []  # taken and given back in one step each, by any thread

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="maskbatch-decode", daemon=True).start()

    @classmethod
    def get(cls) -> "_Worker":
        """An idle one, or a new one."""
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                answer = call(), None
            except BaseException as error:  # whatever it is, it belongs to the caller
                answer = None, error
            self.answers.put(answer)
            call = answer = None  # an idle thread keeps no frame alive
