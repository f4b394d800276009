"""Going on where the last session left something behind that must not be taken as it lies."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import makers
import numpy as np
import pytest
from killed_runs import contents, make_inputs
from test_resume import dying, fakes, scan, sources_of, stopping_after

from maskbatch.errors import Interrupted, MaskbatchError, TransientError, UsageError
from maskbatch.reports import tables
from maskbatch.run import shard
from maskbatch.run.timings import TimedReader
from maskbatch.sinks import copies
from maskbatch.store import folder

assert fakes  # the fixture


def test_what_could_not_be_read_for_a_passing_reason_is_tried_again(tmp_path, fakes, monkeypatch):
    """A drive that was away costs a session; a file that is broken itself stays done, with its row."""
    makers.write_photo(tmp_path / "in/good.png")
    makers.write_photo(tmp_path / "in/away.png")
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    opened = shard.open_source

    def away(source, *rest):
        if source.name == "away.png":
            raise TransientError("cannot be read: the drive is away")
        return opened(source, *rest)

    monkeypatch.setattr(shard, "open_source", away)
    scan(tmp_path / "in", tmp_path / "out")
    assert sources_of(tmp_path / "out") == [("away.png", "failed"), ("broken.png", "failed"), ("good.png", "ok")]
    monkeypatch.setattr(shard, "open_source", opened)
    ended = []
    scan(tmp_path / "in", tmp_path / "out", on_result=lambda _, result: ended.extend(result.ended))
    assert len(ended) == 1
    assert sources_of(tmp_path / "out") == [("away.png", "ok"), ("broken.png", "failed"), ("good.png", "ok")]


def test_a_disk_that_fills_while_a_video_is_joined(made, tmp_path, fakes, monkeypatch):
    """All segments are written, then the joined video finds no room: the reports have the segments that are whole, and
    say how far they reach; with room the run ends as if nothing had been."""
    inputs, out = made / "in", tmp_path / "out"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(copies, "join", full)
        with pytest.raises(MaskbatchError, match="No space left"):
            scan(inputs, out)
    assert ("m.mp4", "partial") in sources_of(out)
    frames = [int(line.split(",")[1]) for line in (out / "faces.csv").read_text().splitlines() if "m.mp4" in line]
    assert f"only the first {max(frames) + 1} frames so far" in (out / "files.csv").read_text()
    scan(inputs, out)
    assert contents(out) == contents(made / "whole")


def test_media_that_somebody_removed_are_made_again(made, tmp_path, fakes, caplog):
    """A photo's and a video's copy: both are named, and those two alone are scanned again; all is as before then."""
    inputs, out = made / "in", shutil.copytree(made / "whole", tmp_path / "out")
    before, ended = contents(out), []
    for name in ("p1.jpg", "m.mp4"):
        (out / "annotated" / name).unlink()
    scan(inputs, out, on_result=lambda _, result: ended.extend(source.name for source, _ in result.ended))
    assert sorted(ended) == ["m.mp4", "p1.jpg"] and contents(out) == before
    assert "m.mp4, p1.jpg: the annotated copy, crops or evidence are gone; scanning again" in caplog.text


def test_crops_that_somebody_removed_are_made_again(made, tmp_path, fakes):
    """All of one photo's; those of the others stay as they are."""
    inputs, out = made / "in", shutil.copytree(made / "whole", tmp_path / "out")
    before, ended = contents(out), []
    for path in out.glob("crops/*/a1.png_*"):
        path.unlink()
    assert contents(out) != before
    scan(inputs, out, on_result=lambda _, result: ended.extend(source.name for source, _ in result.ended))
    assert ended == ["a1.png"] and contents(out) == before


def test_copies_on_a_drive_that_is_away_are_not_made_again(made, tmp_path, fakes):
    """A link in the place of annotated/ leads nowhere: the scan stops, and no row is lost."""
    inputs, out = made / "in", shutil.copytree(made / "whole", tmp_path / "out")
    (out / "annotated").rename(tmp_path / "drive")
    (out / "annotated").symlink_to(tmp_path / "drive")
    before = contents(out)
    (tmp_path / "drive").rename(tmp_path / "away")
    with pytest.raises(UsageError, match=r"annotated is a link to .* which is not there"):
        scan(inputs, out)
    (tmp_path / "away").rename(tmp_path / "drive")
    scan(inputs, out)
    assert contents(out) == before


def test_overwriting_that_is_killed_leaves_nothing_of_the_earlier_scan(made, tmp_path, fakes, monkeypatch):
    """Rows of the earlier scan, and checkpoints with its settings, are gone before its media are."""
    inputs, out = made / "in", tmp_path / "out"
    stop, on_result = stopping_after(12)
    with pytest.raises(Interrupted):
        scan(inputs, out, stop, on_result)
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(folder, "remove_media", dying)
        with folder.prepared(out, "overwrite"):
            pass
    scan(inputs, out)
    assert contents(out) == contents(made / "whole")


