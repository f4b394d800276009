"""Scans by the workers of a Ray cluster: two nodes on this machine, with networks that are small functions."""

import csv
import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import makers
import numpy as np
import pytest
from killed_runs import SETTINGS, Hears, contents, errors_of
from killed_runs import scan as scan_here

from maskbatch.errors import DeviceError, UsageError
from maskbatch.media.sources import find_sources
from maskbatch.overlap import never
from maskbatch.run import local, quarantine
from maskbatch.run.stop import Stop
from maskbatch.settings import ClusterSettings
from maskbatch.store.folder import prepared

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402
from ray_workers import FakeWorker, OtherWorker, SilentWorker  # noqa: E402

from maskbatch.run.ray import RayEngine  # noqa: E402

# a worker on a busy machine takes seconds to start
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, and two nodes with one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield made
    made.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(autouse=True)
def no_trials(monkeypatch):
    """Trials of suspects have tests of their own, and take a process each."""
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {})


def scan(cluster, inputs, out, on_result=lambda *_: None, stop=None, **own):
    """One session on the cluster, with `worker` and `patience_s` in `own`."""
    settings = replace(SETTINGS, output=replace(SETTINGS.output, folder=out))
    engine = RayEngine(settings, ClusterSettings("ray", cluster.address, None, own.get("patience_s", PATIENCE_S)),
                       own.get("worker", FakeWorker))  # fmt: skip
    with closing(local.Driver(settings, engine=engine)) as driver, prepared(out, "resume") as (store, lock):
        plan = driver.plan(store, find_sources([inputs], None), [inputs])
        driver.scan(plan, store, lock, stop or Stop(), Hears(on_result))


def workers_of_this_run():
    """The processes of workers that come from this one; other test runs on this machine keep theirs."""
    parents, workers = {}, []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            title, stat = Path("/proc", entry, "cmdline").read_bytes(), Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
        if title.startswith(b"ray::FakeWorker"):
            workers.append(int(entry))

    def is_ours(pid):
        while pid and pid != os.getpid():
            pid = parents.get(pid)
        return pid is not None and pid > 0

    return [pid for pid in workers if is_ours(pid)]


def test_a_cluster_gives_the_bytes_of_one_machine(cluster, made, tmp_path):
    """Photos and videos scanned on two nodes: tables, copies, crops and evidence are those of a scan without a cluster."""
    scan(cluster, made / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_killed_workers_change_nothing(cluster, made, tmp_path):
    """Workers are killed with SIGKILL at two results: the bytes are the same."""
    seen, killed = [], []

    def kill(*_):
        seen.append(None)
        if len(seen) in (3, 11):
            killed.extend(workers_of_this_run()[:1])
            os.kill(killed[-1], signal.SIGKILL)

    scan(cluster, made / "in", tmp_path / "out", on_result=kill)
    assert len(seen) > 11 and len(set(killed)) == 2 and contents(tmp_path / "out") == contents(made / "whole")


def test_a_killed_node_changes_nothing(cluster, made, tmp_path):
    """A node dies in the middle of a scan: the other one does its work."""
    seen, node = [], cluster.add_node(num_cpus=1, object_store_memory=80 << 20)

    def kill(*_):
        seen.append(None)
        if len(seen) == 4:
            cluster.remove_node(node, allow_graceful=False)

    scan(cluster, made / "in", tmp_path / "out", on_result=kill)
    assert len(seen) > 4 and contents(tmp_path / "out") == contents(made / "whole")


def test_poison_costs_rows_and_no_hang(cluster, tmp_path):
    """Of nine photos one kills every worker that reads it: it has a row with the reason, the others have their faces."""
    for number in range(8):
        makers.write_photo(tmp_path / "in" / f"p{number}.png")
    makers.write_photo(tmp_path / "in" / "white.png", np.full((64, 96, 3), 255, np.uint8))
    scan(cluster, tmp_path / "in", tmp_path / "out")
    assert errors_of(tmp_path / "out") == {"white.png": "3 workers were lost while they read it"}
    with open(tmp_path / "out" / "faces.csv", newline="", encoding="utf-8") as file:
        assert {row["source"] for row in csv.DictReader(file)} == {f"p{number}.png" for number in range(8)}


def test_a_stopped_scan_goes_on_elsewhere(cluster, made, tmp_path):
    """A scan on the cluster that is stopped keeps what is done; a scan without the cluster ends it, with the same bytes."""
    stop, seen = Stop(), []

    def ask(*_):
        seen.append(None)
        stop.num_asked = int(len(seen) >= 4)

    with pytest.raises(Exception, match="stopped"):
        scan(cluster, made / "in", tmp_path / "out", on_result=ask, stop=stop)
    scan_here(made / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(made / "whole")


def test_a_silent_worker_is_given_up(cluster, tmp_path, caplog):
    """A worker from which nothing comes is ended after a while, and another one does its work."""
    makers.write_photo(tmp_path / "in" / "a.png")
    scan(cluster, tmp_path / "in", tmp_path / "out", worker=SilentWorker, patience_s=15.0)
    assert "has given nothing for 0.25 minutes" in caplog.text and not errors_of(tmp_path / "out")


def test_workers_with_other_numbers_are_refused(cluster, tmp_path):
    """A second worker that computes in another precision is refused, with a sentence about both."""
    settings = replace(SETTINGS, output=replace(SETTINGS.output, folder=tmp_path / "out"))
    with closing(RayEngine(settings, ClusterSettings("ray", cluster.address), OtherWorker)) as engine:
        assert engine._taken(never) is not None
        with pytest.raises(UsageError, match="different numbers"):
            engine._taken(never)


@pytest.mark.parametrize(
    ("address", "kind", "words"), [("127.0.0.1:1", DeviceError, "no Ray"), ("ray://a:1", UsageError, "HOST:PORT")]
)
def test_a_cluster_that_is_not_there_is_an_error_at_once(address, kind, words):
    """An address where nobody answers, or of another kind, is named before anything is written."""
    with pytest.raises(kind, match=words):
        RayEngine(SETTINGS, ClusterSettings("ray", address))
