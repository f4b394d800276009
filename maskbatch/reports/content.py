"""Compare the content of inputs by their SHA-256 in manifests, where only the modification time differs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from maskbatch.media.names import named
from maskbatch.media.storage import Remote
from maskbatch.reports.manifest import known_checksums, sha256_of
from maskbatch.store.plan import Touched

# name of an input, and the values of its fingerprint
Key = tuple[str, int | None, int | None, str | None]
_log = logging.getLogger(__name__)


def input_checksums(folders: Iterable[Path]) -> Mapping[Key, str]:
    """Return the SHA-256 of all inputs in the manifests of folders."""
    inputs = known_checksums(folders)["inputs"]
    return {tuple(map(one.get, ("name", "size", "mtime_ns", "quick_hash"))): one["sha256"] for one in inputs}


def with_same_content(folder: Path, touched: Sequence[Touched]) -> frozenset[str]:
    """Return the names of the files whose content is the one that the last finished scan in `folder` read.

    Files without a checksum in the manifest are left out.
    """
    if not touched:
        return frozenset()
    known = input_checksums([folder])
    found = [(one, known.get((one.name, one.was.size, one.was.mtime_ns, one.was.quick_hash))) for one in touched]
    found = [(one, sha256) for one, sha256 in found if sha256 is not None and not isinstance(one.path, Remote)]
    if found:
        names = named([one.name for one, _ in found])
        _log.warning("%s: other time, same size; reading the content to see whether it changed", names)
    return frozenset(one.name for one, sha256 in found if sha256_of(one.path) == sha256)
