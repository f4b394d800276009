"""Input of all formats: the tables of a scan, and the places of its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("with_mask", "incorrect_mask", "without_mask")


@dataclass(frozen=True, slots=True)
class Exported:
    """The tables of a scan, as `Results` gives them, and the places of its files.

    `files`, `faces`, `people`, `episodes` have the columns of the CSV tables. `paths` are the inputs by name, `copies` the
    annotated copies. `facts` says how the scan was made.
    """

    folder: Path
    files: pd.DataFrame
    faces: pd.DataFrame
    people: pd.DataFrame
    episodes: pd.DataFrame
    paths: Mapping[str, Path]
    copies: Mapping[str, Path]
    facts: Mapping[str, object]

    def faces_of(self) -> Mapping[str, pd.DataFrame]:
        """Return the faces of each file by its name; files without a face are not among them."""
        return dict(iter(self.faces.groupby("source", sort=False)))

    def readable(self) -> Iterator:
        """Yield the rows of the files of which frames were analysed, in their order."""
        return (row for row in self.files.itertuples() if row.frames_analysed > 0)


def box_of(face: object) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a face in pixels."""
    return face.x_min, face.y_min, face.x_max - face.x_min, face.y_max - face.y_min


def number_or_none(value: float, decimals: int = 4) -> float | None:
    """Return a number for JSON, None where it is unknown (NaN)."""
    return None if value != value else round(float(value), decimals)
