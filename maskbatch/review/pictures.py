"""Pictures for a reviewer: a face with its surroundings, or a whole frame, from the input and without labels."""

import cv2
import numpy as np

from maskbatch.errors import DecodeError
from maskbatch.media.decode import open_source
from maskbatch.media.video.still import frame_at
from maskbatch.review.items import Item
from maskbatch.settings import SamplingSettings
from maskbatch.sinks.crops import cut
from maskbatch.types import Source

_MARGIN, _MOST_PX, _QUALITY = 0.6, 1600, 88


def whole_jpeg(item: Item) -> bytes | str:
    """Return the whole photo or frame as a JPEG of at most 1600 pixels a side, or the reason why it cannot be read."""
    image = _image(item)
    return image if isinstance(image, str) else _encoded(image)


def crop_jpeg(item: Item) -> bytes | str:
    """Return head and shoulders as a JPEG, for scans without evidence. Return the whole frame for a moment."""
    image = _image(item)
    if isinstance(image, str) or item.box is None:
        return image if isinstance(image, str) else _encoded(image)
    crop = cut(image, np.array(item.box), _MARGIN)
    return _encoded(crop) if crop.size else "the face lies outside the picture"


def _image(item: Item) -> np.ndarray | str:
    try:
        if item.kind == "video":
            return frame_at(item.path, item.time_s)
        with open_source(Source(0, item.path, item.name, "image"), SamplingSettings()) as reader:
            return next(iter(reader)).image
    except (DecodeError, OSError) as error:
        return f"the file cannot be read now: {error}"


def _encoded(image: np.ndarray) -> bytes:
    scale = _MOST_PX / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
