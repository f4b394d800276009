"""Runs that stop and go on: what is done is kept, and the end is the same as without the stop."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import makers
import numpy as np
import pytest
from click.testing import CliRunner
from killed_runs import REPORTS, SETTINGS, Hears, contents, make_inputs, networks
from stores import File, fill

from maskbatch.cli.main import main
from maskbatch.errors import Interrupted, MaskbatchError, TransientError, UsageError
from maskbatch.media.guard import trial
from maskbatch.media.guard.trial import Suspect
from maskbatch.media.photo import reader as photos
from maskbatch.media.sound import reader as sound
from maskbatch.media.sources import find_sources
from maskbatch.media.video.reader import VideoReader
from maskbatch.reports.tables import write_reports
from maskbatch.run import engine, local, quarantine, shard
from maskbatch.run import space as estimate
from maskbatch.run.identity import deciding_settings, identity_of
from maskbatch.run.stop import Stop, stop_on_signals
from maskbatch.settings import DetectorSettings, OutputSettings, ReportSettings, SamplingSettings, ScanSettings
from maskbatch.sinks import copies
from maskbatch.store import resume
from maskbatch.store.database import open_store
from maskbatch.store.folder import prepared
from maskbatch.store.plan import make_plan
from maskbatch.store.read import left_open
from maskbatch.store.resume import check_identity
from maskbatch.store.settings import differences
from maskbatch.store.write import begin_session, open_sources
from maskbatch.types import Source

# kills a process that decodes a file with this text in it
CRASHING = """
import os, signal
from maskbatch.media.photo import reader as photos
decode = photos.decode_photo
def crashing(data):
    if b"CRASH" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(data)
photos.decode_photo = crashing
"""
CRASHING_SOUND = """
import os, signal
from maskbatch.media.sound import reader as sound
decode = sound._decode
def crashing(codec, packet):
    if codec.sample_rate == 48000:
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(codec, packet)
sound._decode = crashing
"""

# frames of a video of four segments, of which `scan_in_part` ends two
LONG = 120


@pytest.fixture
def fakes(monkeypatch):
    """Networks that are small functions."""
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", networks)


def scan(inputs, out, stop=None, on_result=lambda *_: None):
    """One session; `inputs` is a folder."""
    driver = local.Driver(replace(SETTINGS, output=replace(SETTINGS.output, folder=out)))
    with prepared(out, "resume") as (store, lock):
        plan = driver.plan(store, find_sources([inputs], out), [inputs])
        return driver.scan(plan, store, lock, stop or Stop(), Hears(on_result))


def brightening():
    """Frames of a long video, each brighter than the one before."""
    return [np.full((64, 96, 3), 30 + number, np.uint8) for number in range(LONG)]


def num_frames_of(inputs, out):
    """How many frames the next session analyses."""
    seen = []
    scan(inputs, out, on_result=lambda _, result: seen.append(result.num_frames))
    return sum(seen)


def stopping_after(num_batches):
    """A stop, and the `on_result` that asks for it after so many batches (the end of a segment is no batch)."""
    stop, seen = Stop(), []

    def on_result(_, result):
        if result.checkpoint is None:
            seen.append(result)
            stop.num_asked += len(seen) == num_batches

    return stop, on_result


def dying_session(out, inputs, names):
    """A session that died while it read the sources of these names, as the store then says."""
    with prepared(out, "resume") as (store, _):
        plan = resume.begin(store, make_plan(store, find_sources([inputs], None)))
        session = begin_session(store, {}, {})
        open_sources(store, session, [source for source in plan.sources if source.name in names])


def open_in(out):
    """The names of the sources that the store takes for being read."""
    with open_store(out, reader=True) as store, store.transaction() as connection:
        return left_open(connection)


@contextmanager
def another_process(held, out):
    """A process inside `with {held}:`, which is killed at the end of the block."""
    program = (
        "import sys, pathlib; from maskbatch.store import folder; out = pathlib.Path(sys.argv[1])\n"
        f"with {held}:\n    print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline().strip() == b"held"
            yield process
        finally:
            process.kill()


def sources_of(out):
    """(source, status) of each line of files.csv."""
    lines = (out / "files.csv").read_text().splitlines()[1:]
    return [(line.split(",")[0], line.split(",")[2]) for line in lines]


def session(out):
    """The last session in run.json."""
    return json.loads((out / "run.json").read_text())["sessions"][-1]


# killed


def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(tmp_path):
    """SIGKILL at 12 moments spread over a run, in photos, inside videos, between renames: all reports, annotated files and
    crops are byte for byte those of an uninterrupted run, and nothing else is left."""
    script = Path(__file__).with_name("killed_runs.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(script.parent)])}
    command = [sys.executable, str(script), str(tmp_path), "12"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["differing"] == {} and found["moments"] > 500 and found["num_files"] > 90


# inside a video


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.mp4", makers.Clip()),
        ("b.mkv", makers.Clip(audio="aac")),
        ("c.avi", makers.Clip(codec="mpeg4")),
        ("d.mpg", makers.Clip(codec="mpeg2video")),
        ("e.ts", makers.Clip()),
        ("f.gif", makers.Clip(codec="gif", fps=Fraction(20))),
        ("g.h264", makers.Clip()),
    ],
)
def test_reading_goes_on_at_every_cut(tmp_path, name, clip):
    """From each cut on, a new reader gives the same frames, times and later cuts as the one that came from the start; also
    in containers where the place cannot be found, which are decoded from the start."""
    path = makers.write_video(tmp_path / name, [np.full((64, 96, 3), i * 3 % 250, np.uint8) for i in range(150)], clip)

    def read(start=None):
        with VideoReader(Source(0, path, path.name, "video"), SamplingSettings(), 1.5, start) as reader:
            return [frame._replace(image=frame.image.tobytes()) for frame in reader]

    frames = read()
    cuts = [frame.cut for frame in frames if frame.cut]
    assert len(cuts) >= 3
    for cut in cuts:
        first, *later = read(cut)
        assert (first._replace(cut=cut), *later) == tuple(frames[cut.index :])


def test_a_video_of_many_segments_is_seamless(made):
    """As many frames as the source, at the same times, and the same audio packets; each face keeps its track at the
    joints."""
    path, copy = made / "in/m.mp4", made / "whole/annotated/m.mp4"
    times = [time_s for time_s, _ in makers.packets_of(path, "video")]
    assert [time_s for time_s, _ in makers.packets_of(copy, "video")] == sorted(times) and len(times) == 190
    assert [body for _, body in makers.packets_of(copy, "audio")] == [
        body for _, body in makers.packets_of(path, "audio")
    ]
    with av.open(str(copy)) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert sum(packet.is_keyframe for packet in _packets(copy)) >= 5
    assert [time_s for time_s, _ in frames] == pytest.approx([number / 25 for number in range(190)], abs=1e-4)
    expected = [20 + (7 * number) % 200 for number in range(190)]
    shown = [image[50:62, 2:40].mean() for _, image in frames]  # where nothing is drawn
    assert np.abs(np.array(shown) - expected).max() < 6
    first = [line.split(",") for line in (made / "whole/faces.csv").read_text().splitlines()[1:]]
    tracks = {cells[1]: cells[4] for cells in first if cells[0] == "m.mp4" and cells[3] == "0"}
    assert tracks["34"] == tracks["35"] != tracks["0"]  # 35 is the first frame of the second segment


def _packets(path):
    with av.open(str(path)) as container:
        yield from (packet for packet in container.demux(video=0) if packet.size)


def test_reports_of_an_interrupted_video_have_its_segments(made, tmp_path, fakes):
    """Stopped inside the second video segment: the first one's faces are reported, the file counts as partial with the
    reason; going on gives what an uninterrupted run gives."""
    stop, on_result = stopping_after(9)
    with pytest.raises(Interrupted):
        scan(made / "in", tmp_path / "out", stop, on_result)
    assert sources_of(tmp_path / "out")[-1] == ("m.mp4", "partial")
    text = (tmp_path / "out/files.csv").read_text()
    assert "interrupted: only the first 35 frames so far" in text
    frames = {line.split(",")[1] for line in (tmp_path / "out/faces.csv").read_text().splitlines() if "m.mp4" in line}
    assert frames == {str(number) for number in range(35)}
    assert session(tmp_path / "out")["how"] == "interrupted"
    scan(made / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made / "whole")
    assert session(tmp_path / "out")["files_done_before"] == 3


# stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_and_a_second_one_stops(number):
    """The first sets the stop and says so, the second raises KeyboardInterrupt; afterwards all is as it was."""
    said, before = [], signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stop_on_signals(said.append) as stop:
        signal.raise_signal(number)
        assert stop.is_asked and not stop.now and len(said) == 1
        time.sleep(0.2)
        signal.raise_signal(number)
    assert stop.now and signal.getsignal(number) == before


def test_a_signal_that_arrives_twice_is_one_request():
    """`timeout 1h maskbatch scan` sends SIGTERM to the process and to its group: the scan still stops in order."""
    with stop_on_signals(lambda _: None) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_asked and not stop.now


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by POSIX")
def test_a_third_signal_ends_the_process_and_no_exception_gets_past_the_workers():
    """The second one is waited out, so that the lock is held while somebody works; the third is the end."""
    program = """
