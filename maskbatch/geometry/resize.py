"""Scales pictures for the networks."""

import cv2
import numpy as np


def resize(image: np.ndarray, size: tuple[int, int], dst: np.ndarray | None = None) -> np.ndarray:
    """`image` (H, W, 3) uint8 as one of `size` (width, height), written into `dst` when that is given.

    A side is halved, by the mean of pairs, while it is twice as long or longer, and the rest is bilinear, as mipmaps do
    (Williams 1983): nothing aliases, in a fifth of the time that OpenCV's INTER_AREA takes when the factor is no whole
    number. Of an odd side, the last pixel is left out of its half.
    """
    width, height = size
    while (across := image.shape[1] >= 2 * width) | (down := image.shape[0] >= 2 * height):
        columns, rows = image.shape[1] // (1 + across), image.shape[0] // (1 + down)
        even = image[: rows * (1 + down), : columns * (1 + across)]
        image = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, dst=dst, interpolation=cv2.INTER_LINEAR)
