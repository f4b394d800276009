"""Fingerprints of files, to detect changes since a scan: size, modification time, and a hash of both ends."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from maskbatch.media.storage import Remote, quick_hash_of

_END_BYTES = 4096
_NUM_THREADS = 8  # network drives answer slowly, but answer many requests at once


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`size` in bytes, `mtime_ns`, and a BLAKE2 hash of the first and last 4 KiB, or of the ETag from a storage."""

    size: int
    mtime_ns: int
    quick_hash: str


def fingerprint(path: Path | Remote) -> Fingerprint | None:
    """Return the fingerprint of a file, None when it cannot be read. Such a file is scanned again when it is readable."""
    try:
        if isinstance(path, Remote):
            found = path.stat()
            return Fingerprint(found.st_size, found.st_mtime_ns, quick_hash_of(path))
        with path.open("rb") as file:
            start = file.read(_END_BYTES)
            stat = path.stat()
            file.seek(max(stat.st_size - _END_BYTES, 0))
            quick_hash = hashlib.blake2b(start + file.read(_END_BYTES), digest_size=12).hexdigest()
    except OSError:
        return None
    return Fingerprint(stat.st_size, stat.st_mtime_ns, quick_hash)


def fingerprints(paths: Iterable[Path | Remote]) -> list[Fingerprint | None]:
    """Return the fingerprints of many files, in the same order."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(fingerprint, paths))
