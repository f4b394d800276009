"""The plan of views: which parts of a picture the detector looks at, and which findings each part answers for."""

import math
from itertools import pairwise

import numpy as np
import pytest

from maskbatch.analyse.view_plan import (
    CANVAS_STEP_PX,
    COARSER,
    DOUBLE_MOST_PX,
    HALF_MOST_PX,
    LEAST_PX,
    MARGIN_PX,
    MOST_CANVAS_PX,
    MOST_TILE_PX,
    NETWORK_FACE_PX,
    OVERLAP_PX,
    TILE_FACE_PX,
    TURNED_MOST_PX,
    first_look,
    scale_of,
    second_look,
)
from maskbatch.analyse.views import is_claimed, to_picture
from maskbatch.settings import DetectorSettings

SIZES = [(3840, 2160), (9000, 900), (900, 9000), (4000, 3000), (2800, 2800), (2794, 100), (16000, 11000), (60000, 700)]
SMALLEST = [5, NETWORK_FACE_PX, 24, 60]


def settings(min_face_px=2 * NETWORK_FACE_PX):
    """Settings with this smallest face; the scale is 0.5 if none is given."""
    return DetectorSettings(min_face_px=min_face_px)


def plans():
    """Pictures of many sizes, the smallest wanted face, and their views."""
    rng = np.random.default_rng(0)
    sizes = [*SIZES, *((int(w), int(h)) for w, h in np.exp(rng.uniform(np.log(600), np.log(12000), (30, 2))))]
    return [(size, px, first_look(*size, settings(px))) for size in sizes for px in SMALLEST]


def random_boxes(size, least_px, most_px, rng, count=400):
    """Boxes (N, 4) inside a picture, their longer side from `least_px` to `most_px`; some lie at its corners."""
    longer = np.exp(rng.uniform(np.log(least_px), np.log(most_px), count))
    sides = np.stack([longer, longer * rng.uniform(0.6, 1, count)], axis=-1)
    sides[::2] = sides[::2, ::-1]
    sides = np.minimum(sides, size)
    top_left = rng.uniform(0, 1, (count, 2)) * (np.array(size) - sides)
    top_left[:4] = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (np.array(size) - sides[:4])
    return np.concatenate([top_left, top_left + sides], axis=-1)


def seen_whole(views, xyxy):
    """(V, N) bool: a view claims a box, and its region holds all of it."""
    claimed = np.array([is_claimed([view], np.zeros(len(xyxy), int), xyxy) for view in views])
    region = np.array([view.region for view in views])[:, None]
    return claimed & (xyxy[:, :2] >= region[..., :2]).all(-1) & (xyxy[:, 2:] <= region[..., 2:]).all(-1)


def test_the_smallest_wanted_face_arrives_at_the_size_that_the_network_finds():
    """The scale is the same for every picture that stays large enough; no picture is enlarged; --det-size sets the longest
    side instead."""
    for size in SIZES:
        assert scale_of(*size, settings(24)) == NETWORK_FACE_PX / 24
        small = size[0] // 10, size[1] // 10
        assert scale_of(*small, settings(24)) == min(1, max(LEAST_PX / max(small), NETWORK_FACE_PX / 24))
        assert scale_of(*size, settings(NETWORK_FACE_PX)) == scale_of(*size, settings(3)) == 1
        assert scale_of(*size, DetectorSettings(size_px=640)) == 640 / max(size)


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (640, 480), (1280, 720), (1920, 1080), (1080, 1920), (2560, 2560)])
def test_one_look_where_a_canvas_holds_the_picture(size):
    """Then it is the whole picture, at the scale of the smallest face or of the least size, and answers for everything."""
    [view] = first_look(*size, settings())
    assert view.region == (0, 0, *size) and view.turns == 0
    assert view.size == tuple(max(1, round(side * scale_of(*size, settings()))) for side in size)
    assert max(view.size) >= min(LEAST_PX, max(size))
    rng = np.random.default_rng(1)
    assert seen_whole([view], random_boxes(size, 0.5, max(size), rng)).all()


def test_a_given_size_is_one_look_at_any_size():
    """With --det-size even a panorama is one canvas, and small pictures are enlarged."""
    for size in (*SIZES, (64, 48)):
        [view] = first_look(*size, DetectorSettings(size_px=640))
        assert max(view.size) == max(view.canvas) == 640 and view.region == (0, 0, *size)


def test_views_lie_in_the_picture_and_fit_their_canvases():
    """Regions are inside the picture. The long side of a canvas is a multiple of the step, and little more than the region
    needs; the short side is one of four shares of it."""
    shapes = set()
    for (width, height), _, views in plans():
        for view in views:
            left, top, right, bottom = view.region
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            assert all(1 <= side <= canvas for side, canvas in zip(view.size, view.canvas[::-1], strict=True))
            assert max(view.canvas) % CANVAS_STEP_PX == 0 and max(view.canvas) - max(view.size) < CANVAS_STEP_PX
            most_px = MOST_TILE_PX if math.isfinite(view.claim.most_px) else MOST_CANVAS_PX
            assert max(view.canvas) <= most_px and min(view.canvas) % 32 == 0
            shapes.add(view.canvas)
        assert views[-1].region == (0, 0, width, height)
    assert len(shapes) <= 7 * MOST_TILE_PX // CANVAS_STEP_PX


