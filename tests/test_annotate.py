import av
import numpy as np
import pytest
from fakes import fake_faces

from maskbatch.drawing.annotate import annotate, draw_clock, draw_faces
from maskbatch.drawing.canvas import PlanesCanvas, RgbCanvas
from maskbatch.settings import Thresholds
from maskbatch.types import Faces

BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


def grey(width, height, value=128):
    return np.full((height, width, 3), value, np.uint8)


def count(image, colour):
    return int((image == colour).all(axis=2).sum())


def test_the_image_given_stays_as_it_is():
    """Drawing happens in a copy, also when there is nothing to draw."""
    image = grey(200, 150)
    drawn = annotate(image, fake_faces([0], [[50, 50, 90, 100]], [0.9]), Thresholds())
    assert (image == 128).all() and not (drawn == 128).all()
    empty = annotate(image, Faces.empty(), Thresholds())
    assert (empty == image).all() and not np.shares_memory(empty, image)


def test_read_only_and_sliced_images_are_fine():
    """An image that is a read-only view with gaps in memory is drawn on like any other."""
    image = grey(400, 300)[::2, ::2]
    image.flags.writeable = False
    assert annotate(image, fake_faces([0], [[50, 50, 90, 100]], [0.9]), Thresholds()).shape == (150, 200, 3)


@pytest.mark.parametrize(("p_mask", "colour"), [(0.9, BLUE), (0.5, BLUE), (0.4999, ORANGE), (0.1, ORANGE)])
def test_the_colour_tells_the_label(p_mask, colour):
    """with_mask, from the threshold on, is blue, without_mask orange; never both."""
    drawn = annotate(grey(200, 150), fake_faces([0], [[50, 50, 90, 100]], [p_mask]), Thresholds())
    other = ORANGE if colour == BLUE else BLUE
    assert count(drawn, colour) > 100 and count(drawn, other) == 0


def test_the_threshold_decides():
    """The same face changes its label with the threshold."""
    faces = fake_faces([0], [[50, 50, 90, 100]], [0.6])
    assert count(annotate(grey(200, 150), faces, Thresholds(0.7)), BLUE) == 0
    assert count(annotate(grey(200, 150), faces, Thresholds(0.6)), ORANGE) == 0


