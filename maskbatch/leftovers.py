"""Removes from an output folder what no row speaks of: media of sources whose scan did not end, temporary files.

`.state/names.jsonl` has the `written_names` of all that was ever to be scanned into the folder: only what has such a name
is ours to remove. A file that is nobody's any more is found by that list, whatever ended the runs before, and where.
"""

import json
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

from maskbatch.checkpoint import VIDEOS, folder_of, is_usable, read_checkpoint
from maskbatch.marks import ROWS, write_lines
from maskbatch.media.names import crop_stem, folded, stem_of_crop
from maskbatch.types import Source

_NAMES = Path(".state", "names.jsonl")

Written = tuple[str, str]


def note_names(out: Path, written: Iterable[Written]) -> None:
    """Adds to the names that media in `out` may have; to be called before such media are. Raises OSError."""
    known = _known_names(out)
    if new := set(written) - known:
        write_lines(out / _NAMES, sorted(known | new))


def remove_media(out: Path, claimed: Iterable[Written]) -> None:
    """Removes the annotated copies and the crops that have a noted name, but not one that is `claimed`. Names that are one
    on some file system are one here. Reads each folder once, however many names there are. Raises OSError."""
    copies, stems = _foldings(_known_names(out))
    claimed_copies, claimed_stems = _foldings(claimed)
    copies, stems = copies - claimed_copies, stems - claimed_stems
    if copies:
        _remove(out / "annotated", lambda name: name in copies)
    if stems:
        _remove_crops(out, stems)


def remove_crops(out: Path, written: Written) -> None:
    """Removes the crops of one source. Raises OSError."""
    _, stems = _foldings([written])
    _remove_crops(out, stems)


def remove_segments(out: Path, sources: Sequence[Source], done: Container[str]) -> list[Written]:
    """Removes the work inside videos that will not be gone on with; returns what that of the others is called. Also of those
    that are not among the sources now: they may be back. Raises OSError."""
    by_folder = {folder_of(out, source.name): source for source in sources}
    kept = []
    for folder in (out / VIDEOS).iterdir() if (out / VIDEOS).is_dir() else ():
        source, checkpoint = by_folder.get(folder), read_checkpoint(folder)
        is_over = source is not None and (source.name in done or not is_usable(checkpoint, source))
        if checkpoint is None or is_over:
            shutil.rmtree(folder)
        else:
            kept.append(checkpoint.names)
    return kept


def remove_temporary(out: Path) -> None:
    """Removes the temporary files of a run that was killed. Raises OSError."""
    for folder in (out / "annotated", out / "crops", out / ROWS):
        for path in folder.rglob(".*.part*"):
            path.unlink(missing_ok=True)
    for path in out.glob(".*.part*"):
        path.unlink(missing_ok=True)


def _known_names(out: Path) -> set[Written]:
    try:
        lines = (out / _NAMES).read_text(encoding="ascii").splitlines()
        return {(copy, own) for copy, own in map(json.loads, lines)}
    except (FileNotFoundError, ValueError):
        return set()


def _foldings(written: Iterable[Written]) -> tuple[set[str], set[str]]:
    """The copies' names and the crops' stems, folded."""
    written = list(written)
    return {folded(copy) for copy, _ in written}, {folded(crop_stem(own)) for _, own in written}


def _remove_crops(out: Path, stems: Container[str]) -> None:
    for label in ("with_mask", "without_mask"):
        _remove(out / "crops" / label, lambda name: stem_of_crop(name) in stems)


def _remove(folder: Path, is_meant: Callable[[str], bool]) -> None:
    """The files that are meant, and the folders that are empty then: a file may need their name."""
    parents = set()
    for name, path in _files(folder):
        if is_meant(folded(name)):
            Path(path).unlink(missing_ok=True)
            parents.add(os.path.dirname(path))
    for parent in parents:
        while parent != str(folder) and os.path.isdir(parent) and not (os.path.islink(parent) or os.listdir(parent)):
            os.rmdir(parent)
            parent = os.path.dirname(parent)


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """All files below a folder: POSIX path relative to it, path. Links are followed, as they are in writing."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True) if folder.is_dir() else ():
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        prefix = "" if parent == str(folder) else os.path.relpath(parent, folder).replace(os.sep, "/") + "/"
        yield from ((prefix + name, os.path.join(parent, name)) for name in names)
