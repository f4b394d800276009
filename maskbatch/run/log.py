"""Log a line for each file of a scan, and collect the warnings for run.json."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy; --help needs none
    from maskbatch.types import SegmentResult

log = logging.getLogger(__name__)

_MOST_WARNINGS = 200
# the scan that this thread works for
_collecting: ContextVar[Warnings | None] = ContextVar("maskbatch_warnings", default=None)


class FileLog:
    """A log with a debug line for each finished file of a shard: size, frames, faces and seconds.

    Seconds count from the end of the file before. Files that end together share their time.
    """

    def __init__(self) -> None:
        self._num_faces: Counter[int] = Counter()
        self._since = time.monotonic()

    def add(self, result: SegmentResult) -> None:
        """Log the files that end with a stored result."""
        self._num_faces.update(row.source_id for row in result.faces)
        if not result.ended:
            return
        now = time.monotonic()
        seconds, self._since = (now - self._since) / len(result.ended), now
        for source, end in result.ended:
            log.debug(
                "%s: %s%s, %d frames analysed, %d decoded, %s x %s, %d faces, %.2f s", source.name, end.status,
                f" ({end.error})" if end.error else "",
                end.frames_analysed, end.frames_decoded, end.width or source.width or "?",
                end.height or source.height or "?", self._num_faces.pop(source.id, 0), seconds,
            )  # fmt: skip


class Warnings(logging.Handler):
    """A handler that counts logged warnings and errors, and keeps the first 200."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.number = 0
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.number += 1
        if len(self.messages) < _MOST_WARNINGS:
            self.messages.append(record.getMessage())


@contextmanager
def collected_warnings() -> Iterator[Warnings]:
    """Collect the warnings of the block, including those of threads that have its context variables."""
    warnings, logger = Warnings(), logging.getLogger("maskbatch")
    before = _collecting.set(warnings)
    warnings.addFilter(lambda _: _collecting.get() is warnings)  # other scans may run in this process
    logger.addHandler(warnings)
    try:
        yield warnings
    finally:
        logger.removeHandler(warnings)
        _collecting.reset(before)
