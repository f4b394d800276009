"""Write the manual pages docs/man/*.1 from the commands themselves; with --check, fail where they differ.

python docs/make_man.py [--check]

click-man 0.6 was tried: it escapes no dots and quotes at the beginning of a line, knows no groups of options and no
examples, and wants Python 3.11.
"""

import re
import sys
from inspect import cleandoc
from pathlib import Path

import click

from maskbatch import __version__
from maskbatch.cli.main import SECTIONS, main
from maskbatch.cli.parameters import GROUPS

TOP = Path(__file__).parents[1]
FOLDER = TOP / "docs/man"
_ESCAPES = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_ENVIRONMENT = (
    ("MASKBATCH_CACHE", "Folder of converted networks. Default: the user's cache folder."),
    ("_MASKBATCH_COMPLETE", "Writes the completion of a shell: bash_source, zsh_source or fish_source."),
)


def pages() -> dict[str, str]:
    """Return the text of each page by its file name: maskbatch.1, and one for each command."""
    group = click.Context(main, info_name="maskbatch", **main.context_settings)
    found = {"maskbatch.1": _page_of_group(group)}
    for name, command in sorted(main.commands.items()):
        found[f"maskbatch-{name}.1"] = _page_of_command(click.Context(command, group, info_name=name))
    return found


def _page_of_group(context: click.Context) -> str:
    lines = [*_head(context), *_options(context)]
    for title, commands in SECTIONS.items():
        lines.append(f".SH {_quoted(title.upper())}")
        for command in commands:
            lines += [".TP", rf"\fBmaskbatch\-{_text(command.name)}\fP(1)", _text(command.get_short_help_str(200))]
    lines += [".SH EXIT STATUS", *_list(_exit_codes()), ".SH ENVIRONMENT", *_list(_ENVIRONMENT)]
    return "\n".join(lines) + "\n"


def _page_of_command(context: click.Context) -> str:
    lines = [*_head(context), *_options(context)]
    if context.command.epilog:
        lines += [".SH EXAMPLES", ".nf", *map(_text, cleandoc(context.command.epilog).splitlines()), ".fi"]
    lines += [".SH EXIT STATUS", r"See \fBmaskbatch\fP(1).", ".SH SEE ALSO", r"\fBmaskbatch\fP(1)"]
    return "\n".join(lines) + "\n"


def _head(context: click.Context) -> list[str]:
    """Return title, name, synopsis and description. No date: the same commands give the same bytes."""
    command, name = context.command, context.command_path.replace(" ", "-")
    short = command.get_short_help_str(200).rstrip(".")
    usage = " ".join(command.collect_usage_pieces(context))
    return [
        f'.TH {_quoted(name.upper())} 1 "" {_quoted(f"maskbatch {__version__}")} {_quoted("maskbatch")}',
        ".SH NAME", rf"{_text(name)} \- {_text(short)}",
        ".SH SYNOPSIS", rf"\fB{_text(context.command_path)}\fP {_text(usage)}",
        ".SH DESCRIPTION", *_paragraphs(command.help),
    ]  # fmt: skip


def _paragraphs(help: str) -> list[str]:
    """Return a help text; its lines are joined to paragraphs, as click does."""
    texts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", cleandoc(help))]
    return "\n.PP\n".join(map(_text, texts)).split("\n")


def _options(context: click.Context) -> list[str]:
    """Return the options of a command, in the groups that its help has."""
    groups: dict[str, list[tuple[str, str]]] = {"": [], **{name: [] for name in GROUPS}}
    for option in context.command.get_params(context):
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            groups[getattr(option, "group", "")].append(record)
    lines = [".SH OPTIONS"]
    for title, records in sorted(groups.items(), key=lambda item: item[0] == ""):
        if records:
            is_grouped = len([one for one in groups.values() if one]) > 1
            lines += [f".SS {_quoted(title or 'General')}"] if is_grouped else []
            for names, text in records:
                lines += [".TP", " ".join(map(_word, names.split())), _text(" ".join(text.split()))]
    return lines


def _word(word: str) -> str:
    """Return a word of an option: its name bold, what it takes in italics."""
    if word == "/":
        return word
    if word.startswith("-"):
        name = word.rstrip(",")
        return rf"\fB{_text(name)}\fP{word[len(name) :]}"
    return rf"\fI{_text(word)}\fP"


def _list(rows: tuple[tuple[str, str], ...]) -> list[str]:
    return [line for name, text in rows for line in (".TP", rf"\fB{_text(name)}\fP", _text(text))]


def _exit_codes() -> tuple[tuple[str, str], ...]:
    """Return the exit codes as README.md lists them."""
    _, _, table = (TOP / "README.md").read_text(encoding="utf-8").partition("| exit code | meaning |\n|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    return tuple((code, text.replace("`", "")) for code, text in (row.strip("| ").split(" | ") for row in rows))


def _text(text: str) -> str:
    """Return a line of text in which roff sees no request and changes no character."""
    escaped = text.translate(_ESCAPES)
    return rf"\&{escaped}" if text.startswith(".") else escaped


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', r"\(dq") + '"'


def stale() -> list[str]:
    """Return the names of the pages that are not as the commands would have them, are missing, or have no command."""
    made = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(names)}: run python docs/make_man.py" if (names := stale()) else 0)
    FOLDER.mkdir(exist_ok=True)
    for old in set(stale()) - pages().keys():
        (FOLDER / old).unlink()
    for page, text in pages().items():
        (FOLDER / page).write_text(text, encoding="utf-8")
