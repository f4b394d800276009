"""Datasets, samples, augmentation, training and evaluation."""

import json

import cv2
import numpy as np
import pytest

from maskbatch.classifier import CROP_PX
from maskbatch.data import Faces
from maskbatch.errors import DatasetError, UsageError, WeightsError
from maskbatch.trainer import augment
from maskbatch.trainer.batches import BatchSettings, evaluation_batches, sample_weights, training_batches
from maskbatch.trainer.dataset import read_datasets, split_pictures
from maskbatch.trainer.evaluate import balanced_accuracy, calibration_error, figures_by_size, predict
from maskbatch.trainer.fit import FitSettings, fit
from maskbatch.trainer.model import build_model, load_model, unfreeze
from maskbatch.trainer.recipes import Phase, Recipe
from maskbatch.trainer.samples import load_samples

VOC = """<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
</object></annotation>"""


def write_picture(path, value, size=(120, 90)):
    """A flat grey picture: its value is what a classifier can tell it by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def class_folders(root, count=6):
    """Bright pictures with a mask, dark ones without."""
    for i in range(count):
        write_picture(root / "with_mask" / f"{i}.png", 200 + i)
        write_picture(root / "without_mask" / f"{i}.png", 40 + i)
    return root


def scenes(root, labels=("with_mask", "without_mask", "mask_worn_incorrectly")):
    """One picture for each label, with one box."""
    for i, label in enumerate(labels):
        write_picture(root / "images" / f"{i}.jpg", 60 * i + 50)
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"{i}.xml").write_text(VOC.format(label, 30, 20, 60, 60))
    return root


def detect_nothing(images):
    """A detector that finds no face."""
    return Faces.empty()


def detect_middle(images):
    """A detector that finds one face in the middle of each picture, a little off the annotation."""
    count = len(images)
    xyxy = np.tile(np.array([32, 22, 60, 60], np.float32), (count, 1))
    return Faces(np.arange(count), xyxy, np.ones(count, np.float32), np.zeros((count, 5, 2), np.float32))


def grey_samples(tmp_path, count=6):
    """Samples whose class is their brightness."""
    pictures = split_pictures(read_datasets([class_folders(tmp_path / "faces", count)]), 0.34, seed=0)
    return load_samples(pictures, detect_nothing)


def test_class_folders_and_scenes_are_read(tmp_path):
    """Both layouts give their labels; incorrectly worn masks are neither class, and make no sample."""
    pictures = read_datasets([class_folders(tmp_path / "faces"), scenes(tmp_path / "scenes")])
    assert len(pictures) == 15
    samples = load_samples(pictures, detect_middle)
    assert len(samples) == 14 and samples.label.sum() == 7
    assert samples.annotated.sum() == 2 and samples.detected.all()


def test_split_folders_are_kept(tmp_path):
    """What lies below train/, val/ and test/ stays there."""
    for split in ("train", "val", "test"):
        class_folders(tmp_path / split, count=1)
    pictures = split_pictures(read_datasets([tmp_path]), 0.5, seed=0)
    assert sorted(p.split for p in pictures) == ["test"] * 2 + ["train"] * 2 + ["val"] * 2


def test_split_is_repeatable_and_follows_the_splits_file(tmp_path):
    """The same seed gives the same split, another seed another; a splits file decides instead, and groups stay whole."""
    root = class_folders(tmp_path / "faces", count=20)
    pictures = read_datasets([root])
    draw = lambda seed: [p.split for p in split_pictures(pictures, 0.3, seed)]  # noqa: E731
    assert draw(1) == draw(1) != draw(2)
    assert draw(1).count("val") == 12
    rows = [f"faces/{p.parent.name}/{p.name},{'val' if p.stem == '3' else 'train'},g{i}" for i, p in
            enumerate(sorted(root.rglob("*.png")))]  # fmt: skip
    (tmp_path / "splits.csv").write_text("path,split,cluster\n" + "\n".join(rows))
    chosen = read_datasets([root], tmp_path / "splits.csv")
    assert {p.path.stem for p in chosen if p.split == "val"} == {"3"}
    assert chosen[0].group.startswith("g")


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path):
    """The error says what a dataset looks like; so does a label that nobody knows."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="with_mask/"):
        read_datasets([tmp_path / "empty"])
    with pytest.raises(DatasetError, match="moustache"):
        read_datasets([scenes(tmp_path / "scenes", labels=("moustache",))])


