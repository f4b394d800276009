"""The user's cache folder: converted and compiled networks, and the files that libraries would put into the user's home."""

import atexit
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path

from platformdirs import user_cache_path

# all networks together; README says so
_MOST_BYTES = 300_000_000
# another process may still be writing a file or folder that is no older
_IN_THE_MAKING_S = 3600.0
# a folder with this file in it is whole
WHOLE = "whole"


def cache_folder() -> Path:
    """Return `MASKBATCH_CACHE`, or the platform's cache folder of the user. A user without a home gets a temporary one."""
    if chosen := os.environ.get("MASKBATCH_CACHE"):
        return Path(chosen)
    try:
        folder = user_cache_path("maskbatch")
    except RuntimeError:  # platformdirs 4.4 and later
        return _temporary_folder()
    # earlier ones return "~/.cache", which would become a folder named "~" in the current one
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
    """Give Keras and matplotlib folders in the cache, unless the user has some of theirs. Call before they are imported."""
    home = Path(os.path.expanduser("~"))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    for name, own in (("KERAS_HOME", home / ".keras"), ("MPLCONFIGDIR", config / "matplotlib")):
        if not own.is_dir():
            os.environ.setdefault(name, str(cache_folder() / own.name.lstrip(".")))


def used(entry: Path) -> None:
    """Note that a file or folder of the cache was used just now, so that others give way first."""
    try:
        os.utime(entry)
    except OSError:  # it belongs to another user, or has gone
        return


def make_room(kept: Path) -> None:
    """Remove networks until 300 MB are left, the longest unused first, but never `kept`. Other processes may do the same
    at the same time. Errors are ignored: the cache works as well when it is too large."""
    entries = sorted((_last_use(entry), entry) for entry in kept.parent.iterdir() if entry != kept)
    num_bytes = _num_bytes(kept)
    for last_use, entry in reversed(entries):
        is_in_the_making = not _is_whole(entry)
        if is_in_the_making and time.time() - last_use < _IN_THE_MAKING_S:
            continue
        num_bytes += _num_bytes(entry)
        if is_in_the_making or num_bytes > _MOST_BYTES:
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
            (entry / WHOLE).unlink(missing_ok=True)  # first: nobody takes the rest for a network
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    except OSError:
        return
