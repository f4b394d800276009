"""The command `report`."""

from pathlib import Path

import click

from maskbatch.cli.options import FAIL_UNDER, rules
from maskbatch.cli.parameters import FOLDER, PATH, Number
from maskbatch.cli.scan import EXIT_SOME_FAILED, check_rate
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--threshold", type=Number(0, 1), metavar="P",
              help="Minimum probability for a face to count as masked. Default: that of the scan.")  # fmt: skip
@click.option("--third-state/--no-third-state", default=None,
              help="Label masks that are worn incorrectly as incorrect_mask, or not. Default: as in the scan.")  # fmt: skip
@click.option("--incorrect-threshold", type=Number(0, 1), metavar="P",
              help="Minimum probability for a mask to count as worn incorrectly. Default: that of the scan.")  # fmt: skip
@rules("scan")
@click.option("--csv-bom", is_flag=True,
              help="Begin tables with a byte order mark, so that Excel reads names in all scripts.")  # fmt: skip
@click.option("--inline", is_flag=True,
              help="Put the pictures of people into report.html, so that it can be passed on as one file.")  # fmt: skip
@click.option("--anonymize", "hidden", type=PATH, metavar="FOLDER",
              help="Also write a copy to pass on into FOLDER: page, tables and evidence without faces.")  # fmt: skip
@FAIL_UNDER
@click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only: no table.")
def report(
    folder: Path, quiet: bool, fail_under: float | None, hidden: Path | None, **asked: float | bool | str | None
) -> None:
    """Write tables and report.html again, for example with another threshold or time zone; no file is analysed.

    DIR is the output folder of the scan, which may be finished, interrupted or still running.
    """
    with quiet_libraries(), open_terminal(quiet, None) as terminal:
        from maskbatch.run.job import Outcome
        from maskbatch.run.report import report_again
        from maskbatch.run.threshold import Asked
        from maskbatch.store.lock import at_work

        reported = report_again(folder, Asked(**asked))
        summary, is_finished = reported.written.summary, reported.is_finished
        terminal.results(Outcome(folder, reported.written))
        if not is_finished:
            session = at_work(folder)
            why = f"the scan is still at work ({session})" if session else "the scan was interrupted"
            terminal.warn(f"not all files are in these tables: {why}")
        if hidden is not None:
            from maskbatch.run.pack import copy_hidden

            terminal.say(f"{hidden}: {copy_hidden(folder, hidden)} files to pass on, without faces")
        check_rate(summary, fail_under, terminal)
    if not is_finished or summary.failed or summary.partial:
        click.get_current_context().exit(EXIT_SOME_FAILED)
