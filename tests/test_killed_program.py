"""The program itself, with the shipped networks, killed and given the same command again."""

import json
import subprocess
import sys
import time
from pathlib import Path

from killed_runs import contents

from maskbatch.reports.tables import TABLES

SAMPLES = Path(__file__).parents[1] / "sample_media"
INPUTS = ("portrait_bare.jpg", "groups/two_at_the_desk.webp", "video/visitors.mp4")


def command_for(out):
    """The scan that is killed and given again."""
    paths = [str(SAMPLES / name) for name in INPUTS]
    options = ["--every", "2", "--save", "annotated,crops,evidence", "--device", "cpu", "--progress", "json"]
    return [sys.executable, "-m", "maskbatch", "scan", *paths, "--out", str(out), *options]


def is_killed(out, log, is_time):
    """Runs the command, its messages in the file `log`, until `is_time()`; False when it ended before that."""
    with log.open("wb") as messages:
        child = subprocess.Popen(command_for(out), stdout=subprocess.DEVNULL, stderr=messages)
    while not is_time() and child.poll() is None:
        time.sleep(0.02)
    was_running = child.poll() is None
    child.kill()
    assert child.wait() == 0 or was_running, log.read_text()
    return was_running


def frames_done(log):
    """How far the run that writes `log` says it is."""
    lines = log.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return max((event.get("frames_done", 0) for event in events), default=0)


def test_the_program_killed_three_times_ends_like_one_that_was_not(tmp_path):
    """SIGKILL when the first photo has its copy, in the middle of the video, and when the video has its copy: given the
    same command once more, reports, copies and crops are byte for byte those of an uninterrupted run."""
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log"
    result = subprocess.run(command_for(whole), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    moments = [
        lambda: any((out / "annotated").glob("**/[!.]*.jpg")),
        lambda: frames_done(log) > len(INPUTS),
        lambda: (out / "annotated/video/visitors.mp4").exists(),
    ]
    killed = [is_killed(out, log, is_time) for is_time in moments]
    assert killed[0]  # the others come too late for a machine that does all the rest between two lines of progress
    result = subprocess.run(command_for(out), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    expected = contents(whole)
    assert contents(out) == expected
    assert {name.split("/")[0] for name in expected} == {"annotated", "crops", "evidence", *TABLES}
