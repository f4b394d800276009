"""The face detector: parity with the original network, decoding, letterboxing."""

import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbatch.analyse.detector import MOST_PEAKS, Detector, decode
from maskbatch.analyse.view_plan import canvas_shape
from maskbatch.errors import WeightsError
from maskbatch.networks import weights, yunet
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.openvino import OpenVinoNetwork
from maskbatch.settings import DetectorSettings, RuntimeSettings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def onnx_maps():
    """The original YuNet, run by onnxruntime: canvases (B, H, W, 3) RGB -> three maps, channels last."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(ROOT / "models/yunet_n.onnx"), providers=["CPUExecutionProvider"])

    def run(canvases):
        bgr = np.ascontiguousarray(canvases[..., ::-1].transpose(0, 3, 1, 2), np.float32)
        maps, (count, height, width, _) = [], canvases.shape
        for stride in (8, 16, 32):
            parts = session.run([f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps")], {"input": bgr})
            maps.append(np.concatenate(parts, axis=-1).reshape(count, height // stride, width // stride, 16))
        return maps

    return run


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The network in Keras with the original's weights."""
    pytest.importorskip("onnx")
    sys.path.insert(0, str(ROOT / "models"))
    from convert_yunet import ORIGINAL, convert

    path = tmp_path_factory.mktemp("port") / "original.weights.h5"
    convert(ORIGINAL).save_weights(path)
    return yunet.network_of(path)


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_network_agrees_with_the_original(onnx_maps, port, name):
    """On random pixels and on a photograph both runtimes give the original ONNX network's maps to 1e-4."""
    device = choose_device(RuntimeSettings(runtime=name, device="cpu"))
    run = open_network(port, device)
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 160, 3), dtype=np.uint8)
    for canvases in (noise, photograph()[None]):
        for ours, theirs in zip(run(canvases), onnx_maps(canvases), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("shape", [(384, 640), (32, 96)])
def test_the_arranged_network_gives_the_same_numbers(tmp_path, monkeypatch, shape):
    """OpenVINO runs the network without copies that only move channels; every number of its maps is the same."""
    network = yunet.network_of(weights.find("yunet"))
    canvases = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    maps = []
    for name, arrange in (("arranged", network.arrange), ("as converted", None)):
        monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / name))
        maps.append(OpenVinoNetwork(replace(network, arrange=arrange), "fp32")(canvases))
    assert [ours.shape for ours in maps[0]] == [(2, shape[0] // s, shape[1] // s, 16) for s in (8, 16, 32)]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*maps, strict=True))


@pytest.mark.parametrize("file", ["yunet.weights.h5", "yunet.int8.zip"])
def test_damaged_weights_are_noticed(tmp_path, monkeypatch, file):
    """Both files of the detector are compared with their recorded checksums before it runs."""
    for name in ("yunet.weights.h5", "yunet.int8.zip"):
        (tmp_path / name).write_bytes(b"PK" if name == file else (weights.folder() / name).read_bytes())
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=f"{file} is damaged"):
        yunet.shipped_network()


def photograph():
    """A photo of the sample media on a canvas of whole multiples of 32."""
    import cv2

    path = next(path for path in sorted((ROOT / "sample_media").rglob("*.jpg")))
    return cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (320, 256)), cv2.COLOR_BGR2RGB)