import os, signal, sys, threading, time
from maskbatch.overlap import for_each
from maskbatch.run.stop import stop_on_signals
def work(item):
    print("at work", flush=True)
    time.sleep(2)
    print("done", flush=True)
def ask():
    for _ in range(int(sys.argv[1])):
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.3, ask).start()
try:
    with stop_on_signals(print):
        for_each(work, range(1), 1, halt=lambda: None)
except KeyboardInterrupt:
    print("left")
    sys.exit(5)
"""

    def ended(num_signals):
        command = [sys.executable, "-c", program, str(num_signals)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        return result.returncode, result.stdout.split("\n")[-3:-1]

    assert ended(2) == (5, ["done", "left"])
    code, lines = ended(3)
    assert code == 130 and "done" not in lines and "left" not in lines


def test_photos_that_ended_before_the_stop_are_kept(tmp_path, fakes):
    """A stop in the middle of a shard of photos keeps those that are done, and those that were analysed ahead: they are not
    scanned again."""
    for number in range(80):
        makers.write_photo(tmp_path / "in" / f"{number}.png")
    stop, on_result = stopping_after(2)
    with pytest.raises(Interrupted):
        scan(tmp_path / "in", tmp_path / "out", stop, on_result)
    kept = len(sources_of(tmp_path / "out"))
    assert kept in (16, 24, 32, 40)
    seen = []
    scan(tmp_path / "in", tmp_path / "out", on_result=lambda _, result: seen.extend(result.ended))
    assert len(seen) == 80 - kept and [int(name[:-4]) for name, _ in sources_of(tmp_path / "out")] == list(range(80))


def test_the_command_line_says_how_to_go_on(tmp_path, fakes, monkeypatch):
    """Interrupted once: exit code 130 and the way on; the same command ends with 0."""
    for number in range(20):
        makers.write_photo(tmp_path / "in" / f"{number}.png")
    options = ["scan", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--batch-size", "4", "--device", "cpu"]
    opened, asked = shard.open_sinks, []

    def raising(*arguments):
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGINT))
            time.sleep(1)  # the main thread gets it
        return opened(*arguments)

    monkeypatch.setattr(shard, "open_sinks", raising)
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 130 and "the same command" in result.output
    assert sources_of(tmp_path / "out") == []  # nothing was read yet
    assert CliRunner().invoke(main, options).exit_code == 0
    assert len(sources_of(tmp_path / "out")) == 20


# what changed meanwhile


def test_new_changed_and_vanished_files(tmp_path, fakes, caplog):
    """New files are scanned, changed ones again (also with their old size and time), vanished ones leave the reports, but
    not the disk; the reports are those of a run from nothing."""
    inputs, out = make_inputs(tmp_path / "in"), tmp_path / "out"
    scan(inputs, out)
    makers.write_photo(inputs / "b0.png", np.full((64, 96, 3), 180, np.uint8))
    stat = (inputs / "a1.png").stat()
    (inputs / "a1.png").write_bytes(b"\0" * stat.st_size)
    os.utime(inputs / "a1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    content = (inputs / "t.mp4").read_bytes()
    (inputs / "t.mp4").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (inputs / "p2.png").unlink()
    ended = []
    scan(inputs, out, on_result=lambda _, result: ended.extend(result.ended))
    assert (
        len(ended) == 3
        and "a1.png, t.mp4: changed" in caplog.text
        and "p2.png: no longer among the inputs" in caplog.text
    )
    assert session(out)["files_vanished"] == ["p2.png"] and session(out)["files_changed"] == 2
    assert ("a1.png", "failed") in sources_of(out) and not (out / "annotated/a1.png").exists()
    scan(inputs, tmp_path / "whole")
    got, expected = contents(out), contents(tmp_path / "whole")
    vanished = {name for name in got if "p2.png" in name}
    assert vanished and {name: got[name] for name in got if name not in vanished} == expected


def test_other_settings_are_refused_with_their_differences(tmp_path):
    """Each difference is named with what it was and is; the same settings pass, and those of a session that left no results
    bind nobody."""
    was = {"sampling": {"every": 1, "sample_fps": None}, "output": {"save": ["annotated"]}, "maskbatch": "1"}
    now = {"sampling": {"every": 2, "sample_fps": None}, "output": {"save": []}, "maskbatch": "1"}
    assert differences(was, now) == {"sampling.every": ("1", "2"), "output.save": ("annotated", "none")}
    with open_store(tmp_path) as store:
        check_identity(store, was)  # no run yet
        begin_session(store, was, {})
        check_identity(store, now)
        fill(store, [File("a")])
        check_identity(store, was)
        with pytest.raises(
            UsageError, match=r"(?s)sampling.every: 1 -> 2.*save: annotated -> none.*--if-exists overwrite"
        ):
            check_identity(store, now)


def test_what_the_detector_looks_for_decides_a_scan():
    """A scan with another smallest face, size or second look cannot continue an earlier one."""
    was = deciding_settings(ScanSettings(), [])
    for detector, name, shown in (
        (DetectorSettings(min_face_px=12), "detector.min_face_px", ("24", "12")),
        (DetectorSettings(size_px=640), "detector.size_px", ("None", "640")),
        (DetectorSettings(second_look=not DetectorSettings().second_look), "detector.second_look", None),
    ):
        found = differences(json.loads(json.dumps(was)), deciding_settings(ScanSettings(detector=detector), []))
        assert found.keys() == {name} and shown in (None, found[name])


def test_who_is_hidden_decides_a_scan(tmp_path, fakes):
    """A scan by whose labels, or by whose zones, faces are hidden does not go on by others; if all are hidden, it does."""
    makers.write_photo(tmp_path / "in/a.png")
    places = tmp_path / "places.toml"
    places.write_text("")
    stricter = replace(SETTINGS.classifier, threshold=0.7)
    for whom in ("everyone", "masked", "without", "except-zones"):
        output = replace(SETTINGS.output, anonymize="solid", whom=whom)
        settings = replace(SETTINGS, output=output, report=replace(SETTINGS.report, places=str(places)))
        before = identity_of(settings, [], local.Driver(settings).networks)
        found = differences(
            before, identity_of(replace(settings, classifier=stricter), [], local.Driver(settings).networks)
        )
        assert bool(found) == (whom in ("masked", "without"))
        places.write_text(f"# {whom}")
        found = differences(before, identity_of(settings, [], local.Driver(settings).networks))
        assert bool(found) == (whom == "except-zones")


def test_settings_of_a_run_that_never_began_bind_nobody(tmp_path, fakes):
    """Stopped between the plan and the scan, it leaves nothing that another run would have to agree with."""
    makers.write_photo(tmp_path / "in/a.png")
    driver = local.Driver(SETTINGS)
    with prepared(tmp_path / "out", "resume") as (store, _):
        driver.plan(store, find_sources([tmp_path / "in"], None), [tmp_path / "in"])
        check_identity(store, {"sampling": {"every": 7}})
    scan(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UsageError, match="other settings"), open_store(tmp_path / "out") as store:
        check_identity(store, {"sampling": {"every": 7}})


def test_quite_other_files_are_refused(tmp_path, fakes):
    """A second video into the folder of a first one does not push it out of the reports."""
    for name in ("a", "b"):
        makers.write_photo(tmp_path / name / f"{name}.png")
    scan(tmp_path / "a", tmp_path / "out")
    with (
        pytest.raises(UsageError, match=r"holds a scan of other files \(a.png\)"),
        open_store(tmp_path / "out") as store,
    ):
        make_plan(store, find_sources([tmp_path / "b"], None))


# two at once


def test_a_second_run_at_the_same_time_stops(tmp_path):
    """It is told the first one's process and start; when that has died the folder is free again, and it is said."""
    with another_process("folder.prepared(out, 'resume')", tmp_path / "out") as first:
        expected = rf"another scan \(process {first.pid} on .*, started 20"
        with pytest.raises(MaskbatchError, match=expected), prepared(tmp_path / "out", "resume"):
            pass
    with prepared(tmp_path / "out", "resume") as (_, lock):
        assert lock.died.startswith(f"process {first.pid} on")
    with prepared(tmp_path / "out", "overwrite") as (_, lock):
        assert lock.died is None


