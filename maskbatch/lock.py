"""One run at a time in an output folder, and one process at a time at its reports. The operating system holds the locks, so
they end with the process, however."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from maskbatch.errors import MaskbatchError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK, REPORTS_LOCK = Path(".state", "lock"), Path(".state", "reports.lock")
# far behind the text, because Windows lets nobody read a locked place
_LOCKED_BYTE = 1 << 20
# writing the reports of the largest runs takes a minute or two; one that was suspended must not hold up another for ever
_LOOK_S, _PATIENCE_S = 0.1, 600.0
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
        try:
            is_taken = _take(descriptor)
        except OSError as error:  # some network drives have no locks
            reason = error.strerror or error
            _log.warning("the output folder cannot be locked (%s): let no other run write to it", reason)
            is_taken = True
        if not is_taken:
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


def at_work(out: Path) -> str | None:
    """Names the run that holds the lock of the output folder, None when there is none."""
    try:
        descriptor = os.open(out / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        words = os.read(descriptor, 4096)
        return None if _take(descriptor) else _named(words)
    except OSError:
        return None
    finally:
        os.close(descriptor)


@contextmanager
def reporting(out: Path) -> Iterator[None]:
    """Nobody else writes the reports and `run.json` of the output folder meanwhile: `maskbatch report` may be called while a
    scan is at work, whose own reports then come after. Waits for its turn. Raises OSError."""
    descriptor = os.open(out / REPORTS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + _PATIENCE_S
        with suppress(OSError):  # no locks here, of which `locked` has warned
            while not _take(descriptor) and time.monotonic() < end:
                time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Whether the lock is ours now. Raises OSError where there are no locks."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
