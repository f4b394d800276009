"""Reads with a limit of time that holds for decoders which never return, too."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ClassVar

import numpy as np

from maskbatch.errors import PassingError
from maskbatch.media.decode import Reader

_END = object()


class LimitedReader:
    """The frames of another reader, which does its work in a thread of its own, when it is asked to.

    When it has nothing to show for `limit_s` seconds the thread is left behind, and PassingError raised; a call that never
    returns cannot be ended by other means without ending the process. Nothing is read ahead.
    """

    def __init__(self, reader: Reader, limit_s: float) -> None:
        self._reader, self._limit_s = reader, limit_s
        self._worker: _Worker | None = None

    @property
    def frames_decoded(self) -> int:
        return self._reader.frames_decoded

    def __enter__(self) -> "LimitedReader":
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
            finally:
                self._release()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        frames = iter(self._reader)
        while (frame := self._ask(lambda: next(frames, _END))) is not _END:
            yield frame

    def _ask(self, call: Callable) -> object:
        """What `call` returns or raises in the thread. Raises PassingError when that takes too long."""
        self._worker.calls.put(call)
        try:
            answer, error = self._worker.answers.get(timeout=self._limit_s)
        except queue.Empty:
            # for the case that it comes back after all
            self._worker.calls.put(lambda: self._reader.__exit__(None, None, None))
            self._worker.calls.put(None)
            self._worker = None
            raise PassingError(f"given up: its decoder has not returned for {self._limit_s:g} s") from None
        if error is not None:
            raise error
        return answer

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
