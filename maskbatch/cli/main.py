"""The group of all commands: the sections of its help, and the messages and exit codes of errors.

Commands import their libraries when they run, so that `maskbatch --help` answers at once.
"""

import os

import click

from maskbatch import __version__
from maskbatch.cli.chain import pack, purge, verify
from maskbatch.cli.config import with_config
from maskbatch.cli.diff import diff
from maskbatch.cli.doctor import doctor
from maskbatch.cli.export import export, import_
from maskbatch.cli.merge import merge
from maskbatch.cli.places import places
from maskbatch.cli.report import report
from maskbatch.cli.review import review
from maskbatch.cli.scan import scan, video, watch
from maskbatch.cli.train import evaluate, train, train_detector
from maskbatch.errors import Interrupted, MaskbatchError, UsageError
from maskbatch.run.progress import printable

EXIT_INTERRUPTED = 130
SECTIONS = {
    "Commands": (scan, video, watch, merge, report, review, diff, export, import_, places, doctor),
    "Commands for the chain of evidence": (verify, pack, purge),
    "Commands for training your own models": (train, train_detector, evaluate),
}


class _Group(click.Group):
    """A group that maps the errors of maskbatch to messages and exit codes."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(_lines(error)) from error
        except Interrupted:
            click.echo(
                "Interrupted. The tables show the finished part. Give the same command again to continue.", err=True
            )
            ctx.exit(EXIT_INTERRUPTED)
        except MaskbatchError as error:
            raise click.ClickException(_lines(error)) from error
        except BrokenPipeError:  # the program that reads our output has closed it; click ends quietly
            raise
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(_lines(f"{name}{error.strerror or error}")) from error
        except KeyboardInterrupt:
            click.echo("Interrupted. Give the same command again to continue a scan.", err=True)
            ctx.exit(EXIT_INTERRUPTED)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        """Find the command; if a path stands in its place, suggest `scan`."""
        first = args[0]
        if self.get_command(ctx, first) is None and not first.startswith("-"):
            is_path = os.path.lexists(first) or os.sep in first or "/" in first
            if is_path:
                raise click.UsageError(f"{printable(first)!r} is not a command. Did you mean: maskbatch scan "
                                       f"{' '.join(map(printable, args))}", ctx)  # fmt: skip
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name, command.get_short_help_str(120)) for command in commands])


def _lines(message: object) -> str:
    """Return the lines of a message, with control characters in names of files escaped."""
    return "\n".join(map(printable, str(message).split("\n")))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="maskbatch")
def main() -> None:
    """Who wore a mask, where and when, and how sure are we?

    maskbatch finds every face in photos and videos, tells masked faces from bare ones, and writes tables and annotated
    copies.

    To begin: `maskbatch scan FOLDER`.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        main.add_command(with_config(_command))
