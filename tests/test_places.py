from dataclasses import replace
from datetime import datetime

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from stores import File, fill

from maskbatch.cli.main import main
from maskbatch.drawing.places import draw_places
from maskbatch.errors import UsageError
from maskbatch.people.places import Line, Shift, Zone
from maskbatch.people.places_file import read_places
from maskbatch.people.templates import Template, suggested_template
from maskbatch.people.where import Known, in_zones, where_of
from maskbatch.run import forecast
from maskbatch.run.job import Job, dry_run
from maskbatch.run.progress import Listener
from maskbatch.run.report import report_again
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.threshold import Asked
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.write import begin_session

SIZE = (200, 100)
WHOLE = """
[[camera]]
files = "north/*"
site = "North"
name = "Door"
min_face_px = 20
[[camera.zone]]
name = "desk"
polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
[[camera.zone]]
name = "screen"
polygon = [[150, 0], [200, 0], [200, 40], [150, 40]]
ignore = true
[[camera.line]]
name = "entrance"
from = [100, 0]
to = [100, 99]
[[camera]]
files = "*"
name = "Rest"
[[shift]]
name = "night"
days = ["fri", "sat"]
from = "22:00"
to = "06:00"
"""
ZONE = "[[camera]]\nfiles='*'\nname='a'\n[[camera.zone]]\nname='z'\npolygon="


def written(tmp_path, text):
    """The path of a places.toml with this content."""
    path = tmp_path / "places.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def source(name):
    return Known(1, name, "video", 25.0, 60.0, *SIZE, 1500, 360, ())


def test_the_first_camera_whose_files_fit_counts(tmp_path):
    """Site, name, zones, lines and shifts come out as they are written; shares and pixels are told apart by their values."""
    places = read_places(written(tmp_path, WHOLE))
    door = places.camera_of("north/2026.mp4")
    assert (door.site, door.name, door.min_face_px, places.camera_of("x.mp4").name) == ("North", "Door", 20, "Rest")
    assert [(zone.name, zone.is_share, zone.ignore) for zone in door.zones] == [
        ("desk", True, False),
        ("screen", False, True),
    ]
    assert door.lines[0].begin == (100, 0) and [shift.name for shift in places.shifts] == ["night"]
    assert read_places(None).camera_of("north/2026.mp4") is None


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    """Editors of Windows write it before UTF-8."""
    assert read_places(written(tmp_path, "\ufeff" + WHOLE)) == read_places(written(tmp_path, WHOLE))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[camera]]\nfiles='*'\nname='a'\ncolour='red'", "camera 1.*colour.*known are"),
        ("[camera]\nfiles='*'", "double brackets"),
        ("[[camera]]\nfiles='*'", "camera 1: name is missing"),
        ("[[camera]]\nfiles='*'\nname='a'\nmin_face_px=-1", "min_face_px"),
        ("[[camera]]\nfiles='*'\nname='a'\n[[camera.zone]]\nname='z'\npolygon=[[0,0],[1,1]]", "zone 1.*at least 3"),
        (
            "[[camera]]\nfiles='*'\nname='a'\n[[camera.zone]]\nname='z'\npolygon=[[0,0],[1,1],[nan,0]]",
            r"point is \[x, y\]",
        ),
        ("[[camera]]\nfiles='*'\nname='a'\n[[camera.line]]\nname='l'\nfrom=[1,1]\nto=[1,1]", "same point"),
        ("[[shift]]\nname='s'\ndays=['someday']\nfrom='22:00'\nto='06:00'", "days takes some of mon"),
        ("[[shift]]\nname='s'\nfrom='25:00'\nto='06:00'", "time of day"),
        ("[[shift]]\nname='s'\nfrom='22:00+01:00'\nto='06:00'", "from takes a local time of day"),
        ("[[shift]]\nname='s'\nfrom='22:00'\nto='22:00:03'", "shift 1: to takes whole minutes"),
        ("[[shift]]\nname='s'\nfrom=22:00:00.5\nto='23:00'", "shift 1: from takes whole minutes"),
        (f"{ZONE}[[0.1,0.2],[1.01,0.2],[0.5,0.9]]", "zone 1.*less than 2 pixels.*from 0 to 1"),
        (f"{ZONE}[[0.1,0.2],[0.9,0.2],[0.5,-0.01]]", "zone 1.*less than 2 pixels"),
        (f"{ZONE}[[0.1,0.2],[0.9,20],[0.5,0.9]]", "zone 1.*less than 2 pixels"),
        ("[[camera]]\nfiles='*'\nname='a'\n[[camera.line]]\nname='l'\nfrom=[0.5,0.2]\nto=[0.5,1.2]", "line 1.*shorter"),
        ("not toml", "cannot read"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, words):
    """File, table and key stand in the message."""
    with pytest.raises(UsageError, match=words):
        read_places(written(tmp_path, text))
    with pytest.raises(UsageError, match="cannot read"):
        read_places(str(tmp_path / "none.toml"))


