"""Read `places.toml`: sites and cameras of sources, zones and lines in their pictures, and shifts.

docs/places.md explains the file with an example.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskbatch.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# corners whose numbers are all at most this are shares of the picture, else pixels
_MOST_SHARE = 1.0
_MIN_CORNERS = 3
# zones and lines of fewer pixels are mistakes: shares of which one is above 1
_LEAST_PX = 2.0


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
        yesterday = (today - 1) % len(_DAYS)
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


def read_places(path: str | None) -> Places:
    """Read a `places.toml`; None gives empty places.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or an invalid value; the message gives the place.
    """
    return Places() if path is None else _read(path, _stamp(path))


def _stamp(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


@lru_cache(maxsize=8)
def _read(path: str, _: int) -> Places:
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return _Parser(path).places(values)


class _Parser:
    """A parser that checks each value and names the place of an invalid value."""

    def __init__(self, path: str) -> None:
        self._path = path

    def places(self, values: Mapping) -> Places:
        self._keys(values, "the file", {"camera", "shift"})
        cameras = [self._camera(item, f"camera {at}") for at, item in enumerate(self._tables(values, "camera", ""), 1)]
        shifts = [self._shift(item, f"shift {at}") for at, item in enumerate(self._tables(values, "shift", ""), 1)]
        return Places(tuple(cameras), tuple(shifts))

    def _camera(self, values: Mapping, where: str) -> Camera:
        self._keys(values, where, {"files", "name", "site", "min_face_px", "zone", "line"})
        zones = [
            self._zone(item, f"{where}, zone {at}") for at, item in enumerate(self._tables(values, "zone", where), 1)
        ]
        lines = [
            self._line(item, f"{where}, line {at}") for at, item in enumerate(self._tables(values, "line", where), 1)
        ]
        for items in (zones, lines):
            names = [item.name for item in items]
            if len(names) != len(set(names)):
                self._fail(where, "two zones, or two lines, have the same name")
        least = values.get("min_face_px", 0)
        if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least < 10_000:
            self._fail(where, f"min_face_px takes a number of pixels, not {least!r}")
        site = self._text(values, "site", where) if "site" in values else ""
        return Camera(self._text(values, "files", where), self._text(values, "name", where), site, float(least),
                      tuple(zones), tuple(lines))  # fmt: skip

    def _zone(self, values: Mapping, where: str) -> Zone:
        self._keys(values, where, {"name", "polygon", "ignore"})
        polygon = values.get("polygon")
        if not isinstance(polygon, list) or len(polygon) < _MIN_CORNERS:
            self._fail(where, "polygon takes a list of at least 3 corners [x, y]")
        corners = tuple(self._point(corner, where) for corner in polygon)
        ignore = values.get("ignore", False)
        if not isinstance(ignore, bool):
            self._fail(where, f"ignore takes true or false, not {ignore!r}")
        is_share = _is_share(corners)
        if not is_share and min(np.ptp(corners, axis=0)) < _LEAST_PX:
            self._fail(where, f"polygon is less than {_LEAST_PX:g} pixels wide or high; shares are all from 0 to 1")
        return Zone(self._text(values, "name", where), corners, is_share, ignore)

    def _line(self, values: Mapping, where: str) -> Line:
        self._keys(values, where, {"name", "from", "to"})
        begin, end = (self._point(values.get(key), where) for key in ("from", "to"))
        if begin == end:
            self._fail(where, "from and to are the same point")
        is_share = _is_share((begin, end))
        if not is_share and max(np.ptp((begin, end), axis=0)) < _LEAST_PX:
            self._fail(where, f"the line is shorter than {_LEAST_PX:g} pixels; shares are all from 0 to 1")
        return Line(self._text(values, "name", where), begin, end, is_share)

    def _shift(self, values: Mapping, where: str) -> Shift:
        self._keys(values, where, {"name", "days", "from", "to"})
        days = values.get("days", list(_DAYS))
        if not isinstance(days, list) or not days or not set(map(str, days)) <= set(_DAYS):
            self._fail(where, f"days takes some of {', '.join(_DAYS)}, not {days!r}")
        begin, end = (self._time(values, key, where) for key in ("from", "to"))
        return Shift(self._text(values, "name", where), frozenset(map(_DAYS.index, days)), begin, end)

    def _time(self, values: Mapping, key: str, where: str) -> time:
        given = values.get(key)
        try:
            moment = given if isinstance(given, time) else time.fromisoformat(given)
        except (TypeError, ValueError):
            moment = None
        if moment is None or moment.tzinfo is not None:
            self._fail(where, f'{key} takes a local time of day such as "22:00", not {given!r}')
        if moment.second or moment.microsecond:
            self._fail(
                where, f'{key} takes whole minutes such as "22:00" ("00:00" is the end of a day), not "{moment}"'
            )
        return moment

    def _point(self, value: object, where: str) -> tuple[float, float]:
        is_point = isinstance(value, list) and len(value) == 2 and all(
            isinstance(number, (int, float)) and not isinstance(number, bool) and np.isfinite(number) for number in value
        )  # fmt: skip
        if not is_point:
            self._fail(where, f"a point is [x, y], not {value!r}")
        return float(value[0]), float(value[1])

    def _text(self, values: Mapping, key: str, where: str) -> str:
        text = values.get(key)
        if not isinstance(text, str) or not text or not text.isprintable():
            self._fail(where, f"{key} is missing or not a text")
        return text

    def _tables(self, values: Mapping, key: str, where: str) -> Sequence[Mapping]:
        tables = values.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fail(where or "the file", f"write [[{key}]] with double brackets")
        return tables

    def _keys(self, values: Mapping, where: str, known: set[str]) -> None:
        if unknown := sorted(values.keys() - known):
            self._fail(where, f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")

    def _fail(self, where: str, reason: str) -> None:
        raise UsageError(f"{self._path}, {where}: {reason}")


def _is_share(points: Sequence[tuple[float, float]]) -> bool:
    """Return whether points are shares of the picture, from 0 to 1, rather than pixels."""
    return all(0 <= number <= _MOST_SHARE for point in points for number in point)
