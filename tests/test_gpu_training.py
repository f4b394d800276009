"""Packs for training on a GPU, batches made of them, and the roofline of a network. No test needs PyTorch."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbatch.networks.yunet import build_network
from maskbatch.trainer.data.batches import sample_weights
from maskbatch.trainer.data.jpeg import encode_jpeg
from maskbatch.trainer.data.recompress import webp
from maskbatch.trainer.detector.scene import DetectorScene, SceneFaces
from models.feed import Feed, Part
from tests.trainer_makers import detect_middle, grey_samples, textured

ROOT = Path(__file__).parents[1]


def program(path):
    """Import a program of the checkout by its path."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pack_faces, train_classifier_gpu, roofline = map(
    program, ("models/pack_faces.py", "models/train_classifier_gpu.py", "benchmarks/roofline.py")
)
pack_scenes, train_detector_gpu, finish_detector_gpu = map(
    program, (f"models/{name}.py" for name in ("pack_scenes", "train_detector_gpu", "finish_detector_gpu"))
)


def packed(samples, path):
    """Write the samples as the training faces of a pack."""
    arrays = pack_faces.pack(samples, face_px=20, quality=95)
    np.savez(path, **{f"train_{name}": array for name, array in arrays.items()}, train_share=sample_weights(samples))
    return path


def detector_scene(seed, num_faces):
    """A textured picture of 200 x 200 with faces at random places, the first without landmarks."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(10, 120, (num_faces, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(20, 60, (num_faces, 2))], axis=1).astype(np.float32)
    landmarks = np.repeat((xyxy[:, None, :2] + xyxy[:, None, 2:]) / 2, 5, axis=1)
    landmarks[:1] = np.nan
    score = rng.uniform(0.5, 1, num_faces).astype(np.float32)
    image = cv2.resize(textured(seed), (200, 200))
    return DetectorScene(encode_jpeg(image, 95), SceneFaces(xyxy, landmarks, score, np.ones(num_faces, bool)))


def test_a_pack_keeps_faces_in_their_boxes(tmp_path):
    """A region is shrunk, and what was inside a box is inside it afterwards; pixels far away are gone."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[150:230, 180:240] = 255
    box = np.array([180, 150, 240, 230], np.float32)
    small, (first, second) = pack_faces._shrunk(image, np.stack([box, box]), face_px=40)
    left, top, right, bottom = np.round(first).astype(int)
    np.testing.assert_allclose(first, second)
    assert bottom - top == 40 and small.shape[0] == small.shape[1] == 80
    assert small[top + 1 : bottom - 1, left + 1 : right - 1].min() > 250
    assert small[: top - 1].max() == small[:, : left - 1].max() == 0


def test_packs_are_read_as_one(tmp_path):
    """Two packs of parts give the faces of both in order, with their labels; a split that no pack holds has none."""
    samples = grey_samples(tmp_path, detect=detect_middle)
    parts = [samples.take(np.arange(5)), samples.take(np.arange(5, len(samples)))]
    paths = [packed(part, tmp_path / f"{i}.npz") for i, part in enumerate(parts)]
    faces = train_classifier_gpu.read_packs(paths, "train")
    np.testing.assert_array_equal(faces.label, samples.label)
    assert len(faces.image) == len(faces.xyxy) == len(faces.share) == len(samples)
    assert all((image.mean() > 128) == label for image, label in zip(faces.image, faces.label, strict=True))
    assert train_classifier_gpu.read_packs(paths, "val").image == []


def test_a_batch_depends_on_seed_and_number_only(tmp_path):
    """The same number gives the same crops and faces again, whoever makes it; another number or seed gives others."""
    samples = grey_samples(tmp_path, detect=detect_middle)
    faces = train_classifier_gpu.read_packs([packed(samples, tmp_path / "pack.npz")], "train")

    def crops(seed, number):
        out = np.empty((6, 32, 32, 3), np.uint8)
        train_classifier_gpu.fill_batch(faces, train_classifier_gpu.Plan(9, 6, (32,), seed), number, [out])
        return out

    np.testing.assert_array_equal(crops(0, 4), crops(0, 4))
    assert (crops(0, 4) != crops(0, 5)).any() and (crops(0, 4) != crops(1, 4)).any()
    bright = crops(0, 4).mean((1, 2, 3)) > 128
    label = faces.label[train_classifier_gpu.drawn(faces, train_classifier_gpu.Plan(9, 6, (32,), 0), 4)]
    assert (bright == label).mean() > 0.8  # light is changed now and then


