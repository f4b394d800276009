"""The command `places`."""

from pathlib import Path

import click

from maskbatch.cli.parameters import FILE, PATH
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal


@click.command()
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--places", "places_file", type=FILE, required=True, metavar="PLACES.toml",
              help="File with cameras, zones and lines: see docs/places.md.")  # fmt: skip
@click.option("--name", metavar="NAME",
              help="Name of the file in the reports, which determines its camera. Default: the name of FILE.")  # fmt: skip
@click.option("--frame", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Frame to draw onto.")
@click.option("--out", type=PATH, metavar="PICTURE",
              help="Picture to write. Default: FILE_places.png in the current folder.")  # fmt: skip
def places(file: Path, places_file: Path, name: str | None, frame: int, out: Path | None) -> None:
    """Draw the zones and lines of a camera onto a frame of FILE, a photo or video, to check them by eye."""
    with quiet_libraries(), open_terminal(False, None) as terminal:
        from maskbatch.run.places import draw_frame

        target = Path(f"{file.stem}_places.png") if out is None else out
        camera = draw_frame(file, str(places_file), name or file.name, frame, target)
        terminal.say(f"{target}: camera {camera}")