def test_samples_carry_both_boxes_and_survive_the_cache(tmp_path):
    """A scene's face has its annotated and its detected box; what the cache gives back is the same."""
    pictures = split_pictures(read_datasets([scenes(tmp_path / "scenes")]), 0.0, seed=0)
    first = load_samples(pictures, detect_middle, tmp_path / "cache")
    again = load_samples(pictures, detect_nothing, tmp_path / "cache")
    assert first.region == again.region
    np.testing.assert_array_equal(first.xyxy, again.xyxy)
    np.testing.assert_allclose(np.diff(first.xyxy, axis=1)[:, 0], [[2, 2, 0, 0]] * 2)
    assert first.path.tolist() == again.path.tolist()


def test_an_unreadable_picture_is_left_out(tmp_path):
    """One broken file costs itself only."""
    root = class_folders(tmp_path / "faces", count=2)
    (root / "with_mask" / "0.png").write_bytes(b"not a picture")
    samples = load_samples(read_datasets([root]), detect_nothing)
    assert len(samples) == 3


@pytest.mark.parametrize("change", [augment.recorded, augment.reference])
@pytest.mark.parametrize("side", [12, 40, 300])
def test_augmentation_keeps_a_face_and_depends_on_the_seed_only(change, side):
    """Any face size comes out as an image with a box that overlaps it, the same for the same seed."""
    image = np.random.default_rng(1).integers(0, 255, (side * 2, side * 2, 3), dtype=np.uint8)
    xyxy = np.array([side / 2, side / 2, side * 1.5, side * 1.5], np.float32)
    for seed in range(30):
        changed, box = change(image, xyxy, np.random.default_rng(seed))
        again, _ = change(image, xyxy, np.random.default_rng(seed))
        assert changed.dtype == np.uint8 and changed.ndim == 3
        np.testing.assert_array_equal(changed, again)
        height, width = changed.shape[:2]
        assert 0 < box[2] - box[0] and box[0] < width and box[2] > 0 and box[1] < height and box[3] > 0


def test_training_batches_repeat_for_a_seed(tmp_path):
    """Two epochs differ, the same epoch does not, whatever the threads did; shapes and types are the network's."""
    samples = grey_samples(tmp_path)
    draw = lambda epoch: [  # noqa: E731
        (crops.numpy(), labels.numpy()) for crops, labels in
        training_batches(samples, augment.recorded, np.ones(len(samples)), BatchSettings(4, 3, seed=5), epoch)
    ]  # fmt: skip
    first, again, other = draw(0), draw(0), draw(1)
    assert len(first) == 3 and first[0][0].shape == (4, CROP_PX, CROP_PX, 3) and first[0][1].shape == (4, 1)
    for (a, la), (b, lb) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(la, lb)
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


def test_evaluation_batches_keep_the_order(tmp_path):
    """Every sample comes once, in order, with its own label, and looks as a scan would see it."""
    samples = grey_samples(tmp_path)
    labels = np.concatenate([label.numpy()[:, 0] for _, label in evaluation_batches(samples, batch_size=5)])
    brightness = np.concatenate([crops.numpy().mean((1, 2, 3)) for crops, _ in evaluation_batches(samples, 5)])
    np.testing.assert_array_equal(labels, samples.label)
    np.testing.assert_array_equal(brightness > 128, samples.label == 1)


def test_sample_weights_balance_the_classes(tmp_path):
    """Whatever their numbers, both classes are drawn equally often."""
    samples = grey_samples(tmp_path).take(np.array([0, 1, 2, 3, 4, 5, 6]))
    weights = sample_weights(samples)
    assert weights[samples.label == 0].sum() == pytest.approx(weights[samples.label == 1].sum())


def by_brightness(crops):
    """A perfect classifier of grey pictures."""
    return [(crops.mean(axis=(1, 2, 3)) / 255)[:, None].astype(np.float32)]


