import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_faces, fake_frames

from maskbatch.analyse.appearance import describe, uncovered, unlikeness
from maskbatch.analyse.cuts import compare, small_picture
from maskbatch.analyse.linking import Linker
from maskbatch.analyse.tracker import Tracker
from maskbatch.settings import TrackerSettings
from maskbatch.types import APPEARANCE_SIZE, Ended, Faces


def box(x, y, size=40):
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


def follow(per_frame, fps=30.0, settings=None):
    """Track ids of each frame of one source, given the boxes of each frame."""
    tracker = Tracker(settings or TrackerSettings())
    ids = []
    for i, xyxy in enumerate(per_frame):
        faces = fake_faces([0] * len(xyxy), xyxy)
        ids.append(tracker(fake_frames([0], [i], [i / fps]), faces).track_id.tolist())
    return ids


def test_a_still_face_keeps_its_id():
    """A face that stays where it is has one track."""
    assert follow([[box(100, 100)]] * 5) == [[0]] * 5


def test_ids_follow_the_order_of_appearance():
    """Ids start at 0 and go up, in the order faces appear, then in the order of the frame's faces."""
    assert follow([[box(300, 100), box(100, 100)], [box(100, 100), box(500, 100), box(300, 100)]]) == [
        [0, 1],
        [1, 2, 0],
    ]


def test_no_faces_are_no_special_case():
    """Frames without faces, and batches without frames, give no ids and no error."""
    tracker = Tracker(TrackerSettings())
    assert len(tracker(fake_frames([], [], []), Faces.empty()).track_id) == 0
    assert follow([[], [box(50, 50)], [], [box(50, 50)]]) == [[], [0], [], [0]]


def test_two_faces_that_pass_each_other_keep_their_ids():
    """Walking past each other at constant velocity does not swap ids."""
    frames = [[box(100 + 6 * i, 100), box(300 - 6 * i, 115)] for i in range(34)]
    assert follow(frames) == [[0, 1]] * 34


def test_a_row_of_faces_that_moves_by_its_own_spacing_is_not_shifted():
    """Once velocities are known, the prediction wins over the place where somebody else was last seen."""
    starts = (100, 150, 200)
    frames = [[box(x + moved, 100) for x in starts] for moved in (0, 10, 20, 30, 40)]
    tracker = Tracker(TrackerSettings())
    for i, xyxy in enumerate(frames):
        tracker(fake_frames([0], [i], [i / 10]), fake_faces([0] * 3, xyxy))
    # five frames later the row has moved by exactly the distance between two faces
    later = tracker(fake_frames([0], [9], [0.9]), fake_faces([0] * 3, [box(x + 90, 100) for x in starts]))
    assert later.track_id.tolist() == [0, 1, 2]


def test_a_small_fast_face_is_followed_without_overlap():
    """At 8 analysed frames a second a walking face no longer overlaps itself, and is still one track."""
    assert follow([[box(100 + 14 * i, 100, 12)] for i in range(10)], fps=8) == [[0]] * 10


def test_a_face_that_comes_a_step_away_from_where_somebody_should_be_is_another_person():
    """After a few looks at six frames a second, a face that misses the prediction by more than its size is somebody else."""
    walk = [[box(100 + 20 * i, 100)] for i in range(8)]
    assert follow([*walk, [box(260, 145)]], fps=6)[-1] == [1]
    assert follow([*walk, [box(250, 110)]], fps=6)[-1] == [0]
    assert follow([*walk[:2], [box(140, 145)]], fps=6)[-1] == [0]  # whose velocity is not known yet


def test_a_far_face_is_another_person():
    """A face that appears several face sizes away begins a track of its own."""
    assert follow([[box(100, 100)], [box(400, 100)]]) == [[0], [1]]


def test_a_face_of_another_size_is_another_person():
    """A face three times as large nearby is not the small one."""
    assert follow([[box(100, 100, 12)], [box(110, 104, 40)]]) == [[0], [1]]


@pytest.mark.parametrize(("missed", "expected"), [(29, 0), (30, 1)])
def test_a_track_ends_after_max_gap_s(missed, expected):
    """Seen again at exactly `max_gap_s` it is the same track; one frame later it is a new one."""
    frames = [[box(100, 100)], *([[]] * missed), [box(100, 100)]]
    assert follow(frames, fps=10)[-1] == [expected]


