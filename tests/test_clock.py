import re
import sys
from datetime import datetime, timezone

import pytest
import tzlocal

from maskbatch.errors import UsageError
from maskbatch.media.iso import iso_time
from maskbatch.people.clock import clock_text, later, start_of, zone_of
from maskbatch.settings import ReportSettings

BERLIN = "Europe/Berlin"
EVENING = "2026-11-20T22:00:00+01:00"
NAMES = [
    ("2026-11-20_22-00-00.mp4", EVENING),
    ("2026-11-20 22-00-00.mkv", EVENING),  # OBS
    ("Screen Recording 2026-11-20 at 22.00.00.mov", EVENING),  # macOS
    ("20261120_220000.mp4", EVENING),  # Samsung
    ("VID_20261120_220000.mp4", EVENING),  # Android
    ("IMG_20261120_220000.jpg", EVENING),
    ("VID_20261120_220000123.mp4", "2026-11-20T22:00:00.123000+01:00"),
    ("PXL_20261120_210000123.mp4", "2026-11-20T22:00:00.123000+01:00"),  # Pixel: UTC
    ("WIN_20261120_22_00_00_Pro.mp4", EVENING),  # Windows Camera
    ("ch01_20261120220000.mp4", EVENING),  # Hikvision
    ("00_20261120220000_20261120223000.mp4", EVENING),
    ("NVR_ch1_main_20261120220000_20261120223000.dav", EVENING),  # Dahua
    ("cam/2026-11-20/001/dav/22/22.00.00-22.30.00[M][0@0][0].dav", EVENING),  # Dahua, on its disk
    ("axis-cam/20261120/22/20261120_220000_ACCC8E.mkv", EVENING),  # Axis
    ("RecM01_20261120_220000_220030_ABC.mp4", EVENING),  # Reolink
    ("Front Door-00-20261120220000.mp4", EVENING),
    ("lobby_2026-11-20T22-00-00+01-00.mp4", EVENING),
    ("lobby_2026-11-20T21:00:00Z.mp4", EVENING),
    ("lobby 2026-11-20T16-00-00-05-00.mp4", EVENING),
    ("RingVideo_20261120_220000.mp4", EVENING),
    ("record/20261120/22/00.mp4", EVENING),  # Wyze
    ("2026_1120_220000_001F.MP4", EVENING),  # Viofo
    ("20261120_220000_NF.mp4", EVENING),  # BlackVue
    ("2026-11-20_22-00-00-front.mp4", EVENING),  # Tesla
    ("Cam1-20261120-220000-1795208400.mp4", EVENING),  # Synology
    ("front-1795208400.000000-ab12cd.mp4", EVENING),  # Frigate
    ("D8_1795208400123.mp4", "2026-11-20T22:00:00.123000+01:00"),  # UniFi
    ("Kamera 1 20.11.2026 22.00.00.avi", EVENING),
    ("Zoom 2026-11-20 10.00.00 PM.mp4", EVENING),
    ("2026-11-20 12.05.00 AM.mp4", "2026-11-20T00:05:00+01:00"),
    ("site/cam2/2026.11.20_22.00.00.avi", EVENING),
    ("2026-07-20_22-00-00.mp4", "2026-07-20T22:00:00+02:00"),  # summer
    ("VID-20261120-WA0001.mp4", None),  # WhatsApp: a date alone
    ("IMG_1234.MOV", None),  # iPhone
    ("GH010123.MP4", None),  # GoPro
    ("2026-13-40_22-00-00.mp4", None),
    ("2026-11-20_25-00-00.mp4", None),
    ("video_1920x1080_30.mp4", None),
    ("clip 123456789012345.mp4", None),
    ("phone 0041791234567.mp4", None),
    ("", None),
]
HEADERS = [
    ([("creation_time", "2026-11-20T21:00:00.000000Z")], EVENING),
    ([("creation_time", "2026-11-20T22:00:00+01:00")], EVENING),
    ([("creation_time", "2026-11-20T22:00:00")], EVENING),
    (
        [("com.apple.quicktime.creationdate", "2026-11-20T22:00:00+0100"), ("creation_time", "2026-11-20T20:59:58Z")],
        EVENING,
    ),
    ([("DateTimeOriginal", "2026:11:20 22:00:00")], EVENING),
    ([("DateTimeOriginal", "2026:11:20 16:00:00"), ("OffsetTimeOriginal", "-05:00")], EVENING),
    ([("date", "2026-11-20")], None),
    ([("date", "2026")], None),
    ([("creation_time", "1970-01-01T00:00:00Z")], None),
    ([("creation_time", "2000-01-01T00:00:05Z")], None),  # a camera whose clock was never set
    ([("creation_time", "yesterday evening")], None),
    ([], None),
]


