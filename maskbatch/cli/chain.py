"""The commands for the chain of evidence: `verify`, `pack` and `purge`."""

from pathlib import Path

import click

from maskbatch.cli.next_steps import checksum_lines
from maskbatch.cli.parameters import FOLDER, PATH
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal
from maskbatch.errors import UsageError
from maskbatch.run.progress import counted

EXIT_DIFFERS = 5
_MOST_LINES = 50


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--expect", metavar="SHA256",
              help="Expected checksum of manifest.json itself, as the last scan, report or review printed it.")  # fmt: skip
def verify(folder: Path, expect: str | None) -> None:
    """Read every file of a scan again, and list all files that differ from manifest.json (exit code 5).

    DIR is an output folder, or an unpacked zip of maskbatch pack.
    """
    from maskbatch.run.verify import verify as check

    found = check(folder, expect)
    for what, names in (("changed", found.changed), ("missing", found.missing), ("not in the manifest", found.extra),
                        ("input is not where it was", found.missing_inputs)):  # fmt: skip
        for name in names[:_MOST_LINES]:
            click.echo(f"{what}: {name}")
        if len(names) > _MOST_LINES:
            click.echo(f"{what}: {len(names) - _MOST_LINES} more")
    if found:
        click.get_current_context().exit(EXIT_DIFFERS)
    click.echo("all files match the manifest")


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--out", type=PATH, metavar="ZIP", help="File to write. Default: DIR.zip beside DIR.")
@click.option("--annotated", is_flag=True, help="Also put the annotated copies into the zip.")
@click.option("--anonymize", is_flag=True, help="Hide the faces in the evidence.")
def pack(folder: Path, out: Path | None, annotated: bool, anonymize: bool) -> None:
    """Write a zip for an auditor: report.html, tables, evidence, model cards and a manifest."""
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch.run.pack import pack as write

        target = folder.absolute().with_name(f"{folder.absolute().name}.zip") if out is None else out
        number = write(folder, target, annotated, anonymize)
        terminal.say(f"{target}: {number} files, {target.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--older-than", metavar="DAYS", help="Remove pictures of recordings that are older, such as 30d for 30 days."
)
@click.option(
    "--person", metavar="SOURCE:N", help="Remove the pictures of one person, by file and number as in people.csv."
)
@click.option("--yes", is_flag=True, help="Remove without asking.")
def purge(folder: Path, older_than: str | None, person: str | None, yes: bool) -> None:
    """Remove evidence, annotated copies and crops of people, and keep all numbers.

    The store logs each removal, and is rewritten so that nothing is left in its free pages.
    """
    if (older_than is None) == (person is None):
        raise UsageError("say what to remove: --older-than DAYS or --person SOURCE:N")
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch.run.purge import purge as remove

        found = remove(folder, older_than, person, is_trial=True)
        if not found.num_sources:
            terminal.say("no recording is that old")
            return
        files = f"{counted(found.num_files, 'file')} of {counted(found.num_sources, 'recording')}"
        question = f"remove {files} from {folder} for good?"
        if not yes and not click.confirm(question, err=True):
            terminal.say("nothing was removed")
            return
        remove(folder, older_than, person)
        for line in (f"removed {files}; all numbers stay", *checksum_lines(folder)):
            terminal.say(line)
