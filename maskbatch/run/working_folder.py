"""The local working folder of a scan whose results go to an address, uploaded during the scan.

Every few minutes, and at the end, the scan uploads new and changed media, tables and parts of copies. A copy of the
store, made before them, comes last, so that everything it names exists. Another machine can continue from the uploads.
A small file at the address names the working folder that began last; all other working folders stop uploading.
"""

import hashlib
import json
import logging
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from maskbatch.errors import MaskbatchError
from maskbatch.media.storage import Remote
from maskbatch.media.write import is_partial, partial_file
from maskbatch.networks.cache import cache_folder
from maskbatch.overlap import in_own_context
from maskbatch.store.database import LOGS, STORE, back_up
from maskbatch.store.folder import check_foreign, files_below
from maskbatch.store.lock import LOCK

UPLOAD_EVERY_S = 180.0
# file that names the working folder which may upload
_WRITER = ".writer"
_NUM_THREADS = 8
_NOT_UPLOADED = frozenset({STORE, LOCK.name, *(STORE + ending for ending in LOGS)})
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_log = logging.getLogger(__name__)


def folder_for(out: Remote) -> Path:
    """Return the local working folder of a scan to an address."""
    digest = hashlib.blake2b(str(out).encode(), digest_size=8).hexdigest()
    return cache_folder() / "out" / f"{out.name[:40]}-{digest}"


@contextmanager
def uploaded(out: Remote) -> Iterator[Path]:
    """Yield the working folder of an address with earlier results, and upload it during the block and at its end.

    Raises MaskbatchError when the storage does not answer, or when another machine has begun to write there. In that
    case, the folder stays, and nothing at the address is overwritten.
    """
    copy, over = _Copy(out, folder_for(out)), threading.Event()
    try:
        copy.fetch()
        copy.claim()
    except OSError as error:
        raise MaskbatchError(f"{out}: {error.strerror}; nothing was done") from error
    thread = threading.Thread(
        target=in_own_context(copy.upload_now_and_then), args=(over,), name="maskbatch-upload", daemon=True
    )
    thread.start()
    try:
        yield copy.folder
    finally:
        over.set()
        thread.join()
        try:
            copy.upload()
        except OSError as error:
            raise MaskbatchError(
                f"{out}: {error.strerror}. All finished work is kept in {copy.folder}: the same command uploads it"
            ) from error


class _Copy:
    """A working folder and its copy at an address. A list of the uploaded files lies beside the folder."""

    def __init__(self, out: Remote, folder: Path) -> None:
        self._out, self.folder = out, folder
        self._list = folder.with_name(folder.name + ".json")
        self._id_file = folder.with_name(folder.name + ".id")

    def fetch(self) -> None:
        """Download the results at the address, unless the folder already has a store.

        Files that were deleted at the address are uploaded again. Raises OSError; UsageError when the address holds files
        that are not from maskbatch; MaskbatchError when the folder has a store, but another machine has continued the
        scan.
        """
        has_store = (self.folder / STORE).exists()
        if has_store:
            self._check_writer()
        files = self._out.files() if self._out.is_dir() else ()
        there = {_name_of("/".join(names)): path for names, path in files}
        if there.keys().isdisjoint((STORE, _WRITER)):
            check_foreign(self._out, there)
        if has_store:
            self._remember({name: state for name, state in self._remembered().items() if name in there})
            return
        if STORE not in there:
            return
        found = [(name, path) for name, path in there.items() if name != _WRITER]
        _log.info("%s: continuing with the %d files there", self._out, len(found))
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            list(pool.map(lambda item: self._get(*item), sorted(found, key=lambda item: item[0] == STORE)))
        self._remember({name: self._state(name) for name, _ in found})

    def claim(self) -> None:
        """Claim the address for the uploads of this folder. Raises OSError."""
        self._id_file.parent.mkdir(parents=True, exist_ok=True)
        if not self._id_file.exists():
            self._id_file.write_text(secrets.token_hex(8), encoding="utf-8")
        (self._out / _WRITER).upload(self._id_file)

    def _check_writer(self) -> None:
        """Raise MaskbatchError when another machine has claimed the address; also raises OSError."""
        try:
            writer = (self._out / _WRITER).read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return
        if not self._id_file.exists() or writer != self._id_file.read_text(encoding="utf-8"):
            raise MaskbatchError(
                f"{self._out}: another machine has begun to write there; this one uploads nothing more. Its results "
                f"are in {self.folder}: remove that folder to continue from the address"
            )

    def upload_now_and_then(self, over: threading.Event) -> None:
        """Upload every few minutes until `over`. If the storage does not answer, try again at the next time."""
        while not over.wait(UPLOAD_EVERY_S):
            try:
                self.upload()
            except MaskbatchError as error:
                _log.warning("%s", error)
            except OSError as error:
                _log.warning("%s: %s; tried again in %d minutes", self._out, error.strerror, UPLOAD_EVERY_S / 60)

    def upload(self) -> None:
        """Upload new and changed files, then the store, and remove deleted files.

        Raises OSError, and MaskbatchError when another machine writes there.
        """
        if not (self.folder / STORE).exists():
            return
        self._check_writer()
        snapshot = self.folder.with_name(self.folder.name + ".db")
        back_up(self.folder, snapshot)
        before = self._remembered()
        now = {name: self._state(name) for name, _ in files_below(self.folder) if _is_result(name)}
        changed = [name for name, state in now.items() if state is not None and before.get(name) != state]
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            list(pool.map(self._put, changed))
        (self._out / STORE).upload(snapshot)
        snapshot.unlink()
        for name in before.keys() - now.keys() - {STORE}:
            (self._out / _key_of(name)).remove()
        self._remember(now)

    def _get(self, name: str, path: Remote) -> None:
        with partial_file(self.folder / name) as partial:
            partial.write_bytes(path.read_bytes())

    def _put(self, name: str) -> None:
        try:
            (self._out / _key_of(name)).upload(self.folder / name)
        except FileNotFoundError:  # the running scan has renamed the file
            _log.debug("%s is gone before it was uploaded", name)

    def _state(self, name: str) -> list[int] | None:
        """Return size and time of a file as plain JSON values, None for a missing file."""
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return [found.st_size, found.st_mtime_ns]

    def _remembered(self) -> dict[str, list[int]]:
        return json.loads(self._list.read_text(encoding="utf-8")) if self._list.exists() else {}

    def _remember(self, now: dict) -> None:
        self._list.parent.mkdir(parents=True, exist_ok=True)
        self._list.write_text(json.dumps(now), encoding="utf-8")


def _key_of(name: str) -> str:
    """Return the name of a file at the address, where names are UTF-8: other bytes become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _name_of(key: str) -> str:
    """Return the name of a file in the working folder: the inverse of `_key_of`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key)


def _is_result(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return name not in _NOT_UPLOADED and not is_partial(last)
