"""Annotated scenes as training targets of the detector: faces with box, landmarks and score."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskbatch.errors import DatasetError
from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.jpeg import decode_jpeg, encode_jpeg
from maskbatch.trainer.data.reading import read_batches
from maskbatch.types import Faces

# minimum IoU of an annotated and a detected box of the same face; annotators draw larger boxes than detectors
_MATCH_IOU = 0.4
# minimum score at which a finding of the original network without an annotated box counts as a face
_SURE = 0.5
# boxes that overlap more than this belong to the same face
_SAME_PLACE_IOU = 0.3
# larger pictures are shrunk to this size, which is more than a scan ever looks at
_KEPT_PX = 960


@dataclass(frozen=True, slots=True)
class SceneFaces:
    """K faces of one picture, in its pixels.

    `xyxy` (K, 4) is float32; `landmarks` (K, 5, 2) float32 x, y, NaN where unknown. `score` (K,) float32 is 1 for an
    annotated face, and the original network's score (under 1) for a face that only the network found. A score of 0 marks a
    place that is left out of the loss. `peak` (K, 2) float32 x, y is the target of the heatmap's peak: the middle of the
    original network's box where it found the face, else of the annotated box. Annotators' boxes reach further down: the
    middle of a face of 200 px is 16 px lower. A peak that had to move would first have to fade.
    """

    xyxy: np.ndarray
    landmarks: np.ndarray
    score: np.ndarray
    peak: np.ndarray

    def __len__(self) -> int:
        return len(self.xyxy)

    def take(self, keep: np.ndarray) -> "SceneFaces":
        """Return the faces at `keep`: a boolean mask (K,) or an index array."""
        return SceneFaces(self.xyxy[keep], self.landmarks[keep], self.score[keep], self.peak[keep])

    def moved(self, scale: float, shift: Sequence[float]) -> "SceneFaces":
        """Return the faces scaled, then shifted by (x, y) pixels."""
        shift = np.asarray(shift, np.float32)
        xyxy, landmarks = self.xyxy * scale + np.tile(shift, 2), self.landmarks * scale + shift
        return SceneFaces(xyxy, landmarks, self.score, self.peak * scale + shift)

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


def load_scenes(
    pictures: Sequence[Picture],
    detectors: Sequence[Callable[[list[np.ndarray]], Faces]],
    by_original: Collection[str] = (),
) -> list[DetectorScene]:
    """Return the scenes among `pictures`, with the findings of the original network at each of its sizes.

    Args:
        pictures: Pictures of scenes and of class folders; the latter are left out.
        detectors: The original network, once for each size.
        by_original: Sources on which the network's own findings are learnt instead of the boxes. Annotated places that
            the network misses are left out of the loss.

    Raises:
        DatasetError: No picture has boxes, or a source in `by_original` is unknown.
    """
    scenes = [picture for picture in pictures if picture.xyxy is not None]
    if not scenes:
        raise DatasetError("no picture has boxes: a detector learns from annotated scenes, not from class folders")
    unknown = set(by_original) - {picture.source for picture in pictures}
    if unknown:
        raise DatasetError(f"no picture comes from {sorted(unknown)[0]!r}, a source whose boxes are to be left out")
    result = []
    for batch in read_batches(scenes):
        images = [image for _, image in batch]
        found = _found(detectors, images)
        for row, (picture, image) in enumerate(batch):
            own = found.take(found.row == row)
            trusted = picture.source not in by_original
            faces = known_faces(picture.xyxy, own) if trusted else faces_by_original(picture.xyxy, own)
            result.append(_kept(image, faces))
    return result


def known_faces(annotated: np.ndarray, found: Faces) -> SceneFaces:
    """Return the annotated boxes (K, 4) with the landmarks of their findings, then the findings elsewhere."""
    annotated = annotated[boxes.area(annotated) > 0]
    overlap = boxes.iou(annotated, found.xyxy)
    landmarks, peak = np.full((len(annotated), 5, 2), np.nan, np.float32), _centre(annotated).astype(np.float32)
    if overlap.size:
        matched = overlap.max(axis=1) >= _MATCH_IOU
        theirs = overlap.argmax(axis=1)[matched]
        landmarks[matched], peak[matched] = found.landmarks[theirs], _centre(found.xyxy[theirs])
    known = SceneFaces(annotated.astype(np.float32), landmarks, np.ones(len(annotated), np.float32), peak)
    elsewhere = (overlap.max(axis=0, initial=0) < _SAME_PLACE_IOU) & ~_centre_inside(found.xyxy, annotated).any(axis=1)
    return SceneFaces.concatenate([known, _by_score(found.take(elsewhere))])


def faces_by_original(annotated: np.ndarray, found: Faces) -> SceneFaces:
    """Return the findings, then the annotated boxes (K, 4) without a finding as places to leave out."""
    missed = annotated[~_centre_inside(found.xyxy, annotated).any(axis=0)].astype(np.float32)
    landmarks, score = np.full((len(missed), 5, 2), np.nan, np.float32), np.zeros(len(missed), np.float32)
    return SceneFaces.concatenate([_by_score(found), SceneFaces(missed, landmarks, score, _centre(missed))])


def _by_score(found: Faces) -> SceneFaces:
    """Return findings as soft targets, and uncertain findings as places to leave out."""
    score = np.where(found.score >= _SURE, np.minimum(found.score, 0.999), 0)
    return SceneFaces(found.xyxy, found.landmarks, score.astype(np.float32), _centre(found.xyxy))


def _centre(xyxy: np.ndarray) -> np.ndarray:
    """Return the middles (N, 2) of boxes (N, 4)."""
    return (xyxy[:, :2] + xyxy[:, 2:]) / 2


def _centre_inside(xyxy: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Return (N, M) bool: True where the middle of a box (N, 4) lies in a box (M, 4) around it."""
    centre = _centre(xyxy)[:, None]
    return ((centre >= around[None, :, :2]) & (centre <= around[None, :, 2:])).all(axis=-1)


def _found(detectors: Sequence[Callable[[list[np.ndarray]], Faces]], images: list[np.ndarray]) -> Faces:
    """Return the findings at all sizes, the best one of each face."""
    parts = [detect(images) for detect in detectors]
    row, xyxy, score, landmarks = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "xyxy", "score", "landmarks")
    )
    keep = boxes.nms(xyxy, score, row, _SAME_PLACE_IOU)
    return Faces(row[keep], xyxy[keep], score[keep], landmarks[keep])


def _kept(image: np.ndarray, faces: SceneFaces) -> DetectorScene:
    scale = min(1.0, _KEPT_PX / max(image.shape[:2]))
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image, faces = cv2.resize(image, size, interpolation=cv2.INTER_AREA), faces.moved(scale, (0, 0))
    return DetectorScene(encode_jpeg(image, quality=96), faces)