def shown(start):
    return None if start.at is None else start.at.isoformat()


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_of_recorders_and_phones_tell_the_start(name, expected):
    """The time is the one in the name; a date alone, other numbers and impossible times tell nothing."""
    assert shown(start_of(name, (), None, ReportSettings(timezone=BERLIN))) == expected


@pytest.mark.parametrize(("recorded", "expected"), HEADERS)
def test_tags_tell_the_start(recorded, expected):
    """Containers and photos tell the time with or without an offset; dates alone and clocks that were never set do not."""
    assert shown(start_of("clip.mp4", recorded, None, ReportSettings(timezone=BERLIN))) == expected


@pytest.mark.parametrize(
    ("tag", "duration_s", "origin"),
    [
        ("2026-11-20T21:00:30Z", None, "name"),  # the zone is missing in the name
        ("2026-11-20T22:00:30Z", None, "name"),  # local time that claims to be UTC
        ("2026-11-20T21:30:00Z", 1800.0, "name"),  # the end of the recording
        ("2026-11-20T21:37:00Z", 60.0, ""),
        ("2026-11-18T21:00:00Z", None, ""),
    ],
)
def test_name_and_tags_that_disagree_are_flagged(tag, duration_s, origin):
    """A difference that time zones or the length explain is none; any other leaves the start unknown, and says so."""
    start = start_of("2026-11-20_22-00-00.mp4", [("creation_time", tag)], duration_s, ReportSettings(timezone=BERLIN))
    assert start.origin == origin
    assert start.flag == ("" if origin else "name and metadata disagree")


@pytest.mark.parametrize(
    ("clock", "expected"), [("name", EVENING), ("metadata", "2026-11-18T21:00:00+00:00"), ("none", None)]
)
def test_the_user_chooses_the_source(clock, expected):
    """With one source chosen the other is not asked."""
    settings = ReportSettings(clock=clock, timezone=BERLIN if clock == "name" else "UTC")
    assert (
        shown(start_of("2026-11-20_22-00-00.mp4", [("creation_time", "2026-11-18T21:00:00Z")], None, settings))
        == expected
    )


def test_start_replaces_everything():
    """`--start` counts for all sources, with its own offset or in the cameras' zone."""
    given = start_of("2020-01-01_00-00-00.mp4", (), None, ReportSettings(start="2026-11-20T22:00", timezone=BERLIN))
    assert (shown(given), given.origin) == (EVENING, "start")
    with_zone = start_of("", (), None, ReportSettings(start="2026-11-20T21:00Z", timezone=BERLIN))
    assert shown(with_zone) == EVENING


@pytest.mark.parametrize("settings", [ReportSettings(start="tonight"), ReportSettings(timezone="Mars/Base")])
def test_what_cannot_be_read_is_a_usage_error(settings):
    """A time or a zone that does not exist is named."""
    with pytest.raises(UsageError, match=r"tonight|Mars"):
        start_of("", (), None, settings)


