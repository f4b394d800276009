"""The commands `export` and `import`."""

import getpass
from pathlib import Path

import click

from maskbatch.cli.next_steps import checksum_lines
from maskbatch.cli.parameters import FILE, FOLDER, PATH
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal

_FORMATS = ("coco", "megadetector", "label-studio", "parquet", "cvat", "fiftyone", "webvtt", "chapters", "edl",
            "otio")  # fmt: skip


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("format", metavar="FORMAT", type=click.Choice(_FORMATS))
@click.option("--out", type=PATH, metavar="PATH",
              help="File or folder to write. Default: export_FORMAT in DIR.")  # fmt: skip
def export(folder: Path, format: str, out: Path | None) -> None:
    """Write the results of a scan in a format of another program: see docs/formats.md.

    FORMAT is coco, megadetector, label-studio, parquet, cvat, fiftyone, webvtt, chapters, edl or otio. Thresholds and
    other rules are those of the last report.
    """
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch import api

        terminal.say(f"{api.open(folder).export(format, out)}")


@click.command(name="import")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--reviewer", metavar="NAME", help="Name of the reviewer. Default: the name of the user.")
@click.option("--source", metavar="NAME", help="Name of the source in the tables, if the file does not contain it.")
def import_(folder: Path, file: Path, reviewer: str | None, source: str | None) -> None:
    """Import boxes that were corrected in CVAT, Label Studio or a COCO tool as verdicts of a reviewer.

    FILE is an XML file of CVAT (video 1.1), or a JSON file of Label Studio or COCO. All tables are written again.
    """
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch.run.corrections import import_corrections
        from maskbatch.run.progress import counted

        found = import_corrections(folder, file, reviewer or getpass.getuser(), source)
        boxes = f"{found.num_unknown} {'box' if found.num_unknown == 1 else 'boxes'} where the scan has no face"
        terminal.say(f"{counted(found.num_verdicts, 'verdict')}, {found.num_changed} of them not the model's; {boxes}")
        for line in checksum_lines(folder):
            terminal.say(line)
