"""Labelled faces with the source, group and split of their pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from maskbatch.analyse.classifier import CROP_PX, cut_crop
from maskbatch.trainer.data.cut import CutFaces, cut_faces
from maskbatch.trainer.data.cut_cache import CutCache
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.jpeg import decode_jpeg
from maskbatch.types import Faces


@dataclass(frozen=True, slots=True)
class Samples(CutFaces):
    """N labelled faces; `path`, `source`, `group` and `split` (N,) str are those of their pictures."""

    path: np.ndarray
    source: np.ndarray
    group: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.region)

    def take(self, keep: np.ndarray) -> "Samples":
        """Return the samples at `keep`: a boolean mask (N,) or an index array."""
        chosen = np.arange(len(self))[keep]
        arrays = (getattr(self, field.name)[chosen] for field in fields(self)[1:])
        return Samples(tuple(self.region[i] for i in chosen), *arrays)

    def image(self, position: int) -> np.ndarray:
        """Return the region of one sample, (H, W, 3) uint8 RGB."""
        return decode_jpeg(self.region[position])

    def crop(self, position: int, size_px: int = CROP_PX) -> np.ndarray:
        """Return the classifier's input for one sample, (size_px, size_px, 3) uint8 RGB, cut by the detector's box."""
        return cut_crop(self.image(position), self.xyxy[position, 1], size_px)


def load_samples(
    pictures: Sequence[Picture], detect: Callable[[list[np.ndarray]], Faces], cache: CutCache | None = None
) -> Samples:
    """Return the faces of `pictures`, found with `detect`. A `cache`, which must name that detector, keeps them.

    Pictures that cannot be read are left out with a warning. Raises DatasetError when nothing is left.
    """
    identity = cache and cache.identity(pictures)
    faces = cache and cache.load(identity)
    if faces is None:
        faces = cut_faces(pictures, detect)
        if cache:
            cache.save(faces, identity)
    own = [pictures[position] for position in faces.position]
    words = [(str(picture.path), picture.source, picture.group, picture.split) for picture in own]
    cut = (getattr(faces, field.name) for field in fields(faces))
    return Samples(*cut, *(np.array(column) for column in zip(*words, strict=True)))
