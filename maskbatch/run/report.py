"""Write the reports of a scan again, from its store alone."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from maskbatch.people.where import unmatched
from maskbatch.reports.manifest import write_manifest
from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import WRITTEN, Written, write_reports
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.read import last_session, source_names

_log = logging.getLogger(__name__)

_OWN = Asked()


class Reported(NamedTuple):
    """Reports that were written again, by which settings, and whether the scan had finished."""

    written: Written
    settings: ReportSettings
    is_finished: bool


def report_again(out: Path, asked: Asked = _OWN, is_update: bool = False, renew_media: bool = False) -> Reported:
    """Write the reports of the scan in `out` again, by the scan's own rules or those in `asked`.

    With `is_update`, start from the rules of the last report in place of those of the scan, for callers who changed the
    results.

    `run.json` records the rules. While a scan is running, the reports show its stored results so far. If the scan ends
    meanwhile, they are written once more, so that the last reports are complete. The manifest keeps its entries for
    media, unless `renew_media` is true, for callers who removed media. Raises UsageError when `out` holds no scan, or
    the scan does not support a requested third state; OSError when `out` cannot be written.
    """
    with open_store(out, reader=True) as store:
        num_tries = 0
        while True:
            with store.transaction() as connection:
                last, names = last_session(connection), source_names(connection)
                settings = report_settings(connection, asked, out if is_update else None)
            try:
                written = write_reports(store, settings)
                write_run_json(store, out, settings, asdict(written.summary))
                if last.how == "finished":
                    write_manifest(store, WRITTEN, keep_media=not renew_media)
            except FileNotFoundError:  # a scan that continues a dead scan has removed all temporary files
                num_tries += 1
                if num_tries == 2 or not out.is_dir():
                    raise
                continue
            with store.transaction() as connection:
                now = last_session(connection)
            if (now.id, now.ended) == (last.id, last.ended):
                if names and (asked.path_template is not None or asked.places is not None):
                    for line in unmatched(names, settings):
                        _log.warning("%s", line)
                return Reported(written, settings, last.how == "finished")
