from dataclasses import replace

import numpy as np
import pytest
from look_makers import joined, looks, stream
from stores import Face, fill, video

from maskbatch.people import answer
from maskbatch.people.answer import find_answer
from maskbatch.people.episodes import find_episodes
from maskbatch.people.evidence import STATES
from maskbatch.people.persons import find_persons
from maskbatch.people.static import is_static
from maskbatch.settings import ReportSettings
from maskbatch.store import faces
from maskbatch.store.database import open_store


def judged(*people, settings=None):
    """The persons behind looks."""
    settings = settings or ReportSettings()
    together = joined(*people)
    return find_persons(together, find_episodes(together, settings), settings)


def verdict(*parts, settings=None, **more):
    """The verdict on one person."""
    return STATES[judged(stream(*parts, **more), settings=settings).verdict[0]]


def test_a_mask_taken_off_is_no_mean():
    """On for 2.5 s and off for 1.7 s: without, changed, with the seconds of each state, although the mean says with."""
    person = judged(stream((2.5, 0.95), (1.7, 0.05)))
    assert (STATES[person.verdict[0]], bool(person.changed[0])) == ("without_mask", True)
    assert person.seconds[0] == pytest.approx([2.5, 1.7, 0, 0], abs=0.2)
    assert person.p_mask[0] == pytest.approx(0.05)
    assert person.best_time_s[0] >= 2.5


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (((5, 0.95),), "with_mask"),
        (((5, 0.05),), "without_mask"),
        (((5, 0.5),), "unsure"),
        (((3, 0.95), (3, 0.5)), "with_mask"),
        (((3, 0.05), (3, 0.5)), "without_mask"),
        (((1.5, 0.05), (6, 0.95)), "without_mask"),
        (((3, 0.95), (0.8, 0.02)), "unsure"),
    ],
)
def test_verdicts(parts, expected):
    """Bare for a second decides, masked and never bare is with, all else is unsure."""
    assert verdict(*parts) == expected


def test_brief_is_a_reason():
    """Someone who is bare for less than a second is unsure, because it was brief; `min_bare_s` decides."""
    person = judged(stream((3, 0.95), (0.8, 0.02)))
    assert person.reason.tolist() == ["brief"]
    assert verdict((3, 0.95), (0.8, 0.02), settings=ReportSettings(min_bare_s=0.5)) == "without_mask"


@pytest.mark.parametrize("start_s", [0.0, 0.4, 0.6, 1.1, 2.1])
def test_exactly_min_bare_is_enough(start_s):
    """Bare for exactly a second is a second or more, wherever it begins."""
    person = judged(looks(np.round(np.arange(5) * 0.2 + start_s, 4), np.full(5, 0.02)))
    assert (STATES[person.verdict[0]], person.seconds[0].sum()) == ("without_mask", pytest.approx(1.0))


def test_bare_goes_before_incorrect():
    """An incorrect mask decides like a bare face, unless the face was bare too."""
    third = ReportSettings(incorrect_threshold=0.5)
    badly = stream((3, 0.9), p_incorrect=0.95)
    bare = stream((3, 0.05), start_s=3.0, p_incorrect=0.02)
    assert STATES[judged(badly, settings=third).verdict[0]] == "incorrect_mask"
    assert STATES[judged(badly, bare, settings=third).verdict[0]] == "without_mask"


@pytest.mark.parametrize(
    ("p_mask", "expected"), [(0.9, "with_mask"), (0.1, "without_mask"), (0.55, "unsure"), (np.nan, "unsure")]
)
def test_one_look_decides_alone(p_mask, expected):
    """A face in a photo is a person of one look, judged with the same margin."""
    person = judged(looks([0.0], [p_mask]))
    assert STATES[person.verdict[0]] == expected
    assert person.num_faces.tolist() == [1]


