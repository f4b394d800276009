"""Walks folders and finds the photos and videos of a run, always in the same order."""

import logging
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.media.kinds import kind_by_content, kind_by_name
from maskbatch.media.names import mark_twins
from maskbatch.types import Shard, Source

_MARK, _MARK_AT = b"MBAT", 68  # the application id in the header of an SQLite file
_log = logging.getLogger(__name__)


def find_sources(paths: Sequence[Path], exclude: Path | None, limit: int | None = None) -> list[Source]:
    """The photos and videos at `paths`, in the order given, each folder in natural order ("img2" before "img10").

    Hidden entries, `exclude` (the output folder) and older output folders are left out; a file reached twice counts
    once; at most `limit` sources are returned. Videos are not probed: nothing is stored yet that would say which file
    killed the program. Raises UsageError when a path does not exist, or is `exclude`.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist; check the spelling")
    walk = _Walk(exclude)
    root = common_folder(paths)
    found = islice((item for path in paths for item in walk.start(path)), limit)
    return mark_twins(
        [
            Source(id=position, path=path, name=_name(path, root), kind=kind)
            for position, (path, kind) in enumerate(found)
        ]
    )


def make_shards(sources: Sequence[Source], photos_per_shard: int = 256) -> list[Shard]:
    """Groups sources, in their order, to shards: up to `photos_per_shard` photos in a row, each video alone."""
    groups: list[list[Source]] = []
    for source in sources:
        fits = groups and source.kind == "image" and groups[-1][0].kind == "image"
        if fits and len(groups[-1]) < photos_per_shard:
            groups[-1].append(source)
        else:
            groups.append([source])
    return [Shard(index, tuple(group)) for index, group in enumerate(groups)]


def read_list(file: Path) -> list[Path]:
    """The paths in a text file (UTF-8), one a line, relative to its folder; `-` is standard input and this folder.

    Blank lines are ignored. Raises UsageError when the list cannot be read.
    """
    if str(file) == "-":
        return [Path(line.strip()) for line in sys.stdin if line.strip()]
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"cannot read the list {file}: {error.strerror or error}") from error
    return [file.parent / line.strip() for line in text.splitlines() if line.strip()]


class _Walk:
    """One walk over all paths of a run; remembers what it has been to."""

    def __init__(self, exclude: Path | None) -> None:
        self._exclude = None if exclude is None else exclude.resolve()
        self._seen: set[Path] = set()

    def start(self, path: Path) -> Iterator[tuple[Path, str]]:
        """(path, kind) of the files at a path that the user gave: a folder, or a file of any name."""
        path = Path(os.path.abspath(path))  # and not resolve(): the user's own names stay, only ".." goes
        if path.is_dir():
            if path.resolve() == self._exclude:
                raise UsageError(f"{path} is the output folder as well: choose another one with --out")
            is_empty = True
            for item in self._folder(path):
                is_empty = False
                yield item
            if is_empty:  # as is the place of a drive that is not there
                _log.warning("%s: no photo or video in it", path)
        elif not path.is_file():
            _log.warning("%s is neither a file nor a folder; skipped", path)
        elif self._is_new(path):
            yield path, kind_by_name(path) or kind_by_content(path)

    def _folder(self, folder: Path) -> Iterator[tuple[Path, str]]:
        if not self._is_new(folder):
            return
        if folder.resolve() == self._exclude:
            return
        if _is_output(folder):
            _log.warning("%s is an output folder of maskbatch; skipped", folder)
            return
        try:
            names = sorted((entry.name for entry in os.scandir(folder)), key=_natural_key)
        except OSError as error:
            _log.warning("cannot read the folder %s: %s; skipped", folder, error.strerror or error)
            return
        for name in names:
            if not name.startswith("."):
                yield from self._entry(folder / name)

    def _entry(self, path: Path) -> Iterator[tuple[Path, str]]:
        try:
            mode = path.stat().st_mode
        except OSError:  # a dangling link, or one that leads to itself: what cannot be read gets its row, too
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            yield from self._folder(path)
        elif not stat.S_ISREG(mode):
            _log.warning("%s is neither a file nor a folder; skipped", path)
        elif (kind := kind_by_name(path)) and self._is_new(path):
            yield path, kind

    def _is_new(self, path: Path) -> bool:
        """Whether it is reached for the first time, by whatever path or link; this is also what ends link loops."""
        real = Path(os.path.realpath(path))  # and not resolve(), which raises for a link to itself
        is_new = real not in self._seen
        self._seen.add(real)
        return is_new


def _is_output(folder: Path) -> bool:
    """Tell by its store if a scan wrote to this folder: `scan.db` (see store/schema.sql), or the rows of version 0.1."""
    try:
        with (folder / "scan.db").open("rb") as file:
            return file.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK
    except OSError:
        pass
    try:
        return (folder / ".state" / "rows").is_dir()
    except OSError:
        return False


def _natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts numbers by value and letters without case; the name itself decides between equals."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name


def common_folder(paths: Sequence[Path]) -> Path | None:
    """The folder that all paths lie in (a folder lies in itself); None on Windows when they are on several drives."""
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in paths]
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None


def _name(path: Path, root: Path | None) -> str:
    if root is None:
        return "/".join([path.drive.replace(":", ""), *path.parts[1:]])
    return path.relative_to(root).as_posix()
