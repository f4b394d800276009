"""Read `places.toml`, which docs/places.md explains with an example."""

import sys
from collections.abc import Mapping, Sequence
from datetime import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskbatch.errors import UsageError
from maskbatch.people.places import DAYS, Camera, Line, Places, Shift, Zone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# corners whose numbers are all at most this are shares of the picture, else pixels
_MOST_SHARE = 1.0
_MIN_CORNERS = 3
# zones and lines of fewer pixels are mistakes: shares of which one is above 1
_LEAST_PX = 2.0


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
        values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
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
        days = values.get("days", list(DAYS))
        if not isinstance(days, list) or not days or not set(map(str, days)) <= set(DAYS):
            self._fail(where, f"days takes some of {', '.join(DAYS)}, not {days!r}")
        begin, end = (self._time(values, key, where) for key in ("from", "to"))
        return Shift(self._text(values, "name", where), frozenset(map(DAYS.index, days)), begin, end)

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
