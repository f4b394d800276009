"""Annotated scenes -> what the detector learns from: every face with its box, landmarks, and how sure it is to be one."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskbatch import boxes
from maskbatch.data import Faces
from maskbatch.errors import DatasetError
from maskbatch.trainer.dataset import Picture
from maskbatch.trainer.reading import read_batches

# an annotated box and a detected one are the same face from this IoU on; annotators draw larger boxes than detectors
_MATCH_IOU = 0.4
# what the original network finds with this score where nobody drew a box is a face all the same
_SURE = 0.5
# two boxes in one place: a second opinion on the same face, no second face
_SAME_PLACE_IOU = 0.3
# larger pictures are kept at this size: scaled up for training they would show no more than the scan ever sees
_KEPT_PX = 960


@dataclass(frozen=True, slots=True)
class SceneFaces:
    """K faces of one picture, in its pixels.

    `xyxy` (K, 4) float32; `landmarks` (K, 5, 2) float32 x, y, NaN where unknown; `score` (K,) float32: 1 for an annotated
    face, the original network's score (under 1) for a face that only it found, 0 for a place where nothing is to be
    learnt: neither that there is a face nor that there is none. `peak` (K, 2) float32 x, y: where the heatmap should peak,
    the middle of the original network's box where it found the face, else of the annotated one. Annotators' boxes reach
    further down (of a face of 200 px the middle is 16 px lower): a peak that had to move would first have to fade.
    """

    xyxy: np.ndarray
    landmarks: np.ndarray
    score: np.ndarray
    peak: np.ndarray

    def __len__(self) -> int:
        return len(self.xyxy)

    def take(self, keep: np.ndarray) -> "SceneFaces":
        """The faces at `keep`: a boolean mask (K,) or an index array."""
        return SceneFaces(self.xyxy[keep], self.landmarks[keep], self.score[keep], self.peak[keep])

    def moved(self, scale: float, shift: Sequence[float]) -> "SceneFaces":
        """The faces scaled, then shifted by (x, y) pixels."""
        shift = np.asarray(shift, np.float32)
        xyxy, landmarks = self.xyxy * scale + np.tile(shift, 2), self.landmarks * scale + shift
        return SceneFaces(xyxy, landmarks, self.score, self.peak * scale + shift)

    @staticmethod
    def concatenate(parts: "Sequence[SceneFaces]") -> "SceneFaces":
        """The faces of all parts, in order."""
        return SceneFaces(*(np.concatenate([getattr(p, name) for p in parts]) for name in SceneFaces.__slots__))


@dataclass(frozen=True, slots=True)
class DetectorScene:
    """A picture, kept as the bytes of a JPEG file, and its faces."""

    jpeg: bytes
    faces: SceneFaces

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        buffer = np.frombuffer(self.jpeg, np.uint8)
        return cv2.cvtColor(cv2.imdecode(buffer, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def load_scenes(
    pictures: Sequence[Picture],
    detectors: Sequence[Callable[[list[np.ndarray]], Faces]],
    by_original: Collection[str] = (),
) -> list[DetectorScene]:
    """The scenes among `pictures`, with what the original network finds at each of its sizes (`detectors`).

    The boxes of sources in `by_original` are no targets: there the original network's own findings are learnt, and
    annotated places that it misses are left out of the loss. Raises DatasetError when no picture has boxes or such a
    source is unknown.
    """
    scenes = [picture for picture in pictures if picture.xyxy is not None]
    if not scenes:
        raise DatasetError("no picture has boxes: a detector learns from annotated scenes, not from class folders")
    unknown = set(by_original) - {picture.source for picture in pictures}
    if unknown:
        raise DatasetError(f"no picture comes from {sorted(unknown)[0]!r}, whose boxes are not to be learnt")
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
    """The annotated boxes (K, 4) with the landmarks of the finding on them, and after them what is found elsewhere."""
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
    """What the original network found, and as places to leave out the annotated boxes (K, 4) it found nothing in."""
    missed = annotated[~_centre_inside(found.xyxy, annotated).any(axis=0)].astype(np.float32)
    landmarks, score = np.full((len(missed), 5, 2), np.nan, np.float32), np.zeros(len(missed), np.float32)
    return SceneFaces.concatenate([_by_score(found), SceneFaces(missed, landmarks, score, _centre(missed))])


def _by_score(found: Faces) -> SceneFaces:
    """Findings as soft targets; the unsure ones as places to leave out."""
    score = np.where(found.score >= _SURE, np.minimum(found.score, 0.999), 0)
    return SceneFaces(found.xyxy, found.landmarks, score.astype(np.float32), _centre(found.xyxy))


def _centre(xyxy: np.ndarray) -> np.ndarray:
    """The middles (N, 2) of boxes (N, 4)."""
    return (xyxy[:, :2] + xyxy[:, 2:]) / 2


def _centre_inside(xyxy: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Whether the middle of each box (N, 4) lies in each box (M, 4) around: (N, M) bool."""
    centre = _centre(xyxy)[:, None]
    return ((centre >= around[None, :, :2]) & (centre <= around[None, :, 2:])).all(axis=-1)


def _found(detectors: Sequence[Callable[[list[np.ndarray]], Faces]], images: list[np.ndarray]) -> Faces:
    """Findings at all sizes, the best one of each face."""
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
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 96])
    return DetectorScene(jpeg.tobytes(), faces)
