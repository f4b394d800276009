"""Files and faces of the store as pandas tables with fixed dtypes."""

from sqlite3 import Connection

import numpy as np
import pandas as pd

from maskbatch.people.answer import Answer, find_answer
from maskbatch.people.clock import clock_text
from maskbatch.people.evidence import STATES
from maskbatch.settings import ReportSettings, Thresholds
from maskbatch.states import UNSURE, label_sql, sql_parameters

FILES_COLUMNS = (
    "source", "kind", "status", "error", "width", "height", "fps", "duration_s", "frames_decoded", "frames_analysed",
    "faces", "people", "with_mask", "incorrect_mask", "without_mask", "unsure", "compliance_rate", "site", "camera",
    "starts_at", "clock", "notes",
)  # fmt: skip
_FILES = """
    SELECT id, name AS source, kind, state, coalesce(error, '') AS error, width, height, fps, duration_s,
           decoded AS frames_decoded, analysed AS frames_analysed, notes,
           (SELECT count(*) FROM face WHERE source_id = source.id) AS faces
    FROM source WHERE position IS NOT NULL AND state != 'pending' ORDER BY position
"""
# the inner query names the columns that a condition can use
_FACES = f"""
    SELECT source, frame, time_s, face, track_id, person, x_min, y_min, x_max, y_max, score, p_mask, p_incorrect, label
    FROM (SELECT *, {label_sql("p_mask", "p_incorrect")} AS label FROM faces)
    WHERE {{}} ORDER BY position, frame, face
"""
_FILE_TYPES = {
    "source": "str", "kind": "str", "status": "str", "error": "str", "width": "Int64", "height": "Int64", "fps": "float64",
    "duration_s": "float64", "frames_decoded": "int64", "frames_analysed": "int64", "faces": "int64", "people": "int64",
    "with_mask": "int64", "incorrect_mask": "int64", "without_mask": "int64", "unsure": "int64",
    "compliance_rate": "float64", "site": "str", "camera": "str", "starts_at": "str", "clock": "str", "notes": "str",
}  # fmt: skip
_FACE_TYPES = {
    "source": "str", "frame": "int64", "time_s": "float64", "face": "int64", "track_id": "int64", "person": "int64",
    "x_min": "float64",
    "y_min": "float64", "x_max": "float64", "y_max": "float64", "score": "float64", "p_mask": "float64",
    "p_incorrect": "float64", "label": "str",
}  # fmt: skip


def read_files(connection: Connection, settings: ReportSettings) -> pd.DataFrame:
    """Return a row for each file that is done or partly done, with FILES_COLUMNS (see `files_table`)."""
    return files_table(connection, find_answer(connection, settings))


def files_table(connection: Connection, answer: Answer) -> pd.DataFrame:
    """Return a row for each file of an answer, with FILES_COLUMNS.

    `compliance_rate` is the share with a mask among people whose verdict is sure, NaN if there are none. `fps` and
    `duration_s` are NaN if unknown. `clock` is the origin of `starts_at`, or the reason why it is unknown.
    """
    files = pd.read_sql_query(_FILES, connection).astype({"fps": "float64", "duration_s": "float64"})
    persons = answer.persons
    for state, label in enumerate(STATES):
        own = persons.source_id[answer.counts & (persons.verdict == state)]
        files[label] = files["id"].map(pd.Series(own).value_counts()).fillna(0).astype("int64")
    files["people"] = files[list(STATES)].sum(axis=1)
    files["compliance_rate"] = (files["with_mask"] / (files["people"] - files[UNSURE])).round(4)
    where = [answer.where[one] for one in files["id"].tolist()]
    files["site"], files["camera"] = [one.site for one in where], [one.camera for one in where]
    files["starts_at"] = [clock_text(one.start.at, 0.0) for one in where]
    files["clock"] = [one.start.flag or one.start.origin for one in where]
    so_far = "interrupted: only the first " + files["frames_decoded"].astype(str) + " frames so far"
    files["error"] = files["error"].where(files["state"] != "part", so_far)
    broken = np.where(files["frames_decoded"] == 0, "failed", "partial")
    files["status"] = np.where(files["error"] == "", "ok", broken)
    return files[list(FILES_COLUMNS)].astype(_FILE_TYPES)


def read_faces(connection: Connection, thresholds: Thresholds, where: str | None = None) -> pd.DataFrame:
    """Return a row for each face in each analysed frame, in the order of the files.

    `where` is an SQL condition over the columns, such as "p_mask < 0.6". Raises pandas.errors.DatabaseError when the
    condition is not valid.
    """
    query, parameters = _FACES.format(where or "1"), sql_parameters(thresholds)
    return pd.read_sql_query(query, connection, params=parameters).astype(_FACE_TYPES)
