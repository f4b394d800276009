"""The detector's views at work: tiles, coarser views, and the second look, with a network that sees bright rectangles."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from maskbatch.analyse.classifier import least_score
from maskbatch.analyse.detector import Detector
from maskbatch.analyse.view_plan import NETWORK_FACE_PX, first_look, second_look
from maskbatch.networks.yunet import BOX, CLASS, LANDMARKS, OBJECT, STRIDES
from maskbatch.run import shard as shard_module
from maskbatch.run import stages
from maskbatch.settings import DetectorSettings, OutputSettings, RuntimeSettings, ScanSettings
from maskbatch.types import Shard, Source

SMALLEST_PX, LARGEST_PX = 8, 400
# a face is white in its upper part and grey below, so that the network knows which way up it is
WHITE, GREY = 255, 150


class Network:
    """YuNet's maps for canvases in which each bright rectangle, of a size that a network finds, is a face.

    With `upright`, only rectangles that are brighter above than below are faces. A face's landmarks are all in the top
    left corner of its box. Keeps the shapes of the canvases that it was given.
    """

    def __init__(self, upright=False, score=0.9):
        self.upright, self.score, self.shapes = upright, score, []

    def __call__(self, canvases):
        self.shapes.append(canvases.shape)
        count, high, wide, _ = canvases.shape
        maps = [np.zeros((count, high // stride, wide // stride, 16), np.float32) for stride in STRIDES]
        for i, canvas in enumerate(canvases):
            _, _, stats, _ = cv2.connectedComponentsWithStats((canvas[..., 0] > 75).astype(np.uint8))
            for left, top, width, height, _ in stats[1:]:
                if self.is_face(canvas[top : top + height, left : left + width, 0]):
                    x, y = left + width / 2, top + height / 2
                    row, column = min(int(y // 8), high // 8 - 1), min(int(x // 8), wide // 8 - 1)
                    cell, corner = maps[0][i, row, column], np.array([left / 8 - column, top / 8 - row])
                    cell[[CLASS, OBJECT]] = self.score
                    cell[BOX] = x / 8 - column, y / 8 - row, np.log(width / 8), np.log(height / 8)
                    cell[LANDMARKS] = np.tile(corner, 5)
        return maps

    def is_face(self, seen):
        """True for a rectangle of a size that is found, and the right way up."""
        above, below = seen[: len(seen) // 2].mean(), seen[len(seen) // 2 :].mean()
        return SMALLEST_PX <= max(seen.shape) <= LARGEST_PX and (not self.upright or above > below + 30)


def picture(width, height, faces=()):
    """A dark picture with faces: rows of left, top, right, bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    for left, top, right, bottom in faces:
        image[top:bottom, left:right] = GREY
        image[top : (top + bottom) // 2, left:right] = WHITE
    return image


def most_off_px(found, faces):
    """How far, in pixels, the farthest side of a found box is from its face; infinite unless each face is found once, and
    nothing else."""
    if len(found) != len(faces):
        return np.inf
    order = np.lexsort(np.round(found.xyxy[:, :2] / 16).T)
    expected = np.array(faces, float)
    expected = expected[np.lexsort(np.round(expected[:, :2] / 16).T)]
    return np.abs(found.xyxy[order] - expected).max()


@pytest.mark.parametrize("turned", [False, True])
def test_a_panorama_with_nine_faces_gives_nine_faces(turned):
    """9000 x 900 pixels, faces of 125 px, one of them on a border of tiles; lying and standing."""
    border = first_look(9000, 900, DetectorSettings())[0].region[2]
    faces = [(x, 300 + 20 * i, x + 100, 425 + 20 * i) for i, x in enumerate(range((border - 40) % 950, 8560, 950))][:9]
    image = picture(9000, 900, faces)
    if turned:
        image, faces = (
            np.ascontiguousarray(image.transpose(1, 0, 2)),
            [(box[1], box[0], box[3], box[2]) for box in faces],
        )
    assert len(faces) == 9
    assert most_off_px(Detector(Network(), DetectorSettings())([image]), faces) <= 6


def test_a_face_on_the_border_of_a_tile_is_one_face():
    """A face moves over a border of tiles, in steps of a few pixels; faces smaller than the overlap, and larger ones. It is
    found once, and whole, wherever it is."""
    detector = Detector(Network(), DetectorSettings(min_face_px=11))
    border = first_look(3000, 300, DetectorSettings(min_face_px=11))[0].region[2]
    for size in (12, 40, 84, 90, 150, 280):
        for x in range(border - 100 - size, border + 40, 13):
            faces = [(x, 10, x + size, 10 + size)]
            assert most_off_px(detector([picture(3000, 300, faces)]), faces) <= (8 if size > 40 else 2)


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (3840, 2160)])
def test_larger_frames_give_the_faces_of_smaller_ones(size):
    """In 720p, 1080p and 4K alike, faces from 24 px to the height of the frame are found once each."""
    rng = np.random.default_rng(size[0])
    detector = Detector(Network(), DetectorSettings())
    for side in (24, 38, 60, 120, 200, 400, 600):
        cells = [(x, y) for x in range(0, size[0] - side, side * 2) for y in range(0, size[1] - side, side * 2)]
        chosen = [cells[i] for i in rng.permutation(len(cells))[:12]]
        faces = [(x, y, x + side, y + side) for x, y in chosen]
        assert most_off_px(detector([picture(*size, faces)]), faces) <= max(4, side / 12)


