"""Datasets, samples, augmentation, training and evaluation."""

import json
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from trainer_makers import (
    class_folders,
    coco_scenes,
    detect_middle,
    detect_nothing,
    grey_samples,
    scenes,
    tiny_model,
)

from maskbatch.analyse.classifier import CROP_PX
from maskbatch.errors import DatasetError, MaskbatchError, UsageError, WeightsError
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.yunet import load_network
from maskbatch.settings import RuntimeSettings
from maskbatch.trainer.classifier import loss
from maskbatch.trainer.classifier.fit import FitSamples, FitSettings, fit
from maskbatch.trainer.classifier.recipes import RECIPES, Phase, Recipe
from maskbatch.trainer.data import augment
from maskbatch.trainer.data.batches import (
    UNKNOWN,
    BatchSettings,
    Shape,
    class_weights,
    evaluation_batches,
    sample_weights,
    training_batches,
)
from maskbatch.trainer.data.cut_cache import CutCache
from maskbatch.trainer.data.dataset import read_datasets, split_pictures
from maskbatch.trainer.data.samples import load_samples
from maskbatch.trainer.evaluate.figures import (
    Judged,
    calibration_error,
    figures_by_size,
    incorrect_figures,
    predict,
)
from maskbatch.trainer.evaluate.intervals import balanced_accuracy
from maskbatch.trainer.model import (
    BACKBONES,
    backbone_of,
    build_model,
    classifier_network,
    load_model,
    unfreeze,
    with_face_output,
)


def test_class_folders_and_scenes_are_read(tmp_path):
    """Both layouts give their labels; masks worn incorrectly are a third one."""
    pictures = read_datasets([class_folders(tmp_path / "faces"), scenes(tmp_path / "scenes")])
    assert len(pictures) == 15
    samples = load_samples(pictures, detect_middle)
    assert np.bincount(samples.label).tolist() == [7, 7, 1]
    assert samples.annotated.sum() == 3 and samples.detected.all()


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_coco_gives_what_voc_gives(tmp_path, folder):
    """COCO gives the boxes and labels of Pascal VOC, in any folder; crowd regions and unused categories do not matter."""
    voc, coco = read_datasets([scenes(tmp_path / "voc")]), read_datasets([coco_scenes(tmp_path / "coco", folder)])
    assert len(coco) == len(voc) == 3
    for one, other in zip(voc, coco, strict=True):
        assert one.path.name == other.path.name and one.label.tolist() == other.label.tolist()
        np.testing.assert_array_equal(one.xyxy, other.xyxy)
    with pytest.raises(UsageError, match="moustache"):
        read_datasets([coco_scenes(tmp_path / "odd", labels=("moustache",))])
    (tmp_path / "coco" / folder / "instances_val.json").write_text("{")
    with pytest.raises(DatasetError, match="COCO"):
        read_datasets([tmp_path / "coco"])


def test_split_folders_are_kept(tmp_path):
    """Pictures below train/, val/ and test/ stay in their split."""
    for split in ("train", "val", "test"):
        class_folders(tmp_path / split, count=1)
    pictures = split_pictures(read_datasets([tmp_path]), 0.5, seed=0)
    assert sorted(p.split for p in pictures) == ["test"] * 2 + ["train"] * 2 + ["val"] * 2


def test_split_is_repeatable_and_follows_the_splits_file(tmp_path):
    """A split follows its seed and cuts no group; a splits file takes precedence."""
    root = class_folders(tmp_path / "faces", count=20)
    pictures = read_datasets([root])
    draw = lambda seed: [p.split for p in split_pictures(pictures, 0.3, seed)]  # noqa: E731
    assert draw(1) == draw(1) != draw(2)
    assert draw(1).count("val") == 12
    assert [p.split for p in split_pictures(pictures, 0.3, 1) if p.label[0]].count("val") == 6
    rows = [f"faces/{p.parent.name}/{p.name},{'val' if p.stem == '3' else 'train'},g{i}" for i, p in
            enumerate(sorted(root.rglob("*.png")))]  # fmt: skip
    (tmp_path / "splits.csv").write_text("path,split,cluster\n" + "\n".join(rows))
    chosen = read_datasets([root], tmp_path / "splits.csv")
    assert {p.path.stem for p in chosen if p.split == "val"} == {"3"}
    assert chosen[0].group.startswith("g")


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path):
    """The error describes a dataset; an unknown label is an error too."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="with_mask/"):
        read_datasets([tmp_path / "empty"])
    with pytest.raises(UsageError, match="moustache"):
        read_datasets([scenes(tmp_path / "scenes", labels=("moustache",))])


def test_samples_carry_both_boxes_and_survive_the_cache(tmp_path):
    """A scene's face has its annotated and its detected box; the cache returns the same samples."""
    pictures = split_pictures(read_datasets([scenes(tmp_path / "scenes")]), 0.0, seed=0)
    cache = CutCache(tmp_path / "cache", "middle")
    first = load_samples(pictures, detect_middle, cache)
    again = load_samples(pictures, detect_nothing, cache)
    assert first.region == again.region
    np.testing.assert_array_equal(first.xyxy, again.xyxy)
    np.testing.assert_allclose(np.diff(first.xyxy, axis=1)[:, 0], [[2, 2, 0, 0]] * 3)
    assert first.path.tolist() == again.path.tolist()


