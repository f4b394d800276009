"""A scene to train the detector with: a picture, and its faces.

The module needs NumPy and OpenCV only: `models/train_detector_gpu.py` cuts views on a machine without the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskbatch.trainer.data.jpeg import decode_jpeg


@dataclass(frozen=True, slots=True)
class SceneFaces:
    """K faces of one picture, in its pixels.

    `xyxy` (K, 4) is float32; `landmarks` (K, 5, 2) float32 x, y, NaN if unknown. `score` (K,) float32 is 1 for an
    annotated face, and the original network's score (below 1) for a face that only the network found. A score of 0
    marks a place that is left out of the loss. `sized` (K,) bool is False if the box gives the place of a face, but not
    its size.
    """

    xyxy: np.ndarray
    landmarks: np.ndarray
    score: np.ndarray
    sized: np.ndarray

    def __len__(self) -> int:
        return len(self.xyxy)

    def take(self, keep: np.ndarray) -> "SceneFaces":
        """Return the faces at `keep`: a boolean mask (K,) or an index array."""
        return SceneFaces(self.xyxy[keep], self.landmarks[keep], self.score[keep], self.sized[keep])

    def moved(self, scale: float, shift: Sequence[float]) -> "SceneFaces":
        """Return the faces scaled, then shifted by (x, y) pixels."""
        shift = np.asarray(shift, np.float32)
        xyxy, landmarks = self.xyxy * scale + np.tile(shift, 2), self.landmarks * scale + shift
        return SceneFaces(xyxy, landmarks, self.score, self.sized)

    @staticmethod
    def concatenate(parts: "Sequence[SceneFaces]") -> "SceneFaces":
        """Return the faces of all parts, in order."""
        return SceneFaces(*(np.concatenate([getattr(p, name) for p in parts]) for name in SceneFaces.__slots__))


@dataclass(frozen=True, slots=True)
class DetectorScene:
    """A picture, kept as the bytes of a JPEG file, and its faces."""

    jpeg: bytes
    faces: SceneFaces

    def image(self) -> np.ndarray:
        """Return the picture, (H, W, 3) uint8 RGB."""
        return decode_jpeg(self.jpeg)
