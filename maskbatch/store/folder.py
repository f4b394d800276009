"""The output folder around the store: check it, lock it, and remove the output of earlier scans."""

import functools
import logging
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.names import folded, name_text, stem_of_crop
from maskbatch.media.storage import Remote
from maskbatch.media.write import is_partial
from maskbatch.states import LABELS
from maskbatch.store.database import LOGS, STORE, Store, check_version, is_store, open_store
from maskbatch.store.lock import Lock, locked
from maskbatch.store.read import all_media

SEGMENTS = ".segments"
_REPORTS = (
    "faces.csv", "files.csv", "summary.csv", "people.csv", "episodes.csv", "timeline.csv", "places.csv", "coverage.csv",
    "report.html", "run.json", "manifest.json",
)  # fmt: skip
_CROP_FOLDERS = (*(f"crops/{label}" for label in LABELS), "evidence")
_MEDIA_FOLDERS = ("annotated", *_CROP_FOLDERS, "crops")  # inner folders first
_OURS = ("annotated", "crops", "evidence", SEGMENTS, STORE, *_REPORTS)
_log = logging.getLogger(__name__)


def check_out(out: Path, if_exists: str) -> None:
    """Check that a scan may write to `out`, without changing it. `if_exists`: resume, overwrite or error.

    Raises UsageError.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")
    check_version(out)
    earlier = _earlier(out)
    if not is_store(out / STORE):
        check_foreign(out, [path.name for path in earlier])
    if if_exists == "error" and earlier:
        raise UsageError(
            f"{out} holds an earlier scan: choose another folder with --out, continue the scan (--if-exists resume), or "
            "replace it (--if-exists overwrite)"
        )


def check_foreign(out: Path | Remote, names: Iterable[str]) -> None:
    """Raise UsageError when the files of a folder without a store have names that a scan would overwrite."""
    top = {name.split("/", 1)[0] for name in names}
    if taken := [name for name in _OURS if name in top]:
        raise UsageError(f"{out} holds {taken[0]}, which is not from maskbatch: choose another folder with --out")


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError when a file to scan lies among the files that a scan to `out` writes or overwrites."""
    written = [_real(path) for path in _earlier(out)]
    folder_of = functools.cache(_real)  # resolving every part of 100,000 paths would be slow
    for path in inputs:
        if isinstance(path, Remote):
            continue
        real = _real(path) if path.is_symlink() else folder_of(path.parent) / path.name
        if any(real.is_relative_to(folder) for folder in written):
            raise UsageError(
                f"{path} lies in the output folder, among what is written: choose another folder with --out"
            )


@contextmanager
def prepared(out: Path, if_exists: str) -> Iterator[tuple[Store, Lock]]:
    """Make and lock the output folder, and open its store. To overwrite, remove only the output of earlier scans.

    Raises UsageError when the folder cannot be written or used, MaskbatchError when another scan writes to it.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(locked(out))
            check_out(out, if_exists)
            if if_exists == "overwrite":
                _clear(out)
            elif lock.died:
                _log.warning("an earlier scan (%s) died; continuing it", lock.died)
                remove_temporary(out)
            store = stack.enter_context(open_store(out))
        except OSError as error:
            raise UsageError(
                f"cannot write to {out}: {error.strerror or error}. Choose another folder with --out"
            ) from error
        yield store, lock


def remove_segments(out: Path, kept: Container[int]) -> None:
    """Remove the parts of videos that are not continued: all source ids except those in `kept`. Raises OSError."""
    folder = out / SEGMENTS
    for path in folder.iterdir() if folder.is_dir() else ():
        if not (path.name.isdecimal() and int(path.name) in kept):
            shutil.rmtree(path)


def remove_empty_segments(out: Path) -> None:
    """Remove the folder of all parts if no video has any; no worker may be writing."""
    with suppress(OSError):  # the folder is not empty, or does not exist
        (out / SEGMENTS).rmdir()


def segments_of(out: Path, source_id: int) -> Path:
    """Return the folder that holds the parts of a video's annotated copy until they are joined."""
    return out / SEGMENTS / str(source_id)


