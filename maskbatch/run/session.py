"""The state of one session of a scan, which all its shards share."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from maskbatch.run.progress import Listener
from maskbatch.run.stop import Stop
from maskbatch.store.database import Store
from maskbatch.store.lock import Lock
from maskbatch.types import SegmentResult, Shard


class OfCaller(Exception):
    """An error of the caller's listener: the cause of this exception is the listener's OSError."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session, from its first to its last shard.

    Attributes:
        id: number of the session in the store.
        store: the store of the output folder.
        lock: the lock of the output folder.
        stop: the user's request to stop.
        listener: receives results from one thread at a time.
        seconds: working time of each stage, in seconds.
        frames: number of analysed frames, under "analysed".
        telling: held while the listener receives a result.
        failed: set when a shard failed.
        lost: set when a worker was lost.
    """

    id: int
    store: Store
    lock: Lock
    stop: Stop
    listener: Listener
    seconds: Counter = field(default_factory=Counter)
    frames: Counter = field(default_factory=Counter)
    telling: threading.Lock = field(default_factory=threading.Lock)
    failed: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def is_over(self) -> bool:
        """Return whether running shards end after their batch, on a request to stop or after a failed shard."""
        return self.stop.is_asked or self.failed.is_set()

    def tell(self, shard: Shard, result: SegmentResult) -> None:
        """Count a result, and pass it to the listener. Raises OfCaller when the listener raises OSError."""
        with self.telling:
            self.seconds.update(result.seconds)
            self.frames["analysed"] += result.num_frames
            try:
                self.listener.add(shard, result)
            except OSError as error:
                raise OfCaller from error
