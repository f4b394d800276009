"""Ctrl-C and SIGTERM: the first signal stops a scan after its analysed frames are stored, the second at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LEAVE_S = 5.0
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


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """Yield a `Stop` that the signals set, with a message to the user. The second signal also raises KeyboardInterrupt.

    If the block does not end within 5 seconds (a decoder may hang), or after a third signal, the process ends with exit
    code 130. As after a kill, finished files are complete. Only the main thread receives signals: in any other thread,
    no signal sets the `Stop`.
    """
    stop = Stop()
    last_resort = threading.Timer(_LEAVE_S, os._exit, (_EXIT_INTERRUPTED,))
    last_resort.daemon = True

    def ask(*_: object) -> None:
        stop.num_asked += 1
        if stop.num_asked > 2:  # a second exception would escape code that waits for work to end
            os._exit(_EXIT_INTERRUPTED)
        if stop.now:
            last_resort.start()
            raise KeyboardInterrupt
        say("stopping; finished work is kept. Press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        last_resort.cancel()
        for number, action in before.items():
            signal.signal(number, action)
