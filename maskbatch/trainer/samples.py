"""Pictures -> `Samples`: every labelled face with the boxes a scan may give it, cut out once and kept compressed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskbatch.classifier import cut_crop
from maskbatch.data import Faces
from maskbatch.trainer.cut import CutFaces, cut_faces
from maskbatch.trainer.cut_cache import CutCache
from maskbatch.trainer.dataset import Picture


@dataclass(frozen=True, slots=True)
class Samples:
    """N labelled faces.

    `region`: N JPEG files as bytes, each a face with its surroundings; `xyxy` (N, 2, 4) float32: the face's box in the
    region, as annotated and as detected (the same one twice where only one is known); `landmarks` (N, 5, 2) float32: the
    detected face's, in the region, NaN where none was detected; `label` (N,) int64; `size_px` (N,) float32: the face's
    size in the picture it comes from; `detected` (N,) bool; `annotated` (N,) bool: from a scene with annotated boxes,
    not from a class folder; `path`, `source`, `group`, `split`: (N,) str.
    """

    region: tuple[bytes, ...]
    xyxy: np.ndarray
    landmarks: np.ndarray
    label: np.ndarray
    size_px: np.ndarray
    detected: np.ndarray
    annotated: np.ndarray
    path: np.ndarray
    source: np.ndarray
    group: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.region)

    def take(self, keep: np.ndarray) -> "Samples":
        """The samples at `keep`: a boolean mask (N,) or an index array."""
        chosen = np.arange(len(self))[keep]
        arrays = [getattr(self, name)[chosen] for name in _ARRAYS]
        return Samples(tuple(self.region[i] for i in chosen), *arrays)

    def image(self, position: int) -> np.ndarray:
        """The region of one sample, (H, W, 3) uint8 RGB."""
        buffer = np.frombuffer(self.region[position], np.uint8)
        return cv2.cvtColor(cv2.imdecode(buffer, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def crop(self, position: int) -> np.ndarray:
        """What a scan's classifier would see of one sample: (224, 224, 3) uint8 RGB, cut by the detector's box."""
        return cut_crop(self.image(position), self.xyxy[position, 1])


_ARRAYS = ("xyxy", "landmarks", "label", "size_px", "detected", "annotated", "path", "source", "group", "split")


def load_samples(
    pictures: Sequence[Picture], detect: Callable[[list[np.ndarray]], Faces], cache: CutCache | None = None
) -> Samples:
    """Return the faces of `pictures`, found with `detect`; cut out once where there is a `cache`, which must name that
    very detector.

    Pictures that cannot be read are left out with a warning. Raises DatasetError when nothing is left.
    """
    if cache is None:
        return _with_pictures(cut_faces(pictures, detect), pictures)
    identity = cache.identity(pictures)
    faces = cache.load(identity)
    if faces is None:
        faces = cut_faces(pictures, detect)
        cache.save(faces, identity)
    return _with_pictures(faces, pictures)


def _with_pictures(faces: CutFaces, pictures: Sequence[Picture]) -> Samples:
    """Return the faces with what is known of their pictures."""
    own = [pictures[position] for position in faces.position]
    words = (
        np.array(column)
        for column in (
            [str(picture.path) for picture in own],
            [picture.source for picture in own],
            [picture.group for picture in own],
            [picture.split for picture in own],
        )
    )
    return Samples(
        faces.region, faces.xyxy, faces.landmarks, faces.label, faces.size_px, faces.detected, faces.annotated, *words
    )
