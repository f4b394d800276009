"""Read the faces of a scan as arrays, because a Python object for each number of a long video takes too long."""

from collections.abc import Iterator
from itertools import chain, islice
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

# columns in the order of FaceColumns; with the id in the order, SQLite need not sort
_FACES = """
    SELECT face.source_id, frame, face, time_e4, face.track_id, coalesce(person_id, face.track_id),
           x_min_e1, y_min_e1, x_max_e1, y_max_e1, score_e4, coalesce(p_mask_e4, -1), coalesce(p_incorrect_e4, -1),
           coalesce(sharpness_e2, -1), coalesce(brightness, -1), coalesce(turn_e2, -1)
    FROM source CROSS JOIN face ON face.source_id = source.id
         LEFT JOIN track ON track.source_id = face.source_id AND track.track_id = face.track_id
    WHERE source.position IS NOT NULL AND source.state != 'pending' ORDER BY source.position, source.id, frame, face
"""
_BLOCK = 20_000


class FaceColumns(NamedTuple):
    """Columns of N faces, each (N,) int64 and scaled as in the table `face`. Values that may be unknown are -1 then."""

    source_id: np.ndarray
    frame: np.ndarray
    face: np.ndarray
    time_e4: np.ndarray
    track_id: np.ndarray
    person: np.ndarray
    x_min_e1: np.ndarray
    y_min_e1: np.ndarray
    x_max_e1: np.ndarray
    y_max_e1: np.ndarray
    score_e4: np.ndarray
    p_mask_e4: np.ndarray
    p_incorrect_e4: np.ndarray
    sharpness_e2: np.ndarray
    brightness: np.ndarray
    turn_e2: np.ndarray


NUM_COLUMNS = len(FaceColumns._fields)


def face_blocks(connection: Connection) -> Iterator[np.ndarray]:
    """Yield the faces in files of the last session, file by file, in order of frames and faces.

    Yields:
        Arrays (NUM_COLUMNS, n) int64; `FaceColumns(*block)` are the columns.
    """
    numbers = chain.from_iterable(connection.execute(_FACES))
    while len(block := np.fromiter(islice(numbers, _BLOCK * NUM_COLUMNS), np.int64)):
        yield np.ascontiguousarray(block.reshape(-1, NUM_COLUMNS).T)
