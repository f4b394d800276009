"""Opening of photos with Pillow, for the few kinds that OpenCV lacks or decodes wrongly."""

import io

from PIL import Image

from maskbatch.media.photo.exif import BROKEN
from maskbatch.media.photo.headers import image_size

# errors that Pillow's decoders raise for damaged photos
PILLOW_ERRORS = (OSError, SyntaxError, TypeError, KeyError, RuntimeError, Image.DecompressionBombError, *BROKEN)


def open_with_pillow(data: bytes, *formats: str) -> Image.Image:
    """Open the photo in `data`, the bytes of a file of one of these formats, without decoding it.

    Raises one of `PILLOW_ERRORS`, also for a photo with so many pixels that Pillow would warn.
    """
    width, height = image_size(data) or (0, 0)
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        raise ValueError("unknown size, or too large for Pillow")
    return Image.open(io.BytesIO(data), formats=formats)