# decoders that kill


def test_a_trial_ends_with_the_run(tmp_path, fakes, monkeypatch):
    """Who stops while suspects are tried need not wait; they stay suspects."""
    makers.write_photo(tmp_path / "in/a.png")
    dying_session(tmp_path / "out", tmp_path / "in", ["a.png"])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    stop = Stop()
    threading.Timer(0.5, setattr, (stop, "num_asked", 1)).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        scan(tmp_path / "in", tmp_path / "out", stop)
    assert time.monotonic() - start < 30 and open_in(tmp_path / "out") == ["a.png"]


def test_a_file_that_kills_its_decoder_costs_one_run(tmp_path, fakes, monkeypatch):
    """Of the files that were open when the process died, the one that kills a process of its own is set aside with its
    reason, the innocent one is scanned."""
    for name in ("a.png", "b.png", "c.png"):
        makers.write_photo(tmp_path / "in" / name)
    with (tmp_path / "in" / "b.png").open("ab") as file:
        file.write(b"CRASH")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])]))
    dying_session(tmp_path / "out", tmp_path / "in", ["a.png", "b.png"])
    assert open_in(tmp_path / "out") == ["a.png", "b.png"]
    summary = scan(tmp_path / "in", tmp_path / "out").summary
    assert sources_of(tmp_path / "out") == [("a.png", "ok"), ("b.png", "failed"), ("c.png", "ok")]
    assert "crashed the decoder (signal 11)" in (tmp_path / "out/files.csv").read_text()
    assert (summary.files, summary.failed) == (3, 1) and open_in(tmp_path / "out") == []


