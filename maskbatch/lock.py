"""One run at a time in an output folder. The operating system holds the lock, so it ends with the process, however."""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from maskbatch.errors import MaskbatchError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = Path(".state", "lock")
# far behind the text, because Windows lets nobody read a locked place
_LOCKED_BYTE = 1 << 20
_log = logging.getLogger(__name__)


class Lock:
    """A lock that is held. `died` names the run that left its words in the file without ending, None after a clean end."""

    def __init__(self, path: Path, descriptor: int, died: str | None) -> None:
        self.died = died
        self._path, self._descriptor = path, descriptor

    def is_there(self) -> bool:
        """Whether the output folder is still the one that was locked."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def check(self) -> None:
        """Raises MaskbatchError when the output folder has been removed, or replaced, since the lock was taken."""
        if not self.is_there():
            raise MaskbatchError(
                f"{self._path.parents[1]} was removed or replaced while it was written to: start again"
            )


@contextmanager
def locked(out: Path) -> Iterator[Lock]:
    """Holds the lock of the output folder, which must have its `.state`. Raises MaskbatchError, naming the other run, when
    it is held already, and OSError when it cannot be written."""
    path = out / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        words = os.read(descriptor, 4096)
        if not _take(descriptor):
            raise MaskbatchError(
                f"{out} is being written to by another run ({_named(words)}): wait for it, or use --out"
            )
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own = {"pid": os.getpid(), "started": started, "host": socket.gethostname()}
        _rewrite(descriptor, json.dumps(own).encode())
        try:
            yield Lock(path, descriptor, _named(words) if words.strip() else None)
        finally:
            _rewrite(descriptor, b"")  # an error that was reported is a clean end, too
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # some network drives have no locks
        _log.warning("the output folder cannot be locked (%s): let no other run write to it", error.strerror or error)
    return True


def _rewrite(descriptor: int, text: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text)


def _named(words: bytes) -> str:
    try:
        run = json.loads(words)
        return f"process {run['pid']} on {run['host']}, started {run['started']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
