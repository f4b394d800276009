"""Write the reports of a scan again, from its store alone."""

from dataclasses import asdict
from pathlib import Path

from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import Summary, write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.read import last_session


def report_again(out: Path, threshold: float | None, bom: bool = False) -> tuple[Summary, float, bool]:
    """Write the reports of the scan in `out` again, at its own threshold or another one.

    With `bom` the tables begin with a byte order mark; `run.json` names the threshold. Beside a scan at work they show what
    it has stored so far. If the scan ends meanwhile, they are written once more, so that the last ones are complete.
    Returns the summary, the threshold, and true if the scan had finished. Raises UsageError when `out` holds no scan,
    OSError when it cannot be written.
    """
    with open_store(out, reader=True) as store:
        num_tries = 0
        while True:
            with store.transaction() as connection:
                last = last_session(connection)
            own = last.facts["settings"]["classifier"]["threshold"]
            settings = ReportSettings(threshold=own if threshold is None else threshold, bom=bom)
            try:
                summary = write_reports(store, settings)
                write_run_json(store, out, settings, asdict(summary))
            except FileNotFoundError:  # a scan that continues a dead one has removed all temporary files
                num_tries += 1
                if num_tries == 2 or not out.is_dir():
                    raise
                continue
            with store.transaction() as connection:
                now = last_session(connection)
            if (now.id, now.ended) == (last.id, last.ended):
                return summary, settings.threshold, last.how == "finished"
