"""Inputs that have the same content at another time: `touch`, or a copy without its times."""

import json
import os
import sqlite3
from contextlib import closing

import makers
import numpy as np
import pytest
from killed_runs import contents, scan

from maskbatch.errors import Interrupted
from maskbatch.run import local
from maskbatch.run.purge import purge

NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Two photos of more than 8 KiB, and the folder with their scan, in which both have a verdict."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.bmp", "b.bmp"):
        makers.write_photo(inputs / name, NOISE)
    scan(inputs, out)
    with closing(sqlite3.connect(out / "scan.db")) as connection, connection:
        connection.execute(
            "INSERT INTO review (source_id, person_id, frame, face, time_e4, verdict, model_verdict, reviewer, at) "
            "SELECT source_id, track_id, frame, face, time_e4, 'with_mask', 'unsure', 'ann', '' FROM face WHERE face = 0"
        )
    return inputs, out


def valid_verdicts(out):
    """The names of the sources whose verdicts stand."""
    with closing(sqlite3.connect(out / "scan.db")) as connection:
        query = "SELECT name FROM review JOIN source ON source.id = source_id WHERE undone IS NULL ORDER BY name"
        return [name for (name,) in connection.execute(query)]


def touch(inputs, time_s=10**9):
    for path in inputs.iterdir():
        os.utime(path, (time_s, time_s))


def change_middle(path):
    """Change one byte far from both ends; size and quick hash stay."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_touched_files_are_not_scanned_again(folders, caplog):
    """They keep rows and verdicts, and the store has their new time; the next session need not read them."""
    inputs, out = folders
    before = contents(out)
    touch(inputs)
    scan(inputs, out)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (run["files_done_before"], run["files_changed"]) == (2, 0) and "a.bmp, b.bmp: other time" in caplog.text
    assert valid_verdicts(out) == ["a.bmp", "b.bmp"] and contents(out).keys() == before.keys()
    caplog.clear()
    scan(inputs, out)
    assert "other time" not in caplog.text and "scanning again" not in caplog.text


def test_files_that_are_touched_again_after_an_interruption_keep_their_verdicts(folders, monkeypatch):
    """The interrupted session writes no manifest, and so it leaves the times that the last one knows."""
    inputs, out = folders

    def interrupted(*_):
        raise Interrupted("stopped")

    touch(inputs)
    with monkeypatch.context() as stopped, pytest.raises(Interrupted):
        stopped.setattr(local.Driver, "_scan_pending", interrupted)
        scan(inputs, out)
    touch(inputs, 2 * 10**9)
    scan(inputs, out)
    assert valid_verdicts(out) == ["a.bmp", "b.bmp"]


def test_pictures_that_were_purged_stay_away_when_files_are_touched(folders):
    """A purge holds as long as the content is the same."""
    inputs, out = folders
    purge(out, "0d", None)
    touch(inputs)
    scan(inputs, out)
    assert not [name for name in contents(out) if "/" in name]


def test_a_change_between_both_ends_is_seen(folders, caplog):
    """A file whose middle changed is scanned again, and loses its verdicts; the other one keeps them."""
    inputs, out = folders
    change_middle(inputs / "a.bmp")
    touch(inputs)
    scan(inputs, out)
    assert "a.bmp: changed since" in caplog.text and valid_verdicts(out) == ["b.bmp"]


def test_a_touched_file_without_a_copy_is_scanned_again_with_its_verdicts(folders, caplog):
    """The content is the same, so the verdicts are on the same people."""
    inputs, out = folders
    (out / "annotated/a.bmp").unlink()
    touch(inputs)
    scan(inputs, out)
    assert "a.bmp: the annotated copy, crops or evidence are gone" in caplog.text
    assert (out / "annotated/a.bmp").is_file() and valid_verdicts(out) == ["a.bmp", "b.bmp"]


def test_without_a_manifest_touched_files_are_scanned_again(folders, caplog):
    """Nothing else knows the whole content."""
    inputs, out = folders
    (out / "manifest.json").unlink()
    touch(inputs)
    scan(inputs, out)
    assert "a.bmp, b.bmp: changed since" in caplog.text and valid_verdicts(out) == []