def test_every_face_lies_whole_in_a_view_that_claims_it():
    """Faces of all sizes and places, at least as large as wanted, up to the whole picture. Every view that claims a face
    shows it at the size that the network finds, or larger."""
    rng = np.random.default_rng(2)
    for size, px, views in plans():
        faces = random_boxes(size, min(px, min(size)), max(size), rng)
        scales = np.array([view.size[0] / (view.region[2] - view.region[0]) for view in views])
        seen = seen_whole(views, faces)
        assert seen.any(axis=0).all(), (size, px)
        arrives = scales[:, None] * (faces[:, 2:] - faces[:, :2]).max(axis=1)
        wanted = (faces[:, 2:] - faces[:, :2]).max(axis=1) >= max(px, NETWORK_FACE_PX)
        assert (arrives[seen & wanted] >= 0.97 * NETWORK_FACE_PX).all()


def test_tiles_overlap_by_the_largest_face_that_they_have_to_find():
    """Neighbours share at least the overlap, which is larger than that face; the next coarser view finds faces from half
    that size on."""
    checked = 0
    assert TILE_FACE_PX < OVERLAP_PX
    for _, px, views in plans():
        scale = min(1.0, NETWORK_FACE_PX / px)
        tiles = [view for view in views if view.claim.least_px == 0 and math.isfinite(view.claim.most_px)]
        for low, high in ((0, 2), (1, 3)):
            spans = sorted({(tile.region[low], tile.region[high]) for tile in tiles})
            for (_, end), (start, _) in pairwise(spans):
                assert (end - start) * scale >= OVERLAP_PX
                checked += 1
        if tiles:
            coarser = min(view.claim.least_px for view in views if view not in tiles)
            assert (
                coarser == pytest.approx(NETWORK_FACE_PX * COARSER / scale) and 2 * coarser <= TILE_FACE_PX / scale + 1
            )
    assert checked > 100


def test_a_cut_face_is_never_claimed():
    """When an inner border cuts a face, the tile does not claim the part that it shows, even where the network lets the
    face end some pixels before the border."""
    rng = np.random.default_rng(3)
    num_cut = 0
    for size, px, views in plans():
        faces = random_boxes(size, min(px, min(size)), max(size), rng, 100)
        for view in views[:-1]:
            region = np.array(view.region)
            shown = np.concatenate([np.maximum(faces[:, :2], region[:2]), np.minimum(faces[:, 2:], region[2:])], axis=1)
            early = rng.uniform(0, MARGIN_PX, (len(faces), 4)) * (region[2] - region[0]) / view.size[0] * 0.99
            shown = np.where(shown != faces, shown + early * [1, 1, -1, -1], shown)
            cut = ((shown != faces).any(axis=1)) & (shown[:, :2] < shown[:, 2:]).all(axis=1)
            assert not is_claimed([view], np.zeros(cut.sum(), int), shown[cut]).any()
            num_cut += cut.sum()
    assert num_cut > 1000


def test_the_cost_of_a_picture():
    """Pixels of canvases: a 4K frame takes about its scaled size, and the coarser views add little to a huge picture."""

    def pixels(views):
        return sum(view.canvas[0] * view.canvas[1] for view in views)

    assert pixels(first_look(1280, 720, settings())) == 640 * 384
    assert pixels(first_look(1920, 1080, settings())) == 1024 * 576
    views = first_look(3840, 2160, settings())
    assert len(views) == 2 and pixels(views) < 1.1 * 1920 * 1080
    views = first_look(20000, 10000, settings())
    assert pixels(view for view in views if view.claim.least_px) < 0.1 * pixels(views)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_points_of_a_turned_view_come_back_to_the_picture(turns):
    """A pixel that is marked in a picture, scaled by whole numbers and turned by numpy, is mapped to where it was."""
    image = np.zeros((60, 100), np.uint8)
    image[17, 31] = 255
    view = next(view for view in [*second_look(100, 60, settings(3)), *first_look(100, 60, settings(3))]
                if view.turns == turns and view.size == (100, 60))  # fmt: skip
    [[y, x]] = np.argwhere(np.rot90(image, turns))
    corners = to_picture([view], np.array([0]), np.array([[[x, y], [x + 1, y + 1]]]))
    assert sorted(corners[0, :, 0]) == [31, 32] and sorted(corners[0, :, 1]) == [17, 18]


def test_points_of_a_view_come_back_to_the_picture():
    """The corners of what is painted are the corners of the region, for every view of a plan, and at a given size for
    lying, upright and tiny pictures."""
    views = [view for _, _, views in plans()[:40] for view in views]
    for size in ((1920, 1080), (1080, 1920), (33, 700), (1, 1)):
        views += first_look(*size, DetectorSettings(size_px=640))
    corners = np.array([[[0, 0], view.size] for view in views])
    found = to_picture(views, np.arange(len(views)), corners)
    np.testing.assert_allclose(found.reshape(-1, 4), [view.region for view in views], rtol=1e-6)


@pytest.mark.parametrize("size", [(64, 48), (880, 540), (1280, 720), (9000, 900)])
def test_a_second_look_is_cheap(size):
    """Half size, double size for small pictures only, and three turns on small canvases of the turned shape."""
    views = second_look(*size, settings())
    scale, longest = scale_of(*size, settings()), max(size)
    scales = [max(view.size) / longest for view in views]
    assert scales[0] == pytest.approx(min(scale / 2, HALF_MOST_PX / longest), abs=0.51 / longest)
    is_small = longest * scale * 2 <= DOUBLE_MOST_PX
    assert is_small == (size == (64, 48)) and len(views) == 4 + is_small
    if is_small:
        assert scales[1] == pytest.approx(2 * scale, abs=0.51 / longest)
    turned = views[-3:]
    assert [view.turns for view in turned] == [1, 2, 3]
    assert all(max(view.size) <= min(TURNED_MOST_PX, scale * longest + 1) for view in turned)
    assert turned[0].canvas == turned[2].canvas == turned[1].canvas[::-1]
