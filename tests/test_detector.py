"""The face detector: parity with the original network, decoding, letterboxing."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from maskbatch.analyse.detector import MOST_PEAKS, Detector, decode
from maskbatch.analyse.views import canvas_shape
from maskbatch.networks import centerface
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.weights import Network
from maskbatch.settings import DetectorSettings, RuntimeSettings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def onnx_maps():
    """The original CenterFace, run by onnxruntime: canvases (B, H, W, 3) -> four maps, channels last."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    sys.path.insert(0, str(ROOT / "models"))
    from convert_centerface import onnx_path

    names = ("537", "538", "539", "540")
    model = onnx.load(str(onnx_path()))
    for value in (*model.graph.input, *model.graph.output):
        if value.name in ("input.1", *names):  # the file says 10 x 3 x 32 x 32; the network takes any size
            for i in (0, 2, 3):
                value.type.tensor_type.shape.dim[i].dim_param = f"{value.name}_{i}"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(canvases):
        maps = session.run(list(names), {"input.1": canvases.astype(np.float32).transpose(0, 3, 1, 2)})
        return [array.transpose(0, 2, 3, 1) for array in maps]

    return run


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The network in Keras with the original's weights."""
    pytest.importorskip("onnx")
    sys.path.insert(0, str(ROOT / "models"))
    from convert_centerface import convert, onnx_path

    path = tmp_path_factory.mktemp("port") / "original.weights.h5"
    convert(onnx_path()).save_weights(path)
    return Network("centerface", path, lambda: centerface.load_network(path))


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_network_agrees_with_the_original(onnx_maps, port, name):
    """On random pixels and on a photograph both runtimes give the original ONNX network's maps to 1e-4."""
    device = choose_device(RuntimeSettings(runtime=name, device="cpu"))
    run = open_network(port, device)
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 160, 3), dtype=np.uint8)
    for canvases in (noise, photograph()[None]):
        for ours, theirs in zip(run(canvases), onnx_maps(canvases), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def photograph():
    """A photo of the sample media on a canvas of whole multiples of 32."""
    import cv2

    path = next(path for path in sorted((ROOT / "sample_media").rglob("*.jpg")))
    return cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (320, 256)), cv2.COLOR_BGR2RGB)


def maps_with(cells, shape=(2, 8, 10)):
    """CenterFace's maps, empty but for `cells`: (image, y, x, score, width, height) in canvas pixels."""
    heatmap, scale = np.zeros((*shape, 1), np.float32), np.zeros((*shape, 2), np.float32)
    offset, landmarks = np.zeros((*shape, 2), np.float32), np.full((*shape, 10), 0.5, np.float32)
    for image, y, x, score, width, height in cells:
        heatmap[image, y, x] = score
        scale[image, y, x] = np.log(height / 4), np.log(width / 4)
    return [heatmap, scale, offset, landmarks]


def test_decode_puts_a_cell_where_it_belongs():
    """Cell (x 3, y 2) of image 1 is a face around (14, 10), as wide and high as its scale says."""
    found = decode(maps_with([(1, 2, 3, 0.9, 8, 12)]), threshold=0.5)
    assert found.row.tolist() == [1]
    np.testing.assert_allclose(found.xyxy, [[10, 4, 18, 16]], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks, np.broadcast_to([14.0, 10.0], (1, 5, 2)), rtol=1e-6)


def fake_run(canvases):
    """A network that sees one face per bright canvas: as large as what is bright."""
    heatmap = np.zeros((len(canvases), canvases.shape[1] // 4, canvases.shape[2] // 4, 1), np.float32)
    scale, offset = np.zeros((*heatmap.shape[:3], 2), np.float32), np.zeros((*heatmap.shape[:3], 2), np.float32)
    for i, canvas in enumerate(canvases):
        ys, xs = np.nonzero(canvas[..., 0] > 128)
        if len(ys):
            top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
            y, x = (top + bottom) // 8, (left + right) // 8
            heatmap[i, y, x], scale[i, y, x] = 0.9, (np.log((bottom - top) / 4), np.log((right - left) / 4))
            offset[i, y, x] = (top + bottom) / 8 - y - 0.5, (left + right) / 8 - x - 0.5
    return [heatmap, scale, offset, np.zeros((*heatmap.shape[:3], 10), np.float32)]


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


def peaks_everywhere(canvases):
    """A network that is sure of nothing: every cell is a peak, its score the same or, on the left, a little higher."""
    shape = (len(canvases), canvases.shape[1] // 4, canvases.shape[2] // 4)
    heatmap = np.full((*shape, 1), 0.1, np.float32)
    heatmap[:, :, ::4] += np.linspace(0.1, 0.2, shape[1], dtype=np.float32)[:, None, None]
    return [
        heatmap,
        np.zeros((*shape, 2), np.float32),
        np.zeros((*shape, 2), np.float32),
        np.zeros((*shape, 10), np.float32),
    ]


def test_memory_does_not_grow_with_the_square_of_the_peaks():
    """At threshold 0 each of the cells of a large canvas may be a peak: the best 5,000 of each image are kept, in memory
    for a few copies of the network's maps."""
    images = [scene(1024, 1024)] * 2
    tracemalloc.start()
    faces = Detector(peaks_everywhere, DetectorSettings(size_px=1024, threshold=0))(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    counts = np.bincount(faces.row)
    assert len(counts) == 2 and counts[0] == counts[1] and 1000 < counts[0] <= MOST_PEAKS
    assert faces.score.min() >= 0.1


def test_the_best_peaks_are_kept():
    """In each image by score; among equals the first."""
    shape = (2, 100, 120)
    heatmap = np.full((*shape, 1), 0.25, np.float32)
    heatmap[1, 90:, ::3] = 0.5
    maps = [
        heatmap,
        np.zeros((*shape, 2), np.float32),
        np.zeros((*shape, 2), np.float32),
        np.zeros((*shape, 10), np.float32),
    ]
    found = decode(maps, threshold=0)
    assert np.bincount(found.row).tolist() == [MOST_PEAKS, MOST_PEAKS]
    assert (found.score[found.row == 1] == 0.5).sum() == 10 * 40
    assert found.xyxy[found.row == 0][:, 1].max() < 4 * 43


def test_large_canvases_go_through_the_network_one_by_one():
    """A batch of 16 at --det-size 4096 would take gigabytes; at usual sizes the batch stays whole."""
    sizes = []

    def run(canvases):
        sizes.append(len(canvases))
        return fake_run(canvases[:, :64, :64])

    Detector(run, DetectorSettings(size_px=4096))([scene(64, 64)] * 3)
    Detector(run, DetectorSettings(size_px=640))([scene(64, 64)] * 64)
    assert sizes == [1, 1, 1, 64]
