"""Choose the output folder if the user does not name one."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from maskbatch.errors import MaskbatchError
from maskbatch.media.names import fitted
from maskbatch.media.shares import Share
from maskbatch.media.sources import common_folder
from maskbatch.media.storage import is_folder
from maskbatch.media.walk import absolute
from maskbatch.store.database import STORE, is_store, open_store
from maskbatch.store.lock import LOCK
from maskbatch.store.read import sessions


def default_out(paths: Sequence[Path], share: Share | None = None) -> Path:
    """Choose a folder in the current folder by the names of the inputs.

    The name is `photos_maskbatch` for `photos/` or several files in it, `clip_maskbatch` for `clip.mp4`, and
    `photos_maskbatch_3of20` for a shard of the inputs. If that folder holds anything but a scan of these inputs, the
    name is `photos_maskbatch_2`.
    """
    ending = "" if share is None else f"_{share.number}of{share.count}"
    name = fitted(f"{_name(paths)}_maskbatch{ending}")
    for number in count(1):
        out = Path(name if number == 1 else f"{name}_{number}")
        if _is_free(out) or _has_scan_of(paths, out):
            return out
    raise AssertionError


def _name(paths: Sequence[Path]) -> str:
    """Return the name of the first input, or that of the common folder of several files."""
    first = absolute(paths[0])
    if is_folder(first):
        return first.name or "all"  # a whole drive has no name
    folder = common_folder(paths)
    return first.stem if len(paths) == 1 or folder is None or not folder.name else folder.name


def _is_free(out: Path) -> bool:
    """Return whether a folder is missing, or contains nothing but the lock of a scan that stored nothing."""
    try:
        return not out.is_symlink() and {entry.name for entry in out.iterdir()} <= {LOCK.name}
    except FileNotFoundError:
        return True
    except OSError:  # a file has that name, or the folder cannot be read
        return False


def _has_scan_of(paths: Sequence[Path], out: Path) -> bool:
    """Return whether the last scan in a folder had at least one of these inputs, and the same common folder."""
    if not is_store(out / STORE):
        return False
    try:
        with open_store(out, reader=True) as store, store.transaction() as connection:
            last = sessions(connection)[-1:]
    except (MaskbatchError, OSError):  # the store is damaged, or that of another version
        return False
    now = {str(path.absolute()) for path in paths}
    root = common_folder(paths)
    return not last or (
        last[0].identity.get("input folder") == (str(root) if root else None)
        and not now.isdisjoint(last[0].facts["inputs"])
    )