def test_the_next_analysed_frame_always_counts():
    """With frames further apart than `max_gap_s`, a face in the same place still is the same person."""
    assert follow([[box(100, 100)]] * 3, fps=0.4) == [[0]] * 3


def follow_scores(scores, cut=None):
    """Track ids of each frame of 1/6 s, when a face in one place has these scores, None where it is missed."""
    tracker, ids = Tracker(TrackerSettings(), 0.65), []
    for i, score in enumerate(scores):
        if i == cut:
            state, tracker = json.loads(json.dumps(tracker.state(0))), Tracker(TrackerSettings(), 0.65)
            tracker.restore(0, state)
        faces = fake_faces([0] * (score is not None), [box(100, 100)] * (score is not None))
        faces = replace(faces, score=np.full(len(faces), score or 0, np.float32))
        ids += [*tracker(fake_frames([0], [i], [i / 6]), faces).track_id.tolist(), *[None] * (score is None)]
    return ids


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.3, 0.4, 0.9, 0.9, 0.3, 0.3, None, 0.6], [-1, -1, 0, 0, 0, -1, None, 0]),  # it begins none
        ([0.9, 0.9, 0.9, 0.4, 0.4, 0.9, None, 0.2], [0, 0, 0, 0, 0, 0, None, 0]),
        ([0.9, 0.64, 0.9, 0.64], [0, -1, 0, 0]),  # one sure face may be a mistake
        ([0.7, 0.66, 0.6, 0.6, 0.7, 0.6], [0, 0, 0, -1, 0, 0]),  # the mean stays above 0.65
    ],
)
def test_a_face_of_a_low_score_continues_a_track_that_is_sure_and_begins_none(scores, expected):
    """It counts as long as the track is, on average, as sure as a sure face; also across a checkpoint."""
    assert follow_scores(scores) == expected
    assert follow_scores(scores, cut=3) == expected


def test_a_face_of_a_low_score_elsewhere_or_in_other_clothes_is_dropped():
    """It must be near its track, and look like it; a sure face at a place comes first."""
    tracker, ids = Tracker(TrackerSettings(), 0.65), []
    per_frame = [
        ([(100, RED, 0.9), (300, GREEN, 0.9)]),
        ([(100, RED, 0.9), (300, GREEN, 0.9)]),
        ([(170, RED, 0.6), (300, BLUE, 0.6)]),
        ([(105, RED, 0.9), (101, RED, 0.6), (300, GREEN, 0.6)]),
    ]
    for i, seen in enumerate(per_frame):
        x, colours, scores = zip(*seen, strict=True)
        faces = replace(fake_faces([0] * len(x), [box(at, 100) for at in x]), appearance=looks(*colours),
                        score=np.array(scores, np.float32))  # fmt: skip
        ids.append(tracker(fake_frames([0], [i], [i / 6]), faces).track_id.tolist())
    assert ids == [[0, 1], [0, 1], [-1, -1], [0, -1, 1]]


def test_an_occluded_walker_is_found_again_where_he_should_be():
    """After half a second behind a pillar a face is taken up at its predicted place."""
    frames = [[box(100 + 5 * i, 100)] if not 20 <= i < 35 else [] for i in range(50)]
    ids = follow(frames)
    assert {i for frame in ids for i in frame} == {0}


