"""The view of a photo: the crop, rotation and mirroring of its stored picture for display."""

import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from maskbatch.media.orientation import Orientation
from maskbatch.media.photo.chunks import JPEG, PNG, is_heif, is_webp
from maskbatch.media.photo.exif import BROKEN, find_exif
from maskbatch.media.photo.heif import Heif
from maskbatch.media.photo.tiff import Tiff

_ORIENTATION = 274
# orientations by their numbers in EXIF
_BY_NUMBER = {
    1: Orientation(), 2: Orientation(False, True), 3: Orientation(False, True, True), 4: Orientation(False, False, True),
    5: Orientation(True), 6: Orientation(True, True), 7: Orientation(True, True, True), 8: Orientation(True, False, True),
}  # fmt: skip
# EXIF's numbers for 0 to 3 quarter turns to the left, then for the same turns followed by a swap of left and right
_TURNED, _TURNED_AND_MIRRORED = (1, 8, 3, 6), (2, 7, 4, 5)


class View(NamedTuple):
    """The shown part of a stored picture, (left, top, right, bottom) in pixels or None for all, and its orientation."""

    orientation: Orientation = Orientation()
    crop: tuple[int, int, int, int] | None = None

    def seen(self, image: np.ndarray) -> np.ndarray:
        """Return the stored `image` (H, W, 3) as it is shown. A crop that exceeds the picture is ignored."""
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if 0 <= left < right <= image.shape[1] and 0 <= top < bottom <= image.shape[0]:
                image = np.ascontiguousarray(image[top:bottom, left:right])
        return self.orientation.upright(image)


def view_of(data: bytes) -> View:
    """Return the view that is still to be applied to the decoded photo of the file content `data`.

    JPEG, PNG and WebP are turned by their EXIF data, AVIF is turned and cropped by its boxes. The decoders of TIFF and
    HEIC turn the picture themselves. Never raises: a damaged orientation counts as upright.
    """
    try:
        if is_heif(data):
            return _of_heif(Heif(data))
        if data.startswith((JPEG, PNG)) or is_webp(data):
            tiff = Tiff(find_exif(data))
            return View(_BY_NUMBER.get(tiff.number(tiff.fields(tiff.first()), _ORIENTATION), Orientation()))
    except BROKEN:
        pass
    return View()


def _of_heif(heif: Heif) -> View:
    """Return the view by the boxes of a HEIF file, applied in the standard's order: clean aperture, turn, mirror."""
    found = dict(heif.properties(heif.primary))
    turns, mirror = found.get(b"irot", b"\0")[0], found.get(b"imir")
    number = _TURNED[turns & 3]
    # mirror 1 swaps left and right; 0 swaps top and bottom, which equals half a turn and then a swap of left and right
    if mirror is not None:
        number = _TURNED_AND_MIRRORED[turns + (0 if mirror[0] & 1 else 2) & 3]
    return View(_BY_NUMBER[number], _clean_aperture(found.get(b"ispe", b""), found.get(b"clap", b"")))


def _clean_aperture(size: bytes, aperture: bytes) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of the shown part from its size and centre, which are fractions."""
    if not size or not aperture:
        return None
    width, height = struct.unpack_from(">II", size, 4)
    numbers = struct.unpack(">IIIIiIiI", aperture[:32])
    try:
        shown_width, shown_height, right_by, down_by = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    except ZeroDivisionError:
        return None
    left, top = (width - shown_width) / 2 + right_by, (height - shown_height) / 2 + down_by
    return round(left), round(top), round(left + shown_width), round(top + shown_height)
