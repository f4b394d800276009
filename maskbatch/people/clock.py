"""The start time of a recording: from the file name, from tags of containers and photos, or from the user.

When name and tags disagree, the start is unknown and the source is flagged: nothing is guessed. Times without an offset
are in the cameras' time zone.
"""

import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from maskbatch.errors import UsageError
from maskbatch.media.iso import iso_time
from maskbatch.people.templates import template
from maskbatch.settings import ReportSettings

Tags = Sequence[tuple[str, str]]
# allowed difference between name and tags: a recorder names a file some seconds before it writes the first frame
_SAME_S = 120.0
# times written without an offset differ by whole quarters of an hour, up to this many hours
_QUARTER_S, _MOST_OFFSET_S = 900.0, 14 * 3600.0
# digital recordings are not older, and the time of a damaged clock is often years ahead
_YEARS = range(1990, 2100)
# years that a user may give: copies of tapes are older, and times near the limits of `datetime` cannot be converted
_GIVEN_YEARS = range(1900, 3000)

_DATE = r"(?P<Y>(?:19|20)\d\d)(?P<s>[-_. ]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
_TIME = r"(?P<H>[0-2]\d)(?P<t>[-_.:h]?)(?P<M>[0-5]\d)(?:(?P=t)|m)(?P<S>[0-5]\d)"
_FRACTION = r"(?:[.,_]?(?P<f>\d{3}))?(?!\d)"
_ZONE = r"(?P<z>Z|UTC|[+-](?:0\d|1[0-4])[-:]?(?:00|15|30|45))?(?![0-9])"
_HALF = r"(?:\s?(?P<half>[AaPp])\.?[Mm]\b)?"
# text between a date and a time of day
_BETWEEN = r"(?:[T_ -]|\s+at\s+|-W-|__)?"
# the first pattern that fits a name counts
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # Pixel phones write UTC: PXL_20261120_210000123.mp4
        rf"(?P<utc>PXL)_{_DATE}_{_TIME}{_FRACTION}",
        # nearly all recorders and phones: 2026-11-20_22-00-00.mp4, ch01_20261120220000.mp4, 2026_1120_220000_001F.MP4
        rf"(?<!\d){_DATE}{_BETWEEN}{_TIME}{_FRACTION}{_HALF}{_ZONE}",
        r"(?<!\d)(?P<Y>20\d\d)_(?P<m>\d\d)(?P<d>\d\d)_(?P<H>[0-2]\d)(?P<M>[0-5]\d)(?P<S>[0-5]\d)(?!\d)",
        # day first, with full stops, as in central Europe: 20.11.2026 22.00.00
        rf"(?<!\d)(?P<d>\d\d)\.(?P<m>\d\d)\.(?P<Y>20\d\d)[ _-]{_TIME}(?!\d)",
        # the date names a folder: 2026-11-20/001/dav/22/22.00.00-22.30.00[M].dav
        rf"(?<!\d){_DATE}/(?:[^/]*/)*{_TIME}(?!\d)",
        # hours as folders, minutes as files: 20261120/22/05.mp4
        rf"(?<!\d){_DATE}/(?P<H>[01]\d|2[0-3])/(?P<M>[0-5]\d)(?P<S>)(?!\d)",
        # seconds or milliseconds since 1970, in UTC: front-1795212000.123-ab12.mp4
        r"(?<!\d)(?P<epoch>1[3-9]\d{8})(?:\.?(?P<f>\d{3}))?(?!\d)",
    )
)
_TAGS = ("com.apple.quicktime.creationdate", "DateTimeOriginal", "creation_time", "date_recorded", "date")


class Start(NamedTuple):
    """The start of a source: `at` is a time with an offset, None if unknown. `origin` is start, name, metadata or "".

    `flag` is the reason for doubt: "name and metadata disagree", "clock set back: ambiguous", "clock set forward: no
    such time", or "".
    """

    at: datetime | None
    origin: str = ""
    flag: str = ""


def start_of(name: str, recorded: Tags, duration_s: float | None, settings: ReportSettings) -> Start:
    """Return the start of a source.

    Args:
        name: name of the source in the reports, including folders.
        recorded: tags with the recording time, (name, value).
        duration_s: duration in seconds: some recorders write the time at which a recording ended.
        settings: `clock`, `start`, `timezone` and `path_template`, whose time counts as that of the name.

    Raises:
        UsageError: `start`, `timezone` or `path_template` cannot be read.

    Example:
        >>> start_of("door/2026-11-20_22-00-00.mp4", (), None, ReportSettings(timezone="Europe/Berlin")).at.isoformat()
        '2026-11-20T22:00:00+01:00'
    """
    zone = zone_of(settings.timezone)
    if settings.start is not None:
        return _placed(parse_start(settings.start), zone, "start")
    by_name = _by_name(name, settings.path_template) if settings.clock in ("auto", "name") else None
    by_tag = _by_tags(recorded) if settings.clock in ("auto", "metadata") else None
    if by_name is not None and by_tag is not None and not _agree(by_name, by_tag, duration_s):
        return Start(None, "", "name and metadata disagree")
    if by_name is not None:
        return _placed(by_name, zone, "name")
    return Start(None) if by_tag is None else _placed(by_tag, zone, "metadata")


