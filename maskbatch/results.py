"""The results of a scan in Python: tables, rates, exports, comparisons and reports.

>>> open("audit")
Results('audit', threshold=0.5)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import pandas as pd

from maskbatch.media.names import from_name_text
from maskbatch.people.answer import find_answer
from maskbatch.reports.diff import Difference, Scanned, diff_table, rate_difference
from maskbatch.reports.frames import files_table, read_faces
from maskbatch.reports.people import episodes_table, people_table
from maskbatch.reports.rates import Rates, rates_of
from maskbatch.reports.statistics import Rate
from maskbatch.reports.summary import Summary, summary_of
from maskbatch.run.report import report_again
from maskbatch.run.threshold import RULES, Asked
from maskbatch.store.read import last_session
from maskbatch.tables import Tables


class Results(Tables):
    """The results in the output folder of a scan. Each call reads the store again, even while a scan is running.

    Args:
        folder: the output folder of a scan.
        threshold: minimum probability for a face or person to count as masked; default: that of the last report.
        third_state: give masks that are worn incorrectly their own label; default: as in the last report.
        incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: that of the last report.
        rules: other rules of a report, such as `min_bare`, `clock`, `timezone` and `places` (see `ScanOptions`).

    Example:
        >>> results = open("audit")
        >>> results.summary.compliance_rate
        0.5909
    """

    def __repr__(self) -> str:
        more = "" if self.incorrect_threshold is None else f", incorrect_threshold={self.incorrect_threshold:g}"
        return f"Results({str(self.folder)!r}, threshold={self.threshold:g}{more})"

    @property
    def summary(self) -> Summary:
        """The scan in numbers: files, people with a mask, with a mask worn incorrectly, without one, compliance rate."""
        with self._read() as connection:
            answer = find_answer(connection, self.settings)
            return summary_of(files_table(connection, answer), self._thresholds, rates_of(answer).people)

    def rate(self) -> Rate:
        """Return the share of people with a mask among people who can be judged, with its 95 % interval.

        People in the same camera and hour are not independent, which widens the interval.

        Example:
            >>> rate = open("audit").rate()
            >>> rate.denominator, rate.low < rate.value < rate.high
            (22, True)
        """
        return self.rates().people

    def rates(self) -> Rates:
        """Return the shares with a mask among people, episodes and person-seconds, each with its interval.

        Example:
            >>> open("audit").rates().episodes.denominator
            23
        """
        return rates_of(self._answer())

    def diff(self, other: str | PathLike) -> pd.DataFrame:
        """Return a row for each change of a file, person or verdict from this scan to the scan in the folder `other`.

        Returns:
            `change` (file gone, file new, person gone, person new, verdict), `source`, the person and verdict here and
            there, and the time of the look in seconds.

        Raises:
            UsageError: `other` is not the output folder of a scan.

        Example:
            >>> len(open("audit").diff("audit"))
            0
        """
        with self._two(other) as scans:
            return diff_table(*scans)

    def rate_difference(self, other: str | PathLike) -> Difference:
        """Return the rates of people here and in the folder `other`, and their difference with its 95 % interval.

        Raises:
            UsageError: `other` is not the output folder of a scan.

        Example:
            >>> open("audit").rate_difference("audit").value
            0.0
        """
        with self._two(other) as (first, second):
            return rate_difference(first.answer, second.answer)

    def export(self, format: str, out: str | PathLike | None = None) -> Path:
        """Write the results in a format of another program, and return the written file or folder.

        Args:
            format: coco, megadetector, label-studio, parquet, cvat, fiftyone, webvtt, chapters, edl or otio
                (docs/formats.md).
            out: file or folder to write, which must not exist; default: `export_<format>` in the output folder.

        Raises:
            UsageError: the format is unknown, or `out` exists.
            MaskbatchError: a package that the format needs is missing.

        Example:
            >>> open("audit").export("coco", "faces.json").name
            'faces.json'
        """
        with self._read() as connection:
            answer, facts = find_answer(connection, self.settings), last_session(connection).facts
            rows = connection.execute("SELECT name, path FROM source").fetchall()
            paths = {name: Path(from_name_text(path)) for name, path in rows}
            tables = (files_table(connection, answer), read_faces(connection, self._thresholds), people_table(answer),
                      episodes_table(answer))  # fmt: skip
        # XML takes a while to import, and scans need none
        from maskbatch.exports import Exported, write_export

        exported = Exported(self.folder, *tables, paths, facts)
        return write_export(exported, format, None if out is None else Path(out))

    def report(
        self, threshold: float | None = None, third_state: bool | None = None, incorrect_threshold: float | None = None
    ) -> "Results":
        """Write the tables of the output folder again without analysis; return the results at these thresholds.

        Args:
            threshold: minimum probability to count as masked; default: this object's.
            third_state: give masks that are worn incorrectly their own label; default: as in this object.
            incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: this object's.

        Raises:
            OSError: the folder cannot be written.
            UsageError: a threshold is not from 0 to 1, or the third state is requested, but the scan's model does not
                support it.

        Example:
            >>> open("audit").report(threshold=0.7).threshold
            0.7
        """
        is_on = self.incorrect_threshold is not None if third_state is None else third_state
        if incorrect_threshold is None and is_on:
            incorrect_threshold = self.incorrect_threshold
        own = {option: getattr(self.settings, name) for option, name in RULES.items()}
        asked = Asked(self.threshold if threshold is None else threshold, is_on, incorrect_threshold, **own)
        used = report_again(self.folder, asked).settings
        return Results(
            self.folder, used.threshold, used.incorrect_threshold is not None, used.incorrect_threshold, **own
        )

    @contextmanager
    def _two(self, other: str | PathLike) -> Iterator[tuple[Scanned, Scanned]]:
        """Yield this scan, and the scan in `other` by the rules of its last report."""
        theirs = Results(other)
        with self._read() as first, theirs._read() as second:
            answers = find_answer(first, self.settings), find_answer(second, theirs.settings)
            yield Scanned(first, answers[0]), Scanned(second, answers[1])


def open(
    folder: str | PathLike, threshold: float | None = None, third_state: bool | None = None,
    incorrect_threshold: float | None = None, **rules: object,
) -> Results:  # fmt: skip
    """Open the output folder of a scan.

    Args:
        folder: the output folder of a scan that is finished, interrupted or still running.
        threshold: minimum probability to count as masked; default: that of the last report.
        third_state: give masks that are worn incorrectly their own label; default: as in the last report.
        incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: that of the last report.
        rules: other rules of a report, such as `min_bare`, `clock`, `timezone` and `places` (see `ScanOptions`).

    Returns:
        The results, as tables and numbers.

    Raises:
        UsageError: the folder is not the output of a scan, a rule has a wrong value, or the scan's model does not
            support the requested third state.

    Example:
        >>> open("audit", threshold=0.5)
        Results('audit', threshold=0.5)
    """
    return Results(folder, threshold, third_state, incorrect_threshold, **rules)