def empty_maps(count, height, width):
    """YuNet's maps for canvases (count, height, width), without a face."""
    return [np.zeros((count, height // stride, width // stride, 16), np.float32) for stride in (8, 16, 32)]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_decode_puts_a_cell_where_it_belongs(level):
    """A cell of any map is a face of the size it says, around its corner and offset; its score is the root of a product."""
    maps, stride = empty_maps(2, 64, 96), (8, 16, 32)[level]
    maps[level][1, 1, 2] = [0.9, 0.4, 0.25, 0.5, np.log(2), np.log(3), *[0.5, 0.25] * 5]
    found = decode(maps, threshold=0.5)
    assert found.row.tolist() == [1]
    x, y = 2.25 * stride, 1.5 * stride
    np.testing.assert_allclose(found.xyxy, [[x - stride, y - 1.5 * stride, x + stride, y + 1.5 * stride]], rtol=1e-5)
    np.testing.assert_allclose(found.landmarks, np.tile([2.5 * stride, 1.25 * stride], (1, 5, 1)), rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.6], rtol=1e-6)
    assert len(decode(maps, threshold=0.61).row) == 0


def test_numbers_out_of_range_give_no_endless_box():
    """An untrained network may say any size: boxes stay finite."""
    maps = empty_maps(1, 32, 32)
    maps[2][0, 0, 0] = [1, 1, 0, 0, 300, -300, *[0] * 10]
    assert np.isfinite(decode(maps, threshold=0.5).xyxy).all()


def fake_run(canvases):
    """A network that sees one face per bright canvas: as large as what is bright."""
    maps = empty_maps(*canvases.shape[:3])
    for i, canvas in enumerate(canvases):
        ys, xs = np.nonzero(canvas[..., 0] > 128)
        if len(ys):
            top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
            y, x = (top + bottom) // 16, (left + right) // 16
            shift = (left + right) / 16 - x, (top + bottom) / 16 - y
            maps[0][i, y, x, :6] = 0.9, 0.9, *shift, np.log((right - left) / 8), np.log((bottom - top) / 8)
    return maps


def scene(width, height, box=None):
    """A dark image with a bright rectangle."""
    image = np.zeros((height, width, 3), np.uint8)
    if box:
        image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def test_faces_come_back_in_pixels_of_their_own_image():
    """Images of all sizes and orientations share a batch; each face is found where it is, in order of the images."""
    given = [
        (1280, 720, (600, 300, 700, 440)),
        (720, 1280, (10, 900, 200, 1200)),
        (64, 48, (16, 12, 32, 36)),
        (500, 30, None),
    ]
    faces = Detector(fake_run, DetectorSettings())([scene(*item) for item in given])
    assert faces.row.tolist() == [0, 1, 2]
    for xyxy, (_, _, box) in zip(faces.xyxy, given, strict=False):
        np.testing.assert_allclose(xyxy, box, atol=2.5)


def test_a_batch_gives_what_single_images_give():
    """Who shares the batch does not matter."""
    images = [scene(400, 300, (i * 20, 50, i * 20 + 60, 130)) for i in range(5)]
    detector = Detector(fake_run, DetectorSettings(size_px=320))
    together = detector(images)
    alone = [detector([image]) for image in images]
    np.testing.assert_array_equal(together.xyxy, np.concatenate([faces.xyxy for faces in alone]))


def test_no_images_and_no_faces():
    """Nothing in, nothing out; black images hold no faces."""
    detector = Detector(fake_run, DetectorSettings())
    assert len(detector([])) == 0
    assert len(detector([scene(100, 100)])) == 0


def test_canvases_are_few_and_fit():
    """Whatever the image, its canvas is one of seven, multiples of 32, and holds it."""
    shapes = {canvas_shape(width, height, 640) for width in range(1, 3000, 97) for height in range(1, 3000, 89)}
    assert len(shapes) == 7
    assert all(side % 32 == 0 for shape in shapes for side in shape)
    assert canvas_shape(1920, 1080, 640) == (384, 640)
    assert canvas_shape(1080, 1920, 640) == (640, 384)


def faces_everywhere(canvases):
    """A network that is sure of nothing: every cell is a face as large as the cell; on the left more so."""
    maps = empty_maps(*canvases.shape[:3])
    for cells in maps:
        cells[..., :2] = 0.1
        cells[:, :, ::4, :2] += np.linspace(0.1, 0.2, cells.shape[1], dtype=np.float32)[:, None, None]
    return maps


def test_memory_does_not_grow_with_the_square_of_the_candidates():
    """At threshold 0 each cell of a large canvas may be a face: the best 5,000 of each image are kept, in memory for a few
    copies of the network's maps."""
    images = [scene(1024, 1024)] * 2
    tracemalloc.start()
    faces = Detector(faces_everywhere, DetectorSettings(size_px=1024, threshold=0))(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    counts = np.bincount(faces.row)
    assert len(counts) == 2 and counts[0] == counts[1] and 1000 < counts[0] <= MOST_PEAKS
    assert faces.score.min() >= 0.1


def test_the_best_candidates_are_kept():
    """In each image by score; among equals those of the finest map, the upper ones first."""
    maps = empty_maps(2, 800, 960)
    for cells in maps:
        cells[..., :2] = 0.25
    maps[0][1, 90:, ::3, :2] = 0.5
    found = decode(maps, threshold=0)
    assert np.bincount(found.row).tolist() == [MOST_PEAKS, MOST_PEAKS]
    assert (found.score[found.row == 1] == 0.5).sum() == 10 * 40
    first = found.xyxy[found.row == 0]
    assert first[:, 1].max() < 8 * 43 and (first[:, 2] - first[:, 0] == 8).all()


def test_large_canvases_go_through_the_network_one_by_one():
    """A batch of 16 at --det-size 4096 would take gigabytes; at usual sizes the batch stays whole."""
    sizes = []

    def run(canvases):
        sizes.append(len(canvases))
        return fake_run(canvases[:, :64, :64])

    Detector(run, DetectorSettings(size_px=4096, second_look=False))([scene(64, 64)] * 3)
    Detector(run, DetectorSettings(size_px=640, second_look=False))([scene(64, 64)] * 64)
    assert sizes == [1, 1, 1, 64]
