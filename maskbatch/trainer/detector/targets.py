"""Turn the faces of a view into a table of fixed size, so that views with any number of faces fit into a batch."""

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.trainer.detector.scene import SceneFaces

# columns of the table, (MOST_FACES, COLUMNS) float32
BOX, SCORE, SIZED, LANDMARKS, HAS_LANDMARKS = slice(0, 4), 4, 5, slice(6, 16), 16
COLUMNS = 17
# a mosaic of four crowds has more faces; the smallest are left out together as one place
MOST_FACES = 80
# score of a row without a face
EMPTY = -1.0


def face_table(faces: SceneFaces) -> np.ndarray:
    """Return a view's faces as a table (80, 17) float32, the largest first.

    BOX is xyxy in pixels of the view; SCORE is that of `SceneFaces`, or -1 in an empty row; SIZED is 1 if the box gives
    the size of the face. LANDMARKS are x, y of five points in pixels, valid if HAS_LANDMARKS is 1.
    """
    table = np.zeros((MOST_FACES, COLUMNS), np.float32)
    table[:, SCORE] = EMPTY
    chosen = faces.take(np.argsort(-boxes.area(faces.xyxy), kind="stable"))
    kept = chosen.take(np.arange(min(len(chosen), MOST_FACES - 1)))
    points = kept.landmarks.reshape(-1, 10)
    known = np.isfinite(points).all(axis=1)
    rows = table[: len(kept)]
    rows[:, BOX], rows[:, SCORE], rows[:, SIZED] = kept.xyxy, kept.score, kept.sized
    rows[:, LANDMARKS], rows[:, HAS_LANDMARKS] = np.where(known[:, None], points, 0), known
    left = chosen.xyxy[len(kept) :]
    if len(left):
        table[-1, BOX] = [*left[:, :2].min(axis=0), *left[:, 2:].max(axis=0)]
        table[-1, SCORE] = 0
    return table