def test_an_unreadable_picture_is_left_out(tmp_path):
    """One broken file leaves out one sample."""
    root = class_folders(tmp_path / "faces", count=2)
    (root / "with_mask" / "0.png").write_bytes(b"not a picture")
    samples = load_samples(read_datasets([root]), detect_nothing)
    assert len(samples) == 3


@pytest.mark.parametrize("change", [augment.recorded, augment.recorded_webp, augment.reference])
@pytest.mark.parametrize("side", [12, 40, 300])
def test_augmentation_keeps_a_face_and_depends_on_the_seed_only(change, side):
    """A face of any size gives an image and a box that overlap, the same for the same seed."""
    image = np.random.default_rng(1).integers(0, 255, (side * 2, side * 2, 3), dtype=np.uint8)
    xyxy = np.array([side / 2, side / 2, side * 1.5, side * 1.5], np.float32)
    for seed in range(30):
        changed, box = change(image, xyxy, seed % 3, np.random.default_rng(seed))
        again, _ = change(image, xyxy, seed % 3, np.random.default_rng(seed))
        assert changed.dtype == np.uint8 and changed.ndim == 3
        np.testing.assert_array_equal(changed, again)
        height, width = changed.shape[:2]
        assert box[2] - box[0] > 0 and box[0] < width and box[2] > 0 and box[1] < height and box[3] > 0


def test_a_mask_is_repainted_and_the_rest_of_the_picture_is_not():
    """The lower half of the face changes for most seeds; eyes, forehead and the picture's border stay as they are."""
    image = np.random.default_rng(1).integers(60, 200, (120, 120, 3), dtype=np.uint8)
    xyxy = np.array([30, 30, 90, 90], np.float32)
    changes = []
    for seed in range(20):
        painted = augment.repaint(image, xyxy, np.random.default_rng(seed))
        np.testing.assert_array_equal(painted[:55], image[:55])
        np.testing.assert_array_equal(painted[:, :30], image[:, :30])
        changes.append(np.abs(painted.astype(int) - image)[65:80, 45:75].mean())
    assert min(changes) > 5
    for box in ([0, 0, 2, 2], [-50, -50, -10, -10], [100, 100, 400, 400], [-20, -20, 140, 140]):
        assert augment.repaint(image, np.array(box, np.float32), np.random.default_rng(0)).shape == image.shape


def test_only_masks_are_repainted(monkeypatch, tmp_path):
    """Faces without a mask, or with one that is worn incorrectly, keep their colours."""
    monkeypatch.setattr(augment, "repaint", lambda *_: pytest.fail("repainted"))
    image, xyxy = np.full((40, 40, 3), 90, np.uint8), np.array([10, 10, 30, 30], np.float32)
    for label in (0, 2):
        for seed in range(20):
            augment.recorded(image, xyxy, label, np.random.default_rng(seed))
    with pytest.raises(pytest.fail.Exception):
        for seed in range(20):
            augment.recorded(image, xyxy, 1, np.random.default_rng(seed))


def test_a_night_picture_is_grey_or_green():
    """A night picture has one hue at most."""
    image = np.random.default_rng(1).integers(0, 255, (30, 30, 3), dtype=np.uint8)
    for seed in range(20):
        red, green, blue = augment.night(image, np.random.default_rng(seed)).mean((0, 1))
        assert green >= max(red, blue) - 4  # noise


