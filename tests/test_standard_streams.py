"""Standard streams that are closed or full, and too little memory: a sentence, the right exit code, whole tables."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from killed_runs import contents
from makers import write_photo

SAMPLES = Path(__file__).parents[1] / "sample_media"
LIMITS_KB = (200_000, 900_000, 1_000_000, 2_100_000)
PHOTOS = [SAMPLES / "portrait_bare.jpg", SAMPLES / "groups"]
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a system with /dev/full")


def shell(words, redirections="", before=""):
    """`maskbatch WORDS` by a shell that leads its streams elsewhere; never a traceback."""
    command = shlex.join([sys.executable, "-m", "maskbatch", *map(str, words)])
    result = subprocess.run(
        ["sh", "-c", f"{before} exec {command} {redirections}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A photo and its scan."""
    folder = tmp_path_factory.mktemp("streams")
    write_photo(folder / "a.png")
    assert shell(["scan", folder / "a.png", "--out", folder / "out"]).returncode == 0
    return folder


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
@pytest.mark.parametrize("words", ["--help", "--version", "scan --help", "scan {}/a.png --out {}/out", "report {}/out",
                                   "scan {}/a.png --out {}/other --dry-run"])  # fmt: skip
def test_results_that_cannot_be_printed_are_an_error(scanned, words, redirection):
    """One sentence on standard error, and exit code 1, as other programs do; the scan itself is whole."""
    before = contents(scanned / "out")
    result = shell(words.format(scanned, scanned).split(), redirection)
    assert result.returncode == 1
    reason = "Bad file descriptor" if redirection == ">&-" else "No space left on device"
    assert result.stderr.splitlines()[-1] == f"Error: standard output: {reason}"
    assert contents(scanned / "out") == before


@pytest.mark.parametrize(
    ("options", "redirections"),
    [
        ([], "2>&-"), ([], "2>/dev/full"), ([], "<&- 2>&-"),
        (["--progress", "json"], "2>&-"), (["--progress", "json"], "2>/dev/full"), (["-q"], "2>&-"),
    ],
)  # fmt: skip
def test_messages_that_nobody_can_read_end_no_scan(scanned, tmp_path, options, redirections):
    """Nor do they get into a file that happens to have the number of the closed stream."""
    result = shell(["scan", scanned / "a.png", "--out", tmp_path / "out", *options], redirections)
    assert result.returncode == 0 and ("reports in" in result.stdout) == (options != ["-q"])
    assert contents(tmp_path / "out") == contents(scanned / "out")


def test_all_streams_closed(scanned, tmp_path):
    """A quiet scan has nothing to print and ends well."""
    result = shell(["scan", scanned / "a.png", "--out", tmp_path / "out", "-q"], "<&- >&- 2>&-")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert contents(tmp_path / "out") == contents(scanned / "out")


def test_wrong_use_keeps_its_exit_code_when_nobody_can_be_told():
    """2, whether or not the sentence can be written; a list on a closed standard input is empty."""
    assert shell(["scan"], "2>/dev/full").returncode == shell(["scan"], "2>&-").returncode == 2
    result = shell(["scan", "--from-list", "-"], "<&-")
    assert result.returncode == 2 and result.stderr.endswith("no photo or video in the list\n")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a scan of the photos gives that has all memory."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert shell(["scan", *PHOTOS, "-q", "--out", out]).returncode == 0
    return contents(out)


@pytest.mark.skipif(sys.platform != "linux", reason="only there the address space can be limited")
@pytest.mark.parametrize("kilobytes", LIMITS_KB)
def test_too_little_memory_is_a_sentence_and_the_same_command_goes_on(whole, tmp_path, kilobytes):
    """Libraries that cannot be loaded, too few threads, networks that would crash or hang: exit code 1 and one sentence;
    given more memory, the tables are those of a scan that always had it."""
    words = ["scan", *PHOTOS, "-q", "--out", tmp_path / "out"]
    result = shell(words, before=f"ulimit -v {kilobytes};")
    assert result.returncode == 1 and result.stderr.count("Error: ") == 1 and result.stderr.count("\n") == 1
    if kilobytes == LIMITS_KB[-1] or (tmp_path / "out").exists():  # where nothing was written, one proof is enough
        assert shell(words).returncode == 0
        assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("columns", ["", "40"])
def test_no_number_of_the_table_is_cut(tmp_path, columns):
    """Neither a long name of a folder nor a narrow terminal takes digits or columns from the table of a scan."""
    name = "long" * 40
    for path in (tmp_path / "photos" / "b.png", tmp_path / "photos" / name / "a.png"):
        path.parent.mkdir(exist_ok=True, parents=True)
        write_photo(path)
    result = shell(["scan", tmp_path / "photos", "--out", tmp_path / "out"], before=f"export COLUMNS={columns};")
    lines = [line.split() for line in result.stdout.splitlines()]
    [title] = [line for line in lines if line[:1] == ["folder"]]
    assert title[:8] == ["folder", "files", "failed", "partial", "people", "with", "without", "rate"]
    assert [name, "1", "0", "0", "0", "0", "0"] in lines and ["total", "2", "0", "0", "0", "0", "0"] in lines