def test_nobody():
    """No looks are no persons."""
    assert len(judged(looks([], []))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_changes_no_verdict(seed):
    """At 25, 12.5 and 6.25 looks a second all persons have the same verdict."""
    rng = np.random.default_rng(seed)
    people = [
        stream(
            *((float(rng.integers(2, 5)), float(p)) for p in rng.choice([0.05, 0.95], 3)), fps=25, person=i, noise=0.05
        )
        for i in range(20)
    ]
    full = judged(*people).verdict.tolist()
    for step in (2, 4):
        assert judged(*(one.take(np.arange(0, len(one), step)) for one in people)).verdict.tolist() == full


def placed(seconds, jitter, at=(100.0, 100.0), seed=0, sway=0.0, **more):
    """Looks at a face of 50 px whose box varies by `jitter` and sways by `sway`, as shares of its size."""
    rng = np.random.default_rng(seed)
    one = stream((seconds, more.pop("p_mask", 0.9)), **more)
    corner = np.array(at) + 50 * sway * np.sin(one.time_s / 3)[:, None]
    xyxy = np.hstack([corner, corner + 50]) + 50 * jitter * rng.standard_normal((len(one), 4))
    return replace(one, xyxy=xyxy)


@pytest.mark.parametrize("jitter", [0.0, 0.01, 0.03])
def test_a_poster_is_static(jitter):
    """A face that stays where it is for a minute is none, whatever the detector's jitter."""
    assert is_static(placed(70, jitter), 60.0).tolist() == [True]


def test_who_moves_a_little_is_not_static():
    """Someone who sits sways by more than the jitter."""
    assert is_static(placed(120, 0.02, sway=0.15), 60.0).tolist() == [False]


def test_a_still_face_needs_a_minute():
    """Less than a minute proves nothing."""
    assert is_static(placed(50, 0.01), 60.0).tolist() == [False]


def test_who_changes_is_not_static():
    """A still face that puts a mask on is a person."""
    parts = joined(placed(40, 0.01, p_mask=0.05), placed(40, 0.01, start_s=40.0, p_mask=0.95))
    assert is_static(parts, 60.0).tolist() == [False]


def test_a_poster_that_is_seen_at_times_is_static():
    """Several tracks at exactly the same place are one poster, when they are a minute apart from first to last."""
    parts = [placed(5, 0.01, start_s=30.0 * i, person=i, seed=i) for i in range(4)]
    assert is_static(joined(*parts), 60.0).tolist() == [True] * 4
    other = [replace(one, source_id=one.source_id + i) for i, one in enumerate(parts)]
    assert is_static(joined(*other), 60.0).tolist() == [False] * 4


@pytest.mark.parametrize("change", [{"at": (108.0, 100.0)}, {"p_mask": 0.1}])
def test_who_stops_at_the_same_counter_is_not_static(change):
    """People who stop for a while at about the same place, one after the other, differ in place or in their masks."""
    first, second = placed(5, 0.01), placed(5, 0.01, start_s=90.0, person=1, seed=1, **change)
    assert is_static(joined(first, second), 60.0).tolist() == [False, False]


def test_nobody_is_static():
    """No looks are no static faces, and one look alone is none."""
    assert is_static(looks([], []), 60.0).tolist() == []
    assert is_static(looks([0.0], [0.9]), 60.0).tolist() == [False]


@pytest.mark.parametrize(("analysed", "counted"), [(30, [False, True]), (20, [True, True])])
def test_one_look_is_nobody_where_three_frames_a_second_are_analysed(tmp_path, analysed, counted):
    """A person who is there for a moment is seen twice at three frames a second; at two frames a second, one look counts."""
    source = video("v", analysed=analysed)
    with open_store(tmp_path) as store:
        fill(store, [source], [Face("v", 0, 0), Face("v", 30, 1), Face("v", 40, 1)])
        with store.transaction() as connection:
            assert find_answer(connection, ReportSettings()).counts.tolist() == counted


@pytest.mark.parametrize(("kind", "seen_s"), [("video", 8.5), ("image", 0.0)])
def test_a_video_that_is_sampled_rarely_has_people_with_time(tmp_path, kind, seen_s):
    """With a frame every four seconds, who is bare in three of them is without a mask for 8.5 s."""
    source = replace(video("v", analysed=3, decoded=360, duration_s=12.0), kind=kind)
    frames = (0, 120, 240) if kind == "video" else (0,)
    with open_store(tmp_path) as store:
        fill(store, [source], [Face("v", frame, 0, 0.02) for frame in frames])
        with store.transaction() as connection:
            persons = find_answer(connection, ReportSettings()).persons
    assert [STATES[one] for one in persons.verdict] == ["without_mask"]
    assert persons.seconds.sum() == pytest.approx(seen_s)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 100])
def test_rows_are_read_by_whole_sources(tmp_path, block, monkeypatch):
    """However many rows are read at once, an array holds all classified faces of its sources, in their order."""
    monkeypatch.setattr(faces, "_BLOCK", block)
    files = [video(name) for name in ("b", "a", "c", "nobody", "d")]
    seen = [Face(name, frame, p_mask=None if frame == 1 else 0.9) for name in ("b", "a", "c") for frame in range(4)]
    with open_store(tmp_path) as store:
        fill(store, files, [*seen, Face("d", p_mask=None)])
        with store.transaction() as connection:
            arrays = list(answer._whole_sources(faces.face_blocks(connection)))
            ids = [connection.execute("SELECT id FROM source WHERE name = ?", name).fetchone()[0] for name in "bac"]
    columns = faces.FaceColumns(*np.concatenate(arrays, axis=1))
    assert columns.frame.tolist() == [0, 2, 3] * 3 and columns.source_id.tolist() == np.repeat(ids, 3).tolist()
    sources = [source for array in arrays for source in dict.fromkeys(array[0].tolist())]
    assert sources == ids
