"""Open photos with Pillow, for the few kinds that OpenCV lacks or decodes wrongly."""

import io

from PIL import Image

from maskbatch.media.photo.exif import BROKEN
from maskbatch.media.photo.headers import image_size

# errors that Pillow's decoders raise for damaged photos
PILLOW_ERRORS = (OSError, SyntaxError, TypeError, KeyError, RuntimeError, Image.DecompressionBombError, *BROKEN)


def open_with_pillow(data: bytes, *formats: str) -> Image.Image:
    """Open the file content `data`, a photo in one of these formats, without decoding it.

    Raises one of `PILLOW_ERRORS`, even for a photo with so many pixels that Pillow would only warn.
    """
    width, height = image_size(data) or (0, 0)
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        raise ValueError("unknown size, or too large for Pillow")
    return Image.open(io.BytesIO(data), formats=formats)
