"""The mask classifier: crops of faces from full-resolution frames -> p_mask. Training also uses `cut_crop`."""

from collections.abc import Sequence

import cv2
import numpy as np

from maskbatch.geometry import boxes
from maskbatch.geometry.resize import resize
from maskbatch.networks.device import Infer
from maskbatch.types import Faces

# default size of crops; a model may take smaller crops
CROP_PX = 224
# margin on each side, as a share of the face's longer side: hair, chin and straps distinguish a mask from a scarf
MARGIN = 0.25


class Classifier:
    """The classifier. `run` maps crops (N, size_px, size_px, 3) uint8 RGB to one array (see `states`)."""

    def __init__(self, run: Infer, size_px: int = CROP_PX, max_batch: int = 64) -> None:
        self._run, self._size_px, self._max_batch = run, size_px, max_batch

    def __call__(self, images: Sequence[np.ndarray], faces: Faces) -> Faces:
        """Return the faces with `p_mask` and `p_incorrect`. `faces.row` indexes `images` (H, W, 3) uint8 RGB."""
        parts = []
        for start in range(0, len(faces), self._max_batch):
            chosen = range(start, min(start + self._max_batch, len(faces)))
            crops = np.stack([cut_crop(images[faces.row[i]], faces.xyxy[i], self._size_px) for i in chosen])
            parts.append(self._run(crops)[0])
        return faces.with_state(*states(parts))


def states(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return p_mask and p_incorrect, each (N,) float32, from a classifier's outputs (n, 1) or (n, 2) for N faces.

    p_incorrect is the probability that a mask is worn incorrectly; NaN for a model without that output.
    """
    joined = np.concatenate(outputs).astype(np.float32) if len(outputs) else np.empty((0, 2), np.float32)
    known = joined.shape[1] > 1
    return joined[:, 0], joined[:, 1] if known else np.full(len(joined), np.nan, np.float32)


def cut_crop(image: np.ndarray, xyxy: np.ndarray, size_px: int = CROP_PX) -> np.ndarray:
    """Return the square around one face (4,), with margin, as (size_px, size_px, 3) uint8.

    Outside the image, the crop repeats the image's edge, so that a face at the border keeps its proportions.
    """
    left, top, right, bottom = np.round(boxes.square(xyxy, MARGIN)).astype(int)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    height, width = image.shape[:2]
    region = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    border = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(border):
        region = cv2.copyMakeBorder(region, *border, cv2.BORDER_REPLICATE)
    return resize(region, (size_px, size_px))