@pytest.mark.parametrize("size", [(1, 1), (17, 20), (64, 48)])
def test_film_leaves_a_picture_of_its_size(size):
    """A picture of any size, odd ones too, keeps its size; the same seed gives the same picture."""
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    once, again = (augment.film(image, np.random.default_rng(3)) for _ in range(2))
    assert once.shape == image.shape and once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)


def batches(samples, epoch=0, **changes):
    """Return all crops (N, 224, 224, 3), labels (N,) and weights (N,) of one epoch of three batches of four."""
    settings = BatchSettings(4, 3, seed=5, **{"augment": augment.reference, **changes})
    parts = [[part.numpy() for part in batch] for batch in training_batches(samples, settings, epoch)]
    assert len(parts) == 3 and parts[0][0].shape == (4, CROP_PX, CROP_PX, 3) and parts[0][1].shape == (4, 1)
    crops, labels, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return crops, labels[:, 0], weights


def test_training_batches_repeat_for_a_seed(tmp_path):
    """Two epochs differ and one epoch repeats, with any threads; shapes and types fit the network."""
    samples = grey_samples(tmp_path)
    recorded = {"augment": augment.recorded, "balance": "oversample"}
    first, again, other = (batches(samples, epoch, **recorded) for epoch in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != other[0]).any()


def test_every_sample_comes_in_turn_unless_oversampled(tmp_path):
    """Without oversampling an epoch holds each sample once; with weights the rarer class counts more in the loss."""
    samples = grey_samples(tmp_path)
    _, labels, weights = batches(samples)
    assert labels.sum() == samples.label.sum() and (weights == 1).all()
    few = samples.take(np.r_[:6, 6:8])
    _, labels, weights = batches(few, balance="weights")
    assert set(weights[labels == 1]) == {np.float32(class_weights(few.label)[1])}
    assert class_weights(np.array([0, 0, 0, 1]))[:2].tolist() == pytest.approx([2 / 3, 2])
    by_state = class_weights(np.array([0, 0, 0, 1, 2]))
    assert by_state[2] / (by_state[2] + 4) == pytest.approx(0.12)


def test_batches_have_the_models_size_and_targets(tmp_path):
    """Crops have the model's side; a mask worn incorrectly has no target of p_mask."""
    samples = grey_samples(tmp_path)
    samples = replace(samples, label=np.where(np.arange(len(samples)) == 0, 2, samples.label))
    shape = Shape(96, third_state=True)
    ((crops, targets, _),) = evaluation_batches(samples, 32, shape)
    assert crops.shape == (len(samples), 96, 96, 3)
    assert targets.numpy()[0].tolist() == [UNKNOWN, 1]
    np.testing.assert_array_equal(targets.numpy()[1:, 0], samples.label[1:])
    assert not targets.numpy()[1:, 1].any()
    settings = BatchSettings(4, 3, 0, augment.recorded, "oversample", shape)
    crops, targets, _ = next(iter(training_batches(samples, settings, 0)))
    assert crops.shape == (4, 96, 96, 3) and targets.shape == (4, 2)


def test_evaluation_batches_keep_the_order(tmp_path):
    """Every sample comes once, in order, with its own label, and looks as in a scan."""
    samples = grey_samples(tmp_path)
    labels = np.concatenate([label.numpy()[:, 0] for _, label, _ in evaluation_batches(samples, batch_size=5)])
    brightness = np.concatenate([crops.numpy().mean((1, 2, 3)) for crops, _, _ in evaluation_batches(samples, 5)])
    np.testing.assert_array_equal(labels, samples.label)
    np.testing.assert_array_equal(brightness > 128, samples.label == 1)


def test_sample_weights_balance_the_classes(tmp_path):
    """Both classes are drawn equally often, with any numbers of samples."""
    samples = grey_samples(tmp_path).take(np.array([0, 1, 2, 3, 4, 5, 6]))
    weights = sample_weights(samples)
    assert weights[samples.label == 0].sum() == pytest.approx(weights[samples.label == 1].sum())