def test_a_point_on_a_common_edge_lies_in_one_zone():
    """Left and top edges belong to a zone: no face is counted twice, and none is lost between two zones."""
    left = Zone("left", ((0, 0), (100, 0), (100, 100), (0, 100)), False)
    right = Zone("right", ((100, 0), (200, 0), (200, 100), (100, 100)), False)
    points = np.array([[x, y] for x in (0.0, 50, 100, 150, 199) for y in (0.0, 30, 99)])
    inside = left.contains(points, SIZE).astype(int) + right.contains(points, SIZE)
    assert inside.tolist() == [1] * len(points)
    assert left.contains(np.array([[100.0, 50]]), SIZE).tolist() == [False]


@pytest.mark.parametrize("turn", range(4))
def test_a_zone_is_the_same_from_whichever_corner_it_is_drawn(turn):
    """Also against the clock, and with a dent."""
    corners = [(10, 10), (90, 10), (90, 90), (50, 40), (10, 90)]
    points = np.random.default_rng(0).uniform(0, 100, (300, 2))
    expected = Zone("z", tuple(corners), False).contains(points, SIZE)
    turned = corners[turn:] + corners[:turn]
    for drawn in (turned, turned[::-1]):
        assert (Zone("z", tuple(drawn), False).contains(points, SIZE) == expected).all()
    assert not Zone("z", tuple(corners), False).contains(np.array([[50.0, 80]]), SIZE).any()


def test_who_crosses_a_line_goes_in_or_out():
    """To the right of the line, seen from its begin, is in; beyond its ends nobody crosses it."""
    line = Line("door", (100, 0), (100, 50), False)  # downwards: right is the left of the picture
    assert line.crossings(np.array([[150.0, 20], [50, 20]]), SIZE) == ["in"]
    assert line.crossings(np.array([[50.0, 20], [150, 20], [50, 30]]), SIZE) == ["out", "in"]
    assert line.crossings(np.array([[50.0, 80], [150, 80]]), SIZE) == []
    assert line.crossings(np.array([[50.0, 20]]), SIZE) == []


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-11-20T21:59:59", False),  # a Friday
        ("2026-11-20T22:00:00", True),
        ("2026-11-21T05:59:59", True),
        ("2026-11-21T06:00:00", False),
        ("2026-11-22T03:00:00", True),  # Sunday morning: Saturday's shift
        ("2026-11-22T23:00:00", False),
        ("2026-11-20T03:00:00", False),  # Friday morning: no shift began on Thursday
    ],
)
def test_a_shift_over_midnight_belongs_to_the_day_it_begins_on(moment, holds):
    """From begin, inclusive, to end, exclusive."""
    night = read_shift("22:00", "06:00", {4, 5})
    assert night.holds(datetime.fromisoformat(moment)) is holds


def test_a_shift_may_end_with_the_day():
    """Until 00:00, exclusive, of the day on which it begins."""
    late = read_shift("22:00", "00:00", {4})
    moments = ("2026-11-20T23:59:59", "2026-11-21T00:00:00", "2026-11-20T21:59:00")
    assert [late.holds(datetime.fromisoformat(moment)) for moment in moments] == [True, False, False]


def read_shift(begin, end, days):
    return Shift("night", frozenset(days), *(datetime.strptime(text, "%H:%M").time() for text in (begin, end)))


def test_a_template_tells_site_camera_and_start():
    """It describes the end of a name: folders before it, and the suffix, may be anything."""
    fields = Template("{site}/{camera}/{start:%Y-%m-%d_%H-%M-%S}").match("2026/north/door/2026-11-20_22-00-00.mp4")
    assert fields == {"site": "north", "camera": "door", "start": datetime(2026, 11, 20, 22)}
    assert Template("{camera}_{any}").match("in/door_1_2.mp4") == {"camera": "door_1"}
    for name in ("north/2026-11-20_22-00-00.mp4", "a/b/2026-13-20_22-00-00.mp4", "a/b/c.mp4"):
        assert Template("{site}/{camera}/{start:%Y-%m-%d_%H-%M-%S}").match(name) == {}


