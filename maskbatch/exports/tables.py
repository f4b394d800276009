"""Input of all formats: the tables of a scan, and the places of its pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("with_mask", "incorrect_mask", "without_mask")


@dataclass(frozen=True, slots=True)
class Exported:
    """The tables of a scan, as `Results` gives them, and the places of its files.

    `files`, `faces`, `people`, `episodes` have the columns of the CSV tables. `paths` are the inputs by name.
    `facts` says how the scan was made.
    """

    folder: Path
    files: pd.DataFrame
    faces: pd.DataFrame
    people: pd.DataFrame
    episodes: pd.DataFrame
    paths: Mapping[str, Path]
    facts: Mapping[str, object]

    def faces_of(self) -> Mapping[str, pd.DataFrame]:
        """Return the faces of each file by its name; files without a face are not among them."""
        return dict(iter(self.faces.groupby("source", sort=False)))

    def readable(self) -> Iterator:
        """Yield the rows of the files of which frames were analysed, in their order."""
        return (row for row in self.files.itertuples() if row.frames_analysed > 0)

    def episodes_of_videos(self, states: Collection[str]) -> Mapping[str, list]:
        """Return the episodes in such states of each video that has any, in the order of time; videos as in `files`."""
        found: dict[str, list] = {row.source: [] for row in self.files.itertuples() if row.kind == "video"}
        for one in self.episodes.itertuples():
            if one.state in states and one.source in found:
                found[one.source].append(one)
        return {source: sorted(own, key=lambda one: (one.from_s, one.person)) for source, own in found.items() if own}


def box_of(face: object) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a face in pixels."""
    return face.x_min, face.y_min, face.x_max - face.x_min, face.y_max - face.y_min


def number_or_none(value: float, decimals: int = 4) -> float | None:
    """Return a number for JSON, None where it is unknown (NaN)."""
    return None if value != value else round(float(value), decimals)
