"""The mask classifier: crops of faces from full-resolution frames -> p_mask. Training also uses `cut_crop`."""

from collections.abc import Sequence
from typing import NamedTuple

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
# weight of the classifier's log-odds of a face beside the detector's, and the limits of the former; both networks see the
# same pixels, so their evidence does not simply add up
_WEIGHT, _LEAST_ODDS, _MOST_ODDS = 0.15, -15.0, 4.0
_SMALLEST = 1e-7


class States(NamedTuple):
    """The outputs of a classifier for N crops, each (N,) float32, NaN where a model does not have the output.

    `p_mask` is the probability of a mask, `p_incorrect` that of a mask worn incorrectly, `p_face` that of a face at all.
    """

    p_mask: np.ndarray
    p_incorrect: np.ndarray
    p_face: np.ndarray


class Classifier:
    """The classifier. `run` maps crops (N, size_px, size_px, 3) uint8 RGB to one array (see `states`).

    With `confirms`, it also corrects the scores of faces (see `confirmed`): for photos, of which there is one look.
    """

    def __init__(self, run: Infer, size_px: int = CROP_PX, max_batch: int = 64, confirms: bool = False) -> None:
        self._run, self._size_px, self._max_batch, self._confirms = run, size_px, max_batch, confirms

    def __call__(self, images: Sequence[np.ndarray], faces: Faces) -> Faces:
        """Return the faces with `p_mask` and `p_incorrect`. `faces.row` indexes `images` (H, W, 3) uint8 RGB."""
        parts = []
        for start in range(0, len(faces), self._max_batch):
            chosen = range(start, min(start + self._max_batch, len(faces)))
            crops = np.stack([cut_crop(images[faces.row[i]], faces.xyxy[i], self._size_px) for i in chosen])
            parts.append(self._run(crops)[0])
        p_mask, p_incorrect, p_face = states(parts)
        score = confirmed(faces.score, p_face) if self._confirms else faces.score
        return faces.with_state(p_mask, p_incorrect, score)


def states(outputs: Sequence[np.ndarray]) -> States:
    """Return the states of N faces from a classifier's outputs (n, 1), (n, 2) or (n, 3), in the order of `States`."""
    joined = np.concatenate(outputs).astype(np.float32) if len(outputs) else np.empty((0, len(States._fields)))
    missing = np.full((len(joined), len(States._fields) - joined.shape[1]), np.nan)
    return States(*np.concatenate([joined, missing], axis=1).astype(np.float32).T)


def confirmed(score: np.ndarray, p_face: np.ndarray) -> np.ndarray:
    """Return the scores (N,) float32 of a detector, corrected by the classifier's `p_face` (N,); unchanged where NaN.

    The log-odds are added, those of the classifier with a small weight and within limits.

    Example:
        >>> confirmed(np.float32([0.75, 0.75, 0.75]), np.float32([0.99, 0.01, np.nan])).round(2).tolist()
        [0.85, 0.6, 0.75]
    """
    odds = np.clip(_log_odds(p_face), _LEAST_ODDS, _MOST_ODDS)
    corrected = 1 / (1 + np.exp(-_log_odds(score) - _WEIGHT * odds))
    return np.where(np.isnan(p_face), score, corrected).astype(np.float32)


def least_score(threshold: float) -> float:
    """Return the lowest score of a detector that `confirmed` may raise to `threshold`."""
    return float(1 / (1 + np.exp(_WEIGHT * _MOST_ODDS - _log_odds(threshold))))


def _log_odds(p: np.ndarray | float) -> np.ndarray:
    p = np.clip(np.asarray(p, np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(p / (1 - p))


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