def test_sound_that_kills_its_decoder_costs_one_run_and_the_sound(tmp_path, fakes, monkeypatch, caplog):
    """Of the videos whose sound was read when the process died, the one whose sound kills a process of its own is annotated
    without it and keeps its faces; the innocent one has its sound."""
    for name in ("a.mkv", "b.mkv"):
        clip = makers.Clip(audio=makers.Sound("ac3", rate=44100 if name == "a.mkv" else 48000))
        makers.write_video(tmp_path / "in" / name, makers.numbered(30), clip)
    for _ in "ab":  # dies in the sound of each, one after the other
        with monkeypatch.context() as killed, pytest.raises(SystemExit):
            killed.setattr(shard, "_joined", dying)
            scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING_SOUND)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])]))
    assert open_in(tmp_path / "out") == ["a.mkv"]
    scan(tmp_path / "in", tmp_path / "out")
    assert "b.mkv (sound)" not in caplog.text
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(shard, "_joined", dying)
        (tmp_path / "out/annotated/b.mkv.mp4").unlink()
        scan(tmp_path / "in", tmp_path / "out")
    num_frames = num_frames_of(tmp_path / "in", tmp_path / "out")
    assert num_frames == 0 and "b.mkv (sound): crashed the decoder (signal 11); set aside" in caplog.text
    assert sources_of(tmp_path / "out") == [("a.mkv", "ok"), ("b.mkv", "ok")]
    for name, has_sound in (("a.mkv", True), ("b.mkv", False)):
        with av.open(str(tmp_path / "out/annotated" / f"{name}.mp4")) as container:
            assert (len(container.streams.video), bool(container.streams.audio)) == (1, has_sound)
    assert "sound left out: crashed the decoder (signal 11)" in (tmp_path / "out/files.csv").read_text()


def test_a_run_that_dies_in_sound_leaves_its_name(tmp_path, fakes, monkeypatch):
    """While sound is joined the store says that the video is open; it is read in the thread that may be left behind."""
    makers.write_video(tmp_path / "in/a.mkv", makers.numbered(30), makers.Clip(audio="ac3"))
    seen, decode = [], sound._decode

    def noting(*given):
        seen.append((*open_in(tmp_path / "out"), threading.current_thread().name))
        return decode(*given)

    monkeypatch.setattr(sound, "_decode", noting)
    scan(tmp_path / "in", tmp_path / "out")
    assert set(seen) == {("a.mkv", "maskbatch-decode")} and open_in(tmp_path / "out") == []


