"""The store as pandas tables with fixed dtypes: what people and programs calculate with."""

from sqlite3 import Connection

import numpy as np
import pandas as pd

from maskbatch.settings import ReportSettings, Thresholds
from maskbatch.states import LABELS, label_sql, labels_of, sql_parameters

FILES_COLUMNS = (
    "source", "kind", "status", "error", "width", "height", "fps", "duration_s", "frames_decoded", "frames_analysed",
    "faces", "people", "with_mask", "incorrect_mask", "without_mask", "compliance_rate", "notes",
)  # fmt: skip
_FILES = """
    SELECT id, name AS source, kind, state, coalesce(error, '') AS error, width, height, fps, duration_s,
           decoded AS frames_decoded, analysed AS frames_analysed, notes,
           (SELECT count(*) FROM face WHERE source_id = source.id) AS faces
    FROM source WHERE position IS NOT NULL AND state != 'pending' ORDER BY position
"""
_TRACKS = """
    SELECT source_id, frames, p_sum_e4, p_incorrect_sum_e4 FROM track JOIN source ON source.id = source_id
    WHERE source.position IS NOT NULL
"""
# the inner query names the columns that a condition may use
_FACES = f"""
    SELECT source, frame, time_s, face, track_id, x_min, y_min, x_max, y_max, score, p_mask, p_incorrect, label
    FROM (SELECT *, {label_sql("p_mask", "p_incorrect")} AS label FROM faces)
    WHERE {{}} ORDER BY position, frame, face
"""
_FILE_TYPES = {
    "source": "str", "kind": "str", "status": "str", "error": "str", "width": "Int64", "height": "Int64", "fps": "float64",
    "duration_s": "float64", "frames_decoded": "int64", "frames_analysed": "int64", "faces": "int64", "people": "int64",
    "with_mask": "int64", "incorrect_mask": "int64", "without_mask": "int64", "compliance_rate": "float64", "notes": "str",
}  # fmt: skip
_TRACK_TYPES = {"source_id": "int64", "frames": "int64", "p_sum_e4": "int64", "p_incorrect_sum_e4": "float64"}
_FACE_TYPES = {
    "source": "str", "frame": "int64", "time_s": "float64", "face": "int64", "track_id": "int64", "x_min": "float64",
    "y_min": "float64", "x_max": "float64", "y_max": "float64", "score": "float64", "p_mask": "float64",
    "p_incorrect": "float64", "label": "str",
}  # fmt: skip


def read_files(connection: Connection, settings: ReportSettings) -> pd.DataFrame:
    """Return a row for each file that is done, or done in part, with FILES_COLUMNS.

    A person is a track that is seen long enough, with the means of `p_mask` and `p_incorrect` of its faces.
    `incorrect_mask` is 0 without the third state. `compliance_rate` is NaN where nobody was seen, `fps` and `duration_s` are
    NaN where they are unknown.
    """
    files = pd.read_sql_query(_FILES, connection).astype({"fps": "float64", "duration_s": "float64"})
    tracks = pd.read_sql_query(_TRACKS, connection).astype(_TRACK_TYPES)
    needed = tracks["source_id"].map(needed_frames(files, settings.min_track_s).set_axis(files["id"]))
    people = tracks[tracks["frames"] >= needed]
    means = [people[name] / people["frames"] / 10000.0 for name in ("p_sum_e4", "p_incorrect_sum_e4")]
    labels = labels_of(*means, settings.thresholds)
    for label in LABELS:
        counts = people.loc[labels == label, "source_id"].value_counts()
        files[label] = files["id"].map(counts).fillna(0).astype("int64")
    files["people"] = files[list(LABELS)].sum(axis=1)
    files["compliance_rate"] = (files["with_mask"] / files["people"]).round(4)
    so_far = "interrupted: only the first " + files["frames_decoded"].astype(str) + " frames so far"
    files["error"] = files["error"].where(files["state"] != "part", so_far)
    broken = np.where(files["frames_decoded"] == 0, "failed", "partial")
    files["status"] = np.where(files["error"] == "", "ok", broken)
    return files[list(FILES_COLUMNS)].astype(_FILE_TYPES)


def read_faces(connection: Connection, thresholds: Thresholds, where: str | None = None) -> pd.DataFrame:
    """Return a row for each face in each analysed frame, in the order of the files.

    `where` is a condition in SQL over the columns, such as "p_mask < 0.6". Raises pandas.errors.DatabaseError when SQLite
    does not understand it.
    """
    query, parameters = _FACES.format(where or "1"), sql_parameters(thresholds)
    return pd.read_sql_query(query, connection, params=parameters).astype(_FACE_TYPES)


def needed_frames(files: pd.DataFrame, min_track_s: float) -> pd.Series:
    """Return the number of analysed frames in which a person must be seen to count, for each row of `files`.

    The number is that of the frames analysed in `min_track_s` seconds, rounded up. A flicker of one frame at 30 fps is
    nobody, while in sparsely sampled video, and in photos, one frame is enough. A shorter video asks for all its frames.
    Analysed frames per second are the frame rate times the share analysed, which is right also for a video that broke.
    Without a frame rate, they are the frames analysed divided by the duration.
    """
    per_second = files["fps"] * files["frames_analysed"] / files["frames_decoded"]
    per_second = per_second.fillna(files["frames_analysed"] / files["duration_s"])
    frames = np.ceil((min_track_s * per_second).round(6)).fillna(1)
    return frames.clip(upper=files["frames_analysed"]).clip(lower=1)
