"""Removes from an output folder what no row speaks of: media of sources whose scan did not end, temporary files."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from maskbatch.checkpoint import folder_of
from maskbatch.data import Source
from maskbatch.marks import ROWS
from maskbatch.media.names import crop_stem, stem_of_crop


def remove_media(out: Path, written: Iterable[tuple[str, str]], kept: Iterable[tuple[str, str]]) -> None:
    """Removes the annotated copies and the crops with these `written_names`, but none that is in `kept`, too. Reads each
    folder once, however many sources there are. Raises OSError."""
    copies, owns = (
        (set(names) for names in zip(*written, strict=True)) if (written := list(written)) else (set(), set())
    )
    for copy, own in kept:
        copies.discard(copy)
        owns.discard(own)
    if copies:
        for name, path in _files(out / "annotated"):
            if name in copies:
                path.unlink()
    if stems := {crop_stem(own) for own in owns}:
        for label in ("with_mask", "without_mask"):
            for name, path in _files(out / "crops" / label):
                if stem_of_crop(name) in stems:
                    path.unlink()


def remove_segments(out: Path, done: Iterable[Source]) -> None:
    """Removes what a run that was killed at the very end of a video left of its work inside it."""
    for source in done:
        if source.kind == "video":
            shutil.rmtree(folder_of(out, source.name), ignore_errors=True)


def remove_temporary(out: Path) -> None:
    """Removes the temporary files of a run that was killed. Raises OSError."""
    for folder in (out / "annotated", out / "crops", out / ROWS):
        for path in folder.rglob(".*.part*"):
            path.unlink(missing_ok=True)
    for path in out.glob(".*.part*"):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files below a folder, each with its POSIX path relative to it."""
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        for name in names:
            yield (relative / name).as_posix(), Path(parent, name)