def test_masks_worn_incorrectly_have_a_share_of_the_draws(tmp_path):
    """They get 12 % of the draws, by the root of the number of groups; a source of one person gets few of them."""
    samples = grey_samples(tmp_path, count=15)
    many, one = np.arange(30) < 9, (np.arange(30) >= 9) & (np.arange(30) < 13)
    samples = replace(samples, label=np.where(many | one, 2, samples.label), source=np.where(one, "one", "many"),
                      group=np.where(one, "person", samples.group))  # fmt: skip
    weights = sample_weights(samples)
    assert weights.sum() == pytest.approx(1) and weights[many | one].sum() == pytest.approx(0.12)
    assert weights[many].sum() == pytest.approx(3 * weights[one].sum())
    assert weights[samples.label == 0].sum() == pytest.approx(0.44)


def by_brightness(crops):
    """Classify grey pictures perfectly."""
    return [(crops.mean(axis=(1, 2, 3)) / 255)[:, None].astype(np.float32)]


def test_shuffling_a_dataset_changes_no_figure(tmp_path):
    """Labels, predictions and sizes stay together: shuffled samples give the same figures, path by path."""
    samples = grey_samples(tmp_path, count=15)
    order = np.random.default_rng(0).permutation(len(samples))
    shuffled = samples.take(order)
    p_mask, _ = predict(by_brightness, samples, batch_size=4)
    p_shuffled, unknown = predict(by_brightness, shuffled, batch_size=7)
    assert np.isnan(unknown).all()
    assert dict(zip(samples.path, p_mask, strict=True)) == dict(zip(shuffled.path, p_shuffled, strict=True))
    plain = figures_by_size(Judged(samples.label, p_mask, samples.group), samples.size_px)
    mixed = figures_by_size(Judged(shuffled.label, p_shuffled, shuffled.group), shuffled.size_px)
    assert plain["all"].confusion == mixed["all"].confusion == ((15, 0), (0, 15))
    assert plain["all"].balanced_accuracy.value == 1.0
    assert repr(plain) == repr(mixed)


def test_unrelated_predictions_look_like_chance():
    """Predictions with the right shares in another order have a balanced accuracy near a half, not 0.66."""
    rng = np.random.default_rng(0)
    label, predicted = (rng.random(2000) < 0.79).astype(int), (rng.random(2000) < 0.78).astype(int)
    assert (label == predicted).mean() > 0.6
    assert balanced_accuracy(label, predicted, np.arange(2000)).value == pytest.approx(0.5, abs=0.04)


def test_intervals_know_that_faces_of_a_picture_are_not_independent():
    """Forty pictures of ten equal faces have an interval as wide as that of forty faces."""
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    predicted = np.where(rng.random(40) < 0.2, 1 - label, label)
    alone = balanced_accuracy(label, predicted, np.arange(40))
    faces = [np.repeat(column, 10) for column in (label, predicted)]
    together = balanced_accuracy(*faces, np.repeat(np.arange(40), 10))
    apart = balanced_accuracy(*faces, np.arange(400))
    assert together == alone and alone.low < alone.value < alone.high
    assert together.high - together.low > 2.5 * (apart.high - apart.low)
    single = balanced_accuracy(*faces, np.zeros(400))
    assert single.value == alone.value and np.isnan([single.low, single.high]).all()
    mixed = rng.permutation(400)
    names = np.array([f"picture {i}" for i in range(40)])
    again = balanced_accuracy(*(column[mixed] for column in (*faces, names[np.repeat(np.arange(40), 10)])))
    assert again.low == pytest.approx(together.low, abs=0.03)


def test_calibration_error_of_known_probabilities():
    """An answer of 0.8 that is right in half of the cases is an error of 0.3; a right answer of 1 is none."""
    assert calibration_error(np.array([0, 1] * 50), np.full(100, 0.8)) == pytest.approx(0.3)
    assert calibration_error(np.ones(10), np.ones(10)) == 0


def test_sizes_with_one_class_or_none_are_not_a_number():
    """Figures that cannot be computed are NaN."""
    judged = Judged(np.array([1, 1]), np.array([0.9, 0.2]), np.array(["a", "b"]))
    figures = figures_by_size(judged, np.array([20.0, 25.0]))
    assert figures["16-32"].faces == 2 and figures["0-16"].faces == 0
    assert np.isnan(figures["16-32"].balanced_accuracy.value) and figures["16-32"].recall[1] == 0.5


def tiny_recipe(*phases, patience=3):
    """Return a recipe of some phases on hardly changed faces."""
    return Recipe("tiny", phases, augment.reference, balance="oversample", patience=patience)