@pytest.mark.parametrize(
    "text", ["", "door", "{door}", "{site}/{site}", "{start}", "{start:%Q}", "{site", "{camera:x}"]
)
def test_a_template_that_makes_no_sense_is_a_usage_error(text):
    """Before anything is scanned."""
    with pytest.raises(UsageError, match="--path-template"):
        Template(text)


TEMPLATED = ReportSettings(timezone="Europe/Berlin", path_template="cam_{start:%Y%m%d_%H%M%S}")


def start(name, settings=TEMPLATED, tag=None):
    """The start of a source with a tag of the recording time."""
    return where_of(source(name)._replace(recorded=(("creation_time", tag),) if tag else ()), settings).start


@pytest.mark.parametrize(
    ("name", "flag"), [("cam_20261025_023000", "ambiguous"), ("cam_20260329_023000", "no such time")]
)
def test_doubtful_local_times_of_a_template_are_flagged(name, flag):
    """A time that the path template finds is doubted like any time in a name."""
    assert flag in start(f"{name}.mp4").flag


def test_a_time_of_a_template_that_disagrees_with_the_tags_is_flagged():
    """The template's time counts as that of the name, so the start is unknown; `--clock name` settles it."""
    name, tag = "cam_20261120_220000.mp4", "2026-11-18T21:00:00Z"
    assert start(name, tag=tag) == (None, "", "name and metadata disagree")
    found = start(name, replace(TEMPLATED, clock="name"), tag)
    assert (found.at.isoformat(), found.origin, found.flag) == ("2026-11-20T22:00:00+01:00", "name", "")


@pytest.mark.parametrize("year", ["0001", "1970", "9999"])
def test_years_of_a_template_that_no_recording_has_are_ignored(year):
    """A camera whose clock was never set tells no time, and its metadata may."""
    name = f"cam_{year}0101_000000.mp4"
    assert start(name).at is None
    assert start(name, tag="2026-11-20T21:00:00Z").origin == "metadata"


def test_only_obvious_templates_are_suggested():
    """All names lie in folders of the same depth; one name says nothing."""
    assert suggested_template(["a/x.mp4", "b/y.mp4"]) == "{camera}/{any}"
    assert suggested_template(["n/a/x.mp4", "s/b/y.mp4"]) == "{site}/{camera}/{any}"
    assert suggested_template(["a/x.mp4", "y.mp4"]) is suggested_template(["a/x.mp4", "a/y.mp4"]) is None


def test_the_file_wins_over_the_template(tmp_path):
    """Site and camera from `places.toml`, the start from the template."""
    settings = ReportSettings(
        places=written(tmp_path, WHOLE), path_template="{site}/{camera}/{start:%Y%m%d %H}", timezone="Europe/Berlin"
    )
    where = where_of(source("north/hall/20261120 22.mp4"), settings)
    assert (where.site, where.camera, where.start.at.isoformat()) == ("North", "Door", "2026-11-20T22:00:00+01:00")
    where = where_of(source("south/hall/20261120 22.mp4"), settings)
    assert (where.site, where.camera) == ("south", "Rest")


def test_places_and_templates_that_match_nothing_are_warned_of(tmp_path, caplog):
    """One line for a template, and one for all cameras without a file; what matches something is silent."""
    places = written(tmp_path, "[[camera]]\nfiles='nomatch/*'\nname='Door'\n" + WHOLE)
    with open_store(tmp_path / "out") as store:
        begin_session(store, {}, {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}})
        fill(store, [File("south/x.jpg"), File("north/y.jpg")])
    report_again(tmp_path / "out", Asked(path_template="{camera}_{start:%Y}", places=places))
    first, second = (record.getMessage() for record in caplog.records)
    assert "--path-template '{camera}_{start:%Y}' fits no name of a file, such as south/x.jpg" in first
    assert second.endswith("no file belongs to camera Door (nomatch/*)")
    caplog.clear()
    report_again(tmp_path / "out", Asked(path_template="{camera}/y", places=written(tmp_path, WHOLE)))
    assert not caplog.records


