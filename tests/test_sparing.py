import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_faces, fake_frames

from maskbatch.analyse.sparing import SparingClassifier
from maskbatch.api import ScanOptions
from maskbatch.run.options import scan_settings
from maskbatch.run.stages import sparing_for
from maskbatch.settings import ScanSettings
from maskbatch.types import Ended

FPS, NUM_FRAMES = 6, 24
BOX = np.array([20, 20, 60, 60], np.float32)


class Counted:
    """A classifier that notes (frame, track) of each face it gets: p_mask is that of the frame, in `p_of`."""

    def __init__(self, p_of):
        self.asked, self.p_of = [], p_of

    def __call__(self, images, faces):
        frames = [int(images[row][0, 0, 0]) for row in faces.row.tolist()]  # see `video`
        self.asked += list(zip(frames, faces.track_id.tolist(), strict=True))
        return faces.with_state(np.array([self.p_of[frame] for frame in frames], np.float32))


def video(begin=0, end=NUM_FRAMES, lower=None, size=None, sharpness=None):
    """Frames `begin` to `end` of four seconds with one face. `lower` (24,): grey of the face's lower half; `size`,
    `sharpness` (24,): its size as a factor, and its sharpness. The first pixel has the number of the frame."""
    rows = np.arange(begin, end)
    lower, size, sharpness = ([1.0] * NUM_FRAMES if own is None else own for own in (lower, size, sharpness))
    images = [np.full((120, 120, 3), 128, np.uint8) for _ in rows]
    for image, number in zip(images, rows.tolist(), strict=True):
        image[40:] = np.clip(128 * lower[number], 0, 255)
        image[0, 0] = number
    frames = fake_frames([1] * len(rows), rows, rows / FPS)
    faces = fake_faces(range(len(rows)), [BOX * size[number] for number in rows])
    known = np.array([sharpness[number] for number in rows], np.float32)
    return (replace(frames, images=tuple(images)),
            replace(faces, sharpness=known, track_id=np.full(len(rows), 3)))  # fmt: skip


def with_step(at, value, before=1.0):
    """24 values: `before`, and `value` from the frame `at` on."""
    return [before] * at + [value] * (NUM_FRAMES - at)


def looked_at(p_of=(0.97,) * NUM_FRAMES, **changes):
    """Return the numbers of the frames whose face is classified, and the p_mask of all."""
    classify = Counted(p_of)
    found = SparingClassifier(classify, 1.0)(*video(**changes))
    return [frame for frame, _ in classify.asked], found.p_mask


def test_a_sure_face_is_looked_at_twice_and_then_once_a_second():
    """The faces between keep the probability of the look before."""
    p_of = np.linspace(0.95, 0.99, NUM_FRAMES).astype(np.float32)
    frames, p_mask = looked_at(p_of)
    assert frames == [0, 1, 7, 13, 19]
    assert p_mask.tolist() == p_of[np.repeat([0, 1, 7, 13, 19], [1, 6, 6, 6, 5])].tolist()


