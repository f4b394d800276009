"""Fine-tuning of the detector: targets, ignored places, training views, loss, resuming, interpolation."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbatch.analyse.detector import decode
from maskbatch.errors import DatasetError, MaskbatchError, UsageError
from maskbatch.networks import centerface, weights
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.detector import targets
from maskbatch.trainer.detector.augment import cut, flip, training_view
from maskbatch.trainer.detector.fit import (
    DetectorFitSettings,
    fit_detector,
    interpolated,
    load_network,
    training_views,
)
from maskbatch.trainer.detector.loss import detection_loss, raw_maps
from maskbatch.trainer.detector.measure import choose_alpha
from maskbatch.trainer.detector.samples import DetectorScene, SceneFaces, load_scenes
from maskbatch.trainer.detector.targets import target_maps
from maskbatch.trainer.epochs import check_finite
from maskbatch.types import Faces

ORIGINAL = weights.folder() / "centerface.weights.h5"


def faces_at(*boxes, score=None, landmarks=np.nan):
    """Return faces with these boxes, annotated ones unless `score` is given."""
    count = len(boxes)
    score = np.ones(count) if score is None else np.array(score)
    points = np.full((count, 5, 2), landmarks, np.float32)
    xyxy = np.array(boxes, np.float32).reshape(count, 4)
    return SceneFaces(xyxy, points, score.astype(np.float32), (xyxy[:, :2] + xyxy[:, 2:]) / 2)


def found_at(*boxes, score=0.9):
    """Return a detector's findings, with landmarks in the middle of each box."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    count = len(xyxy)
    points = np.tile(middle[:, None], (1, 5, 1)).astype(np.float32)
    return Faces(np.zeros(count, np.int64), xyxy, np.full(count, score, np.float32), points)


def raw_of(target):
    """Return a perfect network's raw maps (1, h, w, 15) for target maps."""
    logit = np.where(target[..., :1] >= 1, 20, -20)
    return np.concatenate([logit, target[..., targets.SIZE.start :]], axis=-1)[None].astype(np.float32)


def loss_of(target, raw):
    """Return the loss of one view as a number."""
    return float(detection_loss(target[None], raw))


def test_targets_are_what_decoding_turns_back_into_the_faces():
    """Decoded target maps give the boxes and landmarks that they were made from."""
    faces = faces_at([8, 12, 20, 28], [60, 40, 101, 99], landmarks=50.0)
    target = target_maps(faces, 128)[None]
    maps = [target[..., :1], *(target[..., part] for part in (targets.SIZE, targets.OFFSET, targets.LANDMARKS))]
    found = decode(maps, threshold=0.999)
    np.testing.assert_allclose(found.xyxy, faces.xyxy, atol=1e-3)
    np.testing.assert_allclose(found.landmarks, faces.landmarks, atol=1e-3)
    assert target[..., targets.BOX_WEIGHT].sum() == 18


def test_a_face_of_a_few_pixels_has_a_peak():
    """A face of 5 px at the edge of the view has one whole peak."""
    for corner in (0, 30, 123):
        target = target_maps(faces_at([corner, corner, corner + 5, corner + 5]), 128)
        assert (target[..., targets.HEAT] == 1).sum() == 1


def test_places_to_leave_out_carry_no_heatmap_loss():
    """In a box to leave out no answer costs anything; beside it, and in an annotated face inside it, a wrong one does."""
    target = target_maps(faces_at([16, 16, 80, 80], [40, 40, 56, 56], score=[0, 1]), 128)
    raw = raw_of(target)
    calm = loss_of(target, raw)
    assert calm < 1e-3
    for cell, costs in (((6, 6), False), ((28, 28), True), ((12, 12), True)):
        changed = raw.copy()
        changed[0, cell[0], cell[1], 0] *= -1
        assert (loss_of(target, changed) > calm + 1e-3) == costs


def test_what_only_the_original_found_keeps_its_score():
    """The loss is least at the original network's own score, neither higher nor lower."""
    target = target_maps(faces_at([40, 40, 72, 72], score=[0.7]), 128)
    assert target[14, 14, targets.SOFT] == np.float32(0.7) and target[..., targets.HEAT].max() == 0
    losses = []
    for probability in (0.3, 0.7, 0.95):
        raw = raw_of(target)
        raw[0, 14, 14, 0] = np.log(probability / (1 - probability))
        losses.append(loss_of(target, raw))
    assert losses[1] < 1e-3 < min(losses[0], losses[2])


