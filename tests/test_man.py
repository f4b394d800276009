"""The manual pages: made from the commands, whole, and read by man and mandoc without a complaint."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from maskbatch.cli.main import main

TOP = Path(__file__).parents[1]
FOLDER = TOP / "docs/man"
PAGES = sorted(FOLDER.glob("*.1"))


@pytest.fixture(scope="module")
def make_man():
    """docs/make_man.py as a module."""
    spec = importlib.util.spec_from_file_location("make_man", TOP / "docs/make_man.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(path):
    """The text of a page without fonts and escapes."""
    text = re.sub(r"\\f[BIP]", "", path.read_text(encoding="utf-8"))
    for escape, char in ((r"\-", "-"), (r"\(aq", "'"), (r"\(ga", "`"), (r"\(ha", "^"), (r"\(ti", "~"), (r"\&", "")):
        text = text.replace(escape, char)
    return text.replace(r"\e", "\\")


def test_each_command_has_a_page_that_names_all_its_options():
    """Every name of every option stands at the beginning of an entry, with its help below."""
    assert {path.stem for path in PAGES} == {"maskbatch", *(f"maskbatch-{name}" for name in main.commands)}
    for name, command in main.commands.items():
        group = click.Context(main, info_name="maskbatch", **main.context_settings)
        context = click.Context(command, group, info_name=name)
        entries = dict(re.findall(r"^\.TP\n(.*)\n(.*)$", plain(FOLDER / f"maskbatch-{name}.1"), re.MULTILINE))
        for option in (one for one in command.get_params(context) if isinstance(one, click.Option)):
            [line] = [one for one in entries if option.opts[0] in re.split("[ ,]+", one)]
            assert {*option.opts, *option.secondary_opts} <= set(re.split("[ ,]+", line)), line
            assert " ".join(option.help.split()) in entries[line]


def test_pages_are_those_of_the_commands(make_man, monkeypatch):
    """The files are what the commands give now, as CI checks; an option more, or a page without a command, is found."""
    command = [sys.executable, str(TOP / "docs/make_man.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    before = make_man.stale()  # click keeps the help option of a command that another test has called in its own way
    monkeypatch.setattr(main.commands["doctor"], "params", [*main.commands["doctor"].params, click.Option(["--new"])])
    assert make_man.stale() == sorted({*before, "maskbatch-doctor.1"})
    monkeypatch.delitem(main.commands, "doctor")
    assert make_man.stale() == sorted({*before, "maskbatch-doctor.1"})


def test_the_page_of_the_program_has_commands_and_exit_codes():
    """All commands, and the exit codes that README.md lists."""
    text = plain(FOLDER / "maskbatch.1")
    assert all(f"\nmaskbatch-{name}(1)\n" in text for name in main.commands)
    codes = re.findall(r"^(\d+)$", text.partition(".SH EXIT STATUS")[2], re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "5", "130"]


def test_no_text_is_a_request_of_roff(make_man):
    """A help that begins with a dot or an apostrophe, or has a backslash, is shown as it is."""

    @click.command(help=".hidden files\n\n'quoted' C:\\new -x")
    def odd():
        pass

    lines = make_man._page_of_command(click.Context(odd, info_name="odd")).splitlines()
    assert r"\&.hidden files" in lines and r"\(aqquoted\(aq C:\enew \-x" in lines


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_man_shows_the_page_without_a_warning(path):
    """groff, as man calls it, warns of nothing."""
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("no man here")
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(path)], capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0 and done.stderr == b"" and len(done.stdout) > 500


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_mandoc_finds_no_fault(path):
    """mandoc's check finds the missing date alone, which is left out so that the bytes do not change from day to day."""
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc here")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []
