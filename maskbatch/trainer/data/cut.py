"""Cut every labelled face out of its picture, with the box that a scan would find."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskbatch.analyse.classifier import CROP_PX, MARGIN
from maskbatch.errors import DatasetError
from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.jpeg import encode_jpeg
from maskbatch.trainer.data.reading import read_batches
from maskbatch.types import Faces

# margin around the face in a kept region: the crop's own margin, and room for jitter, rotation and shifts
_REGION_MARGIN = 0.75
# a crop of the largest size never shows a larger face, so shrinking to this size loses nothing, for any model
_FACE_PX = round(CROP_PX / (1 + 2 * MARGIN)) + 10
_MATCH_IOU = 0.4
# a picture of a class folder in which no face is found is a face crop unless one side is this much longer
_MAX_CROP_ASPECT = 1.5


@dataclass(frozen=True, slots=True)
class CutFaces:
    """N labelled faces.

    Attributes:
        region: N JPEG files as bytes, each a face with its surroundings.
        xyxy: (N, 2, 4) float32, annotated and detected box of the face in the region; both are equal if only one is
            known.
        landmarks: (N, 5, 2) float32, landmarks of the detected face in the region; NaN for an undetected face.
        label: (N,) int64, index of `STATES`.
        size_px: (N,) float32, size of the face in its picture.
        detected: (N,) bool, the detector found the face.
        annotated: (N,) bool, True for a face in a scene with boxes, False for a face of a class folder.
        position: (N,) int64, index of the face's picture among the given pictures.
    """

    region: tuple[bytes, ...]
    xyxy: np.ndarray
    landmarks: np.ndarray
    label: np.ndarray
    size_px: np.ndarray
    detected: np.ndarray
    annotated: np.ndarray
    position: np.ndarray


def cut_faces(pictures: Sequence[Picture], detect: Callable[[list[np.ndarray]], Faces]) -> CutFaces:
    """Return the labelled faces of `pictures`; `detect` adds the detector's boxes.

    Pictures that cannot be read are left out with a warning. Raises DatasetError when nothing is left.
    """
    position = {picture.path: number for number, picture in enumerate(pictures)}
    rows = []
    for batch in read_batches(pictures):
        faces = detect([image for _, image in batch])
        for row, (picture, image) in enumerate(batch):
            cut = _picture_faces(picture, image, faces.take(faces.row == row))
            rows += [(*one, position[picture.path]) for one in cut]
    if not rows:
        raise DatasetError("no labelled face could be read from the dataset")
    region, *columns = zip(*rows, strict=True)
    return CutFaces(region, *(np.array(column) for column in columns))


def _picture_faces(picture: Picture, image: np.ndarray, faces: Faces) -> Iterable[tuple]:
    """Yield all fields of each labelled face except `position`; `faces` are the detected faces in this picture."""
    annotated = _whole_picture(image, faces.xyxy) if picture.xyxy is None else picture.xyxy
    for xyxy, label in zip(annotated, picture.label, strict=False):
        if boxes.area(xyxy) <= 0:
            continue
        matched = _match(xyxy, faces.xyxy)
        pair = np.stack([xyxy, xyxy if matched is None else faces.xyxy[matched]])
        points = np.full((5, 2), np.nan, np.float32) if matched is None else faces.landmarks[matched]
        region, pair, points = _cut_region(image, pair, points)
        size_px = np.float32(boxes.size_px(pair[1] if picture.xyxy is None else xyxy))
        yield region, pair, points, label, size_px, matched is not None, picture.xyxy is not None


def _whole_picture(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the box (1, 4) of the face in a picture of a class folder, or (0, 4).

    This is the largest detected box. If no face is detected in a face crop, the box follows from the size of the crop.
    """
    if len(found):
        return found[[boxes.area(found).argmax()]]
    height, width = image.shape[:2]
    if max(width, height) > _MAX_CROP_ASPECT * min(width, height):
        return np.empty((0, 4), np.float32)
    half = min(width, height) / (1 + 2 * MARGIN) / 2
    box = [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half]
    return np.array([box], np.float32)


def _match(xyxy: np.ndarray, found: np.ndarray) -> int | None:
    """Return the index of the detected box (M, 4) that belongs to an annotated face, None if there is none.

    This is the box with the best overlap, or the largest box inside, for annotations that enclose the whole head.
    """
    if not len(found):
        return None
    overlap = boxes.iou(xyxy[None], found)[0]
    if overlap.max() >= _MATCH_IOU:
        return int(overlap.argmax())
    inner = boxes.clip(found - np.tile(xyxy[:2], 2), *(xyxy[2:] - xyxy[:2]))
    inside = boxes.area(inner) / np.maximum(boxes.area(found), 1)
    candidates = np.where(inside > 0.9, boxes.area(found), 0)
    return int(candidates.argmax()) if candidates.max() > 0.15 * boxes.area(xyxy) else None


def _cut_region(image: np.ndarray, pair: np.ndarray, points: np.ndarray) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return the surroundings of both boxes (2, 4) as a JPEG, and the boxes and landmarks (5, 2) in its pixels."""
    around = np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)])
    left, top, right, bottom = np.round(boxes.square(around, _REGION_MARGIN)).astype(int)
    height, width = image.shape[:2]
    left, top = np.clip(left, 0, width - 1), np.clip(top, 0, height - 1)
    region = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = min(1.0, _FACE_PX / max((pair[1, 2:] - pair[1, :2]).max(), 1))
    size = (max(1, round(region.shape[1] * scale)), max(1, round(region.shape[0] * scale)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA) if scale < 1 else region
    factor = np.array([size[0] / region.shape[1], size[1] / region.shape[0]])
    moved = (pair - np.tile([left, top], 2)) * np.tile(factor, 2)
    moved_points = (points - (left, top)) * factor
    return encode_jpeg(small, quality=97), moved.astype(np.float32), moved_points.astype(np.float32)
