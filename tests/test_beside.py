"""What a user, or another process, does in the inputs and in the output folder while a scan is at work, and after it."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import makers
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from killed_runs import REPORTS, SETTINGS, contents, make_inputs
from test_resume import fakes, open_in, scan, sources_of

from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.media.guard import trial
from maskbatch.media.guard.trial import Suspect
from maskbatch.reports import tables as report_tables
from maskbatch.run import local, shard
from maskbatch.run import report as reporting
from maskbatch.run.report import report_again
from maskbatch.settings import SamplingSettings
from maskbatch.store.folder import prepared
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

    def grow(*_):
        if not video.with_suffix(".txt").exists():
            video.with_suffix(".txt").touch()
            makers.write_video(video, makers.numbered(30, 128, 64), makers.Clip(fps=Fraction(12)))

    scan(tmp_path / "in", tmp_path / "out", on_result=grow)
    scan(tmp_path / "in", tmp_path / "afresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "afresh")
    assert (tmp_path / "out/files.csv").read_text().splitlines()[2].split(",")[4:8] == ["128", "64", "12.000", "2.500"]


def test_a_video_that_kills_whoever_probes_it_is_a_suspect(tmp_path, fakes, monkeypatch):
    """Nothing is opened before the store says that it is: to estimate the time, and when its turn comes."""
    makers.write_video(tmp_path / "in/v.mp4", makers.numbered(5))
    found = []

    def probe(source, upright):
        found.append(open_in(tmp_path / "out"))
        return source

    monkeypatch.setattr(shard, "probe", probe)
    scan(tmp_path / "in", tmp_path / "out")
    assert found == [["v.mp4"], ["v.mp4"]] and open_in(tmp_path / "out") == []


def test_a_trial_probes_as_a_scan_does(tmp_path, monkeypatch):
    """What kills the one would else kill every run."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import os, signal\nfrom maskbatch.media.video import probe\n"
        "probe.video_stream = lambda _: os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])]))
    path = makers.write_video(tmp_path / "v.mp4", makers.numbered(5))
    reasons = trial.crash_reasons([Suspect(Source(0, path, "v.mp4", "video"))], SamplingSettings())
    assert reasons == {"v.mp4": "crashed the decoder (signal 11)"}


def test_a_probe_that_never_returns_does_not_keep_the_run(tmp_path, fakes, monkeypatch):
    """The video is then read without what its container claims."""
    makers.write_video(tmp_path / "in/v.mp4", makers.numbered(5))
    never = threading.Event()
    monkeypatch.setattr(shard, "probe", lambda *_: never.wait(60))
    for module in (local, shard):
        monkeypatch.setattr(module, "HANG", 0.3 / SETTINGS.sampling.stall_s)
    scan(tmp_path / "in", tmp_path / "out")
    never.set()
    assert sources_of(tmp_path / "out") == [("v.mp4", "ok")]


def test_overwriting_leaves_what_the_user_put_there(tmp_path, fakes):
    """Copies, crops and reports of the earlier scan go; a file among them that no scan wrote stays, and so does a link that
    leads to another disk."""
    for name in ("a.png", "b.png"):
        makers.write_photo(tmp_path / "in" / name)
    out, disk = tmp_path / "out", tmp_path / "disk"
    disk.mkdir()
    with prepared(out, "resume"):
        (out / "annotated").symlink_to(disk)
    scan(tmp_path / "in", out)
    (out / "annotated/notes.txt").write_text("mine")
    before = {path.name for path in disk.iterdir()}
    with prepared(out, "overwrite"):
        assert before == {"a.png", "b.png", "notes.txt"} and [path.name for path in disk.iterdir()] == ["notes.txt"]
        names = {path.name for path in out.iterdir()}
        assert names - {"scan.db-wal", "scan.db-shm"} == {".lock", "annotated", "scan.db"}
    (tmp_path / "in/a.png").unlink()
    scan(tmp_path / "in", out)
    assert sources_of(out) == [("b.png", "ok")]
    assert sorted(path.name for path in disk.iterdir()) == ["b.png", "notes.txt"]


