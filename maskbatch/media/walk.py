"""Walks folders: the files that a scan takes, in which order, and the entries that it does not look at."""

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.media.kinds import Kind, kind_by_content, kind_by_name
from maskbatch.media.names import named

_log = logging.getLogger(__name__)

# folders that systems keep for themselves, thumbnails and bins above all; those that begin with a dot are hidden
_SYSTEM_FOLDERS = frozenset({
    "@eadir", "#recycle", "#snapshot", "@recently-snapshot", "@recycle", "@synoresource", "@tmp", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__macosx",
})  # fmt: skip
# how much an extension can be; the end of "1. my last trip" is none
_SUFFIX = re.compile(r"\.\w{1,10}")
_MOST_KINDS, _MOST_SHOWN, _MOST_FOLDERS = 50, 8, 1000


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """Entries of the folders that a scan passed by: how many are hidden, how many folders of systems (by name), how many
    files of kinds that are neither photo nor video (by extension, the most frequent 50), and what could not be read."""

    hidden: int = 0
    system_folders: Mapping[str, int] = field(default_factory=dict)
    unknown_kinds: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """Return a line for each way to be passed by; none where nothing was."""
        lines = []
        if kinds := [f"{number} {suffix}" for suffix, number in self.unknown_kinds.items()]:
            more = sum(list(self.unknown_kinds.values())[_MOST_SHOWN:])
            lines.append(", ".join(kinds[:_MOST_SHOWN]) + (f" and {more} others" if more else ""))
        hidden = [f"{self.hidden} hidden"] if self.hidden else []
        if skipped := [*hidden, *(f"{number} {name}" for name, number in self.system_folders.items())]:
            lines.append(f"{', '.join(skipped)} (--include-hidden looks at them)")
        if self.unreadable:
            lines.append(f"{named(self.unreadable)}: cannot be read")
        return [f"not looked at: {line}" for line in lines]


class Walk:
    """One walk over all paths of a run; remembers what it has been to, and what it passed by.

    `exclude` (the output folder) and older output folders are left out; so are hidden entries and folders of systems,
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
        """Return what was passed by so far."""
        kinds = sorted(self._unknown_kinds.items(), key=lambda item: (-item[1], item[0]))
        unreadable = tuple(self._unreadable[:_MOST_FOLDERS])
        return NotLookedAt(
            self._hidden, dict(sorted(self._system_folders.items())), dict(kinds[:_MOST_KINDS]), unreadable
        )

    def start(self, path: Path) -> Iterator[tuple[Path, Kind]]:
        """Yield (path, kind) of the files at a path that the user gave: a folder, or a file of any name.

        A path that does not exist, or cannot be read, is a file too: its row says so. Raises UsageError for `exclude`.
        """
        path = absolute(path)
        # and not resolve(), which raises for a link to itself
        real = os.path.realpath(path)
        mode = _mode(path)
        if mode is not None and stat.S_ISDIR(mode):
            if real == self._exclude:
                raise UsageError(f"{path} is the output folder as well: choose another one with --out")
            is_empty = True
            for item in self._below(path, real):
                is_empty = False
                yield item
            if is_empty:  # as is the place of a drive that is not there
                _log.warning("%s: no photo or video in it", path)
        elif mode is not None and not stat.S_ISREG(mode):
            _log.warning("%s is neither a file nor a folder; skipped", path)
        elif self._is_new(real):
            yield path, kind_by_name(path) or kind_by_content(path)

    def _below(self, folder: Path, real: str) -> Iterator[tuple[Path, Kind]]:
        """Yield the files of a folder, which is the `real` one, and of all below, however deep."""
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
        """Yield the entries of a folder in natural order, each as it is called and as it really is; none of a folder that is
        not to be looked at."""
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
                # the look at each part of a path takes its time; a folder of Windows may be a junction
                is_itself = not is_link and os.name != "nt"
                yield folder / name, os.path.join(real, name) if is_itself else os.path.realpath(folder / name)

    def _is_of_system(self, name: str) -> bool:
        if self._include_hidden or name.casefold() not in _SYSTEM_FOLDERS:
            return False
        self._system_folders[name] += 1
        return True

    def _pass_by(self, path: Path, mode: int | None) -> None:
        """Count a file that is neither photo nor video; one of which the system tells nothing may be a folder."""
        if mode is None and not os.path.islink(path):
            _log.warning("cannot read %s; skipped", path)
            self._unreadable.append(str(path))
            return
        self._unknown_kinds[path.suffix.lower() if _SUFFIX.fullmatch(path.suffix) else "without extension"] += 1

    def _is_new(self, real: str) -> bool:
        """Return whether what is really at `real` is reached for the first time; this also ends loops of links."""
        is_new = real not in self._seen
        self._seen.add(real)
        return is_new


def absolute(path: Path) -> Path:
    """Return `path` from the root on, without ".."; links, which are the user's own names, stay."""
    path = Path(os.path.abspath(path))
    # POSIX keeps two slashes in front, and takes them for one
    return Path("/", *path.parts[1:]) if path.root == "//" else path


def _mode(path: Path) -> int | None:
    """Return the type bits of a path, None where there is nothing, or where the system does not say."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _is_output(folder: Path) -> bool:
    try:
        return (folder / ".state" / "rows").is_dir()
    except OSError:
        return False


def _natural_key(entry: tuple[str, bool]) -> tuple[list[tuple[int, int, str]], str]:
    """Sort the names of entries: numbers by value, letters without case; the name itself decides between equals."""
    name = entry[0]
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name
