"""Estimate the disk space that a scan takes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from maskbatch.settings import OutputSettings
from maskbatch.types import Source

# growth of copies: photos are written with little compression, videos with about that of the source
_PHOTO_GROWTH, _VIDEO_GROWTH = 2.0, 1.0


def bytes_needed(sources: Sequence[Source], output: OutputSettings) -> int:
    """Estimate the size of the annotated copies in bytes.

    Photos take twice their size. Videos take their own size, and the largest video the same again while its parts are
    joined. Rows and crops are small in comparison.
    """
    if "annotated" not in output.save:
        return 0
    sizes = [(source.kind, _size(source.path)) for source in sources]
    photos = sum(size for kind, size in sizes if kind == "image")
    videos = [size for kind, size in sizes if kind == "video"]
    return int(_PHOTO_GROWTH * photos + _VIDEO_GROWTH * (sum(videos) + max(videos, default=0)))


def bytes_free(folder: Path) -> int | None:
    """Return the free bytes on the disk of a folder that may not exist yet, None if the system does not tell."""
    for existing in (folder.absolute(), *folder.absolute().parents):
        if existing.is_dir():
            try:
                return shutil.disk_usage(existing).free
            except OSError:
                return None
    return None


def too_little_space(sources: Sequence[Source], output: OutputSettings, out: Path) -> str | None:
    """Return a warning when the annotated copies may not fit on the disk of `out`, otherwise None."""
    needed, free = bytes_needed(sources, output), bytes_free(out)
    if free is None or needed <= free:
        return None
    return (
        f"about {in_words(needed)} will be written, but only {in_words(free)} are free for {out}: make room, choose "
        "another disk with --out, or write no annotated copies with --save none"
    )


def in_words(num_bytes: int) -> str:
    """Return a size in GB, or in MB below one GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
