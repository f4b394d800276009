"""The walk through folders: the files of a scan in order, and the entries that the scan leaves out."""

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.media.kinds import Kind, kind_by_content, kind_by_name
from maskbatch.media.names import named
from maskbatch.media.storage import Remote

_MARK, _MARK_AT = b"MBAT", 68  # the application id in the header of an SQLite file
_log = logging.getLogger(__name__)

# system folders, mostly of thumbnails and deleted files; names that begin with a dot count as hidden
_SYSTEM_FOLDERS = frozenset({
    "@eadir", "#recycle", "#snapshot", "@recently-snapshot", "@recycle", "@synoresource", "@tmp", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__macosx",
})  # fmt: skip
# the form of an extension; "1. my last trip" has none
_SUFFIX = re.compile(r"\.\w{1,10}")
_MOST_KINDS, _MOST_SHOWN, _MOST_FOLDERS = 50, 8, 1000


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """Entries that a scan left out.

    `hidden`, `system_folders` (by name) and `unknown_kinds` (by extension, the 50 most frequent of files that are
    neither photo nor video) are numbers. `unreadable` are the paths that could not be read.
    """

    hidden: int = 0
    system_folders: Mapping[str, int] = field(default_factory=dict)
    unknown_kinds: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """Return a line of text for each reason for which entries were left out."""
        lines = []
        if kinds := [f"{number} {suffix}" for suffix, number in self.unknown_kinds.items()]:
            more = sum(list(self.unknown_kinds.values())[_MOST_SHOWN:])
            lines.append(", ".join(kinds[:_MOST_SHOWN]) + (f" and {more} others" if more else ""))
        hidden = [f"{self.hidden} hidden"] if self.hidden else []
        if skipped := [*hidden, *(f"{number} {name}" for name, number in self.system_folders.items())]:
            lines.append(f"{', '.join(skipped)} (--include-hidden scans them)")
        if self.unreadable:
            lines.append(f"{named(self.unreadable)}: cannot be read")
        return [f"not looked at: {line}" for line in lines]


