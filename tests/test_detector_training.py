"""Fine-tuning of the detector: targets, ignored places, training views, loss, resuming, interpolation."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbatch.analyse.detector import decode
from maskbatch.errors import DatasetError, MaskbatchError, UsageError
from maskbatch.networks import weights
from maskbatch.networks.yunet import STRIDES, build_network
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.detector import targets
from maskbatch.trainer.detector.assign import assign, cells_of
from maskbatch.trainer.detector.augment import cut, flip, training_view, turn
from maskbatch.trainer.detector.fit import (
    DetectorFitSettings,
    fit_detector,
    interpolated,
    load_network,
    training_views,
)
from maskbatch.trainer.detector.loss import detection_loss, predicted_boxes, raw_maps
from maskbatch.trainer.detector.measure import choose_alpha
from maskbatch.trainer.detector.samples import load_portraits, load_scenes
from maskbatch.trainer.detector.scene import DetectorScene, SceneFaces
from maskbatch.trainer.detector.targets import face_table
from maskbatch.trainer.epochs import check_finite
from maskbatch.types import Faces

ORIGINAL = weights.folder() / "yunet.weights.h5"


def faces_at(*boxes, score=None, landmarks=np.nan):
    """Return faces with these boxes, annotated ones unless `score` is given."""
    count = len(boxes)
    score = np.ones(count) if score is None else np.array(score)
    points = np.full((count, 5, 2), landmarks, np.float32)
    xyxy = np.array(boxes, np.float32).reshape(count, 4)
    return SceneFaces(xyxy, points, score.astype(np.float32), np.ones(count, bool))


def found_at(*boxes, score=0.9):
    """Return a detector's findings, with landmarks in the middle of each box."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    count = len(xyxy)
    points = np.tile(middle[:, None], (1, 5, 1)).astype(np.float32)
    return Faces(np.zeros(count, np.int64), xyxy, np.full(count, score, np.float32), points)