@pytest.mark.parametrize("p_mask", [0.5, 0.85, 0.2])
def test_every_face_of_an_unsure_track_is_classified(p_mask):
    """Two looks in a row must be sure of the same state."""
    assert looked_at([p_mask] * NUM_FRAMES)[0] == [*range(NUM_FRAMES)]
    assert looked_at([0.03, 0.97] * (NUM_FRAMES // 2))[0] == [*range(NUM_FRAMES)]


@pytest.mark.parametrize(
    ("name", "values", "is_seen"),
    [("lower", with_step(4, 1.3), True), ("lower", with_step(4, 1.02), False),
     ("size", with_step(4, 1.4), True), ("size", with_step(4, 0.8), False),
     ("sharpness", with_step(4, 0.6, 0.3), True), ("sharpness", with_step(4, 0.3, 0.6), False)],
)  # fmt: skip
def test_a_face_that_may_tell_something_new_is_looked_at_at_once(name, values, is_seen):
    """That is so when it is larger or sharper, or its lower half has changed; noise is no change."""
    assert (4 in looked_at(**{name: values})[0]) == is_seen


def test_a_mask_that_comes_off_is_found_in_its_frame():
    """No face keeps the old state."""
    p_of = with_step(10, 0.02, 0.98)
    frames, p_mask = looked_at(p_of, lower=with_step(10, 1.3))
    assert p_mask.tolist() == np.array(p_of, np.float32).tolist()
    assert frames == [0, 1, 7, 10, 11, 17, 23]


def test_a_face_at_the_edge_of_the_picture_is_classified_each_time():
    """Its lower half lies outside."""
    frames, _ = looked_at(size=[4.0] * NUM_FRAMES)
    assert frames == [*range(NUM_FRAMES)]


@pytest.mark.parametrize("size", [1, 5, 24])
def test_batches_and_interruptions_change_nothing(size):
    """Each batch is classified by another object, from the state of the one before as JSON."""
    p_of = np.random.default_rng(0).choice([0.02, 0.5, 0.98, 0.97], NUM_FRAMES).tolist()
    lower = 1 + 0.3 * np.random.default_rng(1).integers(0, 2, NUM_FRAMES)
    classify, p_mask, state = Counted(p_of), [], []
    for begin in range(0, NUM_FRAMES, size):
        sparing = SparingClassifier(classify, 1.0)
        sparing.restore(1, state)
        p_mask += sparing(*video(begin, min(begin + size, NUM_FRAMES), lower)).p_mask.tolist()
        state = json.loads(json.dumps(sparing.state(1)))
    frames, expected = looked_at(p_of, lower=lower)
    assert ([frame for frame, _ in classify.asked], p_mask) == (frames, expected.tolist())


def test_tracks_are_classified_together_and_apart_from_each_other():
    """Two tracks take as many calls as one; what is known of one says nothing about the other."""
    frames, faces = video()
    twice = faces.take(np.repeat(np.arange(NUM_FRAMES), 2))
    twice = twice.with_track_id(np.tile([3, 8], NUM_FRAMES))
    classify = Counted([0.97] * NUM_FRAMES)
    SparingClassifier(classify, 1.0)(frames, twice)
    assert classify.asked == [(frame, track) for frame in (0, 1, 7, 13, 19) for track in (3, 8)]


def test_nothing_is_kept_of_a_source_that_has_ended():
    """Nor of tracks that were last seen long ago."""
    frames, faces = video()
    sparing = SparingClassifier(Counted([0.97] * NUM_FRAMES), 1.0)
    sparing(frames, faces.take(np.arange(3)))
    assert sparing.state(1) == []
    sparing(frames, faces)
    assert len(sparing.state(1)) == 1
    sparing(replace(frames, ended=(Ended(1, NUM_FRAMES, NUM_FRAMES),)), faces)
    assert sparing.state(1) == []


@pytest.mark.parametrize(
    ("options", "is_sparing"),
    [({}, True), ({"sample_fps": 6.0}, False), ({"sample_fps": "all"}, False), ({"every": 5}, False),
     ({"anonymize": "solid"}, True), ({"anonymize": "solid", "whom": "without"}, False),
     ({"anonymize": "solid", "whom": "masked"}, False)],
)  # fmt: skip
def test_faces_are_left_out_by_default_only(options, is_sparing):
    """Every face is classified in photos, with a number of frames per second, and where its label decides who is hidden."""
    settings = scan_settings(ScanOptions(save="none", **options))
    assert (sparing_for("video", Counted([]), settings) is not None) == is_sparing
    assert sparing_for("image", Counted([]), settings) is None
    assert sparing_for("video", Counted([]), ScanSettings()) is None


def test_every_frame_may_be_asked_for():
    """`--every 1` analyses each frame and classifies each face, as `--sample-fps all` does; no number leaves auto."""
    each, whole, auto = (
        scan_settings(ScanOptions(**given)).sampling for given in ({"every": 1}, {"sample_fps": "all"}, {})
    )
    assert each == whole and each.sample_fps is None and not each.is_gated and each.look_again_s is None
    assert auto.is_gated and auto.every == 1
