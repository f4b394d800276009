"""Tables by time: an episode counts in each minute, hour and shift in which it passes."""

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest
from look_makers import looks
from stores import Face, fill, video

from maskbatch.people.answer import find_answer
from maskbatch.people.episodes import find_episodes
from maskbatch.people.places_file import read_places
from maskbatch.reports.minutes import split_at_minutes
from maskbatch.reports.people import places_table
from maskbatch.reports.timeline import timeline_table
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store

NAME = "2026-11-20_21-59-30.mp4"
NIGHT = """
[[shift]]
name = "night"
days = ["fri"]
from = "22:00"
to = "06:00"
"""


@pytest.fixture
def answer(tmp_path):
    """Half a minute before the night shift, somebody is masked for 45 s and then bare for 43 s."""
    (tmp_path / "places.toml").write_text(NIGHT)
    settings = ReportSettings(timezone="UTC", places=str(tmp_path / "places.toml"))
    faces = [Face(NAME, frame, 0, 0.97 if frame < 1350 else 0.03, x_min=frame % 300) for frame in range(0, 2641, 5)]
    with open_store(tmp_path) as store:
        fill(store, [video(NAME, analysed=529, decoded=2700, duration_s=90.0)], faces)
        with store.transaction() as connection:
            return find_answer(connection, settings)


def test_seconds_count_in_the_hour_and_shift_in_which_they_pass(answer, tmp_path):
    """The person counts where first seen, the bare episode where it begins, and the seconds on both sides of 22:00."""
    rows = places_table(answer, read_places(str(tmp_path / "places.toml"))).set_index(["shift", "hour"])
    assert list(rows.index) == [("", "21:00"), ("night", "22:00")]
    assert rows["people"].tolist() == [1, 0] and rows["bare_episodes"].tolist() == [0, 1]
    np.testing.assert_allclose(rows["masked_s"], [30, 15], atol=0.2)
    np.testing.assert_allclose(rows["bare_s"], [0, 43], atol=0.5)


def test_the_timeline_has_the_seconds_of_each_minute(answer):
    """Full minutes of the clock, not of the source; the sum is the time of the episodes."""
    rows = timeline_table(answer).set_index("minute")
    assert [minute[:16] for minute in rows.index] == ["2026-11-20T21:59", "2026-11-20T22:00"]
    np.testing.assert_allclose(rows["masked_s"], [30, 15], atol=0.2)
    assert rows["seen_s"].sum() == pytest.approx(answer.episodes.duration_s.sum())


@pytest.mark.parametrize(
    ("name", "at_min", "minutes"),
    [
        ("2026-10-25_02-58-00.mp4", (0, 3), ["2026-10-25T02:58+02:00", "2026-10-25T02:01+01:00"]),
        ("long.mp4", (120, 600), ["2:00", "10:00"]),
    ],
)
def test_minutes_are_in_the_order_in_which_they_passed(tmp_path, name, at_min, minutes):
    """Where the clock goes back in the night, the later minute comes later; the tenth hour of a file, after the second."""
    faces = [Face(name, 1800 * at + step, 0, 0.97, x_min=5.0 * step) for at in at_min for step in range(0, 60, 5)]
    with open_store(tmp_path) as store:
        fill(store, [video(name, analysed=216_100, decoded=1_080_500, duration_s=36_016.0)], faces)
        with store.transaction() as connection:
            found = find_answer(connection, ReportSettings(timezone="Europe/Berlin"))
    assert timeline_table(found)["minute"].tolist() == minutes


def test_an_episode_that_ends_with_a_minute_has_no_piece_in_the_next():
    """One of 60 s from a full minute on has one piece; one without duration, too; half a second later there are two."""
    found = find_episodes(looks([0.0, 60.0], [0.9, 0.9]), replace(ReportSettings(), max_gap_s=100.0))
    start = datetime(2026, 11, 20, 22, 0, tzinfo=timezone.utc)

    def pieces(begin_s, end_s, start=start):
        one = replace(found, from_s=np.array([begin_s]), to_s=np.array([end_s]))
        return split_at_minutes(one, [start])

    assert len(found) == 1
    assert pieces(0.0, 60.0).seconds.tolist() == [60.0]
    assert pieces(3.0, 3.0).seconds.tolist() == [0.0]
    assert pieces(0.5, 60.5).seconds.tolist() == [59.5, 0.5] and pieces(0.5, 60.5).from_s.tolist() == [0.5, 60.0]
    later = pieces(0.5, 60.5, start.replace(second=30))
    assert later.minute.tolist() == [0, 1] and later.from_s.tolist() == [0.5, 30.0]
    assert pieces(0.5, 60.5, None).seconds.tolist() == [59.5, 0.5]
