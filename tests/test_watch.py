"""`maskbatch watch`: files that come, grow and go."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from killed_runs import networks

from maskbatch.cli.main import main
from maskbatch.cli.terminal import Terminal
from maskbatch.errors import Interrupted, MaskbatchError, UsageError
from maskbatch.media.names import from_name_text, name_text
from maskbatch.run import engine, shard
from maskbatch.run import watch as watching
from maskbatch.run.job import Job
from maskbatch.run.progress import Listener
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.stop import Stop
from maskbatch.run.watch import Rhythm, Watch, watch

OPTIONS = ScanOptions(save="none", sample_fps="all")


class Time:
    """Seconds that pass when somebody waits; `meanwhile` happens then, once."""

    def __init__(self):
        self.now, self.waits, self.meanwhile = 0.0, [], None

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        happening, self.meanwhile = self.meanwhile, None
        if happening:
            happening()


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Networks that are small functions."""
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", networks)


@pytest.fixture
def folder(tmp_path):
    """The folder that is watched, with one photo."""
    makers.write_photo(tmp_path / "in/a.png")
    return tmp_path / "in"


def begun(folder, save="none"):
    """A watch over the folder, and its clock."""
    clock = Time()
    return Watch(Job((folder,), folder.parent / "out", replace(OPTIONS, save=save)), 10, clock), clock


def media_of(folder):
    """The paths and bytes of all copies and crops."""
    paths = [path for kind in ("annotated", "crops") for path in (folder.parent / "out" / kind).rglob("*.*")]
    return {(path, path.read_bytes()) for path in paths}


def sources(folder):
    """source and status of each line of files.csv."""
    lines = (folder.parent / "out/files.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split(",")[number] for number in (0, 2)) for line in lines]


def test_a_file_is_scanned_once_it_has_stopped_growing(folder):
    """New files wait until they stayed the same; one that grows meanwhile waits for the next round, and no scan is made
    when nothing is new."""
    watched, clock = begun(folder)
    grown = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(grown[:40])
    clock.meanwhile = lambda: (folder / "b.png").write_bytes(grown[:80])
    assert watched.round(Listener(), clock.pause).written.summary.files == 1
    assert sources(folder) == [("a.png", "ok")] and clock.waits == [10]
    (folder / "b.png").write_bytes(grown)
    clock.now += 300
    assert watched.round(Listener(), clock.pause).written.summary.files == 2
    assert sources(folder) == [("a.png", "ok"), ("b.png", "ok")]
    clock.now += 300
    assert watched.round(Listener(), clock.pause) is None and clock.waits == [10, 10]


def test_a_file_of_the_same_size_with_another_time_still_grows(folder):
    """Recorders reserve the whole size at once: the time of the last change counts, too."""
    watched, clock = begun(folder)
    clock.meanwhile = lambda: os.utime(folder / "a.png", ns=(1, 1))
    assert watched.round(Listener(), clock.pause) is None
    assert not (folder.parent / "out").exists()
    clock.now += 300
    assert watched.round(Listener(), clock.pause).written.summary.files == 1


def test_a_file_that_changes_later_is_scanned_again(folder):
    """A copy that paused for longer than the wait: its row is that of the whole file in the end."""
    watched, clock = begun(folder)
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[:50])
    watched.round(Listener(), clock.pause)
    assert sources(folder) == [("a.png", "failed")]
    (folder / "a.png").write_bytes(whole)
    clock.now += 300
    watched.round(Listener(), clock.pause)
    assert sources(folder) == [("a.png", "ok")]


def test_results_of_files_that_are_deleted_stay(folder):
    """Recorders delete old files: their rows stay, also for a watch that begins anew, and names with odd characters."""
    makers.write_photo(folder / "b\u200e\\n.png")
    watched, clock = begun(folder)
    watched.round(Listener(), clock.pause)
    before = sources(folder)
    assert len(before) == 2
    for path in folder.iterdir():
        path.unlink()
    makers.write_photo(folder / "c.png")
    assert watched.round(Listener(), clock.pause).written.summary.files == 3
    assert sources(folder) == [*before, ("c.png", "ok")]
    (folder / "c.png").unlink()
    makers.write_photo(folder / "d.png")
    watched, clock = begun(folder)
    watched.round(Listener(), clock.pause)
    assert sources(folder) == [*before, ("c.png", "ok"), ("d.png", "ok")]


@pytest.mark.parametrize("save", ["none", "annotated,crops"])
@pytest.mark.parametrize("others", [(), ("b.png",)])
def test_results_of_files_that_are_written_again_stay_until_they_settle(folder, others, save):
    """A recorder appends to a file, or replaces it, while a new one is there: the row and the media stay, and are those of
    the whole file later. It does not matter whether all scanned files grow."""
    for name in ("a.png", *others):
        makers.write_photo(folder / name, np.full((64, 96, 3), 220, np.uint8))
    watched, clock = begun(folder, save)
    watched.round(Listener(), clock.pause)
    before, media = sources(folder), media_of(folder)
    whole = (folder / "a.png").read_bytes()
    makers.write_photo(folder / "c.png")
    clock.meanwhile = lambda: (folder / "a.png").write_bytes(whole[:50])
    watched.round(Listener(), clock.pause)
    assert sources(folder) == [*before, ("c.png", "ok")] and media <= media_of(folder)
    clock.now += 300
    watched.round(Listener(), clock.pause)
    assert ("a.png", "failed") in sources(folder)
    (folder / "a.png").write_bytes(whole)
    clock.now += 300
    watched.round(Listener(), clock.pause)
    assert sources(folder) == [*before, ("c.png", "ok")] and media <= media_of(folder)