@pytest.mark.parametrize("size", [(100, 75), (640, 480), (4000, 3000)])
@pytest.mark.parametrize("background", [0, 128, 255, BLUE, ORANGE])
def test_a_box_differs_from_any_background(size, background):
    """Along the line from the face outwards at least one stroke has a brightness far from the background's."""
    image = np.empty((size[1], size[0], 3), np.uint8)
    image[:] = background
    left, right = size[0] * 0.4, size[0] * 0.6
    drawn = annotate(image, fake_faces([0], [[left, left * 0.75, right, right * 0.75]], [0.9]), Thresholds())
    line = drawn[size[1] // 2, : size[0] // 2].astype(float).mean(axis=1)
    assert np.abs(line - np.mean(background)).max() > 75


def test_the_face_itself_stays_visible():
    """Lines run outside the box: nothing inside it is painted over, where the image has room for them."""
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    drawn = annotate(image, fake_faces([0], [[150, 100, 220, 190]], [0.9]), Thresholds())
    assert (drawn[100:190, 150:220] == image[100:190, 150:220]).all()


@pytest.mark.parametrize(
    "xyxy", [[-20, -20, 30, 40], [80, 50, 130, 120], [0, 0, 100, 75], [-50, -50, 200, 200], [98, 73, 99, 74]]
)
def test_boxes_at_the_edge_keep_their_lines(xyxy):
    """A face that is cut by the image's border, or fills the image, still gets a box that can be seen."""
    assert count(annotate(grey(100, 75), fake_faces([0], [xyxy], [0.9]), Thresholds()), BLUE) > 4


@pytest.mark.parametrize("xyxy", [[-60, -60, -20, -20], [300, 300, 350, 350], [5, 5, 5, 5], [np.nan] * 4])
def test_impossible_boxes_do_no_harm(xyxy):
    """Boxes outside the image, without area, or not a number do not raise."""
    assert annotate(grey(100, 75), fake_faces([0], [xyxy], [0.9]), Thresholds()).shape == (75, 100, 3)


def test_tiny_images_do_no_harm():
    """An image of one pixel is annotated like any other."""
    assert annotate(grey(1, 1), fake_faces([0], [[0, 0, 1, 1]], [0.9]), Thresholds()).shape == (1, 1, 3)


def test_a_face_without_p_mask_has_a_box_and_no_percentage():
    """A p_mask that is NaN does not raise."""
    assert count(annotate(grey(200, 150), fake_faces([0], [[50, 50, 90, 100]]), Thresholds()), ORANGE) > 50


def test_labels_cover_no_other_face():
    """In a crowd, what is drawn for the whole of it leaves every face's inner part as it was."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    xyxy = [[x, y, x + 22, y + 28] for y in range(40, 440, 44) for x in range(20, 610, 36)]
    drawn = annotate(image, fake_faces([0] * len(xyxy), xyxy, np.linspace(0, 1, len(xyxy))), Thresholds())
    for left, top, right, bottom in xyxy:
        assert (drawn[top:bottom, left:right] == image[top:bottom, left:right]).all()


def test_a_lone_small_face_has_a_full_label():
    """Where there is room, even a face of 12 pixels is labelled: much more is painted than its box."""
    drawn = annotate(grey(640, 480), fake_faces([0], [[300, 200, 312, 215]], [0.9]), Thresholds())
    assert count(drawn, BLUE) > 400


def test_labels_grow_with_the_image():
    """Scaled down to the same size, a label of a large image covers about as much as one of a small image."""
    shares = []
    for scale in (1, 4):
        box = [scale * v for v in (300, 200, 360, 280)]
        drawn = annotate(grey(640 * scale, 480 * scale), fake_faces([0], [box], [0.9]), Thresholds())
        shares.append((drawn != 128).any(axis=2).mean())
    assert 0.6 < shares[1] / shares[0] < 1.2


def test_labels_of_a_video_begin_with_the_number_of_the_track():
    """With numbers the label is wider; without, a picture is the same whatever the track is."""
    faces = fake_faces([0], [[150, 100, 220, 190]], [0.9]).with_track_id(np.array([12]))
    plain, numbered = (annotate(grey(400, 300), faces, Thresholds(), with_numbers=yes) for yes in (False, True))
    assert count(numbered, BLUE) > count(plain, BLUE)
    other = faces.with_track_id(np.array([7]))
    assert (annotate(grey(400, 300), other, Thresholds()) == plain).all()


def test_the_clock_stands_in_the_lower_left_corner():
    """White on black, inside the picture, also in a tiny one."""
    for size in ((400, 300), (20, 10)):
        drawn = grey(*size)
        draw_clock(RgbCanvas(drawn), "2026-11-20 22:00:00+01:00")
        assert (drawn[-2, 1] == 0).all()
    drawn = grey(400, 300)
    draw_clock(RgbCanvas(drawn), "2026-11-20 22:00:00+01:00")
    changed = np.argwhere((drawn != 128).any(axis=2))
    assert changed[:, 0].min() > 270 and changed[:, 1].max() < 200


def planes_of(image):
    """The planes of a picture, by FFmpeg's own conversion."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1).to_ndarray()


@pytest.mark.parametrize("shift", [0, 1])
def test_drawing_into_planes_is_that_into_rgb(shift):
    """Luma is that of the RGB drawing; chroma too, where the four pixels of a cell have one colour; the rest stays."""
    image = np.full((300, 400, 3), (90, 120, 150), np.uint8)
    xyxy = np.array([[40, 60, 120, 160], [200, 90, 232, 131], [300, 200, 312, 215]]) + shift
    faces = fake_faces([0] * 3, xyxy, [0.9, 0.2, 0.7])
    planes, drawn = planes_of(image), image.copy()
    for canvas in (PlanesCanvas(planes), RgbCanvas(drawn)):
        draw_faces(canvas, faces, Thresholds(), with_numbers=True)
        draw_clock(canvas, "2026-11-20 22:00:00+01:00")
    expected, cells = planes_of(drawn), drawn.reshape(150, 2, 200, 2, 3)
    assert np.abs(planes[:300].astype(int) - expected[:300]).max() <= 2
    is_even = (cells == cells[:, :1, :, :1]).all((1, 3, 4))
    gap = np.abs(planes[300:].reshape(2, 150, 200).astype(int) - expected[300:].reshape(2, 150, 200))
    # a coloured line gives its colour to the cells that it is in, also where it shares them
    assert (gap[:, is_even] > 3).mean() < 0.02 and gap.mean() < 1
    assert (planes[: 30 + shift] == planes_of(image)[: 30 + shift]).all()


@pytest.mark.parametrize(
    "xyxy", [[-30, -30, 8, 8], [90, 60, 140, 100], [0, 0, 100, 76], [50, 30, 50, 30], [3, 3, 5, 5]]
)
def test_planes_take_faces_at_and_beyond_the_edge(xyxy):
    """A box at the edge, beyond it, over all of it, or of no size is drawn inside."""
    planes = planes_of(grey(100, 76))
    draw_faces(PlanesCanvas(planes), fake_faces([0], [xyxy], [0.9]), Thresholds())
    assert planes.shape == (114, 100) and (planes[:76] < 30).any()
    tiny = planes_of(grey(4, 2))
    draw_clock(PlanesCanvas(tiny), "2026-11-20 22:00:00+01:00")
    assert (tiny[:2] < 126).any()


def test_a_line_of_one_pixel_keeps_its_colour_in_planes():
    """A small face's coloured frame is one pixel wide; wherever it lies, its chroma is that of its label."""
    for left in (50, 51):
        planes = planes_of(grey(200, 150))
        draw_faces(PlanesCanvas(planes), fake_faces([0], [[left, 50, left + 12, 62]], [0.9]), Thresholds())
        blue = planes[150:].reshape(2, 75, 100)[0, 20:35, 22:34]  # the first plane of chroma, around the box
        assert (blue > 150).sum() >= 12
