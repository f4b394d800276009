"""The output folder of a scan whose results go to an address: a folder of this machine, uploaded as the scan goes on.

Every few minutes, and at the end, media, tables and parts of copies that are new or have changed are uploaded, and last a
copy of the store that was made before them, so that what it names is there. Another machine begins with what was uploaded.
A small file at the address names the working folder that began last: no other one uploads any more.
"""

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from maskbatch.errors import MaskbatchError
from maskbatch.media.storage import Remote
from maskbatch.networks.cache import cache_folder
from maskbatch.overlap import in_own_context
from maskbatch.store.database import LOGS, STORE, back_up
from maskbatch.store.folder import files_below
from maskbatch.store.lock import LOCK

UPLOAD_EVERY_S = 180.0
# names the working folder whose uploads the address takes
_WRITER = ".writer"
_NUM_THREADS = 8
_NOT_UPLOADED = frozenset({STORE, LOCK.name, *(STORE + ending for ending in LOGS)})
_log = logging.getLogger(__name__)


def folder_for(out: Remote) -> Path:
    """Return the folder of this machine in which a scan to an address works."""
    digest = hashlib.blake2b(str(out).encode(), digest_size=8).hexdigest()
    return cache_folder() / "out" / f"{out.name[:40]}-{digest}"


@contextmanager
def uploaded(out: Remote) -> Iterator[Path]:
    """Yield the working folder of an address, with what is there already, and upload it as the block works, and behind it.

    Raises MaskbatchError when the storage does not answer, or when another machine has begun to write there: the folder
    stays, and nothing at the address is overwritten.
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
    """A working folder and its copy at an address. What was uploaded is remembered beside the folder."""

    def __init__(self, out: Remote, folder: Path) -> None:
        self._out, self.folder = out, folder
        self._list = folder.with_name(folder.name + ".json")
        self._id_file = folder.with_name(folder.name + ".id")

    def fetch(self) -> None:
        """Get what is at the address, unless the folder has a store. Raises OSError, and MaskbatchError when the folder has
        one and another machine has gone on since."""
        if (self.folder / STORE).exists():
            self._check_writer()
            return
        found = [("/".join(names), path) for names, path in self._out.files()] if self._out.is_dir() else []
        found = [(name, path) for name, path in found if name != _WRITER]
        if not any(name == STORE for name, _ in found):
            return
        _log.info("%s: going on with what is there (%d files)", self._out, len(found))
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            list(pool.map(lambda item: self._get(*item), sorted(found, key=lambda item: item[0] == STORE)))
        self._remember({name: self._state(name) for name, _ in found})

    def claim(self) -> None:
        """Write at the address that this folder is the one whose uploads it takes. Raises OSError."""
        self._id_file.parent.mkdir(parents=True, exist_ok=True)
        if not self._id_file.exists():
            self._id_file.write_text(secrets.token_hex(8), encoding="utf-8")
        (self._out / _WRITER).upload(self._id_file)

    def _check_writer(self) -> None:
        """Raise MaskbatchError when another machine has claimed the address. Raises OSError."""
        try:
            writer = (self._out / _WRITER).read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return
        if not self._id_file.exists() or writer != self._id_file.read_text(encoding="utf-8"):
            raise MaskbatchError(
                f"{self._out}: another machine has begun to write there; nothing of this one is uploaded any more. What it "
                f"did is in {self.folder}: remove that folder to go on with what is at the address"
            )

    def upload_now_and_then(self, over: threading.Event) -> None:
        """Upload every few minutes until `over`; a storage that does not answer is tried again at the next time."""
        while not over.wait(UPLOAD_EVERY_S):
            try:
                self.upload()
            except MaskbatchError as error:
                _log.warning("%s", error)
            except OSError as error:
                _log.warning("%s: %s; tried again in %d minutes", self._out, error.strerror, UPLOAD_EVERY_S / 60)

    def upload(self) -> None:
        """Upload what is new or has changed, then the store; remove what is gone. Raises OSError, and MaskbatchError when
        another machine writes there."""
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
            (self._out / name).remove()
        self._remember(now)

    def _get(self, name: str, path: Remote) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.read_bytes())

    def _put(self, name: str) -> None:
        try:
            (self._out / name).upload(self.folder / name)
        except FileNotFoundError:  # a scan at work renames its files
            _log.debug("%s is gone before it was uploaded", name)

    def _state(self, name: str) -> list[int] | None:
        """Return size and time of a file as JSON has them, None for one that is gone."""
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


def _is_result(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return name not in _NOT_UPLOADED and not (last.startswith(".") and ".part" in last)
