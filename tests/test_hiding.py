from pathlib import Path

import numpy as np
import pytest
from fakes import fake_faces, fake_frames

import maskbatch as mb
from maskbatch.analyse.hiding import Hider, HideRules
from maskbatch.drawing.anonymize import MODES, grown, hide
from maskbatch.errors import UsageError
from maskbatch.settings import Thresholds
from maskbatch.types import Batch, Ended, Faces, Frames

SAMPLES = Path(__file__).parents[1] / "sample_media"
BOX = np.array([[40.0, 40, 60, 60]], np.float32)


def textured(height=120, width=120):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_a_face_is_left_and_nothing_else_changes(mode):
    """The region around a box loses its texture in each mode; beyond it every pixel stays; the input is not changed."""
    image, before = textured(), textured()
    hidden = hide(image, BOX, mode)
    left, top, right, bottom = grown(BOX)[0].round().astype(int)
    inside = hidden[top + 1 : bottom - 1, left + 1 : right - 1].astype(float)
    assert (
        np.abs(np.diff(inside, axis=0)).mean()
        < 12
        < np.abs(np.diff(image[top:bottom, left:right].astype(float), axis=0)).mean()
    )
    outside = np.ones(image.shape[:2], bool)
    outside[top - 1 : bottom + 1, left - 1 : right + 1] = False
    assert (hidden[outside] == image[outside]).all() and (image == before).all()


def test_solid_leaves_one_colour():
    """The safe mode keeps nothing of the region: two pictures that differ only there become equal."""
    other = textured()
    other[45:55, 45:55] = 0
    assert (hide(textured(), BOX) == hide(other, BOX)).all()


def test_boxes_outside_and_none_at_all():
    """A box beyond the edge hides what is in the picture; without any, the picture itself comes back."""
    image = textured()
    assert hide(image, np.empty((0, 4))) is image
    assert hide(image, np.array([[500.0, 500, 520, 520]])) is image
    assert (hide(image, np.array([[-10.0, -10, 5, 5]]))[:3, :3] == 64).all()
    with pytest.raises(ValueError, match="mode must be"):
        hide(image, BOX, "tint")


# which boxes, and when


def rules(whom="everyone", is_gated=False, may_show=None):
    return HideRules(whom, 0.65, Thresholds(0.5), is_gated, may_show)


def hidden_in(hider, times, seen, sizes=None, analysed=None):
    """The number of hidden boxes in each frame, when faces (row, left, score, p_mask) are seen, for these batch sizes."""

    def batches():
        start = 0
        for size in sizes or [len(times)]:
            rows = range(start, start + size)
            frames = fake_frames([1] * size, list(rows), [times[row] for row in rows], size=(100, 80))
            looked = np.array([analysed is None or row in analysed for row in rows])
            ended = (Ended(1, len(times), len(times)),) if start + size == len(times) else ()
            frames = type(frames)(
                frames.images, frames.source_id, frames.index, frames.timestamp_s, ended, None, looked
            )
            own = [one for one in seen if one[0] in rows]
            faces = fake_faces([one[0] - start for one in own], [[one[1], 20, one[1] + 20, 40] for one in own],
                               [one[3] for one in own])  # fmt: skip
            faces = Faces(
                faces.row, faces.xyxy, np.array([one[2] for one in own], np.float32), faces.landmarks, faces.p_mask
            )
            counts = faces.score >= rules().threshold
            sure, uncertain = faces.take(counts), faces.take(~counts)
            hider.note(frames, sure, uncertain)
            yield Batch(frames, sure)
            start += size

    return [
        len(np.unique(boxes, axis=0)) if len(boxes) else 0 for batch in hider.over(batches()) for boxes in batch.hidden
    ]


TENTHS = [round(0.1 * number, 1) for number in range(20)]


@pytest.mark.parametrize("sizes", [[20], [7, 7, 6], [1] * 20])
def test_a_face_is_hidden_half_a_second_before_and_after_each_look(sizes):
    """A single look at 1.0 s hides its place from 0.5 to 1.5 s, however frames are grouped, and however uncertain it is."""
    for score in (0.9, 0.3):
        counts = hidden_in(Hider(rules()), TENTHS, [(10, 30, score, 0.9)], sizes)
        assert counts == [0] * 5 + [1] * 11 + [0] * 4


def test_a_face_that_is_missed_for_a_moment_stays_hidden():
    """Between two looks that are less than a second apart nothing blinks."""
    counts = hidden_in(Hider(rules()), TENTHS, [(2, 30, 0.9, 0.9), (11, 30, 0.9, 0.9)])
    assert 0 not in counts[2:12]


def test_frames_far_from_any_analysed_one_are_hidden_whole():
    """With frames analysed two seconds apart, nobody knows who comes in between: the whole frame is hidden."""
    hider, times = Hider(rules()), [0.25 * number for number in range(9)]
    counts = hidden_in(hider, times, [], analysed={0, 8})
    assert counts == [0, 0, 0, 1, 1, 1, 0, 0, 0]


def test_a_gate_tells_that_nothing_moved():
    """Where frames were chosen by motion, the last analysed one tells what those behind it show."""
    times = [0.25 * number for number in range(9)]
    counts = hidden_in(Hider(rules(is_gated=True)), times, [(0, 30, 0.9, 0.9)], analysed={0, 8})
    assert counts == [1] * 8 + [0]


