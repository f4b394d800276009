"""Pictures kept in memory as JPEG files."""

import cv2
import numpy as np


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return an image (H, W, 3) uint8 RGB as a JPEG file."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return jpeg.tobytes()


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """Return the image (H, W, 3) uint8 RGB of a JPEG file."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
