"""Bring a media file from one output folder to another."""

import logging
import os
import shutil
from pathlib import Path

from maskbatch.media.write import partial_file

MEDIA = ("copy", "link", "move")
_log = logging.getLogger(__name__)


def bring(path: Path, target: Path, how: str) -> None:
    """Copy, link or move a file; leave a target that is already the same.

    Args:
        path: the file.
        target: its path in the output folder; missing folders are created.
        how: one of MEDIA.

    Raises:
        OSError: a file cannot be read or written; the target is complete or unchanged.

    Example:
        >>> bring(Path("out_1/annotated/a.jpg"), Path("audit/annotated/a.jpg"), "copy")
    """
    if how != "move" and _is_same(path, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "move":
        try:
            os.replace(path, target)
            if os.path.lexists(path) and path.stat().st_nlink > 1:  # renaming one of two hard links does nothing
                path.unlink()
            return
        except OSError:  # another file system
            _log.debug("%s cannot be renamed to %s: copying it", path, target)
    with partial_file(target) as partial:
        if how != "link" or not _is_linked(path, partial):
            shutil.copyfile(path, partial)
            stat = path.stat()
            os.utime(partial, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if how == "move":
        path.unlink()


def _is_linked(path: Path, target: Path) -> bool:
    try:
        os.link(path, target)
    except OSError:  # another file system, or a file system without hard links
        return False
    return True


def _is_same(path: Path, target: Path) -> bool:
    try:
        one, other = path.stat(), target.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(one, other) or (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