def test_unknown_landmarks_carry_no_loss():
    """Unknown landmarks cost nothing, known ones do."""
    for landmarks, costs in ((np.nan, False), (30.0, True)):
        target = target_maps(faces_at([20, 20, 52, 52], landmarks=landmarks), 64)
        assert np.isfinite(target).all()
        changed = raw_of(target)
        changed[..., 5:] += 1
        assert (loss_of(target, changed) > 0.1) == costs


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
    np.testing.assert_allclose(faces.peak, [[25, 30], [80, 20], [20, 70], [87.5, 67.5]])
    assert np.isnan(faces.landmarks[1]).all()


def test_boxes_that_do_not_go_around_the_face_are_no_targets(tmp_path):
    """Of such a source only the original's findings are learnt; annotated faces that it misses are left out."""
    pictures, detect = [picture_with(tmp_path, "heads")], [lambda images: found_at([20, 20, 35, 40])]
    faces = load_scenes(pictures, detect, ["heads"])[0].faces
    np.testing.assert_allclose(faces.xyxy, [[20, 20, 35, 40], [70, 10, 90, 30]])
    np.testing.assert_allclose(faces.score, [0.9, 0], atol=1e-6)
    with pytest.raises(DatasetError, match="heds"):
        load_scenes(pictures, detect, ["heds"])
    with pytest.raises(DatasetError, match="no picture has boxes"):
        load_scenes([], detect)


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
    faces = SceneFaces(np.array([[5, 5, 25, 25]], np.float32), points, np.ones(1, np.float32), points[:, 2])
    for seed in range(4):
        _, flipped = flip(np.zeros((64, 64, 3), np.uint8), faces, np.random.default_rng(seed))
        assert flipped.landmarks[0, 0, 0] < flipped.landmarks[0, 1, 0]
        np.testing.assert_array_equal(flipped.peak, flipped.landmarks[:, 2])
        assert flipped.xyxy[0].tolist() in ([5, 5, 25, 25], [39, 5, 59, 25])


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


def test_training_lowers_the_loss_and_goes_on_where_it_was(tmp_path):
    """A step lowers the loss of its batch; a killed and resumed run ends with the weights of a whole run."""
    model = raw_maps(load_network(ORIGINAL))
    assert all(not layer.trainable for layer in model.layers if layer.name.endswith("_bn"))
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


def test_a_diverging_epoch_never_replaces_a_good_one(tmp_path):
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
    original, tuned = load_network(ORIGINAL), centerface.build_network()
    for alpha in (0.0, 0.5, 1.0):
        mixed = interpolated(original, tuned, alpha).get_weights()
        for weight, first, second in zip(mixed, original.get_weights(), tuned.get_weights(), strict=True):
            if alpha == 0:
                np.testing.assert_array_equal(weight, first)
            else:
                np.testing.assert_allclose(weight, (1 - alpha) * first + alpha * second, atol=1e-5)


def test_the_alpha_chosen_harms_no_source():
    """The best alpha at which no source loses is chosen, or the original where there is none."""

    def figures(ilc, afw):
        return {"ilc": {"ap50": ilc, "ap40": ilc, "faces": 300}, "afw": {"ap50": afw, "ap40": afw, "faces": 80}}

    by_alpha = {0.0: figures(0.8, 0.98), 0.5: figures(0.85, 0.98), 1.0: figures(0.9, 0.97)}
    assert choose_alpha(by_alpha, ["ilc", "afw"]) == 0.5
    assert choose_alpha(by_alpha, ["ilc"]) == 1.0
    by_alpha[1.0] = figures(0.9, 0.98 - 0.4 / 80)  # less than half a face
    assert choose_alpha(by_alpha, ["ilc", "afw"]) == 1.0
    assert choose_alpha({0.0: figures(0.8, 0.98), 1.0: figures(0.7, 0.98)}, ["ilc", "afw"]) == 0.0


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
    load_network(tmp_path / "out" / "centerface.weights.h5")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["alpha"] == 0.5 and set(report["figures_by_alpha"]) == {"0.0", "0.5"}
    assert CliRunner().invoke(main, command).exit_code == 2
