"""Compress a training face (H, W, 3) uint8 RGB like a recording does, and decode it again."""

from fractions import Fraction

import cv2
import numpy as np


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG at quality 20 to 95, on a random 8-pixel grid as if cut from a larger frame."""
    top, left = rng.integers(0, 8, 2)
    framed = cv2.copyMakeBorder(image, int(top), 0, int(left), 0, cv2.BORDER_REPLICATE)
    _, jpeg = cv2.imencode(".jpg", framed, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 96))])
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[top:, left:]


def film(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress as one frame of H.264 at a constant rate factor of 20 to 40, with halved colour and smoothed blocks."""
    import av  # imported late, because training with `recorded_webp` does not need PyAV

    height, width = image.shape[:2]
    # yuv420p needs even sides
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(rng.integers(20, 41)), "preset": "ultrafast", "tune": "zerolatency"}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(even, format="rgb24")), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return frames[0].to_ndarray(format="rgb24")[:height, :width]


def webp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress as WebP at quality 2 to 60: one frame of VP8, which predicts and smooths blocks like H.264."""
    _, file = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(2, 61))])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)