def test_shuffling_a_dataset_changes_no_figure(tmp_path):
    """Labels, predictions and sizes stay together: shuffled samples give the same figures, path by path."""
    samples = grey_samples(tmp_path, count=15)
    order = np.random.default_rng(0).permutation(len(samples))
    shuffled = samples.take(order)
    p_mask, p_shuffled = predict(by_brightness, samples, 4), predict(by_brightness, shuffled, 7)
    assert dict(zip(samples.path, p_mask, strict=True)) == dict(zip(shuffled.path, p_shuffled, strict=True))
    plain = figures_by_size(samples.label, p_mask, samples.size_px)
    mixed = figures_by_size(shuffled.label, p_shuffled, shuffled.size_px)
    assert plain["all"].confusion == mixed["all"].confusion == ((15, 0), (0, 15))
    assert plain["all"].balanced_accuracy.value == 1.0
    assert repr(plain) == repr(mixed)


def test_unrelated_predictions_look_like_chance():
    """Predictions of the right shares but in another order have a balanced accuracy near a half, not 0.66."""
    rng = np.random.default_rng(0)
    label, predicted = (rng.random(2000) < 0.79).astype(int), (rng.random(2000) < 0.78).astype(int)
    assert (label == predicted).mean() > 0.6
    assert balanced_accuracy(label, predicted).value == pytest.approx(0.5, abs=0.04)


def test_calibration_error_of_known_probabilities():
    """Saying 0.8 and being right in half of the cases is an error of 0.3; saying 1 and being right is none."""
    assert calibration_error(np.array([0, 1] * 50), np.full(100, 0.8)) == pytest.approx(0.3)
    assert calibration_error(np.ones(10), np.ones(10)) == 0


def test_sizes_with_one_class_or_none_are_not_a_number():
    """Figures that do not exist are NaN instead of an error or a made-up number."""
    figures = figures_by_size(np.array([1, 1]), np.array([0.9, 0.2]), np.array([20.0, 25.0]))
    assert figures["16-32"].faces == 2 and figures["0-16"].faces == 0
    assert np.isnan(figures["16-32"].balanced_accuracy.value) and figures["16-32"].recall[1] == 0.5


def tiny_recipe(epochs=1):
    """A head epoch and one with part of the backbone."""
    return Recipe("tiny", (Phase(1, 1e-3, None), Phase(epochs, 1e-4, 140, cosine=True)), augment.reference, True)


def test_training_learns_keeps_and_resumes(tmp_path):
    """Bright against dark is learnt; a run cut off after the first epoch goes on to the same number of epochs."""
    samples = grey_samples(tmp_path)
    train, val = samples.take(samples.split == "train"), samples.take(samples.split == "val")
    build = lambda: build_model(base_weights=None)  # noqa: E731
    out = tmp_path / "out"
    settings = FitSettings(out, batch_size=4, steps=2, seed=3)
    with pytest.raises(UsageError, match="nothing to resume"):
        fit(build, train, val, tiny_recipe(), FitSettings(out, resume=True))
    fit(build, train, val, Recipe("half", (Phase(1, 1e-3, None),), augment.reference, True), settings)
    model = fit(build, train, val, tiny_recipe(), FitSettings(out, 4, 2, 3, resume=True))
    assert [row["epoch"] for row in json.loads((out / "state" / "rows.json").read_text())] == [0, 1]
    assert len((out / "history.csv").read_text().splitlines()) == 3
    model.save(out / "model.keras")
    assert load_model(out / "model.keras").output_shape == (None, 1)


def test_unfreezing_touches_the_layers_it_should():
    """Frozen, only the head trains; from layer 100 on, only the later layers do."""
    model = build_model(base_weights=None)
    unfreeze(model, None)
    assert len(model.trainable_weights) == 4
    unfreeze(model, 100)
    base = next(layer for layer in model.layers if layer.name.startswith("mobilenetv2"))
    assert not any(layer.trainable for layer in base.layers[:100]) and base.layers[-2].trainable


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path):
    """Neither rubbish nor a model of another shape is taken for a classifier; weights that do not fit are refused."""
    import keras

    (tmp_path / "rubbish.keras").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="not a model"):
        load_model(tmp_path / "rubbish.keras")
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="does not hold weights"):
        build_model(base_weights=str(tmp_path / "rubbish.keras"))
