"""What a user, or another process, does in the inputs and in the output folder while a scan is at work, and after it."""

import json
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from killed_runs import REPORTS, SETTINGS, contents
from maskbatch.outputs import prepared
from test_resume import another_process, fakes, scan, sources_of

from maskbatch import engine, journal, lock
from maskbatch.cli.main import main
from maskbatch.media.guard import trial
from maskbatch.media.video.segments import Segments
from maskbatch.settings import SamplingSettings
from maskbatch.types import Source

assert fakes  # the fixture


def run(*arguments):
    """`maskbatch ARGUMENTS`, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_video_that_grows_before_its_turn_is_reported_as_it_then_is(tmp_path, fakes):
    """Length, size and rate are those of the file that was scanned, not of the one that was there when the run began."""
    video = tmp_path / "in/b.mp4"
    makers.write_photo(tmp_path / "in/a.png")
    makers.write_video(video, makers.numbered(5))

    def grow(_):
        if not video.with_suffix(".txt").exists():
            video.with_suffix(".txt").touch()
            makers.write_video(video, makers.numbered(30, 128, 64), makers.Clip(fps=Fraction(12)))

    scan(tmp_path / "in", tmp_path / "out", on_batch=grow)
    scan(tmp_path / "in", tmp_path / "afresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "afresh")
    assert (tmp_path / "out/files.csv").read_text().splitlines()[2].split(",")[4:8] == ["128", "64", "12.000", "2.500"]


def test_a_video_that_kills_whoever_probes_it_is_in_the_journal(tmp_path, fakes, monkeypatch):
    """Nothing is opened before a journal is open that names the file."""
    makers.write_video(tmp_path / "in/v.mp4", makers.numbered(5))
    written = []

    def probe(source, upright):
        written.append((tmp_path / "out/.state/journal").read_text())
        return source

    monkeypatch.setattr(journal, "probe", probe)
    scan(tmp_path / "in", tmp_path / "out")
    assert written == ['+"v.mp4"\n', '+"v.mp4"\n-"v.mp4"\n+"v.mp4"\n']


def test_a_trial_probes_as_a_scan_does(tmp_path, monkeypatch):
    """What kills the one would else kill every run."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import os, signal\nfrom maskbatch.media import probe\n"
        "probe.video_stream = lambda _: os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])]))
    path = makers.write_video(tmp_path / "v.mp4", makers.numbered(5))
    reasons = trial.crash_reasons([(Source(0, path, "v.mp4", "video"), Segments())], SamplingSettings())
    assert reasons == {"v.mp4": "crashed the decoder (signal 11)"}


def test_a_probe_that_never_returns_does_not_keep_the_run(tmp_path, fakes, monkeypatch):
    """The video is then read without what its container claims."""
    makers.write_video(tmp_path / "in/v.mp4", makers.numbered(5))
    never = threading.Event()
    monkeypatch.setattr(journal, "probe", lambda *_: never.wait(60))
    monkeypatch.setattr(engine, "_HANG", 0.3 / SETTINGS.sampling.stall_s)
    scan(tmp_path / "in", tmp_path / "out")
    never.set()
    assert sources_of(tmp_path / "out") == [("v.mp4", "ok")]


def test_overwriting_leaves_what_the_user_put_there(tmp_path, fakes):
    """Copies, crops and reports of the earlier scan go; a file among them that no scan wrote stays, and so does a link that
    leads to another disk."""
    for name in ("a.png", "b.png"):
        makers.write_photo(tmp_path / "in" / name)
    out, disk = tmp_path / "out", tmp_path / "disk"
    out.mkdir(), disk.mkdir()
    (out / "annotated").symlink_to(disk)
    (out / ".state/rows").mkdir(parents=True)
    scan(tmp_path / "in", out)
    (out / "annotated/notes.txt").write_text("mine")
    before = {path.name for path in disk.iterdir()}
    with prepared(out, "overwrite"):
        assert before == {"a.png", "b.png", "notes.txt"} and [path.name for path in disk.iterdir()] == ["notes.txt"]
        assert sorted(path.name for path in out.iterdir()) == [".state", "annotated"]
        assert sorted(path.name for path in (out / ".state").iterdir()) == ["lock", "reports.lock", "rows"]
    (tmp_path / "in/a.png").unlink()
    scan(tmp_path / "in", out)
    assert sources_of(out) == [("b.png", "ok")]
    assert sorted(path.name for path in disk.iterdir()) == ["b.png", "notes.txt"]


