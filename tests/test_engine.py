"""What the driver does when a worker is lost, with an engine that loses them on purpose."""

import csv
import re
from dataclasses import replace

import pytest
from killed_runs import SETTINGS, contents, errors_of, networks

from maskbatch.errors import UsageError
from maskbatch.media.sources import find_sources
from maskbatch.run import engine as engines
from maskbatch.run import local, quarantine, shard
from maskbatch.run.engine import Here, WorkerLost
from maskbatch.run.options import scan_settings
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.stop import Stop
from maskbatch.store.folder import prepared


class Losing(Here):
    """An engine of this process that loses a worker when `is_lost(shard, number, frames)` says so: before result `number`
    of a call, when so many frames of the video were analysed."""

    def __init__(self, settings, is_lost):
        super().__init__(settings)
        self.is_lost, self.asked = is_lost, []

    def scan(self, shard, checkpoint, settings, is_over):
        self.asked.append([source.name for source in shard.sources])
        frames = 0 if checkpoint is None else checkpoint.frames_analysed
        for number, result in enumerate(super().scan(shard, checkpoint, settings, is_over)):
            if self.is_lost(shard, number, frames):
                raise WorkerLost("a worker was lost (on purpose)")
            frames += result.num_frames
            yield result


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Networks that are small functions; no process for suspects."""
    for module in (engines, shard):
        monkeypatch.setattr(module, "open_networks", networks)
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {})


def scan(inputs, out, is_lost=lambda *_: False, settings=SETTINGS):
    settings = replace(settings, output=replace(settings.output, folder=out))
    engine = Losing(settings, is_lost)
    driver = local.Driver(settings, engine=engine)
    with prepared(out, "resume") as (store, lock):
        driver.scan(driver.plan(store, find_sources([inputs], None), [inputs]), store, lock, Stop())
    return engine


def test_a_lost_worker_changes_nothing(made, tmp_path):
    """Every worker is lost at its third result, once: tables and media are those of a scan without losses."""
    seen = set()

    def once(shard, number, _):
        is_lost = number == 2 and shard.index not in seen
        seen.add(shard.index) if is_lost else None
        return is_lost

    engine = scan(made / "in", tmp_path / "lossy", once)
    assert seen and len(engine.asked) == 6 + len(seen)
    assert contents(tmp_path / "lossy") == contents(made / "whole")


def test_a_photo_that_costs_three_workers_gets_a_row(made, tmp_path):
    """A photo that kills whoever reads it costs three workers, and no other photo; the next scan reads it again."""

    def poisoned(shard, *_):
        return any(source.name == "p1.jpg" for source in shard.sources)

    engine = scan(made / "in", tmp_path / "out", poisoned)
    assert errors_of(tmp_path / "out")["p1.jpg"] == "3 workers were lost while they read it"
    assert sum("p1.jpg" in names for names in engine.asked) == 3 and engine.asked.count(["p1.jpg"]) == 1
    scan(made / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_a_lost_worker_leaves_no_temporary_file(made, tmp_path):
    """What a killed worker was writing is gone when the scan ends."""
    left = tmp_path / "out/crops/without_mask/.p1_f000000_0.part9-9.jpg"

    def once(*_):
        if left.parent.is_dir() and not times:
            times.append(None)
            left.touch()
            return True
        return False

    times = []
    scan(made / "in", tmp_path / "out", once)
    assert times and not left.exists()
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_a_video_that_costs_three_workers_keeps_what_is_done(made, tmp_path):
    """A video that is lost three times has the rows of its whole segments, no crop of others, and a reason."""
    scan(made / "in", tmp_path / "out", lambda shard, _, frames: shard.sources[0].name == "m.mp4" and frames >= 80)
    assert "3 workers were lost" in errors_of(tmp_path / "out")["m.mp4"]
    with open(tmp_path / "out" / "faces.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "m.mp4"]
    places = {(int(row["frame"]), int(row["face"])) for row in rows}
    crops = [re.search(r"_f(\d+)_(\d+)\.jpg$", path.name) for path in (tmp_path / "out/crops").rglob("m.mp4_f*.jpg")]
    assert crops and {(int(found[1]), int(found[2])) for found in crops} <= places


def test_workers_that_get_further_each_time_are_no_fault_of_a_video(made, tmp_path):
    """Five workers are lost over one video, each after a whole segment: the video is read to its end."""
    times = []

    def often(shard, number, _):
        is_lost = shard.sources[0].name == "m.mp4" and number == 7
        times.append(None) if is_lost else None
        return is_lost

    scan(made / "in", tmp_path / "out", often)
    assert len(times) > 3 and contents(tmp_path / "out") == contents(made / "whole")


def test_a_source_that_kills_its_own_process_costs_one_worker(made, tmp_path, monkeypatch):
    """What crashes its decoder is found by a trial after the first loss, and gets its row then."""
    names = {"p1.jpg": "crashed"}
    monkeypatch.setattr(quarantine, "crash_reasons",
                        lambda suspects, *_: {name: why for name, why in names.items()
                                              if name in {one.source.name for one in suspects}})  # fmt: skip
    engine = scan(made / "in", tmp_path / "out",
                  lambda shard, *_: any(source.name == "p1.jpg" for source in shard.sources))  # fmt: skip
    assert sum("p1.jpg" in names for names in engine.asked) == 1
    assert errors_of(tmp_path / "out")["p1.jpg"] == "crashed"


@pytest.mark.parametrize("wrong", [{"address": "a:1"}, {"worker_cores": 2}, {"patience": 3.0}])
def test_options_of_a_cluster_need_the_cluster(wrong):
    """Options of the cluster without --engine ray are a usage error, and so is --workers with it."""
    with pytest.raises(UsageError, match="--engine ray"):
        scan_settings(ScanOptions(**wrong))
    with pytest.raises(UsageError, match="--worker-cores"):
        scan_settings(ScanOptions(engine="ray", workers=2))


def test_workers_lost_at_other_places_are_no_fault_of_a_video(made, tmp_path):
    """Workers are lost before anything is stored, each sooner than the one before: the video is read to its end; after ten
    it is given up."""
    times = []

    def sooner(shard, _, frames):
        is_lost = shard.sources[0].name == "m.mp4" and frames >= 160 - 40 * len(times) and len(times) < 4
        times.append(None) if is_lost else None
        return is_lost

    one_segment = replace(SETTINGS, output=replace(SETTINGS.output, segment_s=60))
    scan(made / "in", tmp_path / "out", sooner, one_segment)
    scan(made / "in", tmp_path / "whole", settings=one_segment)
    assert len(times) == 4 and contents(tmp_path / "out") == contents(tmp_path / "whole")
    places = iter([0, 80] * 20)

    def anywhere(shard, _, frames):
        wanted.append(next(places)) if not frames or not wanted else None
        return shard.sources[0].name == "m.mp4" and frames >= wanted[-1]

    wanted = []
    engine = scan(made / "in", tmp_path / "never", anywhere, one_segment)
    assert errors_of(tmp_path / "never")["m.mp4"].startswith("10 workers were lost")
    assert sum("m.mp4" in names for names in engine.asked) == 10