def raw_of(*faces, side_px=128, stride=8):
    """A perfect network's raw maps (1, P, 16) for a view: the cells around the centre of each (xyxy, points) answer, and no
    other cell does. `points` are the same for all five landmarks."""
    corner, strides = cells_of(sum((side_px // step) ** 2 for step in STRIDES))
    raw = np.zeros((1, len(corner), 16), np.float32)
    raw[..., :2] = -20
    for xyxy, points in faces:
        box, middle = np.array(xyxy, np.float32), corner + strides[:, None] / 2
        centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        near = (strides == stride) & (np.abs(middle - centre).max(axis=1) < 2 * stride)
        raw[0, near, :2] = 20
        raw[0, near, 2:4] = (centre - corner[near]) / stride
        raw[0, near, 4:6] = np.log(size / stride)
        raw[0, near, 6:] = np.tile((points - corner[near]) / stride, 5)
    return raw


def loss_of(faces, raw):
    """The loss of one view as a number."""
    return float(detection_loss(face_table(faces)[None], raw))


def test_cells_are_those_that_decoding_counts():
    """Raw maps with one face decode to that face: corner, stride and order agree with the detector's."""
    raw = raw_of(([30, 40, 70, 100], (50.0, 60.0)), side_px=96, stride=16)
    maps, start = [], 0
    for stride in STRIDES:
        count = (96 // stride) ** 2
        maps.append(raw[:, start : start + count].reshape(1, 96 // stride, 96 // stride, 16).copy())
        maps[-1][..., :2] = 1 / (1 + np.exp(-maps[-1][..., :2]))
        start += count
    found = decode(maps, threshold=0.9)
    assert len(found.xyxy) > 1
    np.testing.assert_allclose(found.xyxy, np.tile([30, 40, 70, 100], (len(found.xyxy), 1)), rtol=1e-4)
    np.testing.assert_allclose(found.landmarks, np.tile([50, 60], (len(found.xyxy), 5, 1)), rtol=1e-4)


def test_a_right_answer_costs_nothing_and_a_wrong_one_something():
    """Box, landmarks, a missed face and an invented one each raise the loss."""
    box = [40, 40, 72, 80]
    faces = faces_at(box, landmarks=50.0)
    right = loss_of(faces, raw_of((box, 50.0)))
    assert right < 1e-3
    assert loss_of(faces, raw_of(([44, 40, 76, 80], 50.0))) > right + 0.1
    assert loss_of(faces, raw_of((box, 60.0))) > right + 0.1
    assert loss_of(faces, raw_of()) > right + 1
    assert loss_of(faces, raw_of((box, 50.0), ([8, 8, 28, 32], 20.0))) > right + 1


def test_places_to_leave_out_carry_no_loss():
    """In a box to leave out no answer costs anything; beside it, and in an annotated face inside it, a wrong one does."""
    faces = faces_at([16, 16, 100, 100], [44, 44, 80, 80], score=[0, 1], landmarks=60.0)
    face, inside, beside = ([44, 44, 80, 80], 60.0), ([24, 24, 40, 40], 32.0), ([104, 8, 120, 24], 112.0)
    calm = loss_of(faces, raw_of(face))
    assert calm < 1e-3
    assert loss_of(faces, raw_of(face, inside)) < 1e-3
    assert loss_of(faces, raw_of(face, beside)) > 1
    assert loss_of(faces, raw_of()) > 1


def test_what_only_the_original_found_keeps_its_score():
    """The loss is least at the original network's own score, neither higher nor lower."""
    box, losses = [40, 40, 72, 72], []
    for probability in (0.3, 0.7, 0.95):
        raw = raw_of((box, 50.0))
        raw[0, raw[0, :, 1] > 0, 1] = np.log(probability / (1 - probability))
        losses.append(loss_of(faces_at(box, score=[0.7], landmarks=50.0), raw))
    assert losses[1] < min(losses[0], losses[2]) - 0.1


def test_unknown_landmarks_and_sizes_carry_no_loss():
    """Unknown landmarks cost nothing, and neither does the size of a face of which only the place is known."""
    box = [40, 40, 72, 80]
    assert np.isfinite(face_table(faces_at(box))).all()
    assert loss_of(faces_at(box), raw_of((box, 90.0))) < 1e-3
    placed, smaller = replace(faces_at(box), sized=np.array([False])), ([46, 48, 66, 72], 50.0)
    assert loss_of(placed, raw_of(smaller)) + 1 < loss_of(faces_at(box), raw_of(smaller))
    assert loss_of(placed, raw_of()) > 1


def test_more_faces_than_a_table_holds_are_a_place_to_leave_out():
    """The largest are learnt; where the others are, no answer costs anything."""
    many = [[x, y, x + 6, y + 6] for x in range(0, 80, 8) for y in range(0, 80, 8)]
    table = face_table(faces_at([80, 80, 120, 120], *many))
    assert len(table) == targets.MOST_FACES and table[0, targets.BOX].tolist() == [80, 80, 120, 120]
    assert (table[:-1, targets.SCORE] == 1).all() and table[-1, targets.SCORE] == 0


def test_each_face_gets_cells_of_its_own():
    """Two faces that overlap are assigned different cells, the nearer ones; an empty row gets none."""
    boxes = np.array([[[30, 30, 62, 62], [50, 34, 82, 66], [0, 0, 0, 0]]], np.float32)
    raw = raw_of((boxes[0, 0], 40.0), (boxes[0, 1], 60.0))
    cells = cells_of(raw.shape[1])
    score = (raw[..., 0] > 0) * np.float32(0.9) + np.float32(0.01)
    face, iou, is_assigned = assign((boxes, np.array([[True, True, False]])), predicted_boxes(raw, cells), score, cells)
    face, is_assigned = face.numpy()[0], is_assigned.numpy()[0]
    assert set(face[is_assigned]) == {0, 1} and (iou.numpy()[0][is_assigned] > 0.99).all()
    middle = (cells[0] + cells[1][:, None] / 2)[is_assigned]
    assert middle[face[is_assigned] == 0][:, 0].mean() < middle[face[is_assigned] == 1][:, 0].mean()


def picture_with(tmp_path, source="photos"):
    """Return a grey picture with two annotated faces."""
    path = tmp_path / "0.png"
    cv2.imwrite(str(path), np.full((90, 120, 3), 128, np.uint8))
    return Picture(path, np.array([[10, 10, 40, 50], [70, 10, 90, 30]], np.float32), np.array([1, 0]), source, "0")


def test_annotated_faces_take_the_landmarks_and_others_the_score(tmp_path):
    """A finding on an annotated face gives it landmarks; elsewhere a certain one is a soft target, another left out."""
    finds = [found_at([12, 12, 38, 48]), found_at([10, 60, 30, 80], score=0.8), found_at([80, 60, 95, 75], score=0.3)]
    detect = [lambda images, found=found: found for found in finds]
    faces = load_scenes([picture_with(tmp_path)], detect)[0].faces
    np.testing.assert_allclose(faces.score, [1, 1, 0.8, 0], atol=1e-6)
    np.testing.assert_allclose(faces.landmarks[0], np.full((5, 2), [25, 30]))
    assert faces.sized.all()
    assert np.isnan(faces.landmarks[1]).all()


def test_a_loose_box_takes_the_size_of_what_is_found_in_it(tmp_path):
    """Of a source with boxes around heads, the finding inside is the face; without one only the place is learnt."""
    pictures, detect = [picture_with(tmp_path, "heads")], [lambda images: found_at([20, 20, 35, 40])]
    faces = load_scenes(pictures, detect, ["heads"])[0].faces
    np.testing.assert_allclose(faces.xyxy, [[20, 20, 35, 40], [72.5, 12.5, 87.5, 27.5]])
    assert faces.score.tolist() == [1, 1] and faces.sized.tolist() == [True, False]
    np.testing.assert_allclose(faces.landmarks[0], np.tile([27.5, 30], (5, 1)))
    nothing = load_scenes(pictures, [lambda images: Faces.empty()], ["heads"])[0].faces
    assert nothing.sized.tolist() == [False, False]
    with pytest.raises(DatasetError, match="heds"):
        load_scenes(pictures, detect, ["heds"])
    with pytest.raises(DatasetError, match="no picture has boxes"):
        load_scenes([], detect)


def portrait(path):
    """Return a picture of a class folder."""
    return Picture(path, None, np.array([1]), "people", path.name)


def found_by(*finds):
    """Return a detector that finds the same in every picture."""
    return [lambda images, found=found: found for found in finds]


@pytest.mark.parametrize(
    ("original", "tuned", "main"),
    [
        (([40, 40, 80, 90], 0.9), ([38, 38, 84, 94], 0.9), [40, 40, 80, 90]),  # both: the original's box
        (([40, 40, 80, 90], 0.3), ([38, 38, 84, 94], 0.9), [38, 38, 84, 94]),  # only the tuned network is sure
        (([10, 10, 20, 20], 0.9), ([38, 38, 84, 94], 0.9), [38, 38, 84, 94]),  # two faces: the larger
        (([40, 40, 80, 90], 0.3), ([38, 38, 84, 94], 0.4), None),
    ],
)
def test_a_portrait_has_the_largest_sure_face(tmp_path, original, tuned, main):
    """It counts as annotated; a picture in which no network is sure of a face is left out."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((180, 180, 3), 128, np.uint8))
    looks = [found_by(found_at(box, score=score)) for box, score in (original, tuned)]
    scenes = load_portraits([portrait(tmp_path / "a.jpg")], *looks)
    assert len(scenes) == (main is not None)
    if scenes:
        np.testing.assert_allclose(scenes[0].faces.xyxy[0], main)
        assert scenes[0].faces.score[0] == 1


def test_small_portraits_are_left_out_and_large_ones_shrunk(tmp_path):
    """A picture of 100 px has no face of use; one of 1,024 px is kept with 512, and its box with it."""
    pictures = []
    for side in (100, 1024):
        cv2.imwrite(str(tmp_path / f"{side}.png"), np.full((side, side // 2, 3), 128, np.uint8))
        pictures.append(portrait(tmp_path / f"{side}.png"))
    looks = found_by(found_at([40, 40, 80, 90]))
    (scene,) = load_portraits(pictures, looks, looks)
    assert scene.image().shape == (512, 256, 3)
    np.testing.assert_allclose(scene.faces.xyxy, [[20, 20, 40, 45]])


def bright_scene(width=200, height=160, box=(60, 40, 100, 90)):
    """Return a dark picture with a bright face."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 240
    return DetectorScene(cv2.imencode(".jpg", image)[1].tobytes(), faces_at(box))


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.6])
@pytest.mark.parametrize("corner", [(0, 0), (-20, 10.5), (30, 20)])
def test_a_cut_moves_boxes_with_the_pixels(scale, corner):
    """In any window the box lies on the bright pixels."""
    scene = bright_scene()
    image, faces = cut(scene.image(), scene.faces, (*corner, scale), 320)
    ys, xs = np.nonzero(image[..., 0] > 128)
    np.testing.assert_allclose(faces.xyxy[0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.5)


def test_faces_cut_off_or_too_small_are_left_out_of_the_loss():
    """A face that is half outside, or of 3 px, is no target; a face outside leaves no trace."""
    scene = bright_scene()
    assert cut(scene.image(), scene.faces, (85, 0, 1.0), 96)[1].score.tolist() == [0]
    assert cut(scene.image(), scene.faces, (0, 0, 0.07), 96)[1].score.tolist() == [0]
    assert len(cut(scene.image(), scene.faces, (120, 100, 1.0), 32)[1]) == 0


def test_a_flip_swaps_left_and_right_landmarks():
    """In a mirrored face the left eye is still the one further left."""
    points = np.array([[[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]]], np.float32)
    faces = SceneFaces(np.array([[5, 5, 25, 25]], np.float32), points, np.ones(1, np.float32), np.ones(1, bool))
    for seed in range(4):
        _, flipped = flip(np.zeros((64, 64, 3), np.uint8), faces, np.random.default_rng(seed))
        assert flipped.landmarks[0, 0, 0] < flipped.landmarks[0, 1, 0]
        assert flipped.xyxy[0].tolist() in ([5, 5, 25, 25], [39, 5, 59, 25])


def test_a_turned_view_turns_boxes_and_landmarks():
    """Whatever the turn, the box lies on the bright pixels, with the landmark in its corner on the same pixel."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:20, 30:50] = 200
    image[10, 30] = 255
    points = np.full((1, 5, 2), (30.5, 10.5), np.float32)
    faces = SceneFaces(np.array([[30, 10, 50, 20]], np.float32), points, np.ones(1, np.float32), np.ones(1, bool))
    seen = set()
    for seed in range(300):
        turned, moved = turn(image, faces, np.random.default_rng(seed))
        ys, xs = np.nonzero(turned[..., 0])
        assert moved.xyxy[0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        x, y = moved.landmarks[0, 0]
        assert turned[int(y), int(x), 0] == 255
        seen.add((int(x), int(y)))
    assert len(seen) == 4


def test_views_follow_the_seed_and_keep_faces_in_training():
    """The same seed gives the same view; most views hold a face to learn, small ones among them."""
    scenes, sizes = [bright_scene(640, 512), bright_scene(640, 512, box=(10, 10, 450, 450))], []
    for seed in range(40):
        image, faces = training_view(scenes, seed % 2, 128, np.random.default_rng(seed))
        again, _ = training_view(scenes, seed % 2, 128, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, again)
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        learnt = faces.xyxy[faces.score > 0]
        sizes += (learnt[:, 2] - learnt[:, 0]).tolist()
    assert len(sizes) > 30 and min(sizes) < 20 < 60 < max(sizes)


def test_training_lowers_the_loss_and_goes_on_where_it_was(tmp_path, eagerly):
    """A step lowers the loss of its batch; a killed and resumed run ends with the weights of a whole run."""
    model = raw_maps(load_network(ORIGINAL), 64)
    scenes = [bright_scene()]
    small = {"epochs": 2, "steps": 1, "batch_size": 2, "side_px": 64, "learning_rate": 1e-4}
    images, target = next(iter(training_views(scenes, DetectorFitSettings(tmp_path, **small), 1, 0)))
    model.compile("adam", loss=detection_loss, jit_compile=False)
    model.optimizer.learning_rate = 1e-4
    losses = [model.train_on_batch(images, target) for _ in range(3)]
    assert losses[-1] < losses[0]
    with pytest.raises(UsageError, match="nothing to resume"):
        fit_detector(ORIGINAL, scenes, DetectorFitSettings(tmp_path / "none", resume=True, **small))
    whole = fit_detector(ORIGINAL, scenes, DetectorFitSettings(tmp_path / "whole", **small))
    killed = _Killed(after_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        fit_detector(ORIGINAL, scenes, DetectorFitSettings(tmp_path / "cut", **small), killed)
    resumed = fit_detector(ORIGINAL, scenes, DetectorFitSettings(tmp_path / "cut", resume=True, **small))
    assert [row["epoch"] for row in json.loads((tmp_path / "cut" / "state" / "rows.json").read_text())] == [0, 1]
    for first, second in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_diverging_epoch_never_replaces_a_good_one(tmp_path, eagerly):
    """An absurd learning rate makes the third epoch diverge, in loss or weights; the second epoch stays for --resume."""
    settings = DetectorFitSettings(tmp_path, epochs=3, steps=1, batch_size=1, side_px=64, learning_rate=1e38)
    with pytest.raises(MaskbatchError, match=r"diverged in epoch 3: .* epoch 2 is kept"):
        fit_detector(ORIGINAL, [bright_scene()], settings)
    state = tmp_path / "state"
    assert [row["epoch"] for row in json.loads((state / "rows.json").read_text())] == [0, 1]
    assert sorted(path.name for path in state.iterdir()) == ["epoch1", "rows.json"]
    assert all(
        np.isfinite(weight).all() for weight in load_network(state / "epoch1" / "average.weights.h5").get_weights()
    )


def test_weights_count_where_the_loss_is_still_a_number():
    """A weight that the last step of an epoch spoils is an error, although the loss is still finite."""
    row = {"epoch": 4, "loss": 0.5}
    check_finite(row, [np.ones(3)], [])
    for bad in (np.nan, np.inf):
        with pytest.raises(MaskbatchError, match="epoch 5: a weight is not a finite number; epoch 4 is kept"):
            check_finite(row, [np.ones(3), np.array([1, bad])], [{"epoch": 3, "loss": 0.5}])


class _Killed:
    """Progress that ends the run in an epoch."""

    def __init__(self, after_epoch: int) -> None:
        self._after_epoch = after_epoch

    def __call__(self, epoch: int, step: int, steps: int, loss: float) -> None:
        if epoch >= self._after_epoch:
            raise KeyboardInterrupt


def test_interpolation_ends_at_both_networks():
    """Alpha 0 is the original to the bit, 1 the tuned network, 0.5 the middle."""
    original, tuned = load_network(ORIGINAL), build_network()
    for alpha in (0.0, 0.5, 1.0):
        mixed = interpolated(original, tuned, alpha).get_weights()
        for weight, first, second in zip(mixed, original.get_weights(), tuned.get_weights(), strict=True):
            if alpha == 0:
                np.testing.assert_array_equal(weight, first)
            else:
                np.testing.assert_allclose(weight, (1 - alpha) * first + alpha * second, atol=1e-5)


def test_the_alpha_chosen_harms_no_source():
    """The best alpha over all faces is chosen, at which no source of many faces loses a point; the original if there is
    none. A few faces decide nothing."""

    def figures(ilc, afw, few=0.9):
        faces = {"ilc": (ilc, 300), "afw": (afw, 80), "few": (few, 20)}
        return {source: {"ap40": ap, "faces": count} for source, (ap, count) in faces.items()}

    by_alpha = {0.0: figures(0.8, 0.98), 0.5: figures(0.85, 0.98), 1.0: figures(0.9, 0.96)}
    assert choose_alpha(by_alpha, ["ilc", "afw", "few"]) == 0.5
    assert choose_alpha(by_alpha, ["ilc"]) == 1.0
    by_alpha[1.0] = figures(0.9, 0.975, few=0.8)
    assert choose_alpha(by_alpha, ["ilc", "afw", "few"]) == 1.0
    assert choose_alpha({0.0: figures(0.8, 0.98), 1.0: figures(0.7, 0.98)}, ["ilc", "afw"]) == 0.0
    by_alpha[1.0] = figures(0.9, 0.97)  # one point, and not more, in binary fractions too
    assert choose_alpha(by_alpha, ["ilc", "afw"]) == 1.0


def test_a_source_without_faces_has_no_say_in_alpha():
    """Average precision over no face is NaN, which hides no gain of the other sources."""
    by_alpha = {
        alpha: {"ilc": {"ap40": ap, "faces": 300}, "empty": {"ap40": float("nan"), "faces": 0}}
        for alpha, ap in ((0.0, 0.8), (0.5, 0.9), (1.0, 0.85))
    }
    assert choose_alpha(by_alpha, ["empty", "ilc"]) == 0.5
    assert choose_alpha(by_alpha, ["empty"]) == 0.0


def test_the_command_measures_before_and_after(tmp_path):
    """`train-detector` leaves weights that load, a history and a report, and overwrites nothing."""
    from click.testing import CliRunner

    from maskbatch.cli.main import main

    photo = cv2.imread(str(next(path for path in sorted((Path(__file__).parents[1] / "sample_media").rglob("*.jpg")))))
    voc = (
        "<annotation><object><name>without_mask</name><bndbox><xmin>30</xmin><ymin>20</ymin><xmax>60</xmax>"
        "<ymax>60</ymax></bndbox></object></annotation>"
    )
    for split in ("train", "val"):
        for folder in ("images", "annotations"):
            (tmp_path / "set" / split / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / split / "images" / "a.jpg"), cv2.resize(photo, (160, 128)))
        (tmp_path / "set" / split / "annotations" / "a.xml").write_text(voc)
    command = ["train-detector", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--epochs", "1", "--batch-size", "1",
               "--alpha", "0.5", "-q"]  # fmt: skip
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    load_network(tmp_path / "out" / "yunet.weights.h5")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["alpha"] == 0.5 and set(report["figures_by_alpha"]) == {"0.0", "0.5"}
    assert CliRunner().invoke(main, command).exit_code == 2