def test_trembling_detections_do_not_break_tracks():
    """Boxes that jitter by 2 pixels and drop out at random stay one track each."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(120):
        centres = [(100 + 2 * i, 100), (400, 120 + i), (200, 300)]
        frames.append([box(x + rng.normal(0, 2), y + rng.normal(0, 2)) for x, y in centres if rng.random() > 0.2])
    assert {i for frame in follow(frames) for i in frame} == {0, 1, 2}


def test_batching_changes_nothing():
    """The same frames give the same ids one by one, all at once, and mixed with another source."""
    rng = np.random.default_rng(1)
    per_frame = [[box(100 * k + 3 * i + rng.normal(), 80) for k in range(rng.integers(0, 5))] for i in range(40)]
    expected = [i for ids in follow(per_frame) for i in ids]
    for size in (7, 40):
        tracker, got = Tracker(TrackerSettings()), []
        for start in range(0, 40, size):
            chunk = per_frame[start : start + size]
            # every frame of source 0 is followed by one of source 1 with a single face
            row = [r for k, xyxy in enumerate(chunk) for r in [2 * k] * len(xyxy) + [2 * k + 1]]
            xyxy = [b for boxes in chunk for b in [*boxes, box(300, 300)]]
            times = np.repeat(np.arange(start, start + len(chunk)) / 30, 2)
            frames = fake_frames([0, 1] * len(chunk), range(2 * len(chunk)), times)
            tracked = tracker(frames, fake_faces(row, xyxy))
            got += tracked.track_id[frames.source_id[tracked.row] == 0].tolist()
            assert set(tracked.track_id[frames.source_id[tracked.row] == 1].tolist()) == {0}
        assert got == expected


@pytest.mark.parametrize("cut", [1, 20, 39])
def test_another_tracker_continues_from_the_state(cut):
    """The state of a source goes through JSON to a new tracker, which gives the ids that the old one would have given."""
    rng = np.random.default_rng(2)
    per_frame = [[box(100 * k + 3 * i + rng.normal(), 80) for k in range(rng.integers(0, 5))] for i in range(40)]
    expected, got, tracker = follow(per_frame), [], Tracker(TrackerSettings())
    for i, xyxy in enumerate(per_frame):
        if i == cut:
            state, tracker = json.loads(json.dumps(tracker.state(7))), Tracker(TrackerSettings())
            tracker.restore(7, state)
        faces = tracker(fake_frames([7], [i], [i / 30]), fake_faces([0] * len(xyxy), xyxy))
        got.append(faces.track_id.tolist())
    assert got == expected


def test_faces_of_photos_are_numbered():
    """Photos, sources of one frame, need no branch: the faces of each get 0..n-1."""
    frames = fake_frames([4, 5, 6], [0, 0, 0], [0, 0, 0], [Ended(i, 1, 1) for i in (4, 5, 6)])
    faces = fake_faces([0, 0, 2], [box(50, 50), box(150, 50), box(50, 50)])
    assert Tracker(TrackerSettings())(frames, faces).track_id.tolist() == [0, 1, 0]


def test_state_of_an_ended_source_is_dropped():
    """A tracker keeps nothing of sources that have ended, so that a long run does not fill the memory."""
    tracker = Tracker(TrackerSettings())
    for i in range(3):
        tracker(fake_frames([i], [0], [0], [Ended(i, 1, 1)]), fake_faces([0], [box(50, 50)]))
        assert tracker.persons(i) == ()
    assert not tracker._by_source and not tracker._linkers


def test_equal_timestamps_do_no_harm():
    """Frames with the same time neither warn nor raise."""
    tracker = Tracker(TrackerSettings())
    for i in range(3):
        tracked = tracker(fake_frames([0], [i], [1.0]), fake_faces([0], [box(50 + i, 50)]))
        assert tracked.track_id.tolist() == [0]


def test_empty_boxes_do_no_harm():
    """Boxes without area are numbered, not joined to others, and do not divide by zero."""
    with np.errstate(all="raise"):
        assert follow([[[5, 5, 5, 5]], [[5, 5, 5, 5], box(50, 50)]]) == [[0], [1, 2]]


def test_everything_else_is_kept():
    """Only `track_id` changes."""
    faces = fake_faces([0], [box(50, 50)], [0.75])
    tracked = Tracker(TrackerSettings())(fake_frames([0], [0], [0]), faces)
    assert tracked.p_mask is faces.p_mask and tracked.xyxy is faces.xyxy and tracked.row is faces.row


# appearance, cuts, persons


def looks(*colours):
    """Appearances (n, D): every part of a person has one Lab colour."""
    return np.array([np.tile(colour, APPEARANCE_SIZE // 3) for colour in colours], np.float32).reshape(
        -1, APPEARANCE_SIZE
    )


RED, GREEN, BLUE = (50, 60, 40), (50, -40, 30), (40, 20, -60)


def follow_looks(per_frame, fps, scenes=None):
    """Track ids of each frame, and the persons, given (boxes, appearances) of each frame and the scene that it shows."""
    tracker, ids = Tracker(TrackerSettings()), []
    pictures = [np.random.default_rng(seed).integers(0, 256, (18, 32, 3), np.uint8) for seed in range(9)]
    for i, (xyxy, appearance) in enumerate(per_frame):
        faces = replace(fake_faces([0] * len(xyxy), xyxy), appearance=appearance)
        frames = replace(fake_frames([0], [i], [i / fps]), images=(pictures[scenes[i] if scenes else 0],))
        ids.append(tracker(frames, faces).track_id.tolist())
    return ids, dict(tracker.persons(0))


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0]), (0.4, [1])])
def test_somebody_else_in_the_same_place_is_another_person_once_the_view_changes(share, expected):
    """A moment later the place tells who it is, unless a part of the picture changes: it may be a cut to a similar room."""
    picture, other = (np.random.default_rng(seed).integers(0, 256, (18, 32, 3), np.uint8) for seed in (0, 1))
    other[:, round(32 * share) :] = picture[:, round(32 * share) :]
    assert compare(small_picture(picture), small_picture(other)) == (False, share == 0)
    tracker, similar = Tracker(TrackerSettings()), (8 * looks(RED) + looks(BLUE)) / 9
    for i, (image, appearance) in enumerate([(picture, looks(RED)), (picture, looks(RED)), (other, similar)]):
        faces = replace(fake_faces([0], [box(100, 100)]), appearance=appearance)
        tracked = tracker(replace(fake_frames([0], [i], [i / 6]), images=(image,)), faces)
    assert 0.46 < unlikeness(looks(RED), similar)[0, 0] < 0.8
    assert tracked.track_id.tolist() == expected


def test_at_three_frames_a_second_a_look_of_other_colours_in_the_same_place_continues_the_track():
    """For as long as 0.4 s nobody else comes to the same place, while the picture stays: something covers the clothes."""
    per_frame = [([box(100, 100)], looks(colour)) for colour in (RED, RED, BLUE, RED)]
    assert follow_looks(per_frame, 3)[0] == [[0]] * 4


def test_two_people_who_cross_between_two_looks_are_told_apart_by_their_clothes():
    """At 2 frames a second each face is nearer to where the other one was: the appearance decides."""
    per_frame = [
        ([box(100, 100), box(180, 100)], looks(RED, GREEN)),
        ([box(180, 100), box(100, 100)], looks(RED, GREEN)),
    ]
    ids, _ = follow_looks(per_frame, 2)
    assert ids == [[0, 1], [0, 1]]


def test_somebody_else_in_the_same_place_is_another_person():
    """A face of the same size in the same place, of a person in other clothes, begins a track."""
    ids, persons = follow_looks([([box(100, 100)], looks(RED)), ([], looks()), ([box(100, 100)], looks(BLUE))], 1)
    assert ids == [[0], [], [1]] and persons == {}


def test_a_cut_ends_all_tracks():
    """After a cut a face in the same place is another track, even if it looks alike."""
    still = [([box(100, 100)], looks(RED))] * 4
    assert follow_looks(still, 25, [0, 0, 1, 1])[0] == [[0], [0], [1], [1]]


@pytest.mark.parametrize(("second", "expected"), [(RED, {1: 0}), (BLUE, {})])
def test_who_comes_back_and_looks_the_same_is_the_same_person(second, expected):
    """A minute later, on the other side of the picture, the appearance tells who it is."""
    away = [([], looks())] * 60
    per_frame = [([box(100, 100)], looks(RED)), *away, ([box(400, 100)], looks(second))]
    assert follow_looks(per_frame, 1)[1] == expected


def test_who_comes_back_is_known_by_all_looks_and_not_by_the_last_ones():
    """Somebody whose last looks are spoilt, because another person covers the clothes, is linked on return."""
    spoilt = (looks(RED) + looks(BLUE)) / 2
    per_frame = [([box(100, 100)], looks(RED))] * 50 + [([box(100, 100)], spoilt)] * 3
    per_frame += [([], looks())] * 200 + [([box(400, 100)], looks(RED))]
    assert follow_looks(per_frame, 25)[1] == {1: 0}


def test_a_fifth_of_a_second_of_other_colours_does_not_change_what_a_track_looks_like():
    """At 25 frames a second, five looks that show somebody else's clothes count less than the second before them."""
    mixed = (8 * looks(RED) + looks(BLUE)) / 9
    per_frame = [([box(100, 100)], looks(RED))] * 25 + [([box(100, 100)], mixed)] * 5
    away = [([], looks())] * 35  # so long that the place alone does not tell who it is
    ids, _ = follow_looks([*per_frame, *away, ([box(100, 100)], looks(RED))], 25)
    assert ids[-1] == [0]


