"""The whole chain on annotated scenes: the truth of each picture, and what a scan finds in it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.reading import read_batches
from maskbatch.types import Faces

# annotators draw larger boxes than detectors: at 0.5, a correct box often counts as wrong
END_TO_END_IOU = 0.4
# maximum ratio of the areas of a finding and of an ignored place around its middle
_ALIKE = 3.0
# threshold of the detector for a precision-recall curve, lower than that of a scan
CURVE_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class Scene:
    """The truth and the findings of one picture.

    The truth is `xyxy` (K, 4) and `label` (K,). Masks worn incorrectly belong to neither class of p_mask, and count
    neither as right nor as wrong. The findings are `found` (N, 4), `score` (N,) and `p_mask` (N,).
    """

    xyxy: np.ndarray
    label: np.ndarray
    found: np.ndarray
    score: np.ndarray
    p_mask: np.ndarray


def analyse_scenes(
    pictures: Sequence[Picture],
    detect: Callable[[list[np.ndarray]], Faces],
    classify: Callable[[list[np.ndarray], Faces], Faces],
) -> Iterator[Scene]:
    """Yield the truth and the findings of each readable scene. For a complete curve, `detect` needs a low threshold.

    Findings in ignored places are left out, unless they hit an annotated box.
    """
    scenes = [picture for picture in pictures if picture.xyxy is not None]
    for batch in read_batches(scenes):
        images = [image for _, image in batch]
        faces = classify(images, detect(images))
        for row, (picture, _) in enumerate(batch):
            own = faces.take(faces.row == row)
            own = own.take(~_is_ignored(own.xyxy, picture))
            yield Scene(picture.xyxy, picture.label, own.xyxy, own.score, own.p_mask)


def _is_ignored(found: np.ndarray, picture: Picture) -> np.ndarray:
    """Return (N,) bool: the findings (N, 4) that lie in an ignored place and hit no annotated box."""
    hits_box = boxes.iou(found, picture.xyxy).max(axis=1, initial=0) >= END_TO_END_IOU
    centre = boxes.centre(found[:, None])
    inside = ((centre >= picture.ignored[None, :, :2]) & (centre <= picture.ignored[None, :, 2:])).all(axis=-1)
    area, place = boxes.area(found)[:, None], np.maximum(boxes.area(picture.ignored), 1)
    alike = inside & (area <= _ALIKE * place) & (place <= _ALIKE * area)
    return (alike | (boxes.iou(found, picture.ignored) >= END_TO_END_IOU)).any(axis=1) & ~hits_box
