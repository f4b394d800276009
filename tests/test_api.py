"""maskbatch from Python: examples, options, errors, continuing, progress."""

import asyncio
import doctest
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import makers
import numpy as np
import pytest

import maskbatch as mb
from maskbatch import api, model, results, tables
from maskbatch.cli.main import main
from maskbatch.errors import DecodeError, Interrupted, UsageError
from maskbatch.types import Faces

ROOT = Path(__file__).parents[1]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A current folder with a copy of the sample media."""
    shutil.copytree(ROOT / "sample_media", tmp_path / "sample_media")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_import_is_fast_and_changes_no_environment():
    """`import maskbatch` takes under 0.1 s, sets no environment variable, and loads none of the heavy libraries."""
    code = (
        "import os, sys, time; before = dict(os.environ); start = time.process_time(); import maskbatch as mb\n"
        "took = time.process_time() - start\n"
        "assert took < 0.1, took\n"
        "assert dict(os.environ) == before and 'find' in dir(mb)\n"
        "print([name for name in ('numpy', 'cv2', 'av', 'pandas', 'openvino', 'tensorflow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_examples_of_the_page_and_of_the_docstrings_run(desk):
    """Each Python block of docs/api.md runs in the order of the page; each example in a docstring gives what it shows."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) >= 4 and (desk / "audit/faces.csv").is_file() and names["stricter"].threshold == 0.7
    mb.open("audit").report(threshold=0.5)
    found = [doctest.testmod(module, extraglobs={"open": mb.open}) for module in (api, model, results, tables)]
    assert not any(one.failed for one in found) and all(one.attempted > 5 for one in found)


def test_python_and_the_command_line_have_the_same_options():
    """Each field of ScanOptions is an option of `maskbatch scan` with the same default."""
    given = main.commands["scan"].make_context("scan", ["photos"]).params
    for item in fields(mb.ScanOptions):
        assert given[item.name] == item.default, item.name