def parts_of(tmp_path):
    """Return samples to train on and to measure on."""
    samples = grey_samples(tmp_path)
    return FitSamples(samples.take(samples.split == "train"), samples.take(samples.split == "val"))


def test_training_keeps_and_resumes(tmp_path, eagerly):
    """A resumed run has the epochs of a whole run; without a finished epoch there is nothing to resume."""
    samples = parts_of(tmp_path)
    out = tmp_path / "out"
    head, rest = Phase(1, 1e-3, None), Phase(2, 1e-3, 0, cosine=True)
    with pytest.raises(UsageError, match="nothing to resume"):
        fit(tiny_model, samples, tiny_recipe(head), FitSettings(out, resume=True))
    fit(tiny_model, samples, tiny_recipe(head), FitSettings(out, 4, 2, seed=3))
    model, rows = fit(tiny_model, samples, tiny_recipe(head, rest), FitSettings(out, 4, 2, 3, resume=True))
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["epoch"] for row in json.loads((out / "state" / "rows.json").read_text())] == [0, 1, 2]
    assert len((out / "history.csv").read_text().splitlines()) == 4
    assert rows[1]["learning_rate"] > rows[2]["learning_rate"]
    model.save(out / "model.keras")
    assert load_model(out / "model.keras").output_shape == (None, 1)


