"""The command `export`."""

from pathlib import Path

import click

from maskbatch.cli.options import FOLDER
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal

_FORMATS = ("coco", "megadetector", "label-studio", "parquet", "cvat", "fiftyone", "webvtt", "chapters", "edl")


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("format", metavar="FORMAT", type=click.Choice(_FORMATS))
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH",
              help="File or folder to write. Default: export_FORMAT in DIR.")  # fmt: skip
def export(folder: Path, format: str, out: Path | None) -> None:
    """Write the results of a scan for other programs: see docs/formats.md.

    FORMAT is coco, megadetector, label-studio, parquet, cvat, fiftyone, webvtt, chapters or edl.
    """
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch import api

        terminal.say(f"{api.open(folder).export(format, out)}")
