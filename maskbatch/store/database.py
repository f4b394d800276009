"""Open the store of an output folder, `scan.db`: connection, transactions and version."""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path, PurePath
from urllib.parse import quote

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.write import partial_file

STORE = "scan.db"
LOGS = ("-wal", "-shm", "-journal")
VERSION = 4

_APPLICATION = b"MBAT"
_APPLICATION_AT, _VERSION_AT = 68, 60  # in the header of an SQLite file
_HEADER_BYTES = 100
_WAIT_S = 60.0  # for a process that writes, or for a reader on a file system without WAL
# SQLite's messages for errors of the system, and their numbers (Python 3.10 does not give SQLite's codes)
_NUMBERS = {"disk is full": errno.ENOSPC, "readonly": errno.EROFS, "unable to open": errno.EACCES}
_WHAT_TO_DO = "choose another folder with --out, or delete this one"


class Store:
    """The open store of one output folder. Threads may share a store; transactions exclude each other.

    With `reader=True`, the store is read-only. A transaction then sees one state of the store from its first query to
    its last, even while a scan is running.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, reader: bool) -> None:
        self.folder = folder
        self._connection, self._begin = connection, "BEGIN" if reader else "BEGIN IMMEDIATE"
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; all changes of the block are stored, or none when the block raises.

        Raises OSError when the disk fails, MaskbatchError when the file is damaged.
        """
        with self._lock, _translated(self.folder):
            self._connection.execute(self._begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._connection.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Rewrite the file without its deleted content. Raises OSError."""
        with self._lock, _translated(self.folder):
            self._connection.execute("VACUUM")


@contextmanager
def open_store(folder: Path, reader: bool = False) -> Iterator[Store]:
    """Open the store of `folder`, and close it when the block ends. Create a missing store, except for a reader.

    Raises UsageError when the folder holds something else or another version, OSError and MaskbatchError when the file
    cannot be read or written.
    """
    check_version(folder)
    if reader and not is_store(folder / STORE):
        raise UsageError(f"{folder} is not the output folder of a scan")
    with _translated(folder):
        if not reader and not (folder / STORE).exists():
            _make(folder / STORE)
        connection = _connect(folder / STORE, reader)
        # appearances in checkpoints are personal data, so deleted rows are overwritten
        connection.execute("PRAGMA secure_delete = ON")
    with closing(connection):
        if not reader:
            with _translated(folder):
                _choose_journal(connection)
        yield Store(folder, connection, reader)
        if not reader:
            with suppress(sqlite3.Error):  # a reader has the file open: do not wait, the next session does this
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA journal_mode = DELETE")  # one file that can be copied


def back_up(folder: Path, path: Path) -> None:
    """Copy the store of `folder` to `path`, even while a scan is running. Raises OSError and MaskbatchError."""
    path.unlink(missing_ok=True)
    with open_store(folder, reader=True) as store, closing(sqlite3.connect(path)) as copy:
        with store.transaction() as connection:
            connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def is_store(path: Path) -> bool:
    """Return whether the header of a file is that of a maskbatch store."""
    return _header(path)[_APPLICATION_AT : _APPLICATION_AT + 4] == _APPLICATION


def check_version(folder: Path) -> None:
    """Raise UsageError when `folder` holds the results of another maskbatch version, or a `scan.db` of another program."""
    header = _header(folder / STORE)
    if (folder / ".state" / "rows").is_dir():
        raise UsageError(f"{folder} holds a scan of maskbatch 0.1, which this version cannot continue: {_WHAT_TO_DO}")
    if header and not is_store(folder / STORE):
        raise UsageError(f"{folder / STORE} is not from maskbatch: choose another folder with --out")
    version = int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4], "big")
    if header and version != VERSION:
        raise UsageError(
            f"{folder} holds a scan of another version of maskbatch (store {version}, this one writes {VERSION}): "
            f"{_WHAT_TO_DO}"
        )


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except OSError:
        return b""


def _connect(path: Path, reader: bool) -> sqlite3.Connection:
    """Connect without Python's own transactions.

    A reader writes the index of the WAL beside the file. In a read-only folder, the reader connects again without one.
    """
    if not reader:
        # absolute, so that a folder named "file:x" is not taken for an address
        return sqlite3.connect(path.absolute(), timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    uri = _uri(path.absolute())
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM session")
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" in str(error) or _has_log(path):  # without the log, the last rows of a killed scan would be missing
            raise
        connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _uri(path: PurePath) -> str:
    """Return the URI of an absolute path by SQLite's rules: URIs of Windows network folders have four slashes."""
    text = path.as_posix()
    return f"file://{'' if text.startswith('/') else '/'}{quote(os.fsencode(text), safe='/:')}"


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def _make(path: Path) -> None:
    """Make an empty store, completely or not at all, so that a store always has its header."""
    for ending in LOGS:  # left by a store that somebody deleted
        path.with_name(path.name + ending).unlink(missing_ok=True)
    schema = resources.files("maskbatch.store").joinpath("schema.sql").read_text(encoding="utf-8")
    with (
        partial_file(path.absolute()) as partial,
        closing(sqlite3.connect(partial, isolation_level=None)) as connection,
    ):
        connection.executescript(schema)


def _choose_journal(connection: sqlite3.Connection) -> None:
    """Use a write-ahead log, which allows readers during a scan, if the file system supports its shared memory.

    With such a log, a power cut may lose the last transactions, but never a part of a transaction. Media are on the
    disk before the transaction that names them, so lost work is simply done again.
    """
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")
    else:  # network drives
        connection.execute("PRAGMA journal_mode = TRUNCATE")


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Raise SQLite's errors, even if pandas wraps them, as OSError (the disk) or MaskbatchError (the file)."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        cause = error.__cause__ if isinstance(error, OSError) else error
        if isinstance(cause, sqlite3.OperationalError):
            number = next((number for words, number in _NUMBERS.items() if words in str(cause)), errno.EIO)
            raise OSError(number, str(cause), str(folder / STORE)) from error
        if isinstance(cause, sqlite3.DatabaseError):
            raise MaskbatchError(f"{folder / STORE} is damaged ({cause}): {_WHAT_TO_DO}") from error
        raise
