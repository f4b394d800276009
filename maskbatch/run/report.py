"""Write the reports of a scan again, from its store alone."""

from dataclasses import asdict
from pathlib import Path

from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import Summary, write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.read import sessions


def report_again(out: Path, threshold: float | None) -> tuple[Summary, float, bool]:
    """Write the reports of the scan in `out` again, at its own threshold or another one, which `run.json` then names.

    Beside a scan at work they show what it has stored so far. Should the scan end meanwhile, they are written once more, so
    that the last ones are whole. Returns the summary, the threshold, and true if the scan had finished. Raises UsageError
    when `out` holds no scan, OSError when it cannot be written.
    """
    with open_store(out, reader=True) as store:
        while True:
            with store.transaction() as connection:
                last = sessions(connection)[-1]
            own = last.facts["settings"]["classifier"]["threshold"]
            settings = ReportSettings(threshold=own if threshold is None else threshold)
            summary = write_reports(store, settings)
            write_run_json(store, out, settings, asdict(summary))
            with store.transaction() as connection:
                now = sessions(connection)[-1]
            if (now.id, now.ended) == (last.id, last.ended):
                return summary, settings.threshold, last.how == "finished"
