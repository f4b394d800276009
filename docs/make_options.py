"""Writes the option tables into README.md from the commands themselves; with --check, fails where they differ.

python docs/make_options.py [--check]
"""

import re
import sys
from pathlib import Path

import click

from maskbatch.cli.main import main

README = Path(__file__).parents[1] / "README.md"
MARKS = "<!-- options: made by docs/make_options.py -->", "<!-- end of options -->"
COMMANDS = ("scan", "video", "report", "train", "evaluate", "train-detector", "doctor")


def option_rows(command: click.Command) -> list[str]:
    """A table row for each option of a command."""
    context = click.Context(command, info_name=command.name)
    records = [option.get_help_record(context) for option in command.params if isinstance(option, click.Option)]
    return [
        f"| `{names.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |" for names, text in records
    ]


def missing() -> str:
    """What `scan` has and `video` has not, in words."""
    names = [{item.opts[-1] for item in main.commands[name].params} for name in ("scan", "video")]
    return " but " + " and ".join(f"`{name}`" for name in sorted(names[0] - names[1]) if name.startswith("--"))


def tables() -> str:
    """All tables as Markdown; `video` has what `scan` has, so only its own options are listed."""
    parts, seen = [], set()
    for name in COMMANDS:
        command = main.commands[name]
        given = [item for item in command.params if isinstance(item, click.Argument)]
        arguments = " ".join(item.make_metavar(click.Context(command)) for item in given)
        rows = [row for row in option_rows(command) if name != "video" or row not in seen]
        seen.update(rows)
        parts.append(
            f"#### `{' '.join(('maskbatch', name, arguments)).strip()}`\n\n{command.get_short_help_str(200)}\n"
        )
        if rows:
            more = f"All options of `scan`{missing()}, and:\n\n" if name == "video" else ""
            parts.append(more + "| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def renewed(text: str) -> str:
    """The README with its tables made again."""
    pattern = re.compile(f"(?<={re.escape(MARKS[0])}\n).*(?={re.escape(MARKS[1])})", re.DOTALL)
    return pattern.sub(lambda _: f"\n{tables()}\n", text)


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    new = renewed(old)
    if "--check" in sys.argv:
        sys.exit("README.md's option tables are out of date: run python docs/make_options.py" if old != new else 0)
    README.write_text(new, encoding="utf-8")