def test_nothing_there_yet_is_waited_for(tmp_path):
    """An empty folder is no error, and makes no output folder; one that is missing is a usage error."""
    (tmp_path / "in").mkdir()
    watched, clock = begun(tmp_path / "in")
    assert watched.round(Listener(), clock.pause) is None and not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="does not exist"):
        begun(tmp_path / "none")[0].round(Listener(), clock.pause)


@pytest.mark.parametrize(
    "name", ["a.png", "a\\b.png", "\u200e\x01\n\t.png", "\udce9\ufeff.png", "\\x41\\\\n", "caf\u00e9\x85"]
)
def test_names_come_back_from_the_store(name):
    """Whatever they are made of."""
    assert from_name_text(name_text(name)) == name


def rounds_of(monkeypatch, happenings):
    """Make the rounds of a watch do these things, one after the other; Ctrl-C comes when nothing is left."""
    left, stop = list(happenings), Stop()

    def one_round(*_):
        happening = left.pop(0)
        stop.num_asked = int(not left)
        if isinstance(happening, Exception):
            raise happening
        return happening

    class Stopped:
        def __enter__(self):
            return stop

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(Watch, "round", one_round)
    monkeypatch.setattr(watching, "stop_on_signals", lambda _: Stopped())
    return left


def test_a_later_error_is_logged_and_tried_again(folder, monkeypatch, caplog):
    """A full disk at night must not end the watch; an error of the first scan does, and so does Ctrl-C in a scan."""
    job, outcomes = Job((folder,), folder.parent / "out", OPTIONS), []
    left = rounds_of(monkeypatch, ["first", MaskbatchError("disk full"), None, "later"])
    watch(job, Rhythm(0, 0), Listener(), outcomes.append)
    assert outcomes == ["first", "later"] and not left and "disk full; the next round tries again" in caplog.text
    for error in (MaskbatchError("no device"), UsageError("other settings")):
        left = rounds_of(monkeypatch, [None, error, "never"])
        with pytest.raises(type(error), match=str(error)):
            watch(job, Rhythm(0, 0), Listener())
        assert left == ["never"]
    rounds_of(monkeypatch, ["first", Interrupted("stopped"), "never"])
    with pytest.raises(Interrupted):
        watch(job, Rhythm(0, 0), Listener())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by POSIX")
def test_ctrl_c_in_a_scan_that_ends_nevertheless_ends_the_watch(folder, monkeypatch):
    """The signal comes with the last result of a scan, which has nothing to stop any more: no other look is made."""

    class Pressed(Terminal):
        def add(self, shard, result):
            super().add(shard, result)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(watching, "_wait", lambda *_: pytest.fail("it waits for the next look"))
    job, outcomes = Job((folder,), folder.parent / "out", OPTIONS), []
    watch(job, Rhythm(3600, 0), Pressed(sys.stderr, True), outcomes.append)
    assert len(outcomes) == 1 and sources(folder) == [("a.png", "ok")]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by POSIX")
def test_ctrl_c_before_the_files_are_scanned_stops_the_scan(folder, monkeypatch):
    """While the networks are opened, the signal meets the watch alone; the scan that begins then has the same `Stop`."""

    def slowly(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return networks(*arguments)

    monkeypatch.setattr(engine, "open_networks", slowly)
    with pytest.raises(Interrupted):
        watch(Job((folder,), folder.parent / "out", OPTIONS), Rhythm(3600, 0), Terminal(sys.stderr, True))


def test_a_wrong_option_is_a_usage_error_at_once(folder):
    """Before the first look; and what is no length of time, or no option of a watch."""
    with pytest.raises(UsageError, match="--crf"):
        watch(Job((folder,), None, replace(OPTIONS, crf=99)), Rhythm(), Listener())
    for words in (["--every", "5"], ["--every", "0s"], ["--every", "-1m"], ["--settle", "x"], ["--if-exists", "overwrite"],
                  ["--limit", "3"]):  # fmt: skip
        assert CliRunner().invoke(main, ["watch", str(folder), *words]).exit_code == 2


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from killed_runs import networks
from maskbatch.run import engine, shard
engine.open_networks = shard.open_networks = networks
sys.argv[0] = "maskbatch"
from maskbatch.__main__ import run
run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_waiting_is_a_clean_end(folder, number):
    """A photo that comes while it watches is in the tables; then the signal ends the program with exit code 0."""
    code = PROGRAM.format(tests=str(Path(__file__).parent))
    words = ["watch", folder, "--out", folder.parent / "out", "--every", "0.3s", "--settle", "0.2s", "--save", "none"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        makers.write_photo(folder / "b.png", np.full((64, 96, 3), 90, np.uint8))
        end = time.monotonic() + 120
        while not ((folder.parent / "out/files.csv").exists() and len(sources(folder)) == 2):
            assert process.poll() is None and time.monotonic() < end, process.stderr.read()
            time.sleep(0.05)
        for line in process.stderr:  # the scan has ended when it says that it waits
            if line.startswith("watching"):
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped watching" in said and "Traceback" not in said