def test_reports_beside_a_scan_say_that_it_is_at_work(tmp_path, fakes):
    """They have what is done, name the process, and say that the scan writes its own."""
    for number in range(100):
        makers.write_photo(tmp_path / f"in/{number}.png", makers.numbered(1, 16, 16)[0])
    found, ended = [], []

    def look(_, result):
        ended.extend(result.ended)
        if not found and len(ended) > 40:
            found.append((run("report", tmp_path / "out"), len(sources_of(tmp_path / "out")), len(ended)))

    assert scan(tmp_path / "in", tmp_path / "out", on_result=look).summary.files == 100
    [(result, num_files, num_ended)] = found
    assert result.exit_code == 3 and num_files == num_ended < 100
    assert f"still at work (process {os.getpid()} on" in result.output and "interrupted" not in result.output
    assert len(sources_of(tmp_path / "out")) == 100 and json.loads((tmp_path / "out/run.json").read_text())["finished"]


def another_scan(inputs, out):
    """A scan in a process of its own, with the networks of killed_runs."""
    program = "import sys, pathlib, killed_runs; killed_runs.scan(*map(pathlib.Path, sys.argv[1:]))"
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", program, str(inputs), str(out)], env=os.environ | {"PYTHONPATH": path}
    )


def tables(out):
    """The tables as they are at one moment, and not while somebody replaces them."""
    while True:
        before = [(out / name).stat().st_ino for name in REPORTS]
        found = [pd.read_csv(out / name, keep_default_na=False) for name in REPORTS]
        if before == [(out / name).stat().st_ino for name in REPORTS]:
            return found


def check_tables(out):
    """What must be true of tables whenever they were written: they show one state of the scan."""
    faces, files, summary, *_ = tables(out)
    assert set(faces["source"]) <= set(files["source"])
    photos = files[files["kind"] == "image"]
    people = faces.groupby("source")["track_id"].nunique()
    assert (photos["source"].map(people).fillna(0) == photos["faces"]).all()
    frames = faces.groupby("source")["frame"].max() + 1
    assert (files["source"].map(frames).fillna(0) <= files["frames_decoded"]).all()
    total = summary.iloc[-1]
    assert (total["files"], total["faces"]) == (len(files), files["faces"].sum())
    return len(files)


def test_reports_at_random_moments_beside_a_scan_are_of_one_state(tmp_path):
    """Also of one that is killed and continued: faces, files and counts agree at each moment, and the last tables are those
    of a scan that nobody disturbed."""
    inputs, out, draw, seen = make_inputs(tmp_path / "in"), tmp_path / "out", random.Random(4), set()
    for is_killed in (True, False):
        process = another_scan(inputs, out)
        while process.poll() is None:
            time.sleep(draw.random() / 5)
            try:
                report_again(out)
            except UsageError:  # there is no store yet, or no session in it
                continue
            seen.add(check_tables(out))
            if is_killed and len(seen) > 2:
                process.kill()
        assert process.wait() == 0 or is_killed
    assert len(seen) > 2
    check_tables(out)
    assert another_scan(inputs, tmp_path / "whole").wait() == 0
    assert contents(out) == contents(tmp_path / "whole")


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


def test_a_report_that_is_late_does_not_replace_the_last_one(tmp_path, fakes, monkeypatch):
    """A `report` reads the store in the middle of a scan, and renames its tables after the scan renamed its last ones: it
    sees that the scan has ended, and writes them again."""
    for number in range(100):
        makers.write_photo(tmp_path / f"in/{number}.png", makers.numbered(1, 16, 16)[0])
    out, write, threads = tmp_path / "out", report_tables.write_reports, []
    is_read, is_last = threading.Event(), threading.Event()

    def write_late(store, settings):
        found = write(store, settings)
        if not is_read.is_set():
            early = {name: (out / name).read_bytes() for name in REPORTS}
            is_read.set()
            assert is_last.wait(60)
            for name, content in early.items():
                (out / name).write_bytes(content)
        return found

    def write_last(store, settings):
        found = write(store, settings)
        is_last.set()
        threads[0].join()
        return found

    def report_in_between(*_):
        if not threads:
            threads.append(threading.Thread(target=report_again, args=(out,)))
            threads[0].start()
            assert is_read.wait(60)

    monkeypatch.setattr(reporting, "write_reports", write_late)
    monkeypatch.setattr(report_tables, "write_reports", write_last)
    scan(tmp_path / "in", out, on_result=report_in_between)
    assert len(sources_of(out)) == 100