@pytest.mark.parametrize("is_sure", [True, False])
def test_who_stands_in_front_covers_the_clothes_of_who_is_behind(is_sure):
    """Parts of the smaller face's person lie where the body of the larger one is; a doubtful face covers nothing."""
    faces = replace(
        fake_faces([0] * 3, [box(100, 100, 60), box(150, 100), box(600, 100)]), appearance=looks(RED, RED, RED)
    )
    is_known = ~np.isnan(uncovered(faces, np.array([is_sure, True, True]))[:, ::3])
    assert is_known[0].all() and is_known[2].all()
    # hair, forehead, neck, chest, below it, both shoulders
    assert is_known[1].tolist() == [True, not is_sure, not is_sure, not is_sure, not is_sure, not is_sure, not is_sure]


def test_clothes_of_somebody_in_front_are_not_learned():
    """Somebody who was behind another person for half a second is known again two seconds later."""
    alone, mixed = [([box(150, 100)], looks(RED))] * 4, (5 * looks(RED) + looks(BLUE)) / 6
    behind = [([box(150, 100), box(100, 100, 60)], np.concatenate([mixed, looks(BLUE)]))] * 3
    ids, _ = follow_looks([*alone, *behind, *[([], looks())] * 12, ([box(150, 100)], looks(RED))], 6)
    assert ids[-1] == [0]


