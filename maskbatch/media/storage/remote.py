"""Files at addresses, such as s3://bucket/folder/film.mp4, read by ranges through fsspec.

fsspec is loaded when the first address is used; each kind of storage needs an extra of this package. Credentials come
from the places that the storage's own tools use (environment, profiles).
"""

import hashlib
import io
import re
import stat
import time
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

from maskbatch.errors import UsageError
from maskbatch.media.storage.patience import patiently

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=.)")
# a password with a slash, as in AWS keys: the text before the slash is neither a bucket nor a server with a port
_LOOSE_PASSWORD = re.compile(r"(?<=://)(?!\[|[^/?#@:]*:\d*(?:[/?#]|$)|[^/?#]*@)[^/?#@:]*:[^@]*[/?#\s].*@", re.DOTALL)
# storage -> the extra that reads it
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure",
           "http": "http", "https": "http", "file": "http"}  # fmt: skip
_BLOCK_BYTES, _NUM_BLOCKS = 1 << 20, 8
_TOLD_S = 1.0


class Remote:
    """A file or folder at an address.

    Methods raise OSError like those of a path: FileNotFoundError, PermissionError, or, after all tries, an error about
    a storage that does not answer.

    Example:
        >>> Remote("s3://bucket/night/film.mp4").name
        'film.mp4'
    """

    def __init__(self, address: str) -> None:
        scheme, rest = ADDRESS.match(address)[1].lower(), address[ADDRESS.match(address).end() :]
        self.address = f"{scheme}://{'/' if scheme == 'file' else ''}{rest.lstrip('/').rstrip('/')}"

        self._told: tuple[float, dict | None] = 0.0, None

    def __str__(self) -> str:
        """The address without user, password and signature, which may be shown and stored."""
        scheme, rest = _LOOSE_PASSWORD.sub("", self.address).split("://", 1)
        place, _, query = rest.partition("?")
        if scheme.startswith("http") or "sig=" in query.lower():  # elsewhere, names of files may have these characters
            rest = place.partition("#")[0] if scheme.startswith("http") else place
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple:
        return Remote, (self.address,)

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.address}/{name}")

    @property
    def parts(self) -> tuple[str, ...]:
        """Scheme, bucket or host, and the names on the path, unquoted for http and https."""
        scheme, rest = str(self).split("://", 1)
        names = [name for name in rest.split("/") if name]
        return (scheme, *(map(unquote, names) if scheme.startswith("http") else names))

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.parts[-1]

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> "Remote":
        """The folder that contains the file; the parent of a bucket is the bucket itself."""
        if len(self.parts) <= 2:
            return self
        return Remote(str(self).rpartition("/")[0])

    def with_name(self, name: str) -> "Remote":
        """Return the address of another file in the same folder."""
        return Remote(f"{str(self).rpartition('/')[0]}/{name}")

    def absolute(self) -> "Remote":
        """Return the address itself."""
        return self

    def stat(self) -> SimpleNamespace:
        """Return the present `st_size`, `st_mtime`, `st_mtime_ns` and `st_mode`."""
        info = self._info()
        when = _seconds(info)
        mode = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
        return SimpleNamespace(
            st_size=int(info.get("size") or 0), st_mtime=when, st_mtime_ns=round(when * 1e9), st_mode=mode
        )

    def is_dir(self) -> bool:
        """Return whether the address is a folder, or a prefix of names."""
        try:
            return stat.S_ISDIR(self.stat().st_mode)
        except OSError:
            return False

    def is_file(self) -> bool:
        """Return whether the address is a file."""
        try:
            return stat.S_ISREG(self.stat().st_mode)
        except OSError:
            return False

    def exists(self) -> bool:
        """Return whether the address exists; also False when the storage does not answer."""
        return self.is_file() or self.is_dir()

    def open(self, mode: str = "rb") -> io.BufferedIOBase:
        """Open the file for reading by ranges."""
        if mode != "rb":
            raise ValueError(f"an address is opened for reading of bytes, not {mode!r}")
        return io.BufferedReader(_Ranges(self), 1 << 16)

    def read_bytes(self) -> bytes:
        """Return the whole content with one request."""
        return patiently(lambda: self._storage.cat_file(self._path))

    def beginning(self, num_bytes: int) -> bytes:
        """Return the first `num_bytes` bytes, or all of a smaller file, with one request."""
        return self._range(0, num_bytes)

    def tag(self) -> str:
        """Return the storage's ETag of the content, or else its checksum; "" without either."""
        info = self._info()
        return next((str(info[key]) for key in ("ETag", "etag", "md5Hash", "content_md5") if info.get(key)), "")

    def files(self) -> Iterator[tuple[tuple[str, ...], "Remote"]]:
        """Yield (names of the folders and the file, address) of all files below the folder, in any order."""
        found = patiently(lambda: self._storage.find(self._path))
        for path in found:
            names = path[len(self._path) :].strip("/").split("/")
            yield tuple(names), Remote(f"{self.address}/{'/'.join(names)}")

    def upload(self, path: Path) -> None:
        """Write a file of this machine to the address."""
        patiently(lambda: self._storage.put_file(str(path), self._path))

    def remove(self) -> None:
        """Remove the file; do nothing when it does not exist."""
        try:
            patiently(lambda: self._storage.rm_file(self._path))
        except FileNotFoundError:
            return

    def _info(self) -> dict:
        """Return the storage's information about the file; several calls within a second need one request."""
        when, info = self._told
        if info is None or time.monotonic() - when > _TOLD_S:
            info = patiently(lambda: self._storage.info(self._path))
            self._told = time.monotonic(), info
        return info

    def _range(self, start: int, end: int) -> bytes:
        return patiently(lambda: self._storage.cat_file(self._path, start=start, end=end))

    @cached_property
    def _storage(self):
        return storage_of(self.address)[0]

    @cached_property
    def _path(self) -> str:
        return storage_of(self.address)[1]


class _Ranges(io.RawIOBase):
    """A file that is read in blocks of a megabyte; the next block is fetched ahead."""

    def __init__(self, remote: Remote) -> None:
        from fsspec.caching import BackgroundBlockCache

        self._size, self._at = remote.stat().st_size, 0
        self._blocks = BackgroundBlockCache(_BLOCK_BYTES, remote._range, self._size, _NUM_BLOCKS)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._blocks._fetch(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._blocks._thread_executor.shutdown(wait=False, cancel_futures=True)
        super().close()


def quick_hash_of(remote: Remote) -> str:
    """Return a hash of the storage's tag of the content, for its fingerprint."""
    return hashlib.blake2b(remote.tag().encode(), digest_size=12).hexdigest()


@lru_cache(maxsize=4096)
def storage_of(address: str):
    """Return the file system of an address, and the path in it. Raises UsageError when it cannot be used here."""
    scheme = address.split("://", 1)[0]
    if scheme not in _EXTRAS:
        raise UsageError(f"{scheme}:// is no storage that maskbatch can read: these are {', '.join(sorted(_EXTRAS))}")
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs another package: pip install 'maskbatch[{_EXTRAS[scheme]}]'") from error
    except ValueError as error:
        raise UsageError(f"{scheme}:// is no storage that maskbatch can read: {error}") from error


def _seconds(info: dict) -> float:
    """Return the time of the last change, 0.0 when the storage does not give it."""
    for key in ("LastModified", "mtime", "last_modified", "updated", "modified", "created"):
        value = info.get(key)
        if hasattr(value, "timestamp"):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0