@pytest.mark.parametrize("num_batches", [1, 9])
def test_joined_recordings_keep_their_sound_when_continued(tmp_path, fakes, num_batches):
    """The pieces of the picture's clock are in the checkpoint: sound behind a joint is where a whole run has it. The length
    in files.csv is that of both recordings, which the container does not know."""
    (tmp_path / "in").mkdir()
    whole = makers.write_video(tmp_path / "1.ts", makers.moving(75), makers.Clip(audio="aac")).read_bytes()
    (tmp_path / "in/a.ts").write_bytes(whole + whole)
    scan(tmp_path / "in", tmp_path / "whole")
    stop, on_result = stopping_after(num_batches)
    with pytest.raises(Interrupted):
        scan(tmp_path / "in", tmp_path / "out", stop, on_result)
    scan(tmp_path / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    times = [time_s for time_s, _ in makers.packets_of(tmp_path / "out/annotated/a.ts.mp4", "audio")]
    assert float(max(times)) > 5.8
    [row] = csv.DictReader((tmp_path / "out/files.csv").open())
    assert float(row["duration_s"]) == pytest.approx(6, abs=0.1)


def test_a_trial_that_others_end_says_nothing(monkeypatch):
    """SIGTERM to a service reaches its children: no file is a killer for that; nor for Ctrl-C, which they do not get."""
    suspects = [Suspect(Source(0, Path(name), name, "image")) for name in ("a.png", "b.png")]
    for number, reasons in [
        (15, {}),
        (2, {}),
        (6, {name: "crashed the decoder (signal 6)" for name in ("a.png", "b.png")}),
    ]:
        monkeypatch.setattr(trial, "_exit_code", lambda *_, code=-number: code)
        assert trial.crash_reasons(suspects, SamplingSettings()) == reasons


def test_any_number_of_suspects_is_tried(tmp_path):
    """Their names may be more than fits into a pipe."""
    makers.write_photo(tmp_path / "a.png")
    suspects = [Suspect(Source(0, tmp_path / "a.png", "a.png", "image"))]
    suspects += [Suspect(Source(0, tmp_path / (f"{number}" + 100 * "ж"), "", "image")) for number in range(200)]
    start = time.monotonic()
    assert trial.crash_reasons(suspects, SamplingSettings()) == {} and time.monotonic() - start < 60


def test_a_long_video_does_not_clear_the_others(tmp_path, monkeypatch):
    """When the trial of all takes too long, each is tried alone: the video may go on, the file that kills is found."""
    makers.write_photo(tmp_path / "b.png")
    with (tmp_path / "b.png").open("ab") as file:
        file.write(b"CRASH")
    makers.write_video(tmp_path / "a.mp4", makers.numbered(5))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])]))
    monkeypatch.setattr(trial, "_VIDEO_S", 0.01)
    suspects = [Suspect(source) for source in find_sources([tmp_path / "a.mp4", tmp_path / "b.png"], None)]
    assert trial.crash_reasons(suspects, SamplingSettings()) == {"b.png": "crashed the decoder (signal 11)"}
    assert trial.crash_reasons(suspects[:1], SamplingSettings()) == {}


def test_a_decoder_left_behind_stays_a_suspect(tmp_path, fakes, monkeypatch):
    """Its file has its row, but it may still take the process with it: should that happen before the session ends, the next
    one tries the file in a process of its own."""
    never, decode, bad = threading.Event(), photos.decode_photo, makers.encode(makers.numbered(1)[0], ".png")
    for name in ("a.png", "b.png"):
        makers.write_photo(tmp_path / "in" / name)
    (tmp_path / "in/a.png").write_bytes(bad)
    monkeypatch.setattr(photos, "decode_photo", lambda data: never.wait(60) if data == bad else decode(data))
    monkeypatch.setattr(shard, "HANG", 0.3 / SETTINGS.sampling.stall_s)
    with pytest.raises(SystemExit):
        scan(tmp_path / "in", tmp_path / "out", on_result=dying)
    assert open_in(tmp_path / "out") == ["a.png"]
    asked = []
    monkeypatch.setattr(quarantine, "crash_reasons", lambda suspects, *_: asked.extend(suspects) or {})
    monkeypatch.setattr(photos, "decode_photo", decode)
    scan(tmp_path / "in", tmp_path / "out")
    never.set()
    assert [suspect.source.name for suspect in asked] == ["a.png"] and open_in(tmp_path / "out") == []
    assert sources_of(tmp_path / "out") == [("a.png", "ok"), ("b.png", "ok")]


