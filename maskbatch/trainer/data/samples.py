"""Pictures -> `Samples`: every labelled face with the boxes a scan may give it, cut out once and kept compressed."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskbatch.analyse.classifier import CROP_PX, MARGIN, cut_crop
from maskbatch.errors import DatasetError, DecodeError
from maskbatch.geometry import boxes
from maskbatch.media.decode import open_source
from maskbatch.settings import SamplingSettings
from maskbatch.trainer.data.dataset import Picture
from maskbatch.types import Faces, Source

log = logging.getLogger(__name__)

# around the face in a kept region: the crop's own margin, and room for jitter, turning and shifting
_REGION_MARGIN = 0.75
# a kept face is never larger than it can get in a crop, so nothing is lost by shrinking it
_FACE_PX = round(CROP_PX / (1 + 2 * MARGIN)) + 10
_MATCH_IOU = 0.4
_BATCH = 16
# of what is kept in the cache; another one when samples are made in another way
_VERSION = 2
# the longest shape a picture of a class folder may have and still be taken for a face crop where no face is found
_MAX_CROP_ASPECT = 1.5


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
    pictures: Sequence[Picture], detect: Callable[[list[np.ndarray]], Faces], cache: Path | None = None
) -> Samples:
    """The faces of `pictures`, found with `detect`; kept in the folder `cache` for the next run on the same pictures.

    Pictures that cannot be read are left out with a warning. Raises DatasetError when nothing is left.
    """
    kept = cache and cache / f"samples-{_VERSION}-{fingerprint(pictures)[:16]}.npz"
    if kept and kept.is_file():
        return _load(kept)
    rows = []
    for batch in read_batches(pictures):
        faces = detect([image for _, image in batch])
        for row, (picture, image) in enumerate(batch):
            rows += _picture_samples(picture, image, faces.take(faces.row == row))
    if not rows:
        raise DatasetError("no labelled face could be read from the dataset")
    region, *columns = zip(*rows, strict=True)
    samples = Samples(region, *(np.array(column) for column in columns))
    if kept:
        cache.mkdir(parents=True, exist_ok=True)
        _save(samples, kept)
    return samples


def fingerprint(pictures: Iterable[Picture]) -> str:
    """SHA-256 over names, sizes, labels and splits: tells one dataset from another."""
    digest = hashlib.sha256()
    for picture in pictures:
        shape = "" if picture.xyxy is None else picture.xyxy.tobytes().hex()
        size = picture.path.stat().st_size
        digest.update(f"{picture.path.name}|{size}|{shape}|{picture.label.tolist()}|{picture.split}\n".encode())
    return digest.hexdigest()


def read_batches(pictures: Sequence[Picture]) -> Iterable[list[tuple[Picture, np.ndarray]]]:
    """The pictures with their pixels (H, W, 3) uint8 RGB, some at a time, the unreadable ones left out."""
    for start in range(0, len(pictures), _BATCH):
        yield [(picture, image) for picture in pictures[start : start + _BATCH] for image in _read(picture)]


def _read(picture: Picture) -> Iterable[np.ndarray]:
    """The picture as RGB uint8, or nothing (and a warning) where it cannot be read."""
    try:
        with open_source(Source(0, picture.path, picture.path.name, "image"), SamplingSettings()) as frames:
            for _, _, image in frames:
                yield image
    except DecodeError as error:
        log.warning("%s is left out or read in part: %s", picture.path, error)


def _picture_samples(picture: Picture, image: np.ndarray, faces: Faces) -> Iterable[tuple]:
    """One row of `Samples` for each labelled face; `faces` are the detector's, in this picture."""
    annotated = _whole_picture(image, faces.xyxy) if picture.xyxy is None else picture.xyxy
    for xyxy, label in zip(annotated, picture.label, strict=False):
        if label < 0 or boxes.area(xyxy) <= 0:
            continue
        matched = _match(xyxy, faces.xyxy)
        pair = np.stack([xyxy, xyxy if matched is None else faces.xyxy[matched]])
        points = np.full((5, 2), np.nan, np.float32) if matched is None else faces.landmarks[matched]
        region, pair, points = _cut_region(image, pair, points)
        size_px = np.float32(boxes.size_px(pair[1] if picture.xyxy is None else xyxy))
        yield (
            region, pair, points, label, size_px, matched is not None, picture.xyxy is not None, str(picture.path),
            picture.source, picture.group, picture.split,
        )  # fmt: skip


def _whole_picture(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Box (1, 4) of the one face of a class folder's picture: the largest found, or the picture itself where it is a face
    crop; else (0, 4)."""
    if len(found):
        return found[[boxes.area(found).argmax()]]
    height, width = image.shape[:2]
    if max(width, height) > _MAX_CROP_ASPECT * min(width, height):
        return np.empty((0, 4), np.float32)
    half = min(width, height) / (1 + 2 * MARGIN) / 2
    box = [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half]
    return np.array([box], np.float32)


def _match(xyxy: np.ndarray, found: np.ndarray) -> int | None:
    """Which of the detector's boxes (M, 4) an annotated face is: the best overlap, or the largest box inside it (where
    boxes go around the whole head)."""
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
    """The surroundings of both boxes (2, 4) as a JPEG, and the boxes and landmarks (5, 2) in its pixels."""
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
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 97])
    moved_points = (points - (left, top)) * factor
    return jpeg.tobytes(), moved.astype(np.float32), moved_points.astype(np.float32)


def _save(samples: Samples, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    lengths = np.array([len(region) for region in samples.region])
    with open(partial, "wb") as file:
        joined = np.frombuffer(b"".join(samples.region), np.uint8)
        np.savez(file, joined=joined, lengths=lengths, **{name: getattr(samples, name) for name in _ARRAYS})
    partial.replace(path)


def _load(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as kept:
        joined, ends = kept["joined"].tobytes(), np.cumsum(kept["lengths"])
        starts = ends - kept["lengths"]
        regions = tuple(joined[start:end] for start, end in zip(starts, ends, strict=True))
        return Samples(regions, *(kept[name] for name in _ARRAYS))
