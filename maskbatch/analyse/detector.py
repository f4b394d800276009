"""The face detector: images -> `Faces`, in batches, by views, YuNet, decoding and non-maximum suppression."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from maskbatch.analyse.view_plan import SECOND_LOOK_SCORE, first_look, second_look
from maskbatch.analyse.views import View, is_claimed, to_picture
from maskbatch.geometry import boxes
from maskbatch.geometry.resize import resize
from maskbatch.networks.device import Infer
from maskbatch.networks.yunet import BOX, CLASS, LANDMARKS, OBJECT, STRIDES
from maskbatch.settings import DetectorSettings
from maskbatch.types import Faces

# maximum number of canvas pixels in one call of the network: 64 canvases of 640 x 640, or one of 4096 x 4096
_MOST_CANVAS_PIXELS = 27_000_000
# maximum number of candidates per view before suppression: crowds have a thousand faces, and a threshold of 0 keeps
# every cell
MOST_PEAKS = 5000
# maximum log of a face's size in cells, because outputs of an untrained network would overflow
_MOST_LOG_SIZE = 10.0

_Plan = Callable[[int, int, DetectorSettings], list[View]]


class Detector:
    """The face detector. `run` maps canvases (B, H, W, 3) uint8 RGB to YuNet's three maps."""

    def __init__(self, run: Infer, settings: DetectorSettings) -> None:
        self._run = run
        self._settings = settings

    def __call__(self, images: Sequence[np.ndarray]) -> Faces:
        """Return the faces of B images (H, W, 3) uint8 RGB of any sizes, by image, then descending score.

        The faces of an image do not depend on the other images.
        """
        threshold, low_score = self._settings.threshold, self._settings.low_score
        least = threshold if low_score is None else min(threshold, low_score)
        found = self._look(images, self._plan(images, range(len(images)), first_look), least)
        rows = sorted({*range(len(images))} - {*found.row[found.score >= threshold].tolist()})
        if rows and self._settings.second_look:
            again = self._look(images, self._plan(images, rows, second_look), max(threshold, SECOND_LOOK_SCORE))
            found = self._without_overlaps(_Candidates.concatenate([found, again]))
        return found.faces()

    def _plan(self, images: Sequence[np.ndarray], rows: Iterable[int], plan: _Plan) -> list[tuple[int, View]]:
        """Return (row, view) for all views of the images in `rows`."""
        return [
            (row, view) for row in rows for view in plan(images[row].shape[1], images[row].shape[0], self._settings)
        ]

    def _look(self, images: Sequence[np.ndarray], looks: Sequence[tuple[int, View]], threshold: float) -> "_Candidates":
        """Return the candidates in views, without boxes that overlap a better box in the same image."""
        groups = defaultdict(list)
        for row, view in looks:
            groups[view.canvas].append((row, view))
        # sorted by shape, so that the winner among equal scores does not depend on other images of the batch
        parts = [part for shape, chosen in sorted(groups.items(), reverse=True) for part in _in_parts(chosen, shape)]
        found = _Candidates.concatenate(
            [_Candidates.none(), *(self._detect(images, part, threshold) for part in parts)]
        )
        found = self._without_overlaps(found)
        size = np.array([image.shape[1::-1] for image in images], np.float32).reshape(-1, 2)[found.row]
        found.xyxy = boxes.clip(found.xyxy, size[:, 0], size[:, 1])
        return found.take(np.flatnonzero(boxes.area(found.xyxy) > 0))

    def _without_overlaps(self, found: "_Candidates") -> "_Candidates":
        return found.take(boxes.nms(found.xyxy, found.score, found.row, self._settings.nms_iou))

    def _detect(
        self, images: Sequence[np.ndarray], looks: Sequence[tuple[int, View]], threshold: float
    ) -> "_Candidates":
        """Return the candidates in views of one canvas shape, in pixels of the images."""
        rows, views = zip(*looks, strict=True)
        canvases = np.zeros((len(views), *views[0].canvas, 3), np.uint8)
        for row, view, canvas in zip(rows, views, canvases, strict=True):
            _paint(images[row], view, canvas)
        found = decode(self._run(canvases), threshold)
        corners = to_picture(views, found.row, found.xyxy.reshape(-1, 2, 2))
        found.xyxy = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)
        found.landmarks = to_picture(views, found.row, found.landmarks)
        return found.take(is_claimed(views, found.row, found.xyxy)).in_rows(rows)


def _in_parts(looks: list[tuple[int, View]], shape: tuple[int, int]) -> Iterator[list[tuple[int, View]]]:
    """Yield the views in groups whose canvases (height, width) and maps fit in memory."""
    most = max(1, _MOST_CANVAS_PIXELS // (shape[0] * shape[1]))
    return (looks[start : start + most] for start in range(0, len(looks), most))


def _paint(image: np.ndarray, view: View, canvas: np.ndarray) -> None:
    """Draw a view of an image into the top left corner of `canvas`, in place."""
    left, top, right, bottom = view.region
    region = image[top:bottom, left:right]
    if view.turns == 0:
        resize(region, view.size, canvas[: view.size[1], : view.size[0]])
    else:
        turned = np.rot90(resize(region, view.size), view.turns)
        canvas[: turned.shape[0], : turned.shape[1]] = turned


class _Candidates:
    """Boxes with scores and landmarks, flat over a batch. `row` (N,) is the position of each box's image."""

    def __init__(self, row: np.ndarray, xyxy: np.ndarray, score: np.ndarray, landmarks: np.ndarray) -> None:
        self.row, self.xyxy, self.score, self.landmarks = row, xyxy, score, landmarks

    def take(self, keep: np.ndarray) -> "_Candidates":
        return _Candidates(self.row[keep], self.xyxy[keep], self.score[keep], self.landmarks[keep])

    def in_rows(self, rows: Sequence[int]) -> "_Candidates":
        """Return the same candidates with `row` replaced by `rows[row]`, the position in the whole batch."""
        return _Candidates(np.array(rows, np.int64)[self.row], self.xyxy, self.score, self.landmarks)

    def faces(self) -> Faces:
        order = np.lexsort((-self.score, self.row))
        return Faces(self.row[order], self.xyxy[order], self.score[order], self.landmarks[order])

    @staticmethod
    def none() -> "_Candidates":
        empty = Faces.empty()
        return _Candidates(empty.row, empty.xyxy, empty.score, empty.landmarks)

    @staticmethod
    def concatenate(parts: "list[_Candidates]") -> "_Candidates":
        fields = ("row", "xyxy", "score", "landmarks")
        return _Candidates(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def decode(maps: list[np.ndarray], threshold: float) -> _Candidates:
    """Return candidates in canvas pixels, before suppression, from YuNet's three maps (B, h, w, 16).

    The decoding follows `FaceDetectorYN` of OpenCV. A cell's score is the square root of the product of its two
    probabilities. The face has its centre at (cell + offset) * stride, and the size exp(scale) * stride. Landmarks are
    at (cell + offset) * stride. Only the 5,000 best cells of a canvas are kept.
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
    """Return the best candidates of each canvas. Among equal scores, finer maps and upper cells come first."""
    counts = np.bincount(found.row)
    if counts.max(initial=0) <= MOST_PEAKS:
        return found
    order = np.lexsort((-found.score, found.row))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found.take(np.sort(order[rank < MOST_PEAKS]))