def test_a_diverging_epoch_never_replaces_a_good_one(tmp_path, eagerly):
    """Weights that are NaN end the training. --resume then ends like an undisturbed run; a first epoch leaves nothing."""
    samples = parts_of(tmp_path)
    recipe, built = tiny_recipe(Phase(3, 1e-3, 0), patience=None), []

    def build():
        built.append(tiny_model())
        return built[-1]

    def spoil(epoch, step, steps, loss, in_epoch=1):
        if (epoch, step) == (in_epoch, 1):
            built[-1].get_layer("p_mask").set_weights([np.full((8, 1), np.nan), np.zeros(1)])

    cut, whole = (FitSettings(tmp_path / name, 4, 2, seed=3) for name in ("cut", "whole"))
    with pytest.raises(MaskbatchError, match=r"diverged in epoch 2: (loss|a weight).*epoch 1 is kept"):
        fit(build, samples, recipe, cut, spoil)
    assert [row["epoch"] for row in json.loads((tmp_path / "cut" / "state" / "rows.json").read_text())] == [0]
    assert "nan" not in (tmp_path / "cut" / "history.csv").read_text()
    resumed, rows = fit(tiny_model, samples, recipe, replace(cut, resume=True))
    undisturbed, _ = fit(tiny_model, samples, recipe, whole)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    for one, other in zip(resumed.get_weights(), undisturbed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(MaskbatchError, match="nothing is kept"):
        fit(
            build,
            samples,
            recipe,
            FitSettings(tmp_path / "bad", 4, 2),
            lambda *step: spoil(*step, in_epoch=0),
        )
    assert not (tmp_path / "bad" / "state").exists()


def test_training_stops_early_with_the_best_weights(tmp_path, eagerly):
    """With swapped labels the first epoch is best, and patience ends the last phase; without patience all epochs run."""
    samples = parts_of(tmp_path)
    samples = replace(samples, val=replace(samples.val, label=1 - samples.val.label))
    ruin = (Phase(1, 1e-4, None), Phase(6, 0.03, 0))
    model, rows = fit(tiny_model, samples, tiny_recipe(*ruin, patience=2), FitSettings(tmp_path / "a", 4, 2))
    assert len(rows) < 7
    best = min(rows, key=lambda row: row["val_loss"])
    model.compile(loss="binary_crossentropy")
    assert model.evaluate(evaluation_batches(samples.val), verbose=0) == pytest.approx(best["val_loss"], rel=1e-3)
    _, rows = fit(tiny_model, samples, tiny_recipe(*ruin, patience=None), FitSettings(tmp_path / "b", 4, 2))
    assert len(rows) == 7 and [path.name for path in (tmp_path / "b" / "state").glob("epoch*")] == ["epoch6"]


def test_a_third_state_leaves_p_mask_alone(tmp_path):
    """Masks worn incorrectly train p_incorrect only; the loss of both columns is that of each, and the run resumes."""
    import keras

    samples = parts_of(tmp_path)
    third = samples.train.take(np.arange(4))
    third = replace(third, label=np.full(4, 2))
    model = tiny_model(size_px=96, third_state=True)
    ((crops, targets, _),) = evaluation_batches(third, 8, Shape(96, True))
    given = model(crops)
    model.compile(keras.optimizers.SGD(0.1), loss=loss.StatesLoss(), metrics=loss.metrics())
    before = model.get_layer("p_mask").get_weights()
    measured = model.test_on_batch(crops, targets, return_dict=True)
    assert measured["loss"] == pytest.approx(-np.log(given[:, 1]).mean(), rel=1e-3) and measured["accuracy"] == 0
    model.train_on_batch(crops, targets)
    for one, other in zip(before, model.get_layer("p_mask").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    bare = np.array([[0.0, 0.0]], np.float32)
    known = loss.StatesLoss()(bare, np.array([[0.2, 0.6]], np.float32))
    assert float(known) == pytest.approx(-np.log(0.8) - np.log(0.4), rel=1e-5)


def test_a_training_of_three_states_resumes(tmp_path, eagerly):
    """The checkpoint holds loss and metrics, the history the area of p_incorrect; a resumed run ends like a whole one."""
    samples = parts_of(tmp_path)
    label = np.where(np.arange(len(samples.train)) % 4 == 0, 2, samples.train.label)
    samples = replace(samples, train=replace(samples.train, label=label))
    build = partial(tiny_model, size_px=96, third_state=True)
    phases = Phase(1, 1e-3, None), Phase(1, 1e-3, 0, cosine=True)
    recipe = replace(tiny_recipe(*phases, patience=None), size_px=96, third_state=True)
    part = replace(recipe, phases=phases[:1])
    fit(build, samples, part, FitSettings(tmp_path / "a", 4, 2))
    resumed, _ = fit(build, samples, recipe, FitSettings(tmp_path / "a", 4, 2, resume=True))
    whole, rows = fit(build, samples, recipe, FitSettings(tmp_path / "b", 4, 2))
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert "incorrect_area" in rows[0] and "val_incorrect_area" in (tmp_path / "b" / "history.csv").read_text()
    whole.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.input_shape == (None, 96, 96, 3) and loaded.output_shape == (None, 2)


def test_a_model_of_any_size_and_a_third_state(tmp_path):
    """The backbone takes the same weights at each size; the model's parts have the names that calibration looks for."""
    small, large = (build_model(base_weights=None, size_px=size, third_state=True) for size in (96, 128))
    large.set_weights(small.get_weights())
    assert small.output_shape == (None, 2) and large.input_shape == (None, 128, 128, 3)
    answers = small.predict_on_batch(np.zeros((1, 96, 96, 3), np.float32))
    heads = [small.get_layer(name).output.shape for name in ("p_mask", "p_incorrect")]
    assert answers.dtype == np.float32 and heads == [(None, 1), (None, 1)]
    small.save(tmp_path / "small.keras")
    run = open_network(classifier_network(tmp_path / "small.keras"), choose_device(RuntimeSettings()))
    assert run.size_px == 96 and run(np.zeros((1, 96, 96, 3), np.uint8))[0].shape == (1, 2)


def test_the_output_for_faces_changes_no_other(tmp_path):
    """The third column is the logistic regression on the pooled features, also where a file had one before."""
    import keras

    plain = build_model(base_weights=None, size_px=96, third_state=True)
    crops = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    pooled = keras.Model(plain.input, plain.get_layer("pool").output).predict_on_batch(crops)
    kernel = np.random.default_rng(1).normal(size=pooled.shape[1]).astype(np.float32)
    with_face_output(with_face_output(plain, 0 * kernel, 1.0), kernel, -0.5).save(tmp_path / "model.keras")
    answers = load_model(tmp_path / "model.keras").predict_on_batch(crops)
    np.testing.assert_allclose(answers[:, :2], plain.predict_on_batch(crops), atol=1e-6)
    np.testing.assert_allclose(answers[:, 2], 1 / (1 + np.exp(0.5 - pooled @ kernel)), atol=1e-5)


def test_figures_of_the_third_state():
    """Of four faces worn incorrectly three are flagged, and one of four others is flagged too."""
    label = np.array([2, 2, 2, 2, 1, 1, 0, 0])
    found = incorrect_figures(label, np.array([0.9, 0.8, 0.5, 0.1, 0.7, 0.2, 0.1, 0.1]))
    assert (found.precision, found.recall, found.flagged_with_mask, found.flagged_without_mask) == (0.75, 0.75, 0.5, 0)
    none = incorrect_figures(label[4:], np.zeros(4))
    assert np.isnan([none.precision, none.recall, none.average_precision]).all() and none.incorrect == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains(backbone):
    """One step through head and last layers changes the weights; pixels go in unscaled."""
    import keras

    model = build_model(backbone, base_weights=None)
    # the last fifth is as good a proof as all of it, and quicker
    unfreeze(model, len(backbone_of(model).layers) * 4 // 5)
    model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy", run_eagerly=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    crops = np.random.default_rng(0).integers(0, 256, (2, CROP_PX, CROP_PX, 3), dtype=np.uint8)
    loss = model.train_on_batch(crops, np.array([[0.0], [1.0]], np.float32))
    assert np.isfinite(loss) and model.output_shape == (None, 1)
    assert any((old != new.numpy()).any() for old, new in zip(before, model.trainable_weights, strict=True))


def test_the_reference_recipe_is_the_reference():
    """The recipe has the reference's phases, rates and scaling by 1/255, and runs every epoch."""
    recipe = RECIPES["reference"]
    assert [(phase.epochs, phase.learning_rate, phase.first_layer) for phase in recipe.phases] == [
        (5, 1e-4, None),
        (3, 1e-5, 100),
    ]
    assert (
        (recipe.size_px, recipe.third_state) == (224, False)
        and recipe.balance == "none"
        and recipe.patience is None
        and recipe.augment is augment.reference
    )
    scaling = build_model(base_weights=None, unit_scale=recipe.unit_scale).get_layer("normalise")
    assert (scaling.scale, scaling.offset) == (1 / 255, 0)


@pytest.mark.parametrize("wrong", [{"backbone": "vgg"}, {"size_px": 31}, {"size_px": 513}])
def test_a_network_that_could_not_be_loaded_is_not_built(wrong):
    """Unknown backbones, and crops that `load_model` would refuse after the training, are usage errors."""
    with pytest.raises(UsageError, match="there is no classifier of"):
        build_model(**{"base_weights": None, **wrong})


def test_unfreezing_touches_the_layers_it_should():
    """A frozen backbone leaves the head to train; from layer 100 on, only the later layers train."""
    model = build_model(base_weights=None)
    unfreeze(model, None)
    assert len(model.trainable_weights) == 4
    unfreeze(model, 100)
    base = next(layer for layer in model.layers if layer.name.startswith("mobilenetv2"))
    assert not any(layer.trainable for layer in base.layers[:100]) and base.layers[-2].trainable


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path):
    """Rubbish, a model of another shape and weights that do not fit are refused."""
    import keras

    (tmp_path / "rubbish.keras").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match=r"not a \.keras model"):
        load_model(tmp_path / "rubbish.keras")
    with pytest.raises(WeightsError, match="cannot read"):
        load_model(tmp_path)
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(tmp_path / "other.keras")
    for name, words in (
        ("rubbish.keras", "not a zip"),
        ("other.keras", "another network"),
        ("gone.h5", "no such file"),
    ):
        for load in (partial(build_model, "mobilenet_v2"), load_network):
            with warnings.catch_warnings(), pytest.raises(WeightsError, match="does not hold weights") as error:
                warnings.simplefilter("error")
                load(tmp_path / name)
            assert words in str(error.value) and len(str(error.value).replace(str(tmp_path), "")) < 300
    image = keras.Input((224, 224, 3))
    two = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(image)))
    two.save(tmp_path / "two.keras")
    with pytest.raises(WeightsError, match=r"gives \(None, 3\)"):
        load_model(tmp_path / "two.keras")
    for number, shape in enumerate([(224, 128, 3), (16, 16, 3), (1024, 1024, 3), (None, None, 3), (128, 128, 1)]):
        image = keras.Input(shape)
        odd = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(image)))
        odd.save(tmp_path / f"{number}.keras")
        with pytest.raises(WeightsError, match="does not fit"):
            load_model(tmp_path / f"{number}.keras")
    two.save(tmp_path / "two.h5")  # Keras's safe mode does not hold for this format
    with pytest.raises(WeightsError, match=r"not a \.keras model"):
        load_model(tmp_path / "two.h5")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "two.keras").read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"not a \.keras model"):
        load_model(tmp_path / "cut.keras")
