"""Plan the views of a picture: the parts, scales and turns in which the detector searches for faces.

The scale follows from the smallest wanted face, not from the picture. At this scale, the network would miss large faces
in a large picture. Such a picture is searched in overlapping tiles, often a single tile, and then in coarser views up to
a view of the whole picture. The overlap is wide enough for every face that a tile must find; coarser views find larger
faces. A box that the inner border of a tile may have cut is therefore never needed, and is dropped.
"""

import math
from fractions import Fraction
from itertools import product

from maskbatch.analyse.views import Claim, View
from maskbatch.settings import DetectorSettings

# longer side in pixels of the smallest face that the network finds well: the smallest wanted face is scaled to this size
NETWORK_FACE_PX = 11
# minimum longest side in pixels of a shrunk picture: small pictures cost little, and have small faces
LEAST_PX = 640
# maximum side in pixels of a canvas in which the network finds faces of every size: a larger picture is cut into tiles
MOST_CANVAS_PX = 1280
# maximum side in pixels of a tile's canvas. Large tiles have less overlap, which is searched twice, and leave less of the
# canvases empty: 4000 x 3000 pixels take 11 % less time than in tiles of 1280
MOST_TILE_PX = 1920
# factor between the scales of the tiles and the next view, and of any two successive views
COARSER = 4
# longer side in pixels of the largest face that a tile must find: twice the smallest face of the next coarser view
TILE_FACE_PX = 2 * COARSER * NETWORK_FACE_PX
# maximum error in pixels of the network: distance of a cut face's box from the border, or of a whole face's centre
MARGIN_PX = 8
OVERLAP_PX = TILE_FACE_PX + 4 * MARGIN_PX
# step in pixels of the canvases' long sides: networks are compiled for each shape, so there must be few shapes
CANVAS_STEP_PX = 128
# minimum score of faces in a second look, because most pictures without a found face have no face
SECOND_LOOK_SCORE = 0.7
# maximum sides in pixels of the second look's views: at half size, at double size (omitted if larger), and turned
HALF_MOST_PX, DOUBLE_MOST_PX, TURNED_MOST_PX = 640, 896, 384

# aspect ratios of canvases, short side over long side: pictures of cameras are 16:9, 3:2, 4:3 or square
_ASPECTS = (Fraction(9, 16), Fraction(2, 3), Fraction(3, 4), Fraction(1))
_EVERY_FACE = Claim()


def scale_of(width: int, height: int, settings: DetectorSettings) -> float:
    """Return the scale of the first look at a picture.

    Args:
        width, height: size of the picture in pixels.
        settings: the smallest wanted face, or the size that replaces it.

    Returns:
        Pixels of the network's input per pixel of the picture; more than 1 only if `size_px` is larger than the picture.

    Example:
        >>> scale_of(3840, 2160, DetectorSettings(min_face_px=2 * NETWORK_FACE_PX))
        0.5
    """
    if settings.size_px is not None:
        return settings.size_px / max(width, height)
    return min(1.0, max(NETWORK_FACE_PX / settings.min_face_px, LEAST_PX / max(width, height)))


def first_look(width: int, height: int, settings: DetectorSettings) -> list[View]:
    """Plan the views of a picture: a single view if it fits into a canvas, else tiles and coarser views.

    Args:
        width, height: size of the picture in pixels.
        settings: the smallest wanted face, or the size that replaces it.

    Returns:
        The views, from fine to coarse. The last view is of the whole picture.

    Example:
        >>> [view.size for view in first_look(1920, 1080, DetectorSettings(min_face_px=2 * NETWORK_FACE_PX))]
        [(960, 540)]
        >>> len(first_look(7680, 2160, DetectorSettings(min_face_px=2 * NETWORK_FACE_PX)))  # three tiles, one coarser view
        4
    """
    scale = scale_of(width, height, settings)
    if settings.size_px is not None:
        return [_whole(width, height, scale, canvas_shape(width, height, settings.size_px))]
    views, least_px = [], 0.0
    while max(width, height) > MOST_CANVAS_PX / scale:
        views += _tiles(width, height, scale, least_px)
        scale /= COARSER
        least_px = NETWORK_FACE_PX / scale
    return [*views, _whole(width, height, scale, claim=Claim(least_px))]