def test_reports_beside_a_scan_say_that_it_is_at_work(tmp_path, fakes):
    """They have what is done, name the process, and say that the scan writes its own."""
    for number in range(300):
        makers.write_photo(tmp_path / f"in/{number}.png", makers.numbered(1, 16, 16)[0])
    found = []

    def look(_):
        if not found and list((tmp_path / "out/.state/rows").glob("*.done.jsonl")):
            found.append((run("report", tmp_path / "out"), len(sources_of(tmp_path / "out"))))

    assert scan(tmp_path / "in", tmp_path / "out", on_batch=look).files == 300
    [(result, num_files)] = found
    assert result.exit_code == 3 and num_files == 256
    assert f"still at work (process {os.getpid()} on" in result.output and "interrupted" not in result.output
    assert len(sources_of(tmp_path / "out")) == 300 and json.loads((tmp_path / "out/run.json").read_text())["finished"]


def test_two_processes_take_turns_at_the_reports(tmp_path, fakes):
    """`report` waits while another process writes them."""
    makers.write_photo(tmp_path / "in/a.png")
    scan(tmp_path / "in", tmp_path / "out")
    before = [(tmp_path / "out" / name).stat().st_ino for name in REPORTS]
    with another_process("lock.reporting(out)", tmp_path / "out"):
        waiting = threading.Thread(target=run, args=("report", tmp_path / "out"))
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive() and before == [(tmp_path / "out" / name).stat().st_ino for name in REPORTS]
    waiting.join(60)
    assert not waiting.is_alive() and before != [(tmp_path / "out" / name).stat().st_ino for name in REPORTS]


def test_who_is_suspended_at_the_reports_holds_nobody_up(tmp_path, monkeypatch):
    """After its patience a scan writes its reports all the same."""
    (tmp_path / ".state").mkdir()
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.3)
    with lock.reporting(tmp_path), lock.reporting(tmp_path):
        pass


def test_a_reader_who_has_enough_costs_nothing(tmp_path):
    """`maskbatch scan ... | head`: the scan is done, and says so by its exit code; a dry run ends without a word."""
    makers.write_photo(tmp_path / "a.png", np.zeros((60, 60, 3), np.uint8))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "maskbatch", "scan", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    for options, code in ((["--dry-run"], 1), ([], 0)):
        result = subprocess.run([*command, *options], stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
                                env=environment)  # fmt: skip
        assert result.returncode == code and not {"Error", "Traceback"} & set(result.stderr.split(":")), result.stderr
    os.close(writing)
    assert sources_of(tmp_path / "out") == [("a.png", "ok")]


def test_the_quiet_one_tells_of_what_failed(tmp_path):
    """One line, which says how many and where their reasons are; a log says of each how it ended."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"rubbish")
    result = run("scan", tmp_path / "in", "--out", tmp_path / "out", "-q", "--log-file", tmp_path / "log.txt")
    assert result.exit_code == 3
    assert (
        result.stderr.startswith("ERROR: 1 of 1 file failed, or ") and str(tmp_path / "out/files.csv") in result.stderr
    )
    assert "a.jpg: failed (not decodable: " in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("save", ["crops,none", "", "annotated,"])
def test_what_to_save_is_said_plainly(tmp_path, save):
    """`none` beside something else is no answer."""
    makers.write_photo(tmp_path / "a.png")
    assert run("scan", tmp_path / "a.png", "--out", tmp_path / "out", "--save", save).exit_code == 2


def test_the_output_folder_is_no_input(tmp_path):
    """Whoever gives one folder as both learns what to change."""
    makers.write_photo(tmp_path / "a.png")
    result = run("scan", tmp_path, "--out", tmp_path)
    assert result.exit_code == 2 and "output folder as well" in result.output and "--out" in result.output
