"""The command `diff`."""

from pathlib import Path

import click

from maskbatch.cli.parameters import FOLDER, PATH
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal


@click.command()
@click.argument("first", metavar="DIR", type=FOLDER)
@click.argument("second", metavar="DIR", type=FOLDER)
@click.option("--csv", "target", type=PATH, metavar="FILE", help="Write a row for each change to FILE.")
def diff(first: Path, second: Path, target: Path | None) -> None:
    """Show the changes from one scan to another: files, people, verdicts, and the rate with its interval.

    Each DIR is the output folder of a scan, and is read by the rules of its last report.
    """
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch import api
        from maskbatch.reports.tables import write_table

        results = api.open(first)
        changes = results.diff(second)
        for line in results.rate_difference(second).lines():
            click.echo(line)
        for change, number in changes["change"].value_counts().sort_index().items():
            click.echo(f"{change}: {number}")
        if changes.empty:
            click.echo("no file, person or verdict changed")
        if target is not None:
            write_table(changes, target)
            terminal.say(f"{target}: {len(changes)} changes")
