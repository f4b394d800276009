"""Forecasts of a scan: the time that a trial estimates, and the files that are done."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import makers
import numpy as np
import pytest
from fakes import fake_frames
from killed_runs import networks

from maskbatch.run import engine, estimate, shard
from maskbatch.run.job import Job, dry_run, run_job
from maskbatch.run.progress import Listener
from maskbatch.run.scan_options import ScanOptions
from maskbatch.settings import SamplingSettings, ScanSettings
from maskbatch.types import Batch, Faces, Source


@pytest.mark.parametrize("all_frames", [False, True])
def test_frames_of_the_copy_are_no_analysed_frames(monkeypatch, all_frames):
    """A trial in which each batch of eight frames takes a second, and a quarter of them is analysed if the copy needs all
    frames: a thousand frames to analyse take 1000 / 8 s, or 1000 / 2 s."""
    looked_at = np.arange(8) % 4 == 0 if all_frames else np.ones(8, bool)
    batch = Batch(replace(fake_frames([0] * 8, range(8), np.arange(8) / 25), is_looked_at=looked_at), Faces.empty())
    now_s = [0.0]

    def analyse(*_):
        for _ in range(2):
            now_s[0] += 1
            yield batch

    monkeypatch.setattr(estimate, "analyse", analyse)
    monkeypatch.setattr(estimate, "open_networks", networks)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    settings = ScanSettings(sampling=SamplingSettings(sample_fps=5.0, all_frames=all_frames))
    source = Source(0, Path("v.mp4"), "v.mp4", "video", duration_s=200.0)
    assert estimate.trial_estimate([source], settings) == (500 if all_frames else 125)


def test_photos_whose_crops_were_deleted_are_to_be_scanned(tmp_path, monkeypatch):
    """The dry run plans as the scan does."""
    for module in (engine, shard, estimate):
        monkeypatch.setattr(module, "open_networks", networks)
    photo = makers.write_photo(tmp_path / "in/a.png", np.full((64, 96, 3), 220, np.uint8))
    job = Job((tmp_path / "in",), tmp_path / "out", ScanOptions(save="crops"))
    run_job(job, Listener())
    assert dry_run(job, Listener())[0] == []
    shutil.rmtree(tmp_path / "out/crops")
    assert dry_run(job, Listener())[0] == [photo]
    assert run_job(job, Listener()) and list((tmp_path / "out/crops").rglob("a*"))