def test_two_tracks_that_are_seen_at_the_same_time_are_two_people():
    """People in the same uniform, side by side, are never one person."""
    per_frame = [([box(100, 100), box(300, 100)], looks(RED, RED))] * 3
    away = [([], looks())] * 10
    _, persons = follow_looks([*per_frame, *away, ([box(100, 100), box(300, 100)], looks(RED, RED))], 1)
    assert len({persons.get(track, track) for track in (0, 1)}) == 2
    assert len({persons.get(track, track) for track in (2, 3)}) == 2


def test_nobody_is_linked_when_two_look_alike():
    """Of two people in the same uniform who left, nobody can say which one comes back."""
    away = [([], looks())] * 10
    per_frame = [([box(100, 100), box(300, 100)], looks(RED, RED)), *away, ([box(200, 300)], looks(RED))]
    assert follow_looks(per_frame, 1)[1] == {}


def test_appearances_are_forgotten_in_time():
    """Of somebody who left more than two minutes ago the tracker knows a number, and nothing to recognise him by."""
    tracker = Tracker(TrackerSettings())
    tracker(fake_frames([0], [0], [0]), replace(fake_faces([0], [box(50, 50)]), appearance=looks(RED)))
    for time_s in (4, 60, 300):
        tracker(fake_frames([0], [time_s], [time_s]), Faces.empty())
    assert "60.0" not in json.dumps(tracker.state(0)["linker"])


def test_nobody_is_linked_to_a_track_without_visible_clothes():
    """A face at the lower edge, whose clothes were never seen, resembles everybody: later people stay themselves."""
    linker = Linker(TrackerSettings())
    hidden = np.full(APPEARANCE_SIZE, np.nan)
    hidden[:3] = 50.0
    linker.add(0, 0.0, 1.0, hidden)
    linker.add(1, 2.0, 5.0, np.full(APPEARANCE_SIZE, 20.0))
    linker.add(2, 6.0, 9.0, np.full(APPEARANCE_SIZE, 90.0))
    linker.add(3, 10.0, 12.0, np.full(APPEARANCE_SIZE, 20.5))
    assert linker.persons() == ((3, 1),)


def test_colours_are_described_only_where_people_are_followed():
    """Sharpness, brightness and turn are the same without them; a face outside the picture has neither."""
    image = np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)
    faces = fake_faces([0, 0], [[60, 40, 90, 80], [900, 40, 930, 80]])
    whole, plain = describe([image], faces), describe([image], faces, with_appearance=False)
    assert np.isfinite(whole.appearance[0]).all() and np.isnan(whole.appearance[1]).all()
    assert np.isnan(plain.appearance).all()
    for name in ("sharpness", "brightness", "turn"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(whole, name))
    assert np.isfinite(plain.sharpness[0]) and np.isnan(plain.sharpness[1])
