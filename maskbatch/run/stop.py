"""Ctrl-C and SIGTERM: the first signal stops a scan after its analysed frames are stored, the second at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LEAVE_S = 5.0
# `timeout` and other wrappers send a signal twice, to the process and to its group
_ONE_REQUEST_S = 0.1
_EXIT_INTERRUPTED = 130


class Stop:
    """A request to stop a scan. `now` is true after a second request."""

    def __init__(self) -> None:
        self.num_asked = 0

    @property
    def is_asked(self) -> bool:
        return self.num_asked > 0

    @property
    def now(self) -> bool:
        return self.num_asked > 1


class _Handler:
    """A handler of signals that sets a `Stop`, and says so; the last resort begins with the second request."""

    def __init__(self, stop: Stop, say: Callable[[str], None]) -> None:
        self.stop = stop
        self._say = say
        self._last_s = float("-inf")
        self.last_resort = threading.Timer(_LEAVE_S, os._exit, (_EXIT_INTERRUPTED,))
        self.last_resort.daemon = True

    def __call__(self, *_: object) -> None:
        before_s, self._last_s = self._last_s, time.monotonic()
        if self._last_s - before_s < _ONE_REQUEST_S:
            return
        self.stop.num_asked += 1
        if self.stop.num_asked > 2:  # a second exception would escape code that waits for work to end
            os._exit(_EXIT_INTERRUPTED)
        if self.stop.now:
            self.last_resort.start()
            raise KeyboardInterrupt
        self._say("stopping; finished work is kept. Press Ctrl-C again to stop at once")


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """Yield a `Stop` that the signals set, with a message to the user. The second signal also raises KeyboardInterrupt.

    If the block does not end within 5 seconds (a decoder may hang), or after a third signal, the process ends with exit
    code 130. As after a kill, finished files are complete. Signals within a tenth of a second of each other are one
    request. A block inside another one has the same `Stop`. Only the main thread receives signals: in any other thread,
    no signal sets the `Stop`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Stop()
        return
    outer = signal.getsignal(signal.SIGINT)
    handler = _Handler(outer.stop if isinstance(outer, _Handler) else Stop(), say)
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield handler.stop
    finally:
        handler.last_resort.cancel()
        for number, action in before.items():
            signal.signal(number, action)
