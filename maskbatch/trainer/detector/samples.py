"""Annotated scenes as training targets of the detector: faces with box, landmarks and score."""

from collections.abc import Callable, Collection, Sequence

import cv2
import numpy as np

from maskbatch.errors import DatasetError
from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.jpeg import encode_jpeg
from maskbatch.trainer.data.reading import read_batches
from maskbatch.trainer.detector.scene import DetectorScene, SceneFaces
from maskbatch.types import Faces

# minimum IoU of an annotated and a detected box of the same face; annotators draw larger boxes than detectors
_MATCH_IOU = 0.4
# minimum score for a finding of the original network without an annotated box to count as a face
_SURE = 0.5
# boxes that overlap more than this belong to the same face
_SAME_PLACE_IOU = 0.3
# ratio of the side of a face to the side of a box around the head
_FACE_OF_HEAD = 0.75
# larger pictures are shrunk to this size, which is more than a scan uses
_KEPT_PX = 960
# of a picture of one person, smaller ones are left out, and larger ones shrunk
_PORTRAIT_PX = (160, 512)


def load_scenes(
    pictures: Sequence[Picture],
    detectors: Sequence[Callable[[list[np.ndarray]], Faces]],
    loose: Collection[str] = (),
) -> list[DetectorScene]:
    """Return the annotated scenes with the original network's findings in them.

    Args:
        pictures: Pictures of scenes; those without boxes are left out.
        detectors: The original network at different sizes.
        loose: Sources whose boxes give the place of a face, but not its size, such as boxes around a whole head. The
            finding in such a box gives the size; without a finding, only the place is learnt.

    Raises:
        DatasetError: No picture has boxes, or a source in `loose` is unknown.
    """
    scenes = [picture for picture in pictures if picture.xyxy is not None]
    if not scenes:
        raise DatasetError("no picture has boxes: a detector learns from annotated scenes, not from class folders")
    unknown = set(loose) - {picture.source for picture in pictures}
    if unknown:
        raise DatasetError(f"no picture comes from {sorted(unknown)[0]!r}, a source whose boxes are loose")
    result = []
    for batch in read_batches(scenes):
        images = [image for _, image in batch]
        found = _found(detectors, images)
        for row, (picture, image) in enumerate(batch):
            own = found.take(found.row == row)
            result.append(_kept(image, known_faces(picture.xyxy, own, picture.source in loose)))
    return result


def load_portraits(
    pictures: Sequence[Picture],
    original: Sequence[Callable[[list[np.ndarray]], Faces]],
    tuned: Sequence[Callable[[list[np.ndarray]], Faces]],
) -> list[DetectorScene]:
    """Return pictures of one person each, without boxes, as scenes.

    The largest face that either network finds for sure is taken as annotated: it is known that somebody is there. All
    else comes from the original network, as in annotated scenes. Pictures without a sure face are left out.

    Args:
        pictures: Pictures of class folders.
        original: The original network at different sizes.
        tuned: A fine-tuned network at different sizes, which finds faces that the original misses.
    """
    result = []
    for batch in read_batches(pictures):
        images = [image for _, image in batch if max(image.shape[:2]) >= _PORTRAIT_PX[0]]
        found, better = (_found(detectors, images) if images else Faces.empty() for detectors in (original, tuned))
        for row, image in enumerate(images):
            own, theirs = found.take(found.row == row), better.take(better.row == row)
            main = _main_face(own, theirs)
            if len(main):
                result.append(_kept(image, known_faces(main, own), _PORTRAIT_PX[1]))
    return result


def _main_face(own: Faces, theirs: Faces) -> np.ndarray:
    """Return the box (0 or 1, 4) of the largest sure face, as the original network (`own`) has it where it is sure."""
    own, theirs = (found.xyxy[found.score >= _SURE] for found in (own, theirs))
    theirs = theirs[boxes.iou(theirs, own).max(axis=1, initial=0) < _MATCH_IOU]
    both = np.concatenate([own, theirs])
    return both[np.argsort(-boxes.area(both), kind="stable")[:1]]


def known_faces(annotated: np.ndarray, found: Faces, loose: bool = False) -> SceneFaces:
    """Return the annotated boxes (K, 4) with the landmarks of their findings, then the findings elsewhere.

    A `loose` box is replaced by the best finding whose middle lies in it; without such a finding, its size is unknown.
    """
    annotated = annotated[boxes.area(annotated) > 0].astype(np.float32)
    landmarks, sized = np.full((len(annotated), 5, 2), np.nan, np.float32), np.full(len(annotated), not loose)
    inside = _centre_inside(found.xyxy, annotated)
    overlap = boxes.iou(annotated, found.xyxy)
    match = (inside.T * (found.score + overlap)) if loose else np.where(overlap >= _MATCH_IOU, overlap, 0)
    if match.size:
        matched, theirs = match.max(axis=1) > 0, match.argmax(axis=1)
        landmarks[matched] = found.landmarks[theirs[matched]]
        if loose:
            annotated[matched], sized[matched] = found.xyxy[theirs[matched]], True
            annotated[~matched] = _shrunk(annotated[~matched])
    elif loose:
        annotated = _shrunk(annotated)
    known = SceneFaces(annotated, landmarks, np.ones(len(annotated), np.float32), sized)
    elsewhere = (overlap.max(axis=0, initial=0) < _SAME_PLACE_IOU) & ~inside.any(axis=1)
    return SceneFaces.concatenate([known, _by_score(found.take(elsewhere))])


def _by_score(found: Faces) -> SceneFaces:
    """Return findings as soft targets, and uncertain findings as places to leave out."""
    score = np.where(found.score >= _SURE, np.minimum(found.score, 0.999), 0)
    return SceneFaces(found.xyxy, found.landmarks, score.astype(np.float32), np.ones(len(found), bool))


def _shrunk(xyxy: np.ndarray) -> np.ndarray:
    """Shrink boxes (N, 4) around whole heads to about the size of their faces."""
    half = (xyxy[:, 2:] - xyxy[:, :2]) / 2 * _FACE_OF_HEAD
    return np.concatenate([boxes.centre(xyxy) - half, boxes.centre(xyxy) + half], axis=1).astype(np.float32)


def _centre_inside(xyxy: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Return (N, M) bool: True where the middle of a box (N, 4) lies in a box (M, 4) around it."""
    centre = boxes.centre(xyxy)[:, None]
    return ((centre >= around[None, :, :2]) & (centre <= around[None, :, 2:])).all(axis=-1)


def _found(detectors: Sequence[Callable[[list[np.ndarray]], Faces]], images: list[np.ndarray]) -> Faces:
    """Return the findings at all sizes, the best one of each face."""
    parts = [detect(images) for detect in detectors]
    row, xyxy, score, landmarks = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "xyxy", "score", "landmarks")
    )
    keep = boxes.nms(xyxy, score, row, _SAME_PLACE_IOU)
    return Faces(row[keep], xyxy[keep], score[keep], landmarks[keep])


def _kept(image: np.ndarray, faces: SceneFaces, size_px: int = _KEPT_PX) -> DetectorScene:
    scale = min(1.0, size_px / max(image.shape[:2]))
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image, faces = cv2.resize(image, size, interpolation=cv2.INTER_AREA), faces.moved(scale, (0, 0))
    return DetectorScene(encode_jpeg(image, quality=96), faces)
