"""Choose the output folder when the user names none."""

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
    """Choose a folder in the current one: `photos_maskbatch` for `photos/` and for several files in it, `clip_maskbatch` for
    `clip.mp4`; `photos_maskbatch_3of20` for a share of the inputs.

    A folder that holds something else, or the scan of other inputs, is left alone: `photos_maskbatch_2` takes its place.
    """
    ending = "" if share is None else f"_{share.number}of{share.count}"
    name = fitted(f"{_name(paths)}_maskbatch{ending}")
    for number in count(1):
        out = Path(name if number == 1 else f"{name}_{number}")
        if _is_free(out) or _has_scan_of(paths, out):
            return out
    raise AssertionError


def _name(paths: Sequence[Path]) -> str:
    """Return the name of the first input; of several files, that of the folder they lie in."""
    first = absolute(paths[0])
    if is_folder(first):
        return first.name or "all"  # a whole drive has no name
    folder = common_folder(paths)
    return first.stem if len(paths) == 1 or folder is None or not folder.name else folder.name


def _is_free(out: Path) -> bool:
    """Return whether there is nothing in the folder but the lock of a scan that stored nothing."""
    try:
        return not out.is_symlink() and {entry.name for entry in out.iterdir()} <= {LOCK.name}
    except FileNotFoundError:
        return True
    except OSError:  # a file has that name, or the folder cannot be read
        return False


def _has_scan_of(paths: Sequence[Path], out: Path) -> bool:
    """Return whether the last scan in a folder had these inputs, or some of them and the same folder above all."""
    if not is_store(out / STORE):
        return False
    try:
        with open_store(out, reader=True) as store, store.transaction() as connection:
            last = sessions(connection)[-1:]
    except (MaskbatchError, OSError):  # another version's, or damaged
        return False
    now = {str(path.absolute()) for path in paths}
    root = common_folder(paths)
    return not last or (
        last[0].identity.get("input folder") == (str(root) if root else None)
        and not now.isdisjoint(last[0].facts["inputs"])
    )