def test_who_goes_and_comes_back_has_its_own_copy(tmp_path, fakes):
    """While clip.avi.mp4 is away, clip.avi's copy takes its name; both are as in a whole run when it is back."""
    makers.write_video(tmp_path / "in/clip.avi", makers.numbered(8), makers.Clip(codec="mpeg4"))
    makers.write_video(tmp_path / "in/clip.avi.mp4", makers.moving(8))
    scan(tmp_path / "in", tmp_path / "whole")
    scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/clip.avi.mp4").rename(tmp_path / "away.mp4")
    scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "away.mp4").rename(tmp_path / "in/clip.avi.mp4")
    scan(tmp_path / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_media_of_what_changed_before_it_was_done_go(tmp_path, fakes, monkeypatch):
    """Photos of a shard that broke off, and a video left in the middle: what becomes darker, broken, or vanishes before the
    next run leaves no copy and no crop of what it was."""
    for number in range(12):
        makers.write_photo(tmp_path / "in" / f"{number:02}.png", np.full((64, 96, 3), 220, np.uint8))
    bright = [np.full((64, 96, 3), 150 + number % 5, np.uint8) for number in range(LONG)]
    makers.write_video(tmp_path / "in/v.mp4", bright)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched, pytest.raises(MaskbatchError, match="Input/output error"):
        patched.setattr(local, "add_results", fail)
        scan(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/annotated/02.png").exists() and list(tmp_path.glob("out/crops/with_mask/02*"))
    stop, on_result = stopping_after(4)
    shutil.move(tmp_path / "in/v.mp4", tmp_path / "in/00 v.mp4")
    with pytest.raises(Interrupted, match="stopped"):
        scan(tmp_path / "in", tmp_path / "out", stop, on_result)
    assert list(tmp_path.glob("out/crops/with_mask/00 v*"))
    (tmp_path / "in/00.png").write_bytes(b"broken")
    makers.write_photo(tmp_path / "in/01.png", np.full((64, 96, 3), 40, np.uint8))
    (tmp_path / "in/02.png").unlink()
    makers.write_video(tmp_path / "in/00 v.mp4", [np.full((64, 96, 3), 30, np.uint8) for _ in range(20)])
    (tmp_path / "out/annotated/mine.txt").write_text("of the user")
    scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/annotated/mine.txt").unlink()
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_video_in_work_that_vanishes_is_gone_on_with_when_it_is_back(tmp_path, fakes):
    """What was done of it stays, crops as well."""
    makers.write_video(tmp_path / "in/v.mp4", brightening())
    makers.write_photo(tmp_path / "in/z.png")
    scan(tmp_path / "in", tmp_path / "whole")
    scan_in_part(tmp_path)
    (tmp_path / "in/v.mp4").rename(tmp_path / "away.mp4")
    scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "away.mp4").rename(tmp_path / "in/v.mp4")
    assert num_frames_of(tmp_path / "in", tmp_path / "out") < LONG and contents(tmp_path / "out") == contents(
        tmp_path / "whole"
    )


def test_a_video_that_is_given_up_keeps_the_crops_with_rows_only(tmp_path, fakes, monkeypatch):
    """A session ends inside a segment; the next one sets the video aside: each crop has a row, and each row its crop."""
    images = brightening()
    video = makers.write_video(tmp_path / "in/v.mp4", images)
    scan_in_part(tmp_path)
    crops, stored = crops_and_rows(tmp_path / "out")
    first = min((tmp_path / "out/crops").glob("*/v.mp4_f*"))
    beyond = first.with_name(f"v.mp4_f{LONG - 1:06}_0.jpg")  # what a kill leaves of a segment
    beyond.write_bytes(first.read_bytes())
    first.with_name("mine.jpg").write_text("of the user")
    monkeypatch.setattr(quarantine, "left_open", lambda _: [video.name])
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {video.name: "crashes"})
    scan(tmp_path / "in", tmp_path / "out")
    crops, rows = crops_and_rows(tmp_path / "out")
    assert crops == rows == stored and rows and first.with_name("mine.jpg").is_file()


def test_a_video_that_is_given_up_keeps_the_annotated_copy_of_its_segments(tmp_path, fakes, monkeypatch):
    """The parts are joined by the clock of the video, which only the checkpoint knows: the file is not read again."""
    images = brightening()
    video = makers.write_video(tmp_path / "in/v.mp4", images)
    scan_in_part(tmp_path)
    assert len(list((tmp_path / "out/.segments").glob("*/*.mp4"))) > 1
    monkeypatch.setattr(quarantine, "left_open", lambda _: [video.name])
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {video.name: "crashes"})
    scan(tmp_path / "in", tmp_path / "out")
    with sqlite3.connect(tmp_path / "out/scan.db") as connection:
        analysed, error = connection.execute("SELECT analysed, error FROM source").fetchone()
    with av.open(tmp_path / "out/annotated/v.mp4") as copy, av.open(video) as original:
        times = [frame.time for frame in copy.decode(video=0)]
        assert times == pytest.approx([frame.time for frame in original.decode(video=0)][: len(times)], abs=0.001)
    assert error == "crashes" and 0 < len(times) == analysed < len(images)


def test_a_copy_is_joined_by_its_own_clock_where_the_video_cannot_be_probed_now(tmp_path, fakes, monkeypatch):
    """A session ends before the joining; in the next one the decoder of the video hangs while it is probed."""
    video = makers.write_video(tmp_path / "in/v.mp4", [np.full((64, 96, 3), 30 + n, np.uint8) for n in range(90)])
    stop = Stop()

    def on_result(_, result):
        stop.num_asked += result.checkpoint is not None and result.checkpoint.ended is not None

    with pytest.raises(Interrupted, match="stopped"):
        scan(tmp_path / "in", tmp_path / "out", stop, on_result)
    assert len(list((tmp_path / "out/.segments").glob("*/*.mp4"))) > 1

    def hangs(*_):
        raise TransientError("its decoder hangs")

    monkeypatch.setattr(shard, "probe", hangs)
    scan(tmp_path / "in", tmp_path / "out")
    with av.open(tmp_path / "out/annotated/v.mp4") as copy, av.open(video) as original:
        times, expected = ([frame.time for frame in one.decode(video=0)] for one in (copy, original))
    assert times == pytest.approx(expected, abs=0.001)


def crops_and_rows(out):
    """Frame and face of all crops, and of all stored rows."""
    names = (re.fullmatch(r"v\.mp4_f(\d+)_(\d+)\.jpg", path.name) for path in out.glob("crops/*/v.mp4_*"))
    with sqlite3.connect(out / "scan.db") as connection:
        rows = connection.execute("SELECT frame, face FROM face ORDER BY 1, 2").fetchall()
    return sorted((int(name[1]), int(name[2])) for name in names), rows


def scan_in_part(folder):
    """A session from `in` into `out` that stops after twelve batches, inside a long video."""
    stop, on_result = stopping_after(12)
    with pytest.raises(Interrupted, match="stopped"):
        scan(folder / "in", folder / "out", stop, on_result)


def dying(*_, **__):
    """What a kill is to the code it comes in."""
    raise SystemExit