def test_wrong_options_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    """An unknown option, a value out of its range, of another type or of no choice is a UsageError that names it."""
    monkeypatch.chdir(tmp_path)
    makers.write_photo(tmp_path / "a.png")
    cases = {
        "tresh": 0.5, "threshold": 1.5, "det_threshold": "0.5", "every": 0, "crf": 23.5, "sample_fps": float("nan"),
        "if_exists": "replace", "decode_all": 1, "save": "everything", "det_size": 100, "device": "tpu", "limit": True,
        "min_face": 0,
    }  # fmt: skip
    for name, value in cases.items():
        with pytest.raises(UsageError, match=name.replace("_", "[-_]")):
            mb.scan("a.png", **{name: value})
    model = object.__new__(mb.Model)  # options are checked before any network is needed
    with pytest.raises(UsageError, match="--min-face"):
        mb.Model(min_face=0)
    for name, value in {"every": 0, "sample_fps": -1}.items():
        with pytest.raises(UsageError, match=name.replace("_", "[-_]")):
            model.frames("a.png", **{name: value})
    with pytest.raises(UsageError, match="sample_fps"):
        model.frames("a.png", sample_fps="auto")
    with pytest.raises(UsageError, match="no storage"):
        mb.scan("quark://example.org/a.png")
    with pytest.raises(UsageError, match="no photo or video"):
        mb.scan([])
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_scan_continues_and_tells_its_progress(tmp_path):
    """An exception of the caller ends the scan and is raised; the same call finishes it, and does nothing twice."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in").mkdir(exist_ok=True)
        makers.write_video(tmp_path / "in" / name, makers.numbered(5))
    seen = []

    def one_is_enough(progress):
        seen.append(progress)
        if progress.files_done == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mb.scan(tmp_path / "in", tmp_path / "out", one_is_enough, save="none")
    assert (seen[-1].files_done, seen[-1].files, seen[-1].file) == (1, 2, "a.mp4")
    again = []
    results = mb.scan(tmp_path / "in", tmp_path / "out", again.append, save="none")
    assert (again[-1].files_done, again[-1].files, again[-1].frames_done) == (1, 1, 1)
    assert again[-1].frames_per_s > 0 and again[-1].eta_s == 0
    assert results.files()["status"].tolist() == ["ok", "ok"] and results.summary.files == 2


def videos(folder, names=("a.mp4", "b.mp4")):
    """A folder of short videos."""
    folder.mkdir()
    for name in names:
        makers.write_video(folder / name, makers.numbered(5))
    return folder


def test_an_event_stops_a_scan_which_goes_on_later(tmp_path):
    """What is analysed is stored and shown; the next call does the rest alone. After the last file, an event is too late;
    before the first one, nothing is analysed."""
    photos, stop, seen = videos(tmp_path / "in"), threading.Event(), []

    def one_is_enough(progress):
        seen.append(progress)
        stop.set()

    stop.set()
    with pytest.raises(Interrupted):
        mb.scan(photos, tmp_path / "out", seen.append, stop, save="none")
    assert seen == [] and len(mb.open(tmp_path / "out").files()) == 0
    stop.clear()
    with pytest.raises(Interrupted):
        mb.scan(photos, tmp_path / "out", one_is_enough, stop, save="none")
    assert [one.file for one in seen] == ["a.mp4"]
    assert mb.open(tmp_path / "out").files().source.tolist() == ["a.mp4"]
    assert json.loads((tmp_path / "out/run.json").read_text(encoding="utf-8"))["finished"] is None
    stop.clear()
    results = mb.scan(photos, tmp_path / "out", one_is_enough, stop, save="none")
    assert stop.is_set() and [one.file for one in seen] == ["a.mp4", "b.mp4"]
    assert results.files()["status"].tolist() == ["ok", "ok"]


def test_a_task_of_asyncio_is_cancelled_as_the_page_shows(tmp_path):
    """The function in docs/api.md ends when the scan has ended, and its folder is free for the next one."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\nimport asyncio\n(.*?)\nresults = asyncio", page, re.DOTALL)
    folder, tasks = videos(tmp_path / "in", ("a.mp4", "b.mp4", "c.mp4")), []

    def cancel(_):
        tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
        tasks[1].wait(60)  # until the event is set

    def scan(*paths, stop, **options):
        tasks.append(stop)
        return mb.scan(*paths, stop=stop, progress=cancel, **options)

    names = {"mb": SimpleNamespace(scan=scan, Results=mb.Results), "threading": threading, "asyncio": asyncio}
    exec(block, names)

    async def cancelled():
        tasks.append(asyncio.current_task())
        await names["scan"](str(folder), str(tmp_path / "out"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert mb.open(tmp_path / "out").files().source.tolist() == ["a.mp4"]
    assert mb.scan(folder, tmp_path / "out", save="none").summary.files == 3


def warned(caplog):
    """The loggers of the warnings; other tests may have let through more than these."""
    return [record.name for record in caplog.records if record.levelname == "WARNING"]


def test_shards_are_merged_and_what_is_missing_is_said(tmp_path, caplog):
    """The merge has the tables of one scan; a missing share is an error, or a warning when it was asked for."""
    folder = tmp_path / "in"
    for name in ("a.png", "b.png", "c.png"):
        makers.write_photo(folder / name)
    parts = [mb.scan(folder, tmp_path / f"part_{k}", shard=f"{k}/2", save="none").folder for k in (1, 2)]
    whole = mb.merge(parts, tmp_path / "whole")
    once = mb.scan(folder, tmp_path / "once", save="none")
    assert (whole.folder / "files.csv").read_bytes() == (once.folder / "files.csv").read_bytes()
    with pytest.raises(UsageError, match="--incomplete"):
        mb.merge(parts[0], tmp_path / "half")
    assert not (tmp_path / "half").exists() and not warned(caplog)
    half = mb.merge(parts[0], tmp_path / "half", incomplete=True)
    assert len(half.files()) < 3 and warned(caplog) == ["maskbatch.api"]
    assert "not all files" in caplog.text


@pytest.mark.parametrize(
    ("folders", "words", "reason"),
    [([], {}, "nothing to merge"), (["one"], {"media": "steal"}, "copy, link or move"),
     (["one"], {"if_exists": "ask"}, "--if-exists"), (["one"], {}, "not the output folder"),
     (["one", "one"], {}, "twice")],
)  # fmt: skip
def test_wrong_merges_are_refused_before_anything_is_written(tmp_path, monkeypatch, folders, words, reason):
    """An argument out of its choices, no folder, the same folder twice, and a folder that holds no scan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    with pytest.raises(UsageError, match=reason):
        mb.merge(folders, "out", **words)
    assert os.listdir(tmp_path) == ["one"]


def test_a_scan_in_a_thread_leaves_logging_and_signals_alone(tmp_path):
    """A thread may scan; afterwards the logger has no handler more, and no signal another handler."""
    import signal

    makers.write_photo(tmp_path / "a.png")
    logger = logging.getLogger("maskbatch")
    before = list(logger.handlers), logger.level, logger.propagate, signal.getsignal(signal.SIGINT)
    found = []
    thread = threading.Thread(target=lambda: found.append(mb.scan(tmp_path / "a.png", tmp_path / "out", save="none")))
    thread.start()
    thread.join()
    assert found[0].summary.files == 1
    assert before == (list(logger.handlers), logger.level, logger.propagate, signal.getsignal(signal.SIGINT))


def test_scans_in_two_threads_list_their_own_warnings_only(tmp_path):
    """Two scans at the same time each list the warning that a thread of theirs logs, and not the other's."""
    names = ("first", "second")
    at_work = threading.Barrier(len(names))

    def scan(name):
        told = []

        def progress(_):
            if not told:
                told.append(name)
                at_work.wait(60)
                logging.getLogger("maskbatch").warning("about %s", name)
                at_work.wait(60)

        mb.scan(makers.write_photo(tmp_path / f"{name}.png"), tmp_path / name, progress, save="none")

    threads = [threading.Thread(target=scan, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = [json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8"))["warnings"] for name in names]
    assert listed == [["about first"], ["about second"]]


def test_the_default_folder_is_named_after_the_input(tmp_path, monkeypatch):
    """Two inputs never meet in one folder, and the same input finds its own folder again."""
    monkeypatch.chdir(tmp_path)
    for name in ("one/photos/a.png", "two/photos/b.png", "two/photos/c.png"):
        makers.write_photo(tmp_path / name)
    (tmp_path / "b_maskbatch").mkdir()
    (tmp_path / "b_maskbatch/mine.txt").write_text("mine")
    expected = [
        ("one/photos", "photos_maskbatch"), ("two/photos", "photos_maskbatch_2"), ("one/photos", "photos_maskbatch"),
        ("two/photos", "photos_maskbatch_2"), ("two/photos/b.png", "b_maskbatch_2"), ("one/photos/a.png", "a_maskbatch"),
        (["two/photos/b.png", "two/photos/c.png"], "photos_maskbatch_3"), (".", f"{tmp_path.name}_maskbatch"),
    ]  # fmt: skip
    for paths, out in expected:
        assert str(mb.scan(paths, save="none").folder) == out
    assert (tmp_path / "b_maskbatch/mine.txt").read_text() == "mine"


def test_a_condition_that_is_no_sql_is_a_usage_error(tmp_path):
    """The message names the condition; a folder that holds no scan is a usage error, too."""
    makers.write_photo(tmp_path / "a.png")
    results = mb.scan(tmp_path / "a.png", tmp_path / "out", save="none")
    with pytest.raises(UsageError, match="p_mask <"):
        results.faces(where="p_mask <")
    with pytest.raises(UsageError, match="not the output folder"):
        mb.open(tmp_path)


@pytest.mark.parametrize("wrong", [7, -0.1, float("nan"), "0.5", True])
@pytest.mark.parametrize("name", ["threshold", "incorrect_threshold"])
def test_thresholds_of_reports_and_pictures_are_checked(tmp_path, name, wrong):
    """A value that is no number from 0 to 1 is a UsageError that names the option, and writes no table."""
    makers.write_photo(tmp_path / "a.png")
    results = mb.scan(tmp_path / "a.png", tmp_path / "out", save="none")
    before = (tmp_path / "out/run.json").read_bytes()
    for call in (partial(mb.open, tmp_path / "out"), results.report, partial(mb.draw, makers.corners(), Faces.empty())):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} takes a number from 0 to 1"):
            call(third_state=True, **{name: wrong})
    assert (tmp_path / "out/run.json").read_bytes() == before


def test_a_model_refuses_wrong_devices_precisions_and_images(tmp_path):
    """Words that mean no device or precision, a picture without a pixel, and one path in place of a list are refused."""
    for given in ({"device": "tpu"}, {"device": 3}, {"precision": "fp8"}):
        with pytest.raises(UsageError, match=f"--{next(iter(given))} takes auto"):
            mb.Model(**given)
    with pytest.raises(ValueError, match="at least one pixel"):
        mb.find(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(TypeError, match="is a list of paths"):
        mb.Model().find(tmp_path / "a.png")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """`find`, `draw` and `Model.frames` name the file in their DecodeError."""
    (tmp_path / "text.jpg").write_text("text")
    for call in (mb.find, partial(mb.draw, faces=Faces.empty()), lambda path: list(mb.Model().frames(path))):
        for name in ("text.jpg", "missing.jpg"):
            with pytest.raises(DecodeError, match=rf"{name}: .*"):
                call(tmp_path / name)