def later(start: datetime, seconds: float) -> datetime:
    """Return the moment `seconds` after `start`, with the offset that its time zone has then.

    Example:
        >>> start = datetime(2026, 10, 25, 2, 59, tzinfo=ZoneInfo("Europe/Berlin"))
        >>> later(start, 120).isoformat()
        '2026-10-25T02:01:00+01:00'
    """
    return (start.astimezone(timezone.utc) + timedelta(seconds=seconds)).astimezone(start.tzinfo)


def clock_text(start: datetime | None, seconds: float) -> str:
    """Return the moment `seconds` after `start` as ISO 8601 with offset, to the tenth of a second; "" for None."""
    if start is None:
        return ""
    moment = later(start, round(seconds, 1))
    text = moment.isoformat(timespec="milliseconds")
    # edges of episodes are no more exact than tenths of a second
    return text[:21] + text[23:]


@lru_cache(maxsize=64)
def zone_of(name: str | None) -> tzinfo:
    """Return the time zone with an IANA name, or that of this machine for None. Raises UsageError."""
    if name is None:
        return _zone_of_machine()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"there is no time zone {name!r}: give an IANA name, such as Europe/Berlin or UTC") from error


def _zone_of_machine() -> tzinfo:
    from tzlocal import get_localzone

    try:
        return get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # such as TZ=UTC0, a form of POSIX
        found = f"TZ={os.environ['TZ']}" if os.environ.get("TZ") else "its settings"
        raise UsageError(
            f"the time zone of this machine cannot be told from {found}: give an IANA name, such as --timezone "
            "Europe/Berlin or UTC"
        ) from error


def parse_start(text: str) -> datetime:
    """Parse a time in ISO 8601. Raises UsageError."""
    try:
        moment = iso_time(text)
    except ValueError as error:
        raise UsageError(
            f"--start takes a time such as 2026-11-20T22:00:00 or 2026-11-20T22:00+01:00, not {text!r}"
        ) from error
    if moment.year not in _GIVEN_YEARS:
        raise UsageError(f"--start takes a year from {_GIVEN_YEARS[0]} to {_GIVEN_YEARS[-1]}, not {text!r}")
    return moment


def _by_name(name: str, path_template: str | None) -> datetime | None:
    """Return the time that the template finds in a name, or the first time, without an offset unless the name has one."""
    templated = None if path_template is None else template(path_template).match(name).get("start")
    if templated is not None and templated.year in _YEARS:
        return templated
    for pattern in _PATTERNS:
        for found in pattern.finditer(name):
            if (moment := _moment(found.groupdict())) is not None:
                return moment
    return None


def _moment(parts: dict[str, str | None]) -> datetime | None:
    """Return the time from the parts that a pattern matched, None when there is no such time."""
    micros = int(parts.get("f") or 0) * 1000
    if epoch := parts.get("epoch"):
        return datetime.fromtimestamp(int(epoch), timezone.utc) + timedelta(microseconds=micros)
    year, month, day, hour, minute, second = (int(parts[name] or 0) for name in "YmdHMS")
    if half := parts.get("half"):
        hour = hour % 12 + 12 * (half in "Pp")
    try:
        moment = datetime(year, month, day, hour, minute, second, micros)
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    if parts.get("utc"):
        return moment.replace(tzinfo=timezone.utc)
    zone = parts.get("z")
    return moment if not zone else moment.replace(tzinfo=_offset(zone))


def _offset(text: str) -> timezone:
    if text in ("Z", "UTC"):
        return timezone.utc
    digits = text[1:].replace(":", "").replace("-", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(offset if text[0] == "+" else -offset)


def _by_tags(recorded: Tags) -> datetime | None:
    """Return the recording time in tags; ignore dates without a time, and the zero of a clock."""
    tags = dict(recorded)
    for name in _TAGS:
        text = tags.get(name, "").strip()
        if len(text) < 16:
            continue
        if name == "DateTimeOriginal":
            text = text[:10].replace(":", "-") + text[10:] + tags.get("OffsetTimeOriginal", "").strip()
        try:
            moment = iso_time(text)
        except ValueError:
            continue
        if moment.year in _YEARS and (moment.year, moment.month, moment.day) != (2000, 1, 1):
            return moment
    return None


def _agree(first: datetime, second: datetime, duration_s: float | None) -> bool:
    """Return whether two times may be those of one recording.

    The second may be the time of the end, and either may lack a time zone.
    """
    both_known = first.tzinfo is not None and second.tzinfo is not None
    gap_s = (_naive(second, both_known) - _naive(first, both_known)).total_seconds()
    for shift_s in (0.0, duration_s or 0.0):
        rest_s = gap_s - shift_s
        if not both_known and abs(rest_s) <= _MOST_OFFSET_S + _SAME_S:
            rest_s -= round(rest_s / _QUARTER_S) * _QUARTER_S
        if abs(rest_s) <= _SAME_S:
            return True
    return False


def _naive(moment: datetime, in_utc: bool) -> datetime:
    return (moment.astimezone(timezone.utc) if in_utc else moment).replace(tzinfo=None)


def _placed(moment: datetime, zone: tzinfo, origin: str) -> Start:
    """Give a time its zone, and flag times at which the clock was set back or forward."""
    if moment.tzinfo is not None:
        return Start(moment.astimezone(zone), origin)
    placed = moment.replace(tzinfo=zone)
    other = placed.replace(fold=1)
    if placed.utcoffset() != other.utcoffset():
        exists = placed.astimezone(timezone.utc).astimezone(zone).replace(tzinfo=None) == moment
        return Start(placed, origin, "clock set back: ambiguous" if exists else "clock set forward: no such time")
    return Start(placed, origin)