def test_a_twin_of_a_video_in_work(tmp_path, fakes):
    """It changes what the video's crops are called: all are made again under the new name, none stays under the old."""
    makers.write_video(tmp_path / "in/v.mp4", brightening())
    scan_in_part(tmp_path)
    makers.write_video(tmp_path / "in/V.mp4", makers.moving(8))
    scan(tmp_path / "in", tmp_path / "out")
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("turns", ["twin", "changed", "without its copy"])
def test_a_video_killed_at_its_very_end_that_counts_as_changed_then(tmp_path, fakes, monkeypatch, turns):
    """It is done, and its parts still are there: what is removed of it, and where reading begins, fit together."""
    makers.write_video(tmp_path / "in/v.mp4", brightening())
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(local, "shutil", SimpleNamespace(rmtree=dying))
        scan(tmp_path / "in", tmp_path / "out")
    assert list(tmp_path.glob("out/.segments/*/*.mp4"))
    if turns == "twin":
        makers.write_video(tmp_path / "in/V.mp4", makers.moving(8))
    elif turns == "changed":
        makers.write_video(tmp_path / "in/v.mp4", [np.full((64, 96, 3), 90, np.uint8) for _ in range(100)])
    else:
        (tmp_path / "out/annotated/v.mp4").unlink()
    scan(tmp_path / "in", tmp_path / "out")
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_broken_file_does_not_inherit_the_copy_of_another(tmp_path, fakes):
    """clip.avi's copy was clip.avi.mp4; now there is such a file, and nothing of it can be read."""
    makers.write_video(tmp_path / "in/clip.avi", makers.numbered(8), makers.Clip(codec="mpeg4"))
    makers.write_photo(tmp_path / "in/z.png")
    scan(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/clip.avi").unlink()
    (tmp_path / "in/clip.avi.mp4").write_bytes(b"broken")
    scan(tmp_path / "in", tmp_path / "out")
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(("first", "second"), [("p/0.png", "p/0.png/x.png"), ("p/0.png/x.png", "p/0.png")])
def test_a_photo_becomes_a_folder_of_its_name(tmp_path, fakes, first, second):
    """Or the other way round: the copy that was kept for its return is in the way, and goes."""
    makers.write_photo(tmp_path / "in/a.png")
    makers.write_photo(tmp_path / "in" / first)
    scan(tmp_path / "in", tmp_path / "out")
    shutil.rmtree(tmp_path / "in/p")
    makers.write_photo(tmp_path / "in" / second)
    scan(tmp_path / "in", tmp_path / "out")
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_the_user_put_in_the_place_of_a_copy_costs_that_copy(tmp_path, fakes, caplog):
    """The rows are there, the run goes on, and what is the user's is not touched."""
    makers.write_photo(tmp_path / "in/p/a.png")
    makers.write_photo(tmp_path / "in/z.png")
    with prepared(tmp_path / "out", "resume"):
        (tmp_path / "out/annotated").mkdir()
    (tmp_path / "out/annotated/p").write_text("mine")
    scan(tmp_path / "in", tmp_path / "out")
    assert sources_of(tmp_path / "out") == [("p/a.png", "ok"), ("z.png", "ok")]
    assert (tmp_path / "out/annotated/p").read_text() == "mine" and "p/a.png: no annotated copy" in caplog.text


def test_a_kill_while_media_of_changed_files_are_removed(tmp_path, fakes, monkeypatch):
    """At each step of it: whatever the file is by the next run, its rows and media fit it."""
    inputs = tmp_path / "in"
    for number in range(3):
        makers.write_photo(inputs / f"{number}.png", np.full((64, 96, 3), 220, np.uint8))
    scan(inputs, tmp_path / "whole")
    for step in ("forget", "_taken_over", "_claim_names", "remove_segments", "remove_media", "crop_stem"):
        out = shutil.copytree(tmp_path / "whole", tmp_path / step)
        (inputs / "1.png").rename(tmp_path / "1.png")
        (inputs / "1.png").write_bytes(b"broken")
        with monkeypatch.context() as killed, pytest.raises(SystemExit):
            killed.setattr(resume, step, dying)
            scan(inputs, out)
        (tmp_path / "1.png").replace(inputs / "1.png")
        scan(inputs, out)
        assert contents(out) == contents(tmp_path / "whole"), step


def test_a_drive_that_is_away_for_a_run_costs_nothing(tmp_path, fakes, caplog):
    """What is done keeps rows and media; a video in work is gone on with when it is back."""
    makers.write_photo(tmp_path / "drive/a.png")
    makers.write_video(tmp_path / "drive/v.mp4", brightening())
    (tmp_path / "in").mkdir()
    for name in ("a.png", "v.mp4"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "drive" / name)
    scan(tmp_path / "in", tmp_path / "whole")
    scan_in_part(tmp_path)
    (tmp_path / "drive").rename(tmp_path / "away")
    scan(tmp_path / "in", tmp_path / "out")
    assert sources_of(tmp_path / "out") == [("a.png", "ok"), ("v.mp4", "partial")]
    assert "a.png: cannot be read now" in caplog.text and "v.mp4 cannot be read now" in caplog.text
    (tmp_path / "away").rename(tmp_path / "drive")
    assert num_frames_of(tmp_path / "in", tmp_path / "out") < LONG and contents(tmp_path / "out") == contents(
        tmp_path / "whole"
    )


def test_a_video_killed_in_its_first_segment_that_vanishes(tmp_path, fakes, monkeypatch):
    """There is nothing to go on with, and nothing stays."""
    makers.write_video(tmp_path / "in/v.mp4", [np.full((64, 96, 3), 150, np.uint8) for _ in range(LONG)])
    makers.write_photo(tmp_path / "in/z.png")
    with pytest.raises(SystemExit):
        scan(tmp_path / "in", tmp_path / "out", on_result=dying)
    assert list(tmp_path.glob("out/crops/**/v.mp4*"))
    (tmp_path / "in/v.mp4").unlink()
    scan(tmp_path / "in", tmp_path / "out")
    scan(tmp_path / "in", tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_nobody_is_a_suspect_after_an_error(tmp_path, fakes):
    """An exception is no death; the session says what it was."""
    makers.write_photo(tmp_path / "in/a\udcff\n.png")

    def fail(*_):
        raise KeyError("odd")

    with pytest.raises(KeyError):
        scan(tmp_path / "in", tmp_path / "out", on_result=fail)
    assert open_in(tmp_path / "out") == [] and session(tmp_path / "out")["how"] == "'odd'"


# the disk


def test_a_full_disk_stops_and_goes_on(made, tmp_path, fakes, monkeypatch):
    """ENOSPC in the second shard ends the run with what to do; the first is kept, and the next run ends as if nothing had
    been."""

    def full(path, *rest):
        if path.name.startswith("p"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, *rest)

    whole = copies.encode_image
    monkeypatch.setattr(copies, "encode_image", full)
    with pytest.raises(MaskbatchError, match=r"No space left on device.*the same command continues"):
        scan(made / "in", tmp_path / "out")
    assert sources_of(tmp_path / "out")[-1] == ("m.mp4", "ok")
    monkeypatch.setattr(copies, "encode_image", whole)
    scan(made / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_a_removed_output_folder_stops_the_run(made, tmp_path, fakes):
    """It is not made again behind the user's back."""
    out = tmp_path / "out"
    with pytest.raises(MaskbatchError, match="was removed or replaced"):
        scan(made / "in", out, on_result=lambda *_: shutil.rmtree(out, ignore_errors=True))
    assert not any(out.glob("*.csv"))


def test_too_little_space_is_foreseen(tmp_path, monkeypatch):
    """Photos count twice, videos once and the largest twice; without annotated copies nothing is needed."""
    sizes = {"a.jpg": ("image", 1000), "b.mp4": ("video", 5000), "c.mp4": ("video", 3000)}
    sources = []
    for name, (kind, size) in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
        sources.append(Source(len(sources), tmp_path / name, name, kind))
    assert estimate.bytes_needed(sources, OutputSettings()) == 2 * 1000 + 8000 + 5000
    monkeypatch.setattr(estimate, "bytes_free", lambda _: 15_000)
    assert estimate.too_little_space(sources, OutputSettings(), tmp_path) is None
    monkeypatch.setattr(estimate, "bytes_free", lambda _: 14_999)
    assert "--save none" in estimate.too_little_space(sources, OutputSettings(), tmp_path)
    monkeypatch.setattr(estimate, "bytes_free", lambda _: 1_230_000)
    (tmp_path / "a.jpg").write_bytes(bytes(2_000_000))
    words = estimate.too_little_space(sources, OutputSettings(), tmp_path)
    assert "about 4.0 MB will be written, but only 1.2 MB are free" in words
    assert estimate.too_little_space(sources, OutputSettings(save=frozenset()), tmp_path) is None


def test_a_dry_run_touches_nothing(tmp_path, fakes):
    """It lists what is left to do, and how much is done; no file appears or changes."""
    inputs, out = make_inputs(tmp_path / "in"), tmp_path / "out"
    result = CliRunner().invoke(main, ["scan", str(inputs), "--out", str(out), "--dry-run"])
    assert result.exit_code == 0 and not out.exists() and "0 of them done" in result.output
    command = ["scan", str(inputs), "--out", str(out), "--device", "cpu"]
    CliRunner().invoke(main, command)
    makers.write_photo(inputs / "new.png")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = CliRunner().invoke(main, [*command, "--dry-run"])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert (
        result.stdout.splitlines()[0] == str(inputs / "new.png") and "to scan: 1 photo, about 1 frame" in result.output
    )
    assert "11 of them done" in result.output and "frames/s, as before" in result.output
    result = CliRunner().invoke(main, [*command, "--dry-run", "--if-exists", "overwrite"])
    assert result.exit_code == 0 and "0 of them done" in result.output
    result = CliRunner().invoke(main, [*command, "--dry-run", "--every", "2"])
    assert result.exit_code == 2 and "sampling.every: 1 -> 2" in result.output
    for more in ([], ["--dry-run"]):  # both refuse
        inside = ["scan", str(out / "annotated/z1.png"), "--out", str(out), "--if-exists", "overwrite", *more]
        result = CliRunner().invoke(main, inside)
        assert result.exit_code == 2 and "lies in the output folder" in result.output
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_reports_are_rebuilt_from_the_rows_of_several_sessions(made, tmp_path, fakes):
    """`report` gives the same bytes again."""
    inputs, out = made / "in", tmp_path / "out"
    stop, on_result = stopping_after(3)
    with pytest.raises(Interrupted):
        scan(inputs, out, stop, on_result)
    scan(inputs, out)
    before = [(out / name).read_bytes() for name in REPORTS]
    for name in REPORTS:
        (out / name).unlink()
    with open_store(out, reader=True) as store:
        write_reports(store, ReportSettings(SETTINGS.classifier.threshold, SETTINGS.classifier.incorrect_threshold))
        assert [(out / name).read_bytes() for name in REPORTS] == before
        assert make_plan(store, find_sources([inputs], out)).pending == ()
