"""How much disk a scan takes, roughly."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from maskbatch.settings import OutputSettings
from maskbatch.types import Source

# photos are written with little compression, videos with about as much as they came with
_PHOTO_GROWTH, _VIDEO_GROWTH = 2.0, 1.0


def bytes_needed(sources: Sequence[Source], output: OutputSettings) -> int:
    """About how much the annotated copies of the sources take: photos twice their size, videos their own size, and the
    largest video once more, while its parts are joined. Rows and crops are small beside them."""
    if "annotated" not in output.save:
        return 0
    sizes = [(source.kind, _size(source.path)) for source in sources]
    photos = sum(size for kind, size in sizes if kind == "image")
    videos = [size for kind, size in sizes if kind == "video"]
    return int(_PHOTO_GROWTH * photos + _VIDEO_GROWTH * (sum(videos) + max(videos, default=0)))


def bytes_free(folder: Path) -> int | None:
    """What is free on the disk of a folder that may not exist yet; None where that cannot be told."""
    for existing in (folder.absolute(), *folder.absolute().parents):
        if existing.is_dir():
            try:
                return shutil.disk_usage(existing).free
            except OSError:
                return None
    return None


def too_little_space(sources: Sequence[Source], output: OutputSettings, out: Path) -> str | None:
    """A warning, when what will be written may not fit on the disk of `out`."""
    needed, free = bytes_needed(sources, output), bytes_free(out)
    if free is None or needed <= free:
        return None
    return (
        f"about {needed / 1e9:.1f} GB will be written, but only {free / 1e9:.1f} GB are free for {out}: make room, choose "
        "another disk with --out, or write no annotated copies with --save none"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
