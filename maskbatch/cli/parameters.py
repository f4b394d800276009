"""Types of options, and commands whose help lists options in groups."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from maskbatch.media.storage import Remote, is_address, located


class Place(click.ParamType):
    """A path, or an address such as s3://bucket/folder."""

    name = "path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        return located(value)


class Local(click.Path):
    """A path of this machine to write to. An address is refused: it would become folders of that name."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_address(str(value)):
            self.fail(f"{Remote(str(value))} is an address; give a path of this machine.", param, ctx)
        return super().convert(value, param, ctx)


class Folder(click.Path):
    """An existing folder of this machine; an address is refused with advice."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_address(str(value)):
            from maskbatch.run.working_folder import folder_for
            from maskbatch.store.database import STORE

            out = Remote(str(value))
            folder = folder_for(out)
            here = (
                f"scans to it worked in {folder}" if (folder / STORE).exists() else f"copy {out} to this machine first"
            )
            self.fail(f"This command needs a folder of this machine: {here}.", param, ctx)
        return super().convert(value, param, ctx)


PLACE = Place()
PATH = Local(path_type=Path)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = Folder(path_type=Path, exists=True, file_okay=False)
GROUPS = ("What to scan", "People, time and place", "Speed", "Video", "Output", "Advanced")
_DURATION, _SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", re.ASCII), {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Number(click.FloatRange):
    """A finite number in a range, with a decimal point. Without this type, click would accept nan."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, str) and value.replace(",", "", 1).lstrip("-").isdecimal() and "," in value:
            self.fail(f"{value!r} has a comma: write {value.replace(',', '.')}", param, ctx)
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value!r} is not a finite number.", param, ctx)


class Duration(click.ParamType):
    """A length of time such as 30s, 5m or 1h, as seconds."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value))
        seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
        return seconds or self.fail(f"{value!r} is no length of time: write 30s, 5m or 1h.", param, ctx)


class WordOr(click.ParamType):
    """One of several words, or a number."""

    name = "FLOAT|WORD"

    def __init__(self, words: Sequence[str], number: Number) -> None:
        self._words, self._number = words, number

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        return value if value in self._words else self._number.convert(value, param, ctx)


class Several(click.Argument):
    """An argument with several values, which the file of --config may contain; some versions of click ignore that."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, object]) -> tuple[object, object]:
        value, origin = super().consume_value(ctx, opts)
        in_file = ctx.lookup_default(self.name)
        return (in_file, click.core.ParameterSource.DEFAULT_MAP) if not value and in_file else (value, origin)


class GroupedOption(click.Option):
    """An option that the help lists in its group."""

    def __init__(self, *arguments: object, group: str, **more: object) -> None:
        super().__init__(*arguments, **more)
        self.group = group


class CommandWithExamples(click.Command):
    """A command whose help ends with examples: `epilog` unchanged."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


class GroupedCommand(CommandWithExamples):
    """A command whose help lists options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list] = {name: [] for name in GROUPS}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record:
                groups[getattr(option, "group", GROUPS[-1])].append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=26)


def options(*decorators: Callable) -> Callable:
    """Return several click options as one decorator, in the given order."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(decorators):
            command = option(command)
        return command

    return decorate


def grouped(group: str, *names: str, **more: object) -> Callable:
    """Return an option in a group."""
    return click.option(*names, cls=GroupedOption, group=group, **more)
