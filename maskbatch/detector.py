"""The face detector: images -> `Faces`, batched. Letterboxing, CenterFace's decoding, and non-maximum suppression."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from maskbatch import boxes
from maskbatch.centerface import STRIDE
from maskbatch.config import DetectorSettings
from maskbatch.data import Faces
from maskbatch.resize import resize
from maskbatch.runtime import Run

# short side over long side of the canvases: 16:9, 3:2, 4:3 and square cover what cameras make with little padding
_ASPECTS = (Fraction(9, 16), Fraction(2, 3), Fraction(3, 4), Fraction(1))
# canvases that go through the network at once: 64 of 640 x 640, one of 4096 x 4096
_MOST_CANVAS_PIXELS = 27_000_000
# the best peaks of an image that suppression sees; crowds have a thousand faces, a threshold of 0 finds a million peaks
MOST_PEAKS = 5000


class Detector:
    """Finds faces. `run` maps canvases (B, H, W, 3) uint8 RGB to CenterFace's heatmap, scale, offset and landmarks."""

    def __init__(self, run: Run, settings: DetectorSettings) -> None:
        self._run = run
        self._settings = settings

    def __call__(self, images: Sequence[np.ndarray]) -> Faces:
        """Faces of B images (H, W, 3) uint8 RGB of any sizes, by image, then descending score."""
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
    """(height, width) of the smallest fixed canvas, multiples of 32, that holds the image scaled to `size_px`.

    Seven canvases in all: four aspect ratios, upright and lying.
    """
    fit = boxes.letterbox(width, height, size_px)
    sides = (-(-int(size_px * aspect) // 32) * 32 for aspect in _ASPECTS)
    short = next(side for side in sides if side >= min(fit.width, fit.height))
    return (short, size_px) if width >= height else (size_px, short)


def _in_parts(rows: list[int], shape: tuple[int, int]) -> Iterator[list[int]]:
    """Return the rows, as many at a time as there is memory for their canvases (height, width) and maps."""
    most = max(1, _MOST_CANVAS_PIXELS // (shape[0] * shape[1]))
    return (rows[start : start + most] for start in range(0, len(rows), most))


def _fit(image: np.ndarray, canvas: np.ndarray, size_px: int) -> boxes.Letterbox:
    """Scales an image into the top left corner of its canvas (in place)."""
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
        """The same candidates, their image numbers counted in the whole batch."""
        return _Candidates(np.array(rows, np.int64)[self.row], self.xyxy, self.score, self.landmarks)

    def faces(self) -> Faces:
        order = np.lexsort((-self.score, self.row))
        return Faces(self.row[order], self.xyxy[order], self.score[order], self.landmarks[order])

    @staticmethod
    def concatenate(parts: "list[_Candidates]") -> "_Candidates":
        fields = ("row", "xyxy", "score", "landmarks")
        return _Candidates(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def decode(maps: list[np.ndarray], threshold: float) -> _Candidates:
    """CenterFace's four maps (B, h, w, 1 | 2 | 2 | 10) -> candidates in canvas pixels, before suppression.

    Follows `decode` of github.com/Star-Clouds/CenterFace: a cell over the threshold is a face centred at
    (cell + offset + 0.5) * stride, of size exp(scale) * stride, with landmarks in box sizes from the top left corner.
    Only local maxima count (as in CenterNet, Zhou et al. 2019): a close-up lights up thousands of cells. Of an image,
    the 5,000 best count.
    """
    heatmap, scale, offset, landmarks = maps
    row, y, x = _best(*np.nonzero(_peaks(heatmap[..., 0], threshold)), heatmap[..., 0])
    cell = np.stack([x, y], axis=-1).astype(np.float32)
    centre = (cell + offset[row, y, x, ::-1] + 0.5) * STRIDE
    size = np.exp(scale[row, y, x, ::-1]) * STRIDE
    top_left = centre - size / 2
    points = landmarks[row, y, x].reshape(-1, 5, 2)[..., ::-1] * size[:, None] + top_left[:, None]
    xyxy = np.concatenate([top_left, top_left + size], axis=-1)
    return _Candidates(row.astype(np.int64), xyxy, heatmap[row, y, x, 0], points)


def _best(row: np.ndarray, y: np.ndarray, x: np.ndarray, heat: np.ndarray) -> tuple[np.ndarray, ...]:
    """The cells (row, y, x) of the best peaks of each image, in their order; equally good ones from the top."""
    counts = np.bincount(row)
    if counts.max(initial=0) <= MOST_PEAKS:
        return row, y, x
    order = np.lexsort((-heat[row, y, x], row))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    keep = np.sort(order[rank < MOST_PEAKS])
    return row[keep], y[keep], x[keep]


def _peaks(heat: np.ndarray, threshold: float) -> np.ndarray:
    """Where heat (B, h, w) is at least `threshold` and as high as any of the eight cells around, (B, h, w) bool."""
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)))
    rows = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    around = np.maximum(np.maximum(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])
    return (heat >= threshold) & (heat >= around)
