"""Ctrl-C and SIGTERM: once to stop when the batch in flight is done, twice to stop now."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """Whether the run shall stop; `now` once it was asked for a second time."""

    def __init__(self) -> None:
        self.num_asked = 0

    @property
    def is_asked(self) -> bool:
        return self.num_asked > 0

    @property
    def now(self) -> bool:
        return self.num_asked > 1


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """A `Stop` that the signals set, with a word to the user; the second one raises KeyboardInterrupt as well. Outside of
    the main thread, which alone gets signals, it is never set."""
    stop = Stop()

    def ask(*_: object) -> None:
        stop.num_asked += 1
        if stop.now:
            raise KeyboardInterrupt
        say("stopping after this batch; once more to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, action in before.items():
            signal.signal(number, action)
