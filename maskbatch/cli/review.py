"""The command `review`."""

import getpass
import webbrowser
from pathlib import Path

import click

from maskbatch.cli.next_steps import checksum_lines
from maskbatch.cli.options import rules
from maskbatch.cli.parameters import FOLDER, PATH, Number
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal
from maskbatch.errors import MaskbatchError, UsageError


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--reviewer", metavar="NAME", help="Name of the reviewer. Default: the name of the user.")
@click.option("--sample", type=click.IntRange(5), metavar="N",
              help="Draw a probability sample of at most N people and moments, to correct the rate.")  # fmt: skip
@click.option("--precision", type=Number(0, 0.5), metavar="P",
              help="With --sample: tell the reviewer when the half width of the interval is P, such as 0.01.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="With --sample: random seed of the draw.")  # fmt: skip
@click.option("--settle", is_flag=True, help="Show only the people on whom two reviewers differ.")
@click.option("--agreement", is_flag=True, help="Print the agreement of reviewers (Cohen's kappa), and open no page.")
@click.option("--dataset", type=PATH, metavar="FOLDER",
              help="Write the reviewed faces as a dataset for train and evaluate, and open no page.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port to listen on. Default: a free port."
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
@rules("last report")
@click.option("-q", "--quiet", is_flag=True, help="Show warnings, errors and the address only.")
def review(folder: Path, quiet: bool, **asked: object) -> None:
    """Look at the people of a scan in a browser, one by one, and confirm or correct each verdict.

    DIR is the output folder of a scan. Each verdict is stored immediately; close the page and stop with Ctrl-C at any
    time. Then the tables and report.html are written again, with the verdicts of the model and of the reviewers.
    """
    own = {name: asked.pop(name) for name in _OWN}
    if own["precision"] is not None and own["sample"] is None:
        raise UsageError("--precision belongs to --sample")
    if own["settle"] and own["sample"]:
        raise UsageError("--settle and --sample exclude each other")
    with quiet_libraries(), open_terminal(quiet, None) as terminal:
        session = _session()
        from maskbatch.run.threshold import Asked

        rules_asked = Asked(**asked)
        if own["agreement"]:
            for line in session.agreement_lines(folder):
                click.echo(line)
            return
        if own["dataset"] is not None:
            terminal.say(session.write_dataset(folder, own["dataset"], rules_asked))
            return
        wanted = session.Wanted(own["reviewer"] or getpass.getuser(), own["sample"], own["precision"], own["seed"],
                                  own["settle"])  # fmt: skip

        def opened(address: str) -> None:
            click.echo(f"review at {address}")
            if own["browser"]:
                webbrowser.open(address)

        done = session.serve(folder, wanted, rules_asked, (own["host"], own["port"]), opened)
        for line in (done, *checksum_lines(folder)):
            terminal.say(line)


def _session():
    """Return the module of reviews. Raises MaskbatchError when its packages are missing."""
    try:
        from maskbatch.review import session
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise MaskbatchError(f"a review needs the package {error.name}: pip install 'maskbatch[review]'") from error
    return session


_OWN = ("reviewer", "sample", "precision", "seed", "settle", "agreement", "dataset", "host", "port", "browser")
