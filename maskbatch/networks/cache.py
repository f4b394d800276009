"""The user's cache folder: converted and compiled networks, and files that libraries would else put in the home folder."""

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

# limit on all networks together; README states it
_MOST_BYTES = 300_000_000
# another process may still be writing an unfinished file or folder that is younger than this
_UNFINISHED_S = 3600.0
# a folder with this file in it is complete
WHOLE = "whole"
_DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Return `MASKBATCH_CACHE` or the user's cache folder on this platform; without a home, a temporary folder."""
    if chosen := os.environ.get("MASKBATCH_CACHE"):
        return Path(chosen)
    try:
        folder = user_cache_path("maskbatch")
    except RuntimeError:  # platformdirs 4.4 and later
        return _temporary_folder()
    # earlier versions return "~/.cache", which would become a folder named "~" in the current folder
    return folder if folder.is_absolute() else _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="maskbatch-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def networks_folder() -> Path:
    """Return the folder of converted and compiled networks inside the cache folder."""
    return cache_folder() / "openvino"


def keep_libraries_out_of_home() -> None:
    """Put the folders of Keras and matplotlib in the cache, unless they exist. Call before importing either library."""
    home = Path(os.path.expanduser("~"))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    for name, own in (("KERAS_HOME", home / ".keras"), ("MPLCONFIGDIR", config / "matplotlib")):
        if not own.is_dir():
            os.environ.setdefault(name, str(cache_folder() / own.name.lstrip(".")))


def read_file(path: Path) -> bytes | None:
    """Return the content that `keep_file` wrote, or None when the file is missing or its checksum does not match.

    OpenVINO would load changed weights without noticing.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, kept = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return kept if digest == hashlib.sha256(kept).digest() else None


def keep_file(content: bytes, path: Path) -> None:
    """Write `content` and its checksum as a whole or not at all, then make room. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # one name for all processes: content that two of them write at once fails its checksum, and a kill leaves one file
    partial = path.with_suffix(".part")
    try:
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    make_room(path)


def keep_folder(save: Callable[[Path], None], folder: Path) -> None:
    """Fill a temporary folder with `save`, rename it to `folder`, then make room. Raises OSError, and what `save` raises.

    No partial folder is left when the process is killed, or when another process keeps the same folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        save(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:  # another process was first; its copy is as good
        shutil.rmtree(partial, ignore_errors=True)
    make_room(folder)


def mark_used(entry: Path) -> None:
    """Set the modification time of a file or folder to now, so that `make_room` removes older entries first."""
    try:
        os.utime(entry)
    except OSError:  # another user owns it, or another process has removed it
        return


def make_room(kept: Path) -> None:
    """Remove the least recently used networks until at most 300 MB are left, but never `kept`.

    Other processes may do the same at the same time. Errors are ignored, because a cache that is too large still works.
    """
    entries = sorted((_last_use(entry), entry) for entry in kept.parent.iterdir() if entry != kept)
    num_bytes = _num_bytes(kept)
    for last_use, entry in reversed(entries):
        is_unfinished = not _is_whole(entry)
        if is_unfinished and time.time() - last_use < _UNFINISHED_S:
            continue
        num_bytes += _num_bytes(entry)
        if is_unfinished or num_bytes > _MOST_BYTES:
            _remove(entry)


def _is_whole(entry: Path) -> bool:
    return (entry / WHOLE).is_file() if entry.is_dir() else entry.suffix == ".compiled"


def _last_use(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _num_bytes(entry: Path) -> int:
    try:
        return sum(file.stat().st_size for file in (entry.iterdir() if entry.is_dir() else [entry]))
    except OSError:
        return 0


def _remove(entry: Path) -> None:
    try:
        if entry.is_dir():
            (entry / WHOLE).unlink(missing_ok=True)  # first, so that no process takes the remaining files for a network
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    except OSError:
        return
