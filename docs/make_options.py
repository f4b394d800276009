"""Write the option tables of README.md from the commands themselves; with --check, fail where they differ.

python docs/make_options.py [--check]
"""

import re
import sys
from pathlib import Path

import click

from maskbatch.cli.main import main
from maskbatch.cli.parameters import GROUPS as SCAN_GROUPS

README = Path(__file__).parents[1] / "README.md"
MARKS = "<!-- options: made by docs/make_options.py -->", "<!-- end of options -->"
COMMANDS = (
    "scan",
    "video",
    "watch",
    "merge",
    "report",
    "review",
    "diff",
    "export",
    "import",
    "places",
    "verify",
    "pack",
    "purge",
    "doctor",
    "train",
    "train-detector",
    "evaluate",
)
LIKE_SCAN = ("video", "watch")
GROUPS = (*SCAN_GROUPS, "")


def option_rows(command: click.Command) -> list[tuple[str, str]]:
    """Give a table row for each option of a command, with the group of the option."""
    context = click.Context(command, info_name=command.name)
    rows = []
    for option in command.params:
        if isinstance(option, click.Option):
            names, text = (cell.replace("|", r"\|") for cell in option.get_help_record(context))
            rows.append((getattr(option, "group", ""), f"| `{names}` | {text} |"))
    return rows


def missing(other: str) -> str:
    """Name the options that `scan` has and another command has not."""
    names = [{item.opts[-1] for item in main.commands[name].params} for name in ("scan", other)]
    quoted = [f"`{name}`" for name in sorted(names[0] - names[1]) if name.startswith("--")]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]])


def tables() -> str:
    """Give all tables as Markdown. `video` and `watch` have almost the options of `scan`, so only their own are listed."""
    parts, seen = [], set()
    for name in COMMANDS:
        command = main.commands[name]
        given = [item for item in command.params if isinstance(item, click.Argument)]
        arguments = " ".join(item.make_metavar(click.Context(command)) for item in given)
        rows = [row for row in option_rows(command) if name not in LIKE_SCAN or row not in seen]
        seen.update(rows)
        parts.append(
            f"#### `{' '.join(('maskbatch', name, arguments)).strip()}`\n\n{command.get_short_help_str(200)}\n"
        )
        if name in LIKE_SCAN:
            parts.append(f"All options of `scan` except {missing(name)}. These options differ from `scan`:\n")
        for group in GROUPS:
            if some := [row for own, row in rows if own == group]:
                title = f"{group or 'option'} | meaning"
                parts.append(f"| {title} |\n|---|---|\n" + "\n".join(some) + "\n")
    return "\n".join(parts)


def renewed(text: str) -> str:
    """Give the README with its tables made again."""
    pattern = re.compile(f"(?<={re.escape(MARKS[0])}\n).*(?={re.escape(MARKS[1])})", re.DOTALL)
    return pattern.sub(lambda _: f"\n{tables()}\n", text)


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    new = renewed(old)
    if "--check" in sys.argv:
        sys.exit("README.md's option tables are out of date: run python docs/make_options.py" if old != new else 0)
    README.write_text(new, encoding="utf-8")
