"""Write faces.csv: a row for each face in each analysed frame."""

from collections.abc import Iterator, Mapping
from sqlite3 import Connection
from typing import TextIO

import numpy as np

from maskbatch.reports.cells import csv_lines, number_cells, quoted, text_cells
from maskbatch.settings import Thresholds
from maskbatch.states import labels_of
from maskbatch.store.faces import FaceColumns, face_blocks

FACES_COLUMNS = (
    "source", "frame", "time_s", "face", "track_id", "person", "x_min", "y_min", "x_max", "y_max", "score",
    "p_mask", "p_incorrect", "label",
)  # fmt: skip


def written_faces(connection: Connection, thresholds: Thresholds, out: TextIO) -> Iterator[np.ndarray]:
    """Yield the blocks of `face_blocks`, each after its lines are written to `out`, so that rows are read only once."""
    names = dict(connection.execute("SELECT id, name FROM source WHERE position IS NOT NULL"))
    for block in face_blocks(connection):
        out.write(_lines(FaceColumns(*block), names, thresholds).decode())
        yield block


def _lines(faces: FaceColumns, names: Mapping[int, str], thresholds: Thresholds) -> bytes:
    """Return the lines of some faces. `names` are those of sources by id."""
    ids, source = np.unique(faces.source_id, return_inverse=True)
    own_names = np.array([quoted(names[source_id]).encode() for source_id in ids.tolist()], "S")
    is_known = faces.p_mask_e4 >= 0
    has_third = is_known & (faces.p_incorrect_e4 >= 0)
    p_mask, p_incorrect = faces.p_mask_e4 / 1e4, np.where(has_third, faces.p_incorrect_e4 / 1e4, np.nan)
    labels = np.where(is_known, labels_of(p_mask, p_incorrect, thresholds), "")
    corners = (faces.x_min_e1, faces.y_min_e1, faces.x_max_e1, faces.y_max_e1)
    return csv_lines(
        [
            text_cells(own_names)[:, source], number_cells(faces.frame), number_cells(faces.time_e4, 4),
            number_cells(faces.face), number_cells(faces.track_id), number_cells(faces.person),
            *(number_cells(corner, 1) for corner in corners), number_cells(faces.score_e4, 4),
            number_cells(faces.p_mask_e4, 4) * is_known, number_cells(faces.p_incorrect_e4, 4) * has_third,
            text_cells(labels.astype("S")),
        ]
    )  # fmt: skip
