"""Read the user's CSV files about the pictures of a dataset."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from maskbatch.errors import UsageError


def read_table(file: Path, columns: Sequence[str]) -> dict[Path, dict[str, str]]:
    """Return {resolved path of the picture: row} of a CSV whose `path` is relative to the file's own folder.

    Raises UsageError when the file is not a CSV in UTF-8, lacks one of `columns`, or contradicts itself about a
    picture.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:  # Excel writes a byte order mark
            reader = csv.DictReader(opened)
            rows = list(reader)
            names = reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is not a CSV file in UTF-8: {error}") from error
    if not {"path", *columns} <= set(names):
        raise UsageError(f"{file} must be a CSV with the columns {' and '.join(['path', *columns])}")
    result = {}
    for row in rows:
        path = (file.parent / (row["path"] or "")).resolve()
        other = result.setdefault(path, row)
        if any(other[name] != row[name] for name in columns):
            raise UsageError(f"{file} has two rows that differ for {row['path']}")
    return result


def check_all_named(file: Path, missing: Collection[Path], num_pictures: int) -> None:
    """Raise UsageError when pictures are missing from the file."""
    if missing:
        raise UsageError(
            f"{file} has no row for {len(missing)} of the dataset's {num_pictures} pictures, such as "
            f"{next(iter(missing))}: its paths are relative to its own folder"
        )