def test_a_face_is_cut_in_all_sizes(tmp_path):
    """A batch has the same faces, changed in the same way, in each size."""
    samples = grey_samples(tmp_path, detect=detect_middle)
    faces = train_classifier_gpu.read_packs([packed(samples, tmp_path / "pack.npz")], "train")
    small, large = np.empty((6, 32, 32, 3), np.uint8), np.empty((6, 64, 64, 3), np.uint8)
    train_classifier_gpu.fill_batch(faces, train_classifier_gpu.Plan(9, 6, (32, 64), 0), 4, [small, large])
    half = large.reshape(6, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(half - small).mean() < 4


def test_a_feed_gives_batches_in_order():
    """Batches of two workers come in the order of their numbers, more of them than the workers make ahead."""

    def fill(number, arrays):
        arrays[0][:], arrays[1][:] = number, number / 2

    feed = Feed([Part("uint8", (2, 3)), Part("float32", (4,))], 11, 2, fill)
    seen = [(first.copy(), second.copy()) for first, second in feed]
    feed.close()
    assert [(first.shape, second.shape) for first, second in seen] == [((2, 3), (4,))] * 11
    assert [int(first[0, 0]) for first, _ in seen] == list(range(11))
    assert [float(second[0]) for _, second in seen] == [number / 2 for number in range(11)]


def test_a_training_ends_with_its_steps_or_its_time():
    """The share of the training rises from 0 and stays below 1; without time there is no step."""

    def steps(seconds):
        feed = Feed([Part("uint8", (1,))], 5, 1, lambda number, arrays: arrays[0].fill(number))
        found = [(step.number, step.share, int(step.batch[0][0])) for step in feed.within(seconds)]
        feed.close()
        return found

    assert steps(60.0) == [(number, pytest.approx(number / 5, abs=0.01), number) for number in range(5)]
    assert steps(1e-9) == []


def test_a_pack_of_scenes_keeps_pictures_and_faces(tmp_path):
    """What is read from a pack has each scene's own faces, nearly its picture, and the network's weights by name."""
    scenes = [detector_scene(seed, num_faces) for seed, num_faces in ((0, 2), (1, 0), (2, 3))]
    weights = pack_scenes.weights_by_name(build_network())
    np.savez(tmp_path / "scenes.npz", **pack_scenes.pack(scenes, quality=90), **weights)
    read, held = train_detector_gpu.read_packs([tmp_path / "scenes.npz"], [2])
    assert held.keys() == weights.keys() and len(read) == 6
    for scene, again in zip(scenes * 2, read, strict=True):
        np.testing.assert_array_equal(again.faces.xyxy, scene.faces.xyxy)
        np.testing.assert_array_equal(again.faces.score, scene.faces.score)
        assert np.abs(again.image().astype(int) - scene.image()).mean() < 4


def test_a_batch_of_views_depends_on_seed_and_number_only():
    """The same number gives the same views and tables again; another number gives others."""
    scenes = [detector_scene(seed, 2) for seed in range(3)]

    def batch(number):
        out = [np.empty((3, 128, 128, 3), np.uint8), np.empty((3, 80, 17), np.float32)]
        train_detector_gpu.fill_batch(scenes, 0, number, out)
        return out

    for first, again, other in zip(batch(1), batch(1), batch(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_weights_by_name_come_back_into_the_network(tmp_path):
    """A network of weights written by layer names has every weight in its place; those of two files are averaged."""
    network = build_network()
    arrays = pack_scenes.weights_by_name(network)
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "b.npz", **{name: array + 1 for name, array in arrays.items()})
    again = finish_detector_gpu.network_of([tmp_path / "a.npz", tmp_path / "b.npz"])
    for first, second in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(second, first + 0.5, rtol=1e-6)


def test_targets_of_a_mask_worn_incorrectly_leave_p_mask_open():
    """p_mask has no target for the third state; p_incorrect has one for all."""
    np.testing.assert_array_equal(train_classifier_gpu.targets(np.array([0, 1, 2])), [[0, 0], [1, 0], [-1, 1]])


def test_a_variant_learns_nothing_from_the_source_it_does_without():
    """Faces of that source have no target, those of others keep theirs; a variant with all sources keeps all."""
    wanted, source = train_classifier_gpu.targets(np.array([0, 1, 2])), np.array(["a", "b", "a"])
    without = train_classifier_gpu.Variant("x", 1e-3, without="a")
    np.testing.assert_array_equal(train_classifier_gpu.known_to(without, wanted, source), [[-1, -1], [1, 0], [-1, -1]])
    np.testing.assert_array_equal(
        train_classifier_gpu.known_to(train_classifier_gpu.VARIANTS["still"], wanted, source), wanted
    )


def test_figures_leave_out_small_faces_and_the_third_state():
    """A wrong answer for a small face lowers the figure of all faces, and of small ones, and no other."""
    label, size_px = np.array([0, 1] * 4 + [2]), np.repeat([90, 40, 20, 9, 90.0], 2)[:9]
    answers = np.stack([np.where(label == 0, 0.1, 0.9), label == 2], axis=1)
    answers[6, 0] = 0.9
    faces = train_classifier_gpu.Faces([], np.empty((9, 2, 4)), label, np.full(9, "a"), size_px, None)
    words = train_classifier_gpu.describe(answers, faces).split()
    assert words[:4] == ["0.875", "1.000", "1.000", "0.500"] and words[-1] == "1.000"


def test_webp_loses_detail_and_keeps_the_size():
    """A picture keeps its size and its light, and loses fine grain; the same seed gives the same picture."""
    image = textured(0)
    image = np.clip(image + np.random.default_rng(0).normal(0, 20, image.shape), 0, 255).astype(np.uint8)
    once, again = (webp(image, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == image.shape and abs(once.mean() - image.mean()) < 5
    assert np.abs(np.diff(once.astype(int), axis=1)).mean() < 0.8 * np.abs(np.diff(image.astype(int), axis=1)).mean()


def test_the_roofline_adds_up_the_slower_of_arithmetic_and_traffic():
    """Two layers on 12 x 12 pixels: a 3x3 convolution 3 -> 4, and a depthwise one that reads and writes 4 channels."""
    import keras

    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(keras.layers.ReLU()(x))
    works = roofline.layer_work(keras.Model(image, x), (12, 12, 3))
    assert [work.flops for work in works] == [2 * 27 * 576, 2 * 9 * 576]
    assert [(work.moved, work.weights) for work in works] == [(432 + 576, 108), (576 + 576, 36)]
    # ten images of 2-byte numbers, when one of both rates is without limit
    assert roofline.roofline_s(works, 10, (1.0, np.inf), 2) == pytest.approx(10 * 2 * 36 * 576)
    assert roofline.roofline_s(works, 10, (np.inf, 1.0), 2) == pytest.approx(2 * (10 * 2160 + 144))