def second_look(width: int, height: int, settings: DetectorSettings) -> list[View]:
    """Plan the views of a picture in which the first look found nothing.

    Args:
        width, height: size of the picture in pixels.
        settings: the settings of the first look.

    Returns:
        Views of the whole picture: at half size, for faces that fill the picture; at double size if the picture is
        small; and turned by 90, 180 and 270 degrees on a small canvas.

    Example:
        >>> [view.turns for view in second_look(400, 300, DetectorSettings())]
        [0, 0, 1, 2, 3]
    """
    scale, longest = scale_of(width, height, settings), max(width, height)
    views = [_whole(width, height, min(scale / 2, HALF_MOST_PX / longest))]
    if 2 * scale * longest <= DOUBLE_MOST_PX:
        views.append(_whole(width, height, 2 * scale))
    upright = _whole(width, height, min(scale, TURNED_MOST_PX / longest))
    portrait = upright.canvas[::-1]
    turned = ((1, portrait), (2, upright.canvas), (3, portrait))
    return views + [View(upright.region, upright.size, canvas, turns) for turns, canvas in turned]


def canvas_shape(width: int, height: int, size_px: int) -> tuple[int, int]:
    """Return (height, width) of the smallest canvas, in multiples of 32, that holds the image scaled to `size_px`.

    Args:
        width, height: size of the image in pixels.
        size_px: longest side of the canvas, a multiple of 32.

    Returns:
        One of seven shapes: four aspect ratios, in portrait and landscape.

    Example:
        >>> canvas_shape(1920, 1080, 640)
        (384, 640)
    """
    return _canvas(_scaled(width, height, size_px / max(width, height)), size_px)


def _whole(
    width: int, height: int, scale: float, canvas: tuple[int, int] | None = None, claim: Claim = _EVERY_FACE
) -> View:
    size = _scaled(width, height, scale)
    return View((0, 0, width, height), size, canvas or _canvas(size), claim=claim)


def _tiles(width: int, height: int, scale: float, least_px: float) -> list[View]:
    """Return tiles of equal size that cover the picture, row by row."""
    overlap, most = math.ceil(OVERLAP_PX / scale), math.floor(MOST_TILE_PX / scale)
    views = []
    for (top, bottom), (left, right) in product(_spans(height, most, overlap), _spans(width, most, overlap)):
        size = _scaled(right - left, bottom - top, scale)
        borders = (left or -math.inf, top or -math.inf, right if right < width else math.inf,
                   bottom if bottom < height else math.inf)  # fmt: skip
        claim = Claim(least_px, TILE_FACE_PX / scale, borders, (TILE_FACE_PX / 2 + MARGIN_PX) / scale)
        views.append(View((left, top, right, bottom), size, _canvas(size), claim=claim))
    return views


def _spans(side: int, most: int, overlap: int) -> list[tuple[int, int]]:
    """Return the fewest equal spans of at most `most` pixels that cover a side and overlap by `overlap` or more."""
    if side <= most:
        return [(0, side)]
    count = -(-(side - overlap) // (most - overlap))
    length = -(-(side + (count - 1) * overlap) // count)
    starts = [number * (side - length) // (count - 1) for number in range(count)]
    return [(start, start + length) for start in starts]


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _canvas(size: tuple[int, int], longest: int | None = None) -> tuple[int, int]:
    """Return (height, width) of the smallest canvas for a scaled (width, height): few lengths, four aspect ratios."""
    width, height = size
    longest = longest or -(-max(size) // CANVAS_STEP_PX) * CANVAS_STEP_PX
    sides = (-(-int(longest * aspect) // 32) * 32 for aspect in _ASPECTS)
    side = next(side for side in sides if side >= min(size))
    return (side, longest) if width >= height else (longest, side)
