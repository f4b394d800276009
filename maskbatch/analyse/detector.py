"""The face detector: images -> `Faces`, in batches. Letterboxing, YuNet's decoding, and non-maximum suppression."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.geometry.resize import resize
from maskbatch.networks.device import Infer
from maskbatch.networks.yunet import BOX, CLASS, LANDMARKS, OBJECT, STRIDES
from maskbatch.settings import DetectorSettings
from maskbatch.types import Faces

# short side over long side of the canvases: 16:9, 3:2, 4:3 and square fit cameras' pictures with little padding
_ASPECTS = (Fraction(9, 16), Fraction(2, 3), Fraction(3, 4), Fraction(1))
# pixels of the canvases in one call of the network: 64 of 640 x 640, or one of 4096 x 4096
_MOST_CANVAS_PIXELS = 27_000_000
# candidates of an image that suppression gets; crowds have a thousand faces, and a threshold of 0 keeps every cell
MOST_PEAKS = 5000
# the log of a face's size in cells, beyond which an untrained network's numbers would overflow
_MOST_LOG_SIZE = 10.0


class Detector:
    """The detector of faces. `run` maps canvases (B, H, W, 3) uint8 RGB to YuNet's three maps."""

    def __init__(self, run: Infer, settings: DetectorSettings) -> None:
        self._run = run
        self._settings = settings

    def __call__(self, images: Sequence[np.ndarray]) -> Faces:
        """Return the faces of B images (H, W, 3) uint8 RGB of any sizes, by image, then descending score."""
        groups = defaultdict(list)
        for row, image in enumerate(images):
            height, width = image.shape[:2]
            groups[canvas_shape(width, height, self._settings.size_px)].append(row)
        found = [
            self._detect([images[row] for row in part], shape).in_rows(part)
            for shape, rows in groups.items()
            for part in _in_parts(rows, shape)
        ]
        return _Candidates.concatenate(found).faces() if found else Faces.empty()

    def _detect(self, images: list[np.ndarray], shape: tuple[int, int]) -> "_Candidates":
        canvases = np.zeros((len(images), *shape, 3), np.uint8)
        fits = [_fit(image, canvas, self._settings.size_px) for image, canvas in zip(images, canvases, strict=True)]
        found = decode(self._run(canvases), self._settings.threshold)
        found = found.take(boxes.nms(found.xyxy, found.score, found.row, self._settings.nms_iou))
        scale = np.array([(fit.scale_x, fit.scale_y) for fit in fits], np.float32)[found.row]
        size = np.array([image.shape[1::-1] for image in images], np.float32)[found.row]
        found.xyxy = boxes.clip(found.xyxy / np.tile(scale, 2), size[:, 0], size[:, 1])
        found.landmarks = found.landmarks / scale[:, None]
        return found.take(np.flatnonzero(boxes.area(found.xyxy) > 0))


def canvas_shape(width: int, height: int, size_px: int) -> tuple[int, int]:
    """Return (height, width) of the smallest canvas, in multiples of 32, that holds the image scaled to `size_px`.

    There are seven canvases: four aspect ratios, in portrait and landscape.
    """
    fit = boxes.letterbox(width, height, size_px)
    sides = (-(-int(size_px * aspect) // 32) * 32 for aspect in _ASPECTS)
    short = next(side for side in sides if side >= min(fit.width, fit.height))
    return (short, size_px) if width >= height else (size_px, short)


def _in_parts(rows: list[int], shape: tuple[int, int]) -> Iterator[list[int]]:
    """Yield the rows in groups whose canvases (height, width) and maps fit in memory."""
    most = max(1, _MOST_CANVAS_PIXELS // (shape[0] * shape[1]))
    return (rows[start : start + most] for start in range(0, len(rows), most))


def _fit(image: np.ndarray, canvas: np.ndarray, size_px: int) -> boxes.Letterbox:
    """Scale an image into the top left corner of its canvas, in place."""
    height, width = image.shape[:2]
    fit = boxes.letterbox(width, height, size_px)
    resize(image, (fit.width, fit.height), canvas[: fit.height, : fit.width])
    return fit


class _Candidates:
    """Boxes with score and landmarks, flat over a batch; `row` (N,) says which image each is in."""

    def __init__(self, row: np.ndarray, xyxy: np.ndarray, score: np.ndarray, landmarks: np.ndarray) -> None:
        self.row, self.xyxy, self.score, self.landmarks = row, xyxy, score, landmarks

    def take(self, keep: np.ndarray) -> "_Candidates":
        return _Candidates(self.row[keep], self.xyxy[keep], self.score[keep], self.landmarks[keep])

    def in_rows(self, rows: list[int]) -> "_Candidates":
        """Return the same candidates with image numbers of the whole batch: `rows[number]` for each number."""
        return _Candidates(np.array(rows, np.int64)[self.row], self.xyxy, self.score, self.landmarks)

    def faces(self) -> Faces:
        order = np.lexsort((-self.score, self.row))
        return Faces(self.row[order], self.xyxy[order], self.score[order], self.landmarks[order])

    @staticmethod
    def concatenate(parts: "list[_Candidates]") -> "_Candidates":
        fields = ("row", "xyxy", "score", "landmarks")
        return _Candidates(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def decode(maps: list[np.ndarray], threshold: float) -> _Candidates:
    """Return candidates in canvas pixels, before suppression, from YuNet's three maps (B, h, w, 16).

    Follows `FaceDetectorYN` of OpenCV. A cell's score is the root of its two probabilities' product. Its face is centred at
    (cell + offset) * stride and has the size exp(scale) * stride; landmarks are (cell + offset) * stride, too. The 5,000
    best cells of an image count.
    """
    return _best(
        _Candidates.concatenate([_decode_level(*level, threshold) for level in zip(maps, STRIDES, strict=True)])
    )


def _decode_level(cells: np.ndarray, stride: int, threshold: float) -> _Candidates:
    """Return the candidates of one map (B, h, w, 16)."""
    score = np.sqrt(cells[..., CLASS] * cells[..., OBJECT])
    row, y, x = np.nonzero(score >= threshold)
    found, corner = cells[row, y, x], np.stack([x, y], axis=-1).astype(np.float32)
    box, points = found[:, BOX], found[:, LANDMARKS].reshape(-1, 5, 2)
    centre, half = (corner + box[:, :2]) * stride, np.exp(np.minimum(box[:, 2:], _MOST_LOG_SIZE)) * (stride / 2)
    xyxy = np.concatenate([centre - half, centre + half], axis=-1)
    return _Candidates(row.astype(np.int64), xyxy, score[row, y, x], (corner[:, None] + points) * stride)


def _best(found: _Candidates) -> _Candidates:
    """Return the best candidates of each image; among equal ones, those of the finer map and the upper ones."""
    counts = np.bincount(found.row)
    if counts.max(initial=0) <= MOST_PEAKS:
        return found
    order = np.lexsort((-found.score, found.row))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found.take(np.sort(order[rank < MOST_PEAKS]))