def test_quiet_commands_show_warnings_as_their_help_says(tmp_path):
    """With -q, a warning is on stderr and nothing on stdout; the help of each command with -q names warnings."""
    with open_store(tmp_path / "out") as store:
        begin_session(store, {}, {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}})
        fill(store, [File("south/x.jpg")])
    done = CliRunner().invoke(main, ["report", str(tmp_path / "out"), "--path-template", "{camera}_x", "-q"])
    assert "fits no name of a file" in done.stderr and done.stdout == ""
    helps = [param.help for command in main.commands.values() for param in command.params if param.name == "quiet"]
    assert len(helps) >= 7 and all(text.startswith("Show warnings") for text in helps)


@pytest.mark.parametrize(
    ("options", "num"), [({"path_template": "{camera}_x"}, 1), ({"path_template": "{camera}"}, 0), ({}, 0)]
)
def test_a_scan_warns_of_a_template_before_it_reads_a_file(tmp_path, monkeypatch, caplog, options, num):
    """The dry run has the warning as well, and no shard has it, because another may have the files."""
    monkeypatch.setattr(forecast, "trial_estimate", lambda *_: 1.0)
    makers.write_photo(tmp_path / "in/a.png")
    job = Job((tmp_path / "in",), tmp_path / "out", ScanOptions(**options))
    dry_run(job, Listener())
    assert len(caplog.records) == num
    dry_run(replace(job, options=ScanOptions(shard="1/1", **options)), Listener())
    assert len(caplog.records) == num


def test_zones_are_drawn_onto_a_frame(tmp_path):
    """The picture differs inside the zones only, and along the line; it is never written over another one."""
    makers.write_photo(tmp_path / "north.png", np.full((100, 200, 3), 128, np.uint8))
    out, places = tmp_path / "out.png", written(tmp_path, WHOLE)
    command = ["places", str(tmp_path / "north.png"), "--places", places, "--name", "north/a.png", "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0 and "camera Door" in result.output
    import cv2

    drawn = cv2.imread(str(out))
    assert drawn.shape == (100, 200, 3)
    assert (drawn[80, 30] != 128).any() and (drawn[80, 180] == 128).all()
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2 and "exists" in again.output
    missing = CliRunner().invoke(main, [*command[:-1], str(tmp_path / "b.png"), "--frame", "3"])
    assert missing.exit_code == 2 and "no frame 3: the last one is 0" in missing.output
    (tmp_path / "north.png").write_bytes(b"")
    empty = CliRunner().invoke(main, [*command[:-1], str(tmp_path / "b.png")])
    assert empty.exit_code == 1 and f"{tmp_path / 'north.png'}: file is empty" in empty.output.replace("\n", "")


def test_labels_of_places_cover_neither_each_other_nor_an_arrow():
    """All letters of a zone and of a line at the same place can be read, and the arrow that points in can be seen."""
    image = np.full((270, 480, 3), 128, np.uint8)
    zones = [("desk", np.array([(100, 20), (380, 20), (380, 250), (100, 250)]), False)]
    lines = [("entrance", (240, 54), (240, 243))]
    pictures = [draw_places(image, zones, []), draw_places(image, [], lines), draw_places(image, zones, lines)]
    alone, other, both = ((one == 255).all(axis=2).sum() for one in pictures)
    assert alone > 0 and both == alone + other
    bare = draw_places(image, [], [("", *lines[0][1:])])
    arrow = (bare[130:165, 200:238] == (230, 159, 0)).all(axis=2)
    assert arrow.sum() > 20 and (pictures[2][130:165, 200:238] == (230, 159, 0)).all(axis=2)[arrow].all()


def test_faces_in_zones_that_are_not_ignored_may_be_shown(tmp_path):
    """The centre of a face decides; a zone to ignore, the rest of the picture and a camera without zones show nobody."""
    places = read_places(written(tmp_path, WHOLE))
    boxes = np.array([[10, 10, 30, 30], [90, 40, 108, 60], [160, 5, 180, 25], [120, 60, 140, 80]], np.float32)
    assert in_zones(places.camera_of("north/a.mp4"), boxes, SIZE).tolist() == [True, True, False, False]
    assert not in_zones(places.camera_of("x.mp4"), boxes, SIZE).any()
    assert not in_zones(None, boxes, SIZE).any()