def test_a_video_that_is_away_when_it_is_to_be_joined_waits(tmp_path, fakes, monkeypatch):
    """All of it is analysed; its copy is joined with its sound when the file is back, as in a whole scan."""
    inputs, out = make_inputs(tmp_path / "in"), tmp_path / "out"
    scan(inputs, tmp_path / "whole")
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(shard, "_joined", dying)
        scan(inputs, out)
    (inputs / "m.mp4").rename(tmp_path / "m.mp4")
    (inputs / "m.mp4").symlink_to(tmp_path / "away.mp4")
    scan(inputs, out)
    assert ("m.mp4", "partial") in sources_of(out)
    (inputs / "m.mp4").unlink()
    (tmp_path / "m.mp4").rename(inputs / "m.mp4")
    scan(inputs, out)
    assert contents(out) == contents(tmp_path / "whole") and not (out / ".segments").exists()


def test_the_log_of_a_deleted_store_does_not_come_back(tmp_path, fakes):
    """A killed scan leaves scan.db-wal; who deletes scan.db alone gets a new store all the same."""
    makers.write_photo(tmp_path / "in/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scan.db-wal").write_bytes(b"of another store")
    scan(tmp_path / "in", tmp_path / "out")
    assert sources_of(tmp_path / "out") == [("a.png", "ok")]


def test_input_folders_of_any_name_are_recorded(tmp_path, fakes):
    """A name that is not UTF-8 stands in run.json with escapes."""
    inputs = tmp_path / os.fsdecode(b"caf\xe9")
    makers.write_photo(inputs / "a.png")
    scan(inputs, tmp_path / "out")
    assert json.loads((tmp_path / "out/run.json").read_text())["inputs"] == [str(inputs)]


def test_a_new_neighbour_takes_no_copy_away(tmp_path, fakes):
    """`clip.avi` was written as `clip.avi.mp4`; when an input of that name comes, both have their own copy, as in a run
    from nothing. The same for names that differ in case only."""
    grey = [np.full((64, 96, 3), 90 + number, np.uint8) for number in range(12)]
    inputs, out = tmp_path / "in", tmp_path / "out"
    makers.write_video(inputs / "clip.avi", grey, makers.Clip(codec="mpeg4"))
    makers.write_photo(inputs / "a.png")
    scan(inputs, out)
    makers.write_video(inputs / "clip.avi.mp4", grey[:5])
    makers.write_photo(inputs / "A.png")
    scan(inputs, out)
    scan(inputs, tmp_path / "whole")
    assert len(list((out / "annotated").iterdir())) == 4
    assert contents(out) == contents(tmp_path / "whole")


def test_no_crop_of_a_changed_file_is_left_however_long_its_name(tmp_path, fakes):
    """The crops of a file that is another one now go, also when their names were cut to what file systems take; those of
    a file whose name differs in its last letters stay."""
    inputs, out, bright = tmp_path / "in", tmp_path / "out", np.full((64, 96, 3), 220, np.uint8)
    names = ["short.png", "sub/" + "x" * 240 + "_one.png", "sub/" + "x" * 240 + "_two.png", "é" * 100 + ".png"]
    for name in names:
        makers.write_photo(inputs / name, bright)
    scan(inputs, out)
    assert len(list(out.glob("crops/with_mask/**/*.jpg"))) == 2 * len(names)
    for name in [names[0], names[1], names[3]]:
        makers.write_photo(inputs / name, bright // 4)
    scan(inputs, out)
    scan(inputs, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert len(list(out.glob("crops/with_mask/**/*.jpg"))) == 2


def test_a_stop_after_the_last_file_is_no_interruption(tmp_path, fakes):
    """All is done: the run says so."""
    makers.write_photo(tmp_path / "in/a.png")
    stop, on_result = stopping_after(1)
    assert scan(tmp_path / "in", tmp_path / "out", stop, on_result).summary.files == 1
    assert json.loads((tmp_path / "out/run.json").read_text())["finished"]


def test_no_file_is_read_after_a_stop(made, tmp_path, fakes, monkeypatch):
    """What is open when the run is stopped, decoded ahead, is closed before the reports are written."""
    is_open = []

    class Watched(TimedReader):
        def __enter__(self):
            is_open.append(self)
            return super().__enter__()

        def __exit__(self, *error):
            super().__exit__(*error)
            is_open.remove(self)

    monkeypatch.setattr(shard, "TimedReader", Watched)
    reports = tables.write_reports

    def written(*arguments):
        assert is_open == []
        return reports(*arguments)

    monkeypatch.setattr(tables, "write_reports", written)
    stop, on_result = stopping_after(9)
    with pytest.raises(Interrupted):
        scan(made / "in", tmp_path / "out", stop, on_result)


def test_a_second_signal_ends_even_what_hangs():
    """A decoder that never comes back does not keep the process."""
    program = (
        "import time; from maskbatch.run import stop as stopping; from maskbatch.overlap import Ahead\n"
        "stopping._LEAVE_S = 0.5\n"
        "def hanging():\n    yield 1\n    time.sleep(600)\n"
        "with stopping.stop_on_signals(lambda _: None), Ahead(hanging()) as items:\n"
        "    for _ in items: print('on', flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as hangs:
        assert hangs.stdout.readline() == b"on\n"
        for _ in range(2):
            hangs.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                hangs.wait(0.2)
        assert hangs.wait(30) == 130
