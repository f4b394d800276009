"""The tables of a scan in Python, by the rules of its last report or by other rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from pathlib import Path
from sqlite3 import Connection

import pandas as pd

from maskbatch.errors import UsageError
from maskbatch.people.answer import Answer, find_answer
from maskbatch.reports.frames import read_faces, read_files
from maskbatch.reports.people import episodes_table, people_table
from maskbatch.reports.timeline import timeline_table
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.settings import Thresholds
from maskbatch.store.database import open_store


class Tables:
    """The tables of the output folder of a scan. Each call reads the store again, even while a scan is running.

    Args:
        folder, threshold, third_state, incorrect_threshold, rules: see `Results`.
    """

    def __init__(
        self, folder: str | PathLike, threshold: float | None = None, third_state: bool | None = None,
        incorrect_threshold: float | None = None, **rules: object,
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        try:
            asked = Asked(threshold, third_state, incorrect_threshold, **rules)
        except TypeError:
            names = ", ".join(sorted(rules.keys() - {item.name for item in fields(Asked)}))
            raise UsageError(f"a report has no rule {names}") from None
        with self._read() as connection:
            self.settings = report_settings(connection, asked, self.folder)
        self.threshold, self.incorrect_threshold = self.settings.threshold, self.settings.incorrect_threshold

    def files(self) -> pd.DataFrame:
        """Return a row for each input, with the columns of `files.csv`.

        Returns:
            Text columns as str, counts as int64, sizes as Int64 (missing where unknown), rates and times as float64.

        Example:
            >>> len(open("audit").files().query("status != 'ok'"))
            0
        """
        with self._read() as connection:
            return read_files(connection, self.settings)

    def people(self) -> pd.DataFrame:
        """Return a row for each person, with the columns of `people.csv`.

        Returns:
            Verdict, seconds in each state, clock and place of each person.

        Example:
            >>> len(open("audit").people().query("verdict == 'without_mask'"))
            9
        """
        return people_table(self._answer())

    def episodes(self) -> pd.DataFrame:
        """Return a row for each stretch of one state of each person, with the columns of `episodes.csv`.

        Example:
            >>> open("audit").episodes().query("state == 'without_mask' and duration_s > 5").source.tolist()
            ['video/visitors.mp4']
        """
        return episodes_table(self._answer())

    def timeline(self) -> pd.DataFrame:
        """Return a row for each minute in which somebody is seen, with the columns of `timeline.csv`.

        Example:
            >>> int(open("audit").timeline().people.max())
            3
        """
        return timeline_table(self._answer())

    def faces(self, where: str | None = None) -> pd.DataFrame:
        """Return a row for each face in each analysed frame, with the columns of `faces.csv`.

        Args:
            where: a condition in SQL over the columns, such as "p_mask < 0.6 AND x_max - x_min > 40".

        Raises:
            UsageError: the condition is not valid SQL over these columns.

        Example:
            >>> people = open("audit").faces("label = 'without_mask'").groupby("source").track_id.nunique()
            >>> int(people["video/visitors.mp4"])
            1
        """
        with self._read() as connection:
            try:
                return read_faces(connection, self._thresholds, where)
            except pd.errors.DatabaseError as error:
                reason = error.__cause__ or error  # pandas adds the whole query
                raise UsageError(f"{where!r} is not a condition over the columns of faces.csv: {reason}") from error

    @property
    def _thresholds(self) -> Thresholds:
        return self.settings.thresholds

    def _answer(self) -> Answer:
        with self._read() as connection:
            return find_answer(connection, self.settings)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with open_store(self.folder, reader=True) as store, store.transaction() as connection:
            yield connection
