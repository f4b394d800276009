"""Scans of several batches of photos, whose files are synced and renamed while the next batch is written."""

import errno
import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from fakes import fake_frames
from killed_runs import contents, make_photos, scan

from maskbatch.errors import MaskbatchError
from maskbatch.media.write import files as module
from maskbatch.media.write import is_partial
from maskbatch.run import shard
from maskbatch.run.checkpoints import beginning
from maskbatch.run.timings import Timings
from maskbatch.settings import OutputSettings, ScanSettings
from maskbatch.sinks import open_sinks
from maskbatch.types import Batch, Ended, Faces, Source

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux shows the paths of descriptors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with photos in `in`, and their uninterrupted scan in `whole`."""
    folder = tmp_path_factory.mktemp("photos")
    scan(make_photos(folder / "in"), folder / "whole")
    return folder


def temporary(out):
    return [path.name for path in out.rglob("*") if is_partial(path.name)]


def failing(function, name, error, times=1):
    """`function`, which raises `error` for the first paths or descriptors with a name that contains `name`."""
    left = [times]

    def call(first, *rest):
        shown = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
        if name in shown and left[0]:
            left[0] -= 1
            raise error
        return function(first, *rest)

    return call


def test_a_batch_whose_files_wait_to_be_synced_keeps_no_pictures(tmp_path):
    """Its rows are kept; the pictures of one more batch would need much memory."""
    source, seen = Source(0, tmp_path / "a.png", "a.png", "image"), []

    def batches():
        frames = fake_frames([0], [0], [0.0], [Ended(0, 1, 1)])
        seen.append(weakref.ref(frames.images[0]))
        yield Batch(frames, Faces.empty())
        del frames
        yield Batch(fake_frames([], [], []), Faces.empty())

    settings, at = ScanSettings(output=OutputSettings(folder=tmp_path)), beginning(source)
    with open_sinks([source], at, settings) as sinks:
        written = shard._written(batches(), {0: source}, at, sinks, Timings())
        waiting, _ = next(written), next(written)
        assert seen[0]() is None
        waiting.files.settle()
        assert waiting.result().num_frames == 1 and (tmp_path / "annotated/a.png").is_file()


def test_a_scan_of_photos_killed_at_any_moment_goes_on(tmp_path):
    """SIGKILL and losses of power at 8 moments spread over four batches: all ends as without them."""
    script = Path(__file__).with_name("killed_runs.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(script.parent)])}
    command = [sys.executable, str(script), str(tmp_path), "8", "photos"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["differing"] == {} and found["moments"] > 100 and found["num_files"] > 100


@pytest.mark.parametrize("name", ["annotated/.03.", "annotated/.12.", "crops/", "evidence/", "annotated/.27."])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_no_half_file_and_the_scan_goes_on(photos, tmp_path, monkeypatch, name, step):
    """Whichever file and step it hits; what was finished before stays, and no temporary file does."""
    with monkeypatch.context() as full:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        full.setattr(module.os, step, failing(getattr(os, step), name, error))
        with pytest.raises(MaskbatchError, match="No space left"):
            scan(photos / "in", tmp_path)
    assert not temporary(tmp_path)
    scan(photos / "in", tmp_path)
    assert contents(tmp_path) == contents(photos / "whole")


def test_a_folder_in_the_way_costs_one_file(photos, tmp_path, monkeypatch, caplog):
    """Its photo has a row with the reason; everything else is as always."""
    out, fsync = tmp_path / "out", os.fsync

    def taking(descriptor):
        if (out / "annotated").is_dir():
            (out / "annotated/05.jpg").mkdir(exist_ok=True)
        return fsync(descriptor)

    with monkeypatch.context() as taken:
        taken.setattr(module.os, "fsync", taking)
        scan(photos / "in", out)
    got, expected = contents(out), contents(photos / "whole")
    assert b"no annotated copy: Is a directory" in got.pop("files.csv") and expected.pop("files.csv")
    assert "05.jpg: no annotated copy" in caplog.text and not temporary(out)
    assert {name for name in {*got, *expected} if got.get(name) != expected.get(name)} == {"annotated/05.jpg"}


def test_an_output_folder_that_is_removed_meanwhile_ends_the_scan(photos, tmp_path, monkeypatch):
    """In the middle of a batch: the message says so, and what to do about files that were just being written."""
    out, fsync = tmp_path / "out", os.fsync

    def removing(descriptor):
        if "annotated/.12." in os.readlink(f"/proc/self/fd/{descriptor}"):
            shutil.rmtree(out)
        return fsync(descriptor)

    monkeypatch.setattr(module.os, "fsync", removing)
    with pytest.raises(MaskbatchError, match="start again, with another --out if something is left"):
        scan(photos / "in", out)
    assert not temporary(out)
