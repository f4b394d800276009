"""Distinguish paths of this machine from addresses of a storage."""

import os
from pathlib import Path

from maskbatch.media.storage.remote import ADDRESS, Remote, storage_of


def located(text: object) -> "Path | Remote":
    """Return a path, or a `Remote` for an address; leave both unchanged. `C:\\night` is a path.

    Raises UsageError when the package for such addresses is not installed.
    """
    if isinstance(text, Remote):
        return text
    if not is_address(str(text)):
        return Path(text)
    remote = Remote(str(text))
    storage_of(remote.address)
    return remote


def is_address(text: str) -> bool:
    """Return whether a text is an address, and not an existing path that looks like one."""
    return ADDRESS.match(text) is not None and not Path(text).exists()


def is_there(path: "Path | Remote") -> bool:
    """Return whether there is a file, folder or link at a path or address."""
    return path.exists() if isinstance(path, Remote) else os.path.lexists(path)


def is_folder(path: "Path | Remote") -> bool:
    """Return whether there is a folder at a path or address."""
    return path.is_dir() if isinstance(path, Remote) else os.path.isdir(path)