def test_small_pictures_take_one_look_and_huge_ones_little_memory():
    """One canvas for a frame that fits it; for a picture of 100 megapixels no call of the network is larger than a
    batch."""
    network = Network()
    Detector(network, DetectorSettings(min_face_px=2 * NETWORK_FACE_PX))([picture(1920, 1080, [(50, 50, 100, 100)])])
    assert network.shapes == [(1, 576, 1024, 3)]
    Detector(network, DetectorSettings(min_face_px=11))([picture(12500, 8000)])
    assert max(np.prod(shape) for shape in network.shapes) <= 3 * 27_000_000


def batch():
    """Pictures of very different sizes, with faces and without, upright and turned."""
    faces = [(30, 40, 90, 120)]
    upright = [picture(400, 300, faces), picture(9000, 900, [(100, 100, 200, 225), (8000, 500, 8100, 625)])]
    turned = [np.ascontiguousarray(np.rot90(upright[0], turns)) for turns in (1, 2, 3)]
    return [*upright, picture(64, 48), picture(4000, 2600, [(100, 100, 1900, 1900)]), *turned, picture(5000, 4000)]


@pytest.mark.parametrize("looks_twice", [False, True])
def test_a_picture_does_not_depend_on_its_batch(looks_twice):
    """Alone, together and in another order, a picture's numbers are the same, to the bit."""
    detector = Detector(Network(upright=True), DetectorSettings(second_look=looks_twice))
    images = batch()
    alone = [detector([image]) for image in images]
    assert [len(faces) for faces in alone[:4]] == [1, 2, 0, 1]
    assert [len(faces) for faces in alone[4:]] == ([1, 1, 1, 0] if looks_twice else [0, 0, 0, 0])
    for order in (range(len(images)), [5, 7, 1, 0, 3, 6, 2, 4]):
        together = detector([images[i] for i in order])
        for row, i in enumerate(order):
            mine = together.take(together.row == row)
            for name in ("xyxy", "score", "landmarks"):
                np.testing.assert_array_equal(getattr(mine, name), getattr(alone[i], name))


@pytest.mark.parametrize(("turns", "corner"), [(1, (0, 3)), (2, (2, 3)), (3, (2, 1))])
def test_a_turned_face_is_found_by_the_second_look(turns, corner):
    """Its box and its landmarks come back in the picture as it was given: the box's corner that is at the top left when the
    face is upright is where the landmarks are."""
    image = picture(640, 480, [(200, 100, 320, 260)])
    turned = np.ascontiguousarray(np.rot90(image, turns))
    [y0, x0], [y1, x1] = np.argwhere(turned[..., 0] > 75).min(0), np.argwhere(turned[..., 0] > 75).max(0) + 1
    assert len(Detector(Network(upright=True), DetectorSettings(second_look=False))([turned])) == 0
    found = Detector(Network(upright=True), DetectorSettings(second_look=True))([turned])
    assert most_off_px(found, [(x0, y0, x1, y1)]) <= 4
    np.testing.assert_allclose(found.landmarks[0], np.tile(found.xyxy[0][list(corner)], (5, 1)), atol=1e-3)


