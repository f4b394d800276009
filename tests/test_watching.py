"""What a scan says while it runs and leaves behind: progress, log, run.json."""

import json
import logging
import os
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from makers import moving, numbered, write_photo, write_video

from maskbatch.cli.main import main
from maskbatch.media.guard.limits import with_time_limit
from maskbatch.media.read_ahead import by_threads
from maskbatch.overlap import for_each, in_order
from maskbatch.run.log import Warnings, collected_warnings
from maskbatch.run.progress import Tally, printable
from maskbatch.settings import SamplingSettings
from maskbatch.types import Ended, SegmentResult, Shard, Source

VIDEO = Source(0, Path("v.mp4"), "v.mp4", "video", num_frames=100, duration_s=4.0)


def scan(*arguments):
    """`maskbatch scan ARGUMENTS`, in this process."""
    return CliRunner().invoke(main, ["scan", *map(str, arguments)])


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A scan with --progress json and a log: a photo, a broken one with a screen's command in its name, a pipe, and a
    video whose size no encoder takes."""
    folder = tmp_path_factory.mktemp("watched")
    media = folder / "in"
    write_photo(media / "a.png")
    (media / "b\x1b[31m\nred.jpg").write_bytes(b"rubbish")
    write_video(media / "v.mp4", moving(6))
    write_photo(media / ".wide.png", numbered(1, 40_000, 2)[0]).rename(media / "wide.webp")
    os.mkfifo(media / "pipe.mp4")
    result = scan(media, "--out", folder / "out", "--progress", "json", "--log-file", folder / "log.txt")
    record = json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))
    return result, record, (folder / "log.txt").read_text(encoding="utf-8")


def test_json_progress_is_an_object_a_line(watched):
    """Every line of standard error is JSON: the last progress counts every file and frame, the last line is the result."""
    result, _, _ = watched
    assert result.exit_code == 3
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {event["event"] for event in events} == {"message", "warning", "progress", "result"}
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["files_done"], last["files"], last["frames_done"], last["frames"]) == (4, 4, 4, 4)
    assert last["eta_s"] >= 0 and last["frames_per_s"] > 0 and last["file"] == "wide.webp"
    result = events[-1]
    assert result["event"] == "result" and Path(result["out"], "files.csv").is_file()
    assert (result["files"], result["failed"], result["partial"]) == (4, 1, 0)


def test_the_log_has_a_line_for_each_file(watched):
    """How it ended, frames, size, faces and time, at debug level, and no name can forge a line or colour the screen."""
    _, _, log = watched
    lines = [line for line in log.splitlines() if " DEBUG maskbatch.run.log: " in line]
    assert len(lines) == 4 and "\x1b" not in log and "\nred.jpg" not in log
    assert re.search(r"v\.mp4: ok, 2 frames analysed, 6 decoded, 96 x 64, 0 faces, [\d.]+ s$", "\n".join(lines), re.M)
    assert re.search(r"b\\x1b\[31m\\nred\.jpg: failed \(not decodable", "\n".join(lines))


def test_run_json_lists_the_warnings(watched):
    """What was skipped while looking for files, and an annotated copy that its format refused, stand in run.json."""
    _, record, _ = watched
    assert record["num_warnings"] == len(record["warnings"]) == 2
    assert "pipe.mp4 is neither a file nor a folder" in record["warnings"][0]
    assert record["warnings"][1].startswith("wide.webp: no annotated copy: ")
    assert record["settings"]["sampling"]["stall_s"] == 60 and record["summary"]["files"] == 4


@pytest.mark.parametrize(("mode", "words"), [("plain", "looking for"), ("none", None)])
def test_plain_progress_and_none(tmp_path, mode, words):
    """plain: lines for a person; none: not a word on standard error, the table stays."""
    write_photo(tmp_path / "a.png")
    result = scan(tmp_path / "a.png", "--out", tmp_path / "out", "--progress", mode)
    assert result.exit_code == 0 and "reports in" in result.stdout
    assert result.stderr.startswith(words) if words else result.stderr == ""


def test_tally_counts_and_estimates():
    """Files, frames, the file at work, and the time left at the rate so far; nothing is estimated from nothing."""
    tally, photo = Tally(SamplingSettings(every=3)), Source(1, Path("a"), "a", "image")
    tally.expect([VIDEO, photo])
    assert (tally.num_frames, tally.eta_s(), tally.progress().eta_s) == (35, None, None)
    tally.add(Shard(0, (VIDEO,)), SegmentResult(num_frames=7))
    assert tally.eta_s() == pytest.approx(4 * (7 / tally.rate()), rel=0.2)
    assert tally.progress().file == "v.mp4" and str(tally.progress()) == "0 of 2 files, 7 of about 35 frames"
    tally.add(Shard(0, (VIDEO,)), SegmentResult(ended=((VIDEO, Ended(0, 150, 57)),), num_frames=50))
    assert tally.eta_s() == 0 and tally.files_done == 1
    sparse = Tally(SamplingSettings(sample_fps=2))
    sparse.expect([VIDEO])
    assert sparse.num_frames == 8


def test_printable_leaves_letters_of_all_scripts():
    """Control characters, line breaks, turned writing and bytes that are no letters become escapes; the rest stays."""
    assert printable("лицо 面 ü é.jpg") == "лицо 面 ü é.jpg"
    assert printable("a\x1b[2J\r\n\u202e\udcff") == "a\\x1b[2J\\r\\n\\u202e\\udcff"


def test_warnings_are_bounded():
    """A thousand warnings are counted; two hundred are kept."""
    warnings = Warnings()
    for number in range(1000):
        warnings.handle(logging.LogRecord("maskbatch", logging.WARNING, "", 0, "number %d", (number,), None))
    assert warnings.number == 1000 and len(warnings.messages) == 200 and warnings.messages[-1] == "number 199"


def test_warnings_of_threads_belong_to_the_scan_that_started_them():
    """What threads of all kinds log is listed by the collection around them, and what others log is not."""

    def warn(word):
        logging.getLogger("maskbatch").warning(word)
        return word

    def lane():
        yield warn("lane")

    with collected_warnings() as outer:
        with collected_warnings() as inner:
            assert list(in_order(warn, ["in order"], 2)) == ["in order"]
            for_each(warn, ["for each"], 2, halt=lambda: None)
            assert list(by_threads([lane()], 1)) == ["lane"]
            with_time_limit(lambda: warn("time limit"), 60)
        with_time_limit(lambda: warn("outer"), 60)  # in the same thread as the call before
        stranger = threading.Thread(target=warn, args=("stranger",))
        stranger.start()
        stranger.join()
    assert inner.messages == ["in order", "for each", "lane", "time limit"]
    assert outer.messages == ["outer"]