def pictures_of(*scenes):
    """Frames, a tenth of a second apart, that each show one of several scenes: noise, or black for None."""
    made = {
        scene: np.random.default_rng(scene).integers(0, 255, (9, 16, 3), np.uint8) for scene in set(scenes) - {None}
    }
    made[None] = np.zeros((9, 16, 3), np.uint8)
    return [np.kron(made[scene], np.ones((12, 12, 1), np.uint8)) for scene in scenes]


@pytest.mark.parametrize("is_gated", [True, False])
@pytest.mark.parametrize(
    ("scenes", "analysed", "hidden_whole"),
    [
        ([0, 0, 0, 1, 1], [0, 2], [3, 4]),  # the first pictures of another scene, and then the video ends
        ([None, None, 1], [0], [2]),
        ([0, 0, 1, 0, 0], [0, 4], [2]),  # a scene that nobody looked at
        ([0, 0, 1, 1, 1], [0, 4], []),  # a look at each scene
        ([0, 0, None, None], [0], []),
    ],
)
def test_a_scene_without_a_look_is_hidden_whole(is_gated, scenes, analysed, hidden_whole):
    """A picture of another scene than the looks around it may show anybody, however close to them it is."""
    images = tuple(pictures_of(*scenes))
    numbers, looked = np.arange(len(images)), np.isin(np.arange(len(images)), analysed)
    frames = Frames(
        images, np.ones(len(images), np.int64), numbers, numbers / 10, (Ended(1, 9, 9),), is_looked_at=looked
    )
    hider = Hider(rules(is_gated=is_gated))
    hider.note(frames, Faces.empty(), Faces.empty())
    [batch] = hider.over([Batch(frames, Faces.empty())])
    assert [row for row, boxes in enumerate(batch.hidden) if len(boxes)] == hidden_whole


@pytest.mark.parametrize(("whom", "counts"), [("everyone", [3]), ("masked", [2]), ("without", [2])])
def test_whom_chooses_and_uncertain_faces_are_always_hidden(whom, counts):
    """Masked, bare, and a face too uncertain to count, in one frame."""
    seen = [(0, 0, 0.9, 0.95), (0, 30, 0.9, 0.02), (0, 60, 0.3, 0.5)]
    assert hidden_in(Hider(rules(whom)), [0.0], seen) == counts


def test_zones_decide_with_except_zones():
    """Faces for which `may_show` is true stay visible."""
    hider = Hider(rules("except-zones", may_show=lambda source_id, xyxy, size: xyxy[:, 0] < 20))
    assert hidden_in(hider, [0.0], [(0, 0, 0.9, 0.9), (0, 30, 0.9, 0.9)]) == [1]


def test_a_hider_continues_from_a_checkpoint():
    """What was seen just before a cut is hidden behind it too."""
    first, second = Hider(rules()), Hider(rules())
    hidden_in(first, TENTHS[:6], [(5, 30, 0.9, 0.9)])
    noted = Hider(rules())
    frames = fake_frames([1], [5], [0.5], size=(100, 80))
    noted.note(frames, fake_faces([0], [[30, 20, 50, 40]], [0.9]), Faces.empty())
    second.restore(1, noted.state(1))
    assert hidden_in(second, TENTHS[6:], []) == [1] * 5 + [0] * 9


# as a user


@pytest.mark.parametrize(
    ("options", "message"),
    [({"whom": "masked"}, "--whom says"), ({"anonymize": "tint"}, "takes"),
     ({"anonymize": "solid", "whom": "except-zones"}, "--places")],
)  # fmt: skip
def test_bad_options_are_usage_errors(tmp_path, options, message):
    """A word that is unknown, or one without the option that it belongs to, is refused at once."""
    with pytest.raises(UsageError, match=message):
        mb.scan(SAMPLES / "portrait_bare.jpg", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_hidden_scan_finds_the_same_people_and_shows_none(tmp_path):
    """Tables are those of a plain scan; no medium has a face that the detector finds again."""
    plain = mb.scan(SAMPLES / "groups", out=tmp_path / "plain", save="none")
    hidden = mb.scan(SAMPLES / "groups", out=tmp_path / "hidden", save="annotated,evidence,crops", anonymize="solid")
    assert hidden.faces().equals(plain.faces())
    pictures = [path for path in (tmp_path / "hidden").rglob("*") if path.suffix in (".jpg", ".webp", ".png")]
    assert len(pictures) == 4 + 2 * plain.summary.people
    assert sum(map(len, mb.Model().find([str(path) for path in pictures]))) == 0


def test_a_hidden_video_shows_nobody_and_keeps_no_metadata(tmp_path):
    """No frame of the copy has a face that the detector finds; `mute` leaves the sound out."""
    import av

    name = "2026-11-20_22-00-00_desk.mp4"
    mb.scan(SAMPLES / "video" / name, out=tmp_path, anonymize="solid", mute=True)
    frames = list(mb.Model().frames(tmp_path / "annotated" / name, sample_fps=5))
    assert len(frames) > 20 and sum(len(frame.faces) for frame in frames) == 0
    with av.open(str(tmp_path / "annotated" / name)) as container:
        assert not container.streams.audio and "creation_time" not in container.metadata