def remove_media(out: Path, names: Iterable[tuple[str, str]]) -> None:
    """Remove the annotated copies and crops with these kinds and folded names. Raises OSError.

    Each folder is read once, however many names there are. Folders that become empty are removed too, because a file
    may need their name.
    """
    copies, stems = set(), set()
    for kind, name in names:
        (copies if kind == "annotated" else stems).add(name)
    if copies:
        _remove(out / "annotated", lambda name: name_text(folded(name)) in copies)
    for folder in _CROP_FOLDERS if stems else ():
        _remove(out / folder, lambda name: _stem(folded(name)) in stems)


class MediaFile(NamedTuple):
    """A file in a media folder: kind and folded name as in the table `media`, and path in the output folder."""

    kind: str
    folded_name: str
    name: str


def media_files(out: Path) -> Iterator[MediaFile]:
    """Yield all files of an output folder that may be annotated copies, crops or evidence. Raises OSError."""
    for name, _ in files_below(out / "annotated"):
        yield MediaFile("annotated", name_text(folded(name)), f"annotated/{name}")
    for folder in _CROP_FOLDERS:
        for name, _ in files_below(out / folder):
            if (stem := _stem(folded(name))) is not None:
                yield MediaFile("crops", stem, f"{folder}/{name}")


def remove_temporary_media(out: Path) -> None:
    """Remove the temporary files of killed workers; no other worker may be writing. Raises OSError."""
    for folder in (out / "annotated", out / "crops", out / "evidence", out / SEGMENTS):
        _remove_partial(folder.rglob(".*.part*"))


def remove_temporary(out: Path) -> None:
    """Remove the temporary files of a scan that was killed. Raises OSError."""
    remove_temporary_media(out)
    _remove_partial(out.glob(".*.part*"))


def _remove_partial(paths: Iterable[Path]) -> None:
    for path in paths:
        if is_partial(path.name):
            path.unlink(missing_ok=True)


def _clear(out: Path) -> None:
    """Remove the output of earlier scans, and no file of the user. The lock stays, because it is held."""
    with open_store(out) as store:
        with store.transaction() as connection:  # after a kill, only the names of the media to remove are left
            media = {(kind, name) for kind, name, _ in all_media(connection)}
            for table in (
                "purge",
                "review",
                "sample_item",
                "sample",
                "face",
                "track",
                "segment",
                "evidence",
                "source",
                "session",
            ):
                connection.execute(f"DELETE FROM {table}")
        remove_temporary(out)
        remove_media(out, media)
    remove_segments(out, ())
    for folder in (*_MEDIA_FOLDERS, SEGMENTS):
        with suppress(OSError):  # the folder is not empty, or does not exist
            (out / folder).rmdir()
    for name in (*_REPORTS, *(STORE + ending for ending in (*LOGS, ""))):
        (out / name).unlink(missing_ok=True)


def _earlier(out: Path) -> list[Path]:
    return [out / name for name in _OURS if (out / name).exists() or (out / name).is_symlink()]


def _real(path: Path) -> Path:
    """Return a path without links. Unlike `Path.resolve`, this does not fail for a link to itself."""
    return Path(os.path.realpath(path))


def _stem(name: str) -> str | None:
    stem = stem_of_crop(name)
    return stem and name_text(stem)


def _remove(folder: Path, is_meant: Callable[[str], bool]) -> None:
    parents = set()
    for name, path in files_below(folder):
        if is_meant(name):
            Path(path).unlink(missing_ok=True)
            parents.add(os.path.dirname(path))
    for parent in parents:
        while parent != str(folder) and os.path.isdir(parent) and not (os.path.islink(parent) or os.listdir(parent)):
            os.rmdir(parent)
            parent = os.path.dirname(parent)


def files_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (POSIX path relative to the folder, path) of all files below a folder. Follow links, as writing does."""

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
