"""Opens photos with Pillow, for the few kinds that OpenCV does not know or gets wrong."""

import io

from PIL import Image

from maskbatch.media.exif import BROKEN
from maskbatch.media.headers import image_size

# what Pillow's decoders raise for damaged photos
PILLOW_ERRORS = (OSError, SyntaxError, TypeError, KeyError, RuntimeError, Image.DecompressionBombError, *BROKEN)


def open_with_pillow(data: bytes, *formats: str) -> Image.Image:
    """Return the photo in `data` (the bytes of a file of one of these formats), not decoded yet.

    Raises one of `PILLOW_ERRORS`: also for photos of so many pixels that Pillow would warn of them.
    """
    width, height = image_size(data) or (0, 0)
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        raise ValueError("of unknown size, or too large for Pillow")
    return Image.open(io.BytesIO(data), formats=formats)
