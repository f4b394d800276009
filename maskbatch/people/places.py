"""Sites and cameras of sources, zones and lines in their pictures, and shifts."""

from dataclasses import dataclass
from datetime import datetime, time
from fnmatch import fnmatchcase

import numpy as np

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of a picture: a polygon with corners (x, y), in shares of width and height if `is_share`, else in pixels.

    Faces in a zone with `ignore` are ignored.
    """

    name: str
    polygon: tuple[tuple[float, float], ...]
    is_share: bool
    ignore: bool = False

    def contains(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return (N,) bool: the points (N, 2) in pixels that lie inside; `size` is (width, height) of the picture.

        A zone includes its left and top edges only, so that a point on an edge between two zones lies in exactly one
        zone.
        """
        corners = np.array(self.polygon, np.float64) * (size if self.is_share else (1, 1))
        x, y = points[:, 0, None], points[:, 1, None]
        (x1, y1), (x2, y2) = corners.T, np.roll(corners, -1, axis=0).T
        # a ray to the right crosses every edge whose ends lie on opposite sides of the ray (Shimrat 1962)
        with np.errstate(divide="ignore", invalid="ignore"):
            crosses = ((y1 <= y) != (y2 <= y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        return crosses.sum(axis=1) % 2 == 1


@dataclass(frozen=True, slots=True)
class Line:
    """A line from `begin` to `end`, (x, y) each. Seen from `begin`, people who cross the line to the right go in."""

    name: str
    begin: tuple[float, float]
    end: tuple[float, float]
    is_share: bool

    def crossings(self, points: np.ndarray, size: tuple[int, int]) -> list[str]:
        """Return "in" or "out" for each crossing of the path along points (T, 2) in pixels, in order."""
        begin, end = (np.array(point) * (size if self.is_share else (1, 1)) for point in (self.begin, self.end))
        along = end - begin
        side = along[0] * (points[:, 1] - begin[1]) - along[1] * (points[:, 0] - begin[0]) > 0
        found = []
        for at in np.flatnonzero(side[1:] != side[:-1]).tolist():
            step = points[at + 1] - points[at]
            # the path crosses the line itself, not its extension beyond an end
            begins, ends = (
                step[0] * (p[1] - points[at, 1]) - step[1] * (p[0] - points[at, 0]) > 0 for p in (begin, end)
            )
            if begins != ends:
                found.append("in" if side[at + 1] else "out")
        return found


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera: `files` is a glob over names of sources. Faces smaller than `min_face_px` are ignored."""

    files: str
    name: str
    site: str = ""
    min_face_px: float = 0.0
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift: the weekdays on which it begins (0 is Monday), and its times of day. A shift may end on the next day."""

    name: str
    days: frozenset[int]
    begin: time
    end: time

    def holds(self, moment: datetime) -> bool:
        """Return whether a local time is within the shift, which excludes its end."""
        at, today = moment.time().replace(tzinfo=None), moment.weekday()
        if self.begin < self.end:
            return today in self.days and self.begin <= at < self.end
        yesterday = (today - 1) % len(DAYS)
        return (today in self.days and at >= self.begin) or (yesterday in self.days and at < self.end)


@dataclass(frozen=True, slots=True)
class Places:
    """The content of a `places.toml`."""

    cameras: tuple[Camera, ...] = ()
    shifts: tuple[Shift, ...] = ()

    def camera_of(self, name: str) -> Camera | None:
        """Return the first camera whose glob matches the name of a source, None when there is none."""
        return next((camera for camera in self.cameras if fnmatchcase(name, camera.files)), None)

    def shift_of(self, moment: datetime) -> str:
        """Return the name of the first shift that contains a local time, "" when there is none."""
        return next((shift.name for shift in self.shifts if shift.holds(moment)), "")
