"""Find the photos and videos of a scan, always in the same order, and name them."""

import codecs
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path, PurePath

from maskbatch.errors import UsageError
from maskbatch.media.names import mark_twins, named
from maskbatch.media.storage import Remote, is_address, is_folder, located
from maskbatch.media.walk import NotLookedAt, Walk, absolute
from maskbatch.types import Shard, Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The sources at the paths of a scan, and the entries that the scan leaves out.

    `growing` are the names of sources that are being written: results of an earlier scan stay as they are.
    """

    sources: tuple[Source, ...]
    not_looked_at: NotLookedAt
    growing: frozenset[str] = frozenset()


def look_for(
    paths: Sequence[Path], exclude: Path | None, limit: int | None = None, include_hidden: bool = False
) -> Found:
    """Find the photos and videos at `paths`, in the order given, each folder in natural order ("img2" before "img10").

    `exclude` (the output folder) and other output folders are left out, and so are hidden entries and system folders,
    unless `include_hidden`. A file that is reached twice counts once; at most `limit` sources are returned. A missing
    path becomes a source that fails. No decoder opens a file, because the store, which would record a file that crashes
    the process, is not open yet. Raises UsageError when no path exists, or one is `exclude`.
    """
    _check_some_exist(paths)
    walk = Walk(exclude, include_hidden)
    root = common_folder(paths)
    found = islice((item for path in paths for item in walk.start(path)), limit)
    sources = [
        Source(id=position, path=path, name=source_name(path, root), kind=kind)
        for position, (path, kind) in enumerate(found)
    ]
    return Found(tuple(mark_twins(sources)), walk.not_looked_at())


def find_sources(paths: Sequence[Path], exclude: Path | None, limit: int | None = None) -> list[Source]:
    """Return only the sources from `look_for`."""
    return list(look_for(paths, exclude, limit).sources)


def make_shards(sources: Sequence[Source], photos_per_shard: int = 256) -> list[Shard]:
    """Group sources, in their order, into shards: up to `photos_per_shard` consecutive photos, or one video."""
    groups: list[list[Source]] = []
    for source in sources:
        fits = groups and source.kind == "image" and groups[-1][0].kind == "image"
        if fits and len(groups[-1]) < photos_per_shard:
            groups[-1].append(source)
        else:
            groups.append([source])
    return [Shard(index, tuple(group)) for index, group in enumerate(groups)]


def read_list(file: Path) -> list[Path]:
    """Return the paths in a list file, relative to its folder. `-` is standard input, relative to the current folder.

    The list has one path per line, or NUL bytes between the paths (`find -print0`). Blanks are part of a path; empty lines
    are ignored. Bytes that are not text are kept, as in file names. Raises UsageError when the list cannot be read.
    """
    is_stdin = str(file) == "-"
    try:
        # sys.stdin is None when the program was started with it closed
        data = (b"" if sys.stdin is None else sys.stdin.buffer.read()) if is_stdin else file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the list {file}: {error.strerror or error}") from error
    folder = Path() if is_stdin else file.parent
    return [located(name) if is_address(name) else folder / name for name in _names_in(data, folder)]


def common_folder(paths: Sequence[Path | Remote]) -> Path | Remote | None:
    """Return the folder that contains all paths (a folder contains itself), or None when no folder does.

    There is none on Windows when the paths are on several drives or network shares.
    """
    folders = [absolute(path) if is_folder(path) else absolute(path).parent for path in paths]
    if any(isinstance(folder, Remote) for folder in folders):
        return _common_address(folders)
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None


def _common_address(folders: Sequence[Path | Remote]) -> Remote | None:
    """Return the address of the common folder, None when there is none, or some folders are on this machine."""
    if not all(isinstance(folder, Remote) for folder in folders):
        return None
    same = takewhile(lambda names: len(set(names)) == 1, zip(*(folder.parts for folder in folders), strict=False))
    parts = [names[0] for names in same]
    return Remote(f"{parts[0]}://{'/'.join(parts[1:])}") if len(parts) > 1 else None


def source_name(path: PurePath, root: PurePath | None) -> str:
    """Return the name of the source at the absolute `path`: its POSIX path relative to `root`, a folder above it.

    Without `root`, the name begins with the letter of the drive, or with UNC, the server and the share.
    """
    if root is not None:
        # not relative_to(): in Python before 3.12, colons confuse it
        return "/".join(path.parts[len(root.parts) :])
    if isinstance(path, Remote):
        return "/".join(path.parts)
    drive = [part.replace(":", "") for part in re.split(r"[\\/]", path.drive) if part not in ("", "?", ".")]
    is_share = path.drive.startswith("\\\\") and path.drive[2:4] not in ("?\\", ".\\")
    return "/".join([*(["UNC"] if is_share else []), *drive, *path.parts[1:]])


def _check_some_exist(paths: Sequence[Path]) -> None:
    """Warn about paths that do not exist. Raises UsageError when none exists."""
    missing = [str(path) for path in paths if _is_missing(path)]
    if not missing:
        return
    what = "does not exist" if len(missing) == 1 else "do not exist"
    if len(missing) == len(paths):
        raise UsageError(f"{named(missing)} {what}; check the spelling")
    _log.warning("%s %s", named(missing), what)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return isinstance(path, Remote) or not os.path.islink(path)
    except OSError:  # the file may exist, but the system does not say so
        return False
    return False


def _names_in(data: bytes, folder: Path) -> list[str]:
    """Return the names in a list, encoded in UTF-8, the system's own bytes, or UTF-16 with a BOM (PowerShell)."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        text = data.removeprefix(codecs.BOM_UTF8).decode(sys.getfilesystemencoding(), "surrogateescape")
    if "\0" in text:
        return [name for name in text.split("\0") if name]
    lines = (_without_cr(line, folder) for line in text.split("\n"))
    return [line for line in lines if line.strip()]


def _without_cr(line: str, folder: Path) -> str:
    """Return `line` without the carriage return of a Windows list, or unchanged when a file has that name."""
    if not line.endswith("\r") or os.path.lexists(folder / line):
        return line
    return line[:-1]