def test_a_recording_runs_across_the_end_of_summer_time():
    """Seconds pass evenly while the clock is set back; the offset says which of two equal times is meant."""
    start = start_of("2026-10-25_01-59-00.mp4", (), None, ReportSettings(timezone=BERLIN)).at
    assert clock_text(start, 0) == "2026-10-25T01:59:00.0+02:00"
    assert clock_text(start, 60) == "2026-10-25T02:00:00.0+02:00"
    assert clock_text(start, 3600) == "2026-10-25T02:59:00.0+02:00"
    assert clock_text(start, 3660) == "2026-10-25T02:00:00.0+01:00"


def test_a_recording_runs_across_the_start_of_summer_time():
    """The hour that is left out has no times."""
    start = start_of("2026-03-29_01-59-59.mp4", (), None, ReportSettings(timezone=BERLIN)).at
    assert clock_text(start, 1.26) == "2026-03-29T03:00:00.3+02:00"


@pytest.mark.parametrize(
    ("name", "flag"), [("2026-10-25_02-30-00", "ambiguous"), ("2026-03-29_02-30-00", "no such time")]
)
def test_doubtful_local_times_are_flagged(name, flag):
    """A time that comes twice, or never, on that day is flagged."""
    assert flag in start_of(name, (), None, ReportSettings(timezone=BERLIN)).flag


@pytest.mark.parametrize("text", ["9999-12-31T23:59", "0001-01-01T00:00:00+05:00"])
def test_a_start_at_the_limits_of_the_calendar_is_a_usage_error(text):
    """Such a time has no other time zone."""
    with pytest.raises(UsageError, match=r"--start takes a year from 1900 to 2999"):
        start_of("", (), None, ReportSettings(start=text, timezone=BERLIN))


def test_without_a_zone_the_times_are_those_of_this_machine():
    """Every time has an offset."""
    start = start_of("2026-11-20_22-00-00.mp4", (), None, ReportSettings()).at
    assert start.utcoffset() == datetime(2026, 11, 20, 22, tzinfo=zone_of(None)).utcoffset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T22:00:00.12+01:00", "2026-11-20T22:00:00.120000+01:00"),
        ("2026-11-20 22:00:00.123456789", "2026-11-20T22:00:00.123456"),
        ("2026-11-20T22:00:00.5Z", "2026-11-20T22:00:00.500000+00:00"),
        ("2026-11-20T22:00:00+0100", "2026-11-20T22:00:00+01:00"),
        ("2026-11-20T22:00+01", "2026-11-20T22:00:00+01:00"),
        ("2026-11-20T22:00Z", "2026-11-20T22:00:00+00:00"),
        ("2026-11-20 22:00", "2026-11-20T22:00:00"),
        ("2026-11-20", "2026-11-20T00:00:00"),
    ],
)
def test_all_versions_of_python_read_the_same_times(text, moment):
    """Python 3.10 alone refuses most of these: recordings had a start there only if their tags had 3 or 6 decimals."""
    assert iso_time(text).isoformat() == moment


@pytest.mark.skipif(sys.platform == "win32", reason="has no TZ")
@pytest.mark.parametrize("name", ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "../../x"])
def test_a_machine_without_an_iana_zone_asks_for_one(monkeypatch, name):
    """POSIX allows rules in TZ, which many containers and embedded systems have; --timezone replaces them."""
    zone_of.cache_clear()
    monkeypatch.setattr(tzlocal, "get_localzone", tzlocal.reload_localzone)  # without its cache
    monkeypatch.setenv("TZ", name)
    with pytest.raises(UsageError, match=f"cannot be told from TZ={re.escape(name)}: give .*--timezone"):
        start_of("2026-11-20_22-00-00.mp4", (), None, ReportSettings())
    assert start_of("2026-11-20_22-00-00.mp4", (), None, ReportSettings(timezone=BERLIN)).at is not None


def test_later_keeps_moments_apart():
    """One second more is one second more, whatever the clock shows."""
    start = datetime(2026, 10, 25, 0, 59, 59, tzinfo=timezone.utc).astimezone(zone_of(BERLIN))
    assert (later(start, 1).astimezone(timezone.utc) - start.astimezone(timezone.utc)).total_seconds() == 1
    assert clock_text(None, 5) == ""
