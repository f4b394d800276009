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
    """Carries an OSError of the listener, as its cause."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session, from its first to its last shard.

    `id` is its number in the store. `listener` is told of results by one thread at a time. `seconds` are the working times
    of the stages, `frames["analysed"]` counts frames. `failed` is set when a shard failed, `lost` when a worker was lost.
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
        """Tell if shards at work end after their batch: the user asked for it, or another shard failed."""
        return self.stop.is_asked or self.failed.is_set()

    def tell(self, shard: Shard, result: SegmentResult) -> None:
        """Count a result, and pass it on. Raises OfCaller for an OSError of the listener, which is not one of the disk."""
        with self.telling:
            self.seconds.update(result.seconds)
            self.frames["analysed"] += result.num_frames
            try:
                self.listener.add(shard, result)
            except OSError as error:
                raise OfCaller from error
