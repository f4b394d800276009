"""What is done: a line for each finished source in `.state/rows/<unit>.done.jsonl`, which appears when its rows are whole.

A unit is a shard of one session; sources of several sessions lie in several units. `.state/sources.jsonl` has the order
of the run, and with it that of the reports.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.media.fingerprint import Fingerprint
from maskbatch.media.write.files import partial_file

ROWS, ORDER = Path(".state", "rows"), Path(".state", "sources.jsonl")
_DONE = ".done.jsonl"

# (file, first byte, byte after the last)
Span = tuple[Path, int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """A source is done: its name, what the file was then (None when it could not be read, for a reason that may pass), the
    bytes (first, after the last) that its rows take in the unit's `faces.csv` and `files.csv`, and its `written_names`."""

    name: str
    fingerprint: Fingerprint | None
    faces: tuple[int, int]
    files: tuple[int, int]
    written: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one source: faces in one or more places, its line of files in one."""

    name: str
    fingerprint: Fingerprint | None
    faces: tuple[Span, ...]
    files: Span
    written: tuple[str, str]


def write_marks(rows_dir: Path, unit: int, marks: Iterable[Mark]) -> None:
    """Says that the unit's sources are done; to be called when all they left is in place. Raises OSError."""
    write_lines(rows_dir / f"{unit:06d}{_DONE}", (asdict(mark) for mark in marks))


def write_lines(path: Path, values: Iterable[object]) -> None:
    """A JSON value a line, whole or not at all, and on the disk before it gets its name. Raises OSError."""
    with partial_file(path) as partial, partial.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)
        file.flush()
        os.fsync(file.fileno())


def read_marks(rows_dir: Path, end: int | None = None) -> dict[str, Stored]:
    """The sources that are done, by name; of two marks the later one counts. Damaged marks are left out, and those of the
    unit `end` and later ones."""
    stored = {}
    for path in _units(rows_dir, end):
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
            stored |= {line["name"]: _stored(line, path) for line in lines}
        except (ValueError, KeyError, TypeError):
            continue
    return stored


def next_unit(rows_dir: Path) -> int:
    """A number that no unit has had."""
    return max((int(path.name.split(".")[0]) for path in _units(rows_dir)), default=-1) + 1


def forget(rows_dir: Path, names: set[str]) -> None:
    """Takes the marks of these sources away, so that they are scanned again. Raises OSError."""
    if not names:
        return
    for path in _units(rows_dir):
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
        kept = [line for line in map(_parsed, lines) if line is not None and line["name"] not in names]
        if len(kept) < len(lines):
            write_lines(path, kept)


def write_order(out: Path, names: Sequence[str]) -> None:
    """Notes the names of the run's sources, in order. Raises OSError."""
    write_lines(out / ORDER, names)


def read_order(out: Path) -> list[str]:
    """The names of the run's sources, in order; none when no run has begun. Raises UsageError."""
    try:
        names = [json.loads(line) for line in (out / ORDER).read_text(encoding="ascii").splitlines()]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("of another version")
        return names
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UsageError(f"{out / ORDER} is damaged: scan into another folder (--out), or anew (--if-exists overwrite)"
                         ) from error  # fmt: skip


def _stored(line: dict, path: Path) -> Stored:
    faces, files = (path.with_name(path.name.replace(_DONE, f".{kind}.csv")) for kind in ("faces", "files"))
    known = Fingerprint(**line["fingerprint"]) if line["fingerprint"] else None
    written = tuple(line["written"])
    return Stored(line["name"], known, ((faces, *line["faces"]),), (files, *line["files"]), written)


def _parsed(text: str) -> dict | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _units(rows_dir: Path, end: int | None = None) -> Iterator[Path]:
    """The mark files, in the order of their units, until the unit before `end`."""
    numbered = [(path.name.split(".")[0], path) for path in rows_dir.glob(f"*{_DONE}")]
    found = sorted((int(number), path) for number, path in numbered if number.isdecimal())
    return (path for number, path in found if end is None or number < end)
