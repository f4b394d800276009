"""`--config FILE`: options in a file, between the command line and the defaults."""

import json
from pathlib import Path

import makers
import pytest
from click.testing import CliRunner
from killed_runs import networks

from maskbatch.cli.config import check_names
from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.run import engine, shard

TEXT = """
paths = ["in"]
out = "audit"
save = []
sample-fps = 2
min_bare = 2.5
third-state = false
start = 2026-11-20T22:00:00
timezone = "Europe/Berlin"
threshold = 0.7
include-hidden = true
quiet = true

[report]
folder = "audit"
threshold = 0.3

[merge]
media = "link"

[train]
size = 128
labels = ["mask=with_mask"]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Networks that are small functions; one photo, and the file `etc/maskbatch.toml` with TEXT."""
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", networks)
    makers.write_photo(tmp_path / "etc/in/a.png")
    (tmp_path / "etc/maskbatch.toml").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def run(command, *arguments, text=None):
    """`maskbatch COMMAND ARGUMENTS --config etc/maskbatch.toml`, whose text may be another one."""
    file = Path("etc/maskbatch.toml")
    if text is not None:
        file.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, [command, *arguments, "--config", str(file)])


def settings():
    """The effective settings in run.json."""
    return json.loads(Path("etc/audit/run.json").read_text(encoding="utf-8"))["settings"]


def test_a_file_has_inputs_and_options_and_run_json_what_was_used():
    """Paths are relative to the folder of the file, dashes and underscores are the same; run.json has the values."""
    result = run("scan")
    assert (result.exit_code, result.output) == (0, ""), result.output
    used = settings()
    assert used["inputs"] == {"limit": None, "include_hidden": True}
    assert (used["output"]["save"], used["sampling"]["sample_fps"], used["classifier"]["threshold"]) == ([], 2, 0.7)
    assert (used["report"]["min_bare_s"], used["report"]["timezone"]) == (2.5, "Europe/Berlin")
    assert used["report"]["start"] == "2026-11-20T22:00:00"


def test_the_command_line_comes_first_and_the_defaults_last():
    """An option or a path that is given replaces that of the file; what neither has is as without a file."""
    makers.write_photo(Path("other/b.png"))
    result = run("scan", "other", "--threshold", "0.4", "--out", "etc/audit", "--limit", "1")
    assert result.exit_code == 0, result.output
    used = settings()
    assert (used["classifier"]["threshold"], used["inputs"]["limit"], used["report"]["min_bare_s"]) == (0.4, 1, 2.5)
    assert (used["detector"]["threshold"], used["sampling"]["stall_s"]) == (0.7, 60)
    assert Path("etc/audit/files.csv").read_text().splitlines()[1].startswith("b.png,")


def test_a_table_is_for_one_command():
    """[report] has the threshold of reports, and its folder; options above all tables are for report as well."""
    assert run("scan").exit_code == 0
    assert run("report").exit_code == 0
    report = json.loads(Path("etc/audit/run.json").read_text(encoding="utf-8"))["report"]
    assert (report["threshold"], report["min_bare_s"], settings()["classifier"]["threshold"]) == (0.3, 2.5, 0.7)


def test_tables_of_other_commands_are_left_alone():
    """The options above all tables are none of merge, which has another --out; its table is used."""
    assert run("scan").exit_code == 0
    assert "Missing option '--out'" in run("merge", "etc/audit").output
    result = run("merge", "--out", "merged", "etc/audit")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("merged/run.json").read_text(encoding="utf-8"))["merged"]["media"] == "link"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("treshold = 0.5", "there is no option 'treshold'; did you mean threshold?"),
        ("sample_fsp = 2", "did you mean sample_fps?"),
        ("sample-fsp = 2", "did you mean sample-fps?"),
        ("xyzzy = 1", "there is no option 'xyzzy'"),
        ("[scann]\nlimit = 3", "[scann] is no command of maskbatch; did you mean [scan]?"),
        ("[merge]\nmedai = 'link'", "merge has no option 'medai'; did you mean media?"),
        ("media = 'link'", "it is one of merge, put it below [merge]"),
        ("threshold = '0.5x'", "threshold: '0.5x' is not"),
        ("threshold = 1.5", "threshold: 1.5 is not in the range"),
        ("threshold = true", "threshold takes a number, not True"),
        ("every = 2.5", "every takes a whole number, not 2.5"),
        ("every = true", "every takes a whole number, not True"),
        ("quiet = 'no'", "quiet takes true or false, not 'no'"),
        ("device = 3", "device takes a text, not 3"),
        ("clock = 'nme'", "clock: 'nme' is not one of"),
        ("limit = [1]", "limit takes a whole number, not [1]"),
        ("limit = ", "is not TOML"),
        ("config = 'other.toml'", "there is no option 'config'"),
        ("help = true", "there is no option 'help'"),
    ],
)
def test_what_is_no_option_or_no_value_is_a_usage_error(text, words):
    """The message names the file and the key, and its likely spelling; nothing is scanned."""
    result = run("scan", "etc/in", text=text)
    output = " ".join(result.output.split())
    assert result.exit_code == 2 and words in output and "maskbatch.toml" in output, result.output
    assert not Path("in_maskbatch").exists()


def test_a_file_that_is_not_there_or_no_text_is_a_usage_error():
    """With its name."""
    result = CliRunner().invoke(main, ["scan", "etc/in", "--config", "none.toml"])
    assert result.exit_code == 2 and "none.toml" in result.output
    Path("etc/maskbatch.toml").write_bytes(b"out = '\xff'")
    assert run("scan", "etc/in").exit_code == 2


def test_every_option_of_every_command_may_stand_in_a_file():
    """Each long option of each command is known below the table of the command, and nothing else is."""
    flags = {name: {max(param.opts, key=len).lstrip("-"): 1 for param in command.params if not param.is_eager}
             for name, command in main.commands.items()}  # fmt: skip
    assert sum(len(names) for names in flags.values()) > 100
    check_names(Path("x.toml"), flags, main.commands)
    for name, known in flags.items():
        with pytest.raises(UsageError, match="has no option 'version'"):
            check_names(Path("x.toml"), {name: {**known, "version": 1}}, main.commands)
