"""The command `merge`."""

from pathlib import Path

import click

from maskbatch.cli.options import FAIL_UNDER
from maskbatch.cli.parameters import FOLDER, PATH, CommandWithExamples, Several
from maskbatch.cli.scan import EXIT_SOME_FAILED, check_rate
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal

_EXAMPLES = """
maskbatch scan photos/ --shard 3/20 --out /results/3      on each machine, with its number from 1 to 20
maskbatch merge /results/* --out audit                    then, on any machine
"""


@click.command(cls=CommandWithExamples, epilog=_EXAMPLES)
@click.argument("folders", cls=Several, nargs=-1, required=True, type=FOLDER, metavar="DIR...")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Output folder of the merged scan.")
@click.option("--media", type=click.Choice(("copy", "link", "move")), default="copy", show_default=True,
              help="Treatment of annotated copies, evidence and crops. link: hard links, or copies where the file "
              "system has none; move: remove them from the merged folders.")  # fmt: skip
@click.option("--if-exists", type=click.Choice(("resume", "overwrite", "error")), default="resume", show_default=True,
              help="When the output folder holds an earlier merge: renew or continue it, replace it, or stop.")  # fmt: skip
@click.option("--incomplete", is_flag=True, help="Merge even if shards are missing or unfinished.")
@click.option("--any-versions", is_flag=True, help="Merge scans that were made with different versions of libraries.")
@FAIL_UNDER
@click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only: no table.")
def merge(folders: tuple[Path, ...], out: Path, quiet: bool, fail_under: float | None, **asked: str | bool) -> None:
    """Merge the output folders of scans into one, such as those of all shards; no file is analysed.

    The merged tables and media are byte for byte those of one scan over all inputs.
    """
    with quiet_libraries(), open_terminal(quiet, None) as terminal:
        from maskbatch.run.job import Outcome
        from maskbatch.run.merge import run_merge
        from maskbatch.run.merge_plan import MergeJob

        merged = run_merge(MergeJob(folders, out, **asked), terminal)
        terminal.results(Outcome(merged.out, merged.written, merged.remarks, merged.unreadable))
        for reason in merged.missing:
            terminal.warn(f"not all files are in these tables: {reason}")
        check_rate(merged.written.summary, fail_under, terminal)
    summary = merged.written.summary
    if merged.missing or merged.unreadable or summary.failed or summary.partial:
        click.get_current_context().exit(EXIT_SOME_FAILED)