class Walk:
    """A walk over all paths of a scan, which remembers the files it has seen and the entries it left out.

    `exclude` (the output folder) and other output folders are left out, and so are hidden entries and system folders,
    unless `include_hidden`.
    """

    def __init__(self, exclude: Path | None, include_hidden: bool = False) -> None:
        self._exclude = None if exclude is None else os.path.realpath(exclude)
        self._include_hidden = include_hidden
        self._seen: set[str] = set()
        self._hidden = 0
        self._system_folders: Counter[str] = Counter()
        self._unknown_kinds: Counter[str] = Counter()
        self._unreadable: list[str] = []

    def not_looked_at(self) -> NotLookedAt:
        """Return the entries left out so far."""
        kinds = sorted(self._unknown_kinds.items(), key=lambda item: (-item[1], item[0]))
        unreadable = tuple(self._unreadable[:_MOST_FOLDERS])
        return NotLookedAt(
            self._hidden, dict(sorted(self._system_folders.items())), dict(kinds[:_MOST_KINDS]), unreadable
        )

    def start(self, path: Path | Remote) -> Iterator[tuple[Path | Remote, Kind]]:
        """Yield (path, kind) of the files at a path that the user gave: a folder, or a file of any name.

        A path that is missing or cannot be read is yielded as a file; its row will have the reason. Raises UsageError for
        `exclude`.
        """
        if isinstance(path, Remote):
            yield from self._remote(path)
            return
        path = absolute(path)
        # not resolve(), which raises for a link to itself
        real = os.path.realpath(path)
        mode = _mode(path)
        if mode is not None and stat.S_ISDIR(mode):
            if real == self._exclude:
                raise UsageError(f"{path} is the output folder as well: choose another one with --out")
            is_empty = True
            for item in self._below(path, real):
                is_empty = False
                yield item
            if is_empty:  # such as the mount point of a missing drive
                _log.warning("%s: no photo or video in it", path)
        elif mode is not None and not stat.S_ISREG(mode):
            _log.warning("%s is neither a file nor a folder; skipped", path)
        elif self._is_new(real):
            yield path, kind_by_name(path) or kind_by_content(path)

    def _remote(self, start: Remote) -> Iterator[tuple[Remote, Kind]]:
        """Yield the files at an address, in the order of the same folders on this machine."""
        if not start.is_dir():
            if self._is_new(str(start)):
                yield start, kind_by_name(start) or kind_by_content(start)
            return
        files = sorted(start.files(), key=lambda item: [_natural_key((name, False)) for name in item[0]])
        outputs = {names[:-1] for names, path in files if names[-1] == "scan.db" and _is_output(path.parent)}
        for folder in outputs:
            _log.warning("%s is an output folder of maskbatch; skipped", "/".join((str(start), *folder)))
        is_empty = True
        for names, path in files:
            if any(names[:depth] in outputs for depth in range(len(names))) or self._leaves_out(names):
                continue
            if (kind := kind_by_name(path)) is None:
                self._unknown_kinds[_ending(path)] += 1
            elif self._is_new(str(path)):
                is_empty = False
                yield path, kind
        if is_empty:
            _log.warning("%s: no photo or video in it", start)

    def _leaves_out(self, names: Sequence[str]) -> bool:
        """Return whether a file is hidden or in a system folder, by the names on its path, and count it."""
        if any(name.startswith(".") for name in names) and not self._include_hidden:
            self._hidden += 1
            return True
        return any(self._is_of_system(name) for name in names[:-1])

    def _below(self, folder: Path, real: str) -> Iterator[tuple[Path, Kind]]:
        """Yield the files of a folder and of all folders below. `real` is the folder's path without links."""
        entries = [self._entries(folder, real)]
        while entries:
            if (found := next(entries[-1], None)) is None:
                entries.pop()
                continue
            path, real = found
            mode = _mode(path)
            if mode is not None and stat.S_ISDIR(mode):
                if not self._is_of_system(path.name):
                    entries.append(self._entries(path, real))
            elif mode is not None and not stat.S_ISREG(mode):
                _log.warning("%s is neither a file nor a folder; skipped", path)
            elif (kind := kind_by_name(path)) is None:
                self._pass_by(path, mode)
            elif self._is_new(real):
                yield path, kind

    def _entries(self, folder: Path, real: str) -> Iterator[tuple[Path, str]]:
        """Yield the entries of a folder in natural order, each as (path, path without links).

        Yields nothing for a folder that is left out or was seen before.
        """
        if not self._is_new(real) or real == self._exclude:
            return
        if _is_output(folder):
            _log.warning("%s is an output folder of maskbatch; skipped", folder)
            return
        try:
            with os.scandir(folder) as found:
                entries = sorted(((entry.name, entry.is_symlink()) for entry in found), key=_natural_key)
        except OSError as error:
            _log.warning("cannot read the folder %s: %s; skipped", folder, error.strerror or error)
            self._unreadable.append(str(folder))
            return
        for name, is_link in entries:
            if name.startswith(".") and not self._include_hidden:
                self._hidden += 1
            else:
                # realpath is slow because it checks each part of a path; on Windows, any folder may be a junction
                is_itself = not is_link and os.name != "nt"
                yield folder / name, os.path.join(real, name) if is_itself else os.path.realpath(folder / name)

    def _is_of_system(self, name: str) -> bool:
        if self._include_hidden or name.casefold() not in _SYSTEM_FOLDERS:
            return False
        self._system_folders[name] += 1
        return True

    def _pass_by(self, path: Path, mode: int | None) -> None:
        """Count a file that is neither photo nor video, or an entry that cannot be read and may be a folder."""
        if mode is None and not os.path.islink(path):
            _log.warning("cannot read %s; skipped", path)
            self._unreadable.append(str(path))
            return
        self._unknown_kinds[_ending(path)] += 1

    def _is_new(self, real: str) -> bool:
        """Return True when `real` is seen for the first time, which also ends loops of links."""
        is_new = real not in self._seen
        self._seen.add(real)
        return is_new


def absolute(path: Path) -> Path:
    """Return `path` as an absolute path without "..". Links stay, since users chose their names, and so do addresses."""
    if isinstance(path, Remote):
        return path
    path = Path(os.path.abspath(path))
    # POSIX keeps two leading slashes, which mean the same as one
    return Path("/", *path.parts[1:]) if path.root == "//" else path


def _ending(path: Path | Remote) -> str:
    return path.suffix.lower() if _SUFFIX.fullmatch(path.suffix) else "without extension"


def _mode(path: Path) -> int | None:
    """Return the type bits of a path, or None when it is missing or cannot be read."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _is_output(folder: Path) -> bool:
    """Return whether a scan wrote to a folder: it holds a store (see store/schema.sql), or rows of version 0.1."""
    try:
        with (folder / "scan.db").open("rb") as file:
            return file.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK
    except OSError:
        pass
    try:
        return (folder / ".state" / "rows").is_dir()
    except OSError:
        return False


def _natural_key(entry: tuple[str, bool]) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key for an entry: numbers by value, letters without case, then the name itself."""
    name = entry[0]
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name
