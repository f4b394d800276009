"""One scan at a time in an output folder.

The operating system holds the lock and releases it when the process exits, for any reason.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from maskbatch.errors import MaskbatchError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = Path(".lock")
# far behind the text, because nobody can read a locked byte on Windows
_LOCKED_BYTE = 1 << 20
_NUM_TRIES, _TRY_EVERY_S = 5, 0.05
_log = logging.getLogger(__name__)


class Lock:
    """A lock that is held. `died` names an earlier scan that died and left its text in the file, None if there is none."""

    def __init__(self, path: Path, descriptor: int, died: str | None) -> None:
        self.died = died
        self._path, self._descriptor = path, descriptor

    def is_there(self) -> bool:
        """Return whether the output folder is still the one that was locked."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def check(self) -> None:
        """Raise MaskbatchError when the output folder has been removed or replaced since the lock was taken."""
        if not self.is_there():
            raise MaskbatchError(
                f"{self._path.parent} was removed or replaced while it was written to: start again, with another --out if "
                "something is left there"
            )


@contextmanager
def locked(out: Path) -> Iterator[Lock]:
    """Hold the lock of the output folder.

    Raises MaskbatchError, which names the other scan, when the lock is taken, and OSError when the lock file cannot be
    written.
    """
    path = out / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        words = os.read(descriptor, 4096)
        try:
            is_ours = _take(descriptor, is_shared=False)
        except OSError as error:  # some network drives have no locks
            reason = error.strerror or error
            _log.warning("the output folder cannot be locked (%s): let no other scan write to it", reason)
            is_ours = True
        if not is_ours:
            raise MaskbatchError(
                f"{out} is being written to by another scan ({_named(words)}): wait for it, or use --out"
            )
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own = {"pid": os.getpid(), "started": started, "host": socket.gethostname()}
        _rewrite(descriptor, json.dumps(own).encode())
        try:
            yield Lock(path, descriptor, _named(words) if words.strip() else None)
        finally:
            _rewrite(descriptor, b"")  # a reported error is a clean end, too
    finally:
        os.close(descriptor)


def at_work(out: Path) -> str | None:
    """Return the name of the scan that holds the lock of the output folder, None when no scan does."""
    try:
        descriptor = os.open(out / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        words = os.read(descriptor, 4096)
        return None if _take(descriptor, is_shared=True) else _named(words)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int, is_shared: bool) -> bool:
    """Try to take the lock, and return whether that succeeded. Raises OSError on file systems without locks.

    `at_work` holds the lock for a moment in order to look, so a lock that is taken is tried again.
    """
    for _ in range(_NUM_TRIES):
        if _take_now(descriptor, is_shared):
            return True
        time.sleep(_TRY_EVERY_S)
    return False


def _take_now(descriptor: int, is_shared: bool) -> bool:
    try:
        if sys.platform == "win32":  # has no shared locks
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
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