def test_the_second_look_finds_what_is_too_large_or_too_small():
    """A face that fills the picture is found at half size, and a tiny one in a small picture at double size."""
    detector = Detector(Network(), DetectorSettings(second_look=True))
    for image, faces in (
        (picture(2000, 1500, [(400, 50, 1600, 1400)]), [(400, 50, 1600, 1400)]),
        (picture(400, 300, [(100, 100, 106, 106)]), [(100, 100, 106, 106)]),
    ):
        assert len(Detector(Network(), DetectorSettings(second_look=False))([image])) == 0
        assert most_off_px(detector([image]), faces) <= (12 if image.shape[1] > 1000 else 3)


def test_only_pictures_without_a_face_are_looked_at_again():
    """A second look takes five views of a small picture in which nothing is found, and none of one with a face. What it
    finds needs a higher score."""
    settings = DetectorSettings(second_look=True, threshold=0.5)
    seen = picture(400, 300, [(100, 100, 160, 160)])
    network = Network()
    Detector(network, settings)([seen])
    assert sum(shape[0] for shape in network.shapes) == 1
    Detector(network, settings)([picture(400, 300)])
    assert sum(shape[0] for shape in network.shapes) == 2 + len(second_look(400, 300, settings)) == 7
    large = picture(2000, 1500, [(400, 50, 1600, 1400)])
    assert len(Detector(Network(score=0.6), settings)([large])) == 0
    assert len(Detector(Network(score=0.6), settings)([seen])) == 1


def test_faces_of_a_low_score_are_for_videos_and_for_whoever_hides_them():
    """A photo has nothing that they could continue: only those count that its classifier may confirm."""
    plain, hides = ScanSettings(), ScanSettings(output=OutputSettings(anonymize="solid"))
    scores = [stages.settings_for(kind, settings).detector.low_score for settings in (plain, hides)
              for kind in ("image", "video")]  # fmt: skip
    assert scores == [least_score(0.7), 0.2, 0.2, 0.2]


def test_a_second_look_does_not_find_a_face_twice():
    """A face of a low score that a second look finds surely, with a larger view, is one face."""
    image = picture(400, 300, [(100, 100, 160, 160)])

    def run(canvases):
        return Network(score=0.6 if canvases.shape[1] < 400 else 0.9)(canvases)

    settings = DetectorSettings(second_look=True, low_score=0.5)
    found = Detector(run, settings)([image])
    assert found.score.astype(float).round(2).tolist() == [0.9]
    once = Detector(run, replace(settings, second_look=False))([image])
    assert once.score.astype(float).round(2).tolist() == [0.6]


def test_photos_are_looked_at_again_and_videos_are_not(monkeypatch, tmp_path):
    """Both with the same networks, which are opened once."""
    opened, asked = [], []
    monkeypatch.setattr(stages, "open_network", lambda network, *_: opened.append(network.role) or Network())
    monkeypatch.setattr(stages, "_open", stages._open.__wrapped__)
    stages.open_networks(ScanSettings())
    assert len(opened) == 2

    def open_networks(settings):
        asked.append(settings.detector.second_look)
        raise InterruptedError

    monkeypatch.setattr(shard_module, "open_networks", open_networks)
    monkeypatch.setattr(shard_module, "probed", lambda source, *_, **__: source)
    settings = ScanSettings(detector=DetectorSettings(second_look=True), runtime=RuntimeSettings(device="cpu"))
    for kind in ("image", "video"):
        shard = Shard(0, (Source(0, tmp_path / "a", "a", kind),))
        with pytest.raises(InterruptedError):
            list(shard_module.run_shard(shard, None, settings))
    assert asked == [True, False]
