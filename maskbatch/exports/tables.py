"""Input of all formats: the tables of a scan, and the paths of its files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Exported:
    """The tables of a scan, as in `Results`, and the paths of its files.

    `files`, `faces`, `people` and `episodes` have the columns of the CSV tables. `paths` are the inputs by name.
    `facts` are those of the last session.
    """

    folder: Path
    files: pd.DataFrame
    faces: pd.DataFrame
    people: pd.DataFrame
    episodes: pd.DataFrame
    paths: Mapping[str, Path]
    facts: Mapping[str, object]

    def faces_of(self) -> Mapping[str, pd.DataFrame]:
        """Return the faces of each file by name; files without a face are left out."""
        return dict(iter(self.faces.groupby("source", sort=False)))

    def readable(self) -> Iterator:
        """Yield the rows of files with analysed frames, in order."""
        return (row for row in self.files.itertuples() if row.frames_analysed > 0)

    def episodes_of_videos(self, states: Collection[str]) -> Mapping[str, list]:
        """Return the episodes in `states` by video, sorted by time; videos are in the order of `files`."""
        found: dict[str, list] = {row.source: [] for row in self.files.itertuples() if row.kind == "video"}
        for one in self.episodes.itertuples():
            if one.state in states and one.source in found:
                found[one.source].append(one)
        return {source: sorted(own, key=lambda one: (one.from_s, one.person)) for source, own in found.items() if own}


def box_of(face: object) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a face in pixels."""
    return face.x_min, face.y_min, face.x_max - face.x_min, face.y_max - face.y_min


def number_or_none(value: float, decimals: int = 4) -> float | None:
    """Return a rounded number for JSON, None for NaN (unknown)."""
    return None if value != value else round(float(value), decimals)
