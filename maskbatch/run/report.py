"""Write the reports of a scan again, from its store alone."""

from dataclasses import asdict
from pathlib import Path

from maskbatch.reports.manifest import write_manifest
from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import WRITTEN, Summary, write_reports
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.read import last_session

_OWN = Asked()


def report_again(out: Path, asked: Asked = _OWN, renew_media: bool = False) -> tuple[Summary, ReportSettings, bool]:
    """Write the reports of the scan in `out` again, by its own rules or those that are `asked` for.

    `run.json` names the rules. Beside a scan at work the reports show what it has stored so far. If the scan ends meanwhile,
    they are written once more, so that the last ones are complete. Media in the manifest stay as they are there, unless
    `renew_media`, for a caller who removed some.
    Returns the summary, the settings, and true if the scan had finished. Raises UsageError when `out` holds no scan, or
    one without the third state that is asked for; OSError when it cannot be written.
    """
    with open_store(out, reader=True) as store:
        num_tries = 0
        while True:
            with store.transaction() as connection:
                last, settings = last_session(connection), report_settings(connection, asked)
            try:
                summary = write_reports(store, settings)
                write_run_json(store, out, settings, asdict(summary))
                if last.how == "finished":
                    write_manifest(store, WRITTEN, keep_media=not renew_media)
            except FileNotFoundError:  # a scan that continues a dead one has removed all temporary files
                num_tries += 1
                if num_tries == 2 or not out.is_dir():
                    raise
                continue
            with store.transaction() as connection:
                now = last_session(connection)
            if (now.id, now.ended) == (last.id, last.ended):
                return summary, settings, last.how == "finished"
