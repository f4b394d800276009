"""Scan photos and videos with a Ray cluster of two nodes on this machine, and kill workers, nodes and the driver meanwhile.

    python benchmarks/cluster.py --data ../shared/data --work /tmp/bench --clips /tmp/rendered [--photos 1000] [--kills 10]

Photos are hard links to those of the workload `photos`, clips six of `rendered.py`. Each scan must give the tables and media
of a scan without a cluster, byte for byte: as it is; with a worker or a whole node killed at random moments; with the driver
killed and started again. With `--poison 20`, so many photos kill every worker that reads them: each must get a row, and all
other rows must be the same. `--list N` measures instead how long N files are looked for. The report is in Markdown; the exit
code is 1 when something differs.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import workloads

from maskbatch.media.sources import find_sources, look_for
from maskbatch.reports.tables import TABLES
from maskbatch.run import shard
from maskbatch.run.job import Job, run_job
from maskbatch.run.local import Driver
from maskbatch.run.options import scan_settings
from maskbatch.run.progress import Listener
from maskbatch.run.ray import RayEngine
from maskbatch.run.scan_options import ScanOptions
from maskbatch.run.stop import Stop
from maskbatch.run.worker import Worker
from maskbatch.store.folder import prepared

_MEMORY = {"object_store_memory": 100 << 20}
_CLIPS = 6
_WHITE = 253


class Poisoned(Worker):
    """A worker that dies of a white picture."""

    def scan(self, number, given, checkpoint, settings):
        """Yield what a worker yields."""
        opened = shard.open_networks

        def deadly(settings):
            networks = opened(settings)

            def detector(is_over):
                detect = networks.detector(is_over)

                def checked(images):
                    if any(image.mean() > _WHITE for image in images):
                        os.kill(os.getpid(), signal.SIGKILL)
                    return detect(images)

                return checked

            return replace(networks, detector=detector)

        shard.open_networks = deadly
        try:
            yield from super().scan(number, given, checkpoint, settings)
        finally:
            shard.open_networks = opened


def make_inputs(given: argparse.Namespace) -> Path:
    """Link photos and clips into a folder."""
    made = workloads.make("photos", given.data, given.work, workloads.Sizes())
    photos, folder = sorted(made.path.iterdir()), given.work / f"cluster-{given.photos}"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(given.photos):
            photo = photos[number % len(photos)]
            os.link(photo, folder / f"p{number:05d}{photo.suffix}")
        for clip in sorted(given.clips.glob("*.mp4"))[:_CLIPS]:
            shutil.copy(clip, folder)
    return folder


def contents(out: Path) -> dict[str, bytes]:
    """Return the tables and media of an output folder."""
    files = [*(out / name for name in TABLES), *(p for p in out.glob("[ae]*/**/*") if p.is_file())]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def scan(cluster, inputs: Path, out: Path, worker=Worker) -> float:
    """Scan on the cluster; return the seconds."""
    begun, settings = (
        time.monotonic(),
        scan_settings(ScanOptions(engine="ray", address=cluster.address, save="evidence")),
    )
    settings = replace(settings, output=replace(settings.output, folder=out))
    engine = RayEngine(settings, settings.cluster, worker)
    with closing(Driver(settings, engine=engine)) as driver, prepared(out, "resume") as (store, lock):
        driver.scan(driver.plan(store, find_sources([inputs], None), [inputs]), store, lock, Stop())
    return time.monotonic() - begun


def scan_killing(cluster, inputs: Path, out: Path, moments: list[float]) -> float:
    """Scan, and kill a worker, or every third time a node that is replaced, at these seconds; return the scan's seconds."""
    node, draw = cluster.add_node(num_cpus=1, **_MEMORY), random.Random(0)
    with ThreadPoolExecutor(1) as pool:  # nodes are started in the main thread alone
        begun, scanning = time.monotonic(), pool.submit(scan, cluster, inputs, out)
        for number, moment in enumerate(moments):
            with suppress(TimeoutError):
                scanning.result(max(0.0, begun + moment - time.monotonic()))
            if scanning.done():
                break
            if number % 3 == 2:
                cluster.remove_node(node, allow_graceful=False)
                node = cluster.add_node(num_cpus=1, **_MEMORY)
            elif pids := worker_pids():
                os.kill(draw.choice(pids), signal.SIGKILL)
            print(f"killed {number + 1} after {time.monotonic() - begun:.0f} s", file=sys.stderr)
        return scanning.result()


def worker_pids() -> list[int]:
    """Return the processes of workers on this machine."""
    found = subprocess.run(["pgrep", "-f", "^ray::(Worker|Poisoned)"], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def driver_killed(cluster, inputs: Path, out: Path, after_s: float) -> int:
    """Scan by the command, kill it after some seconds, and give it again; return its last exit code."""
    command = [sys.executable, "-m", "maskbatch", "scan", inputs, "--out", out, "--save", "evidence", "--engine", "ray",
               "--address", cluster.address, "--quiet"]  # fmt: skip
    first = subprocess.Popen(command)
    time.sleep(after_s)
    first.kill()
    first.wait()
    return subprocess.run(command, check=False).returncode


def poisoned(inputs: Path, num: int) -> Path:
    """Link the inputs, and add white photos between them."""
    folder = inputs.with_name(f"{inputs.name}-poison-{num}")
    if not folder.exists():
        shutil.copytree(inputs, folder, copy_function=os.link)
        for number in range(num):
            cv2.imwrite(str(folder / f"p{number * 37:05d}x.png"), np.full((400, 600, 3), 255, np.uint8))
    return folder


def rows(table: Path) -> dict[str, list]:
    """Return the rows of a table by source, without their position."""
    found: dict[str, list] = {}
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["source"], []).append(row)
    return found


def measure_list(given: argparse.Namespace) -> None:
    """Measure how long many files are looked for."""
    folder = given.work / f"list-{given.list}"
    if not folder.exists():
        for number in range(given.list):
            if number % 1000 == 0:
                (folder / f"{number // 1000:05d}").mkdir(parents=True)
            (folder / f"{number // 1000:05d}" / f"{number % 1000:03d}.jpg").touch()
    begun = time.monotonic()
    num = len(look_for([folder], None).sources)
    print(f"{num} files were found in {time.monotonic() - begun:.1f} s")


def main() -> int:
    """Run all scans, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    parser.add_argument("--clips", type=Path, default=Path("/tmp/rendered"))
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--poison", type=int, default=0)
    parser.add_argument("--list", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.list:
        return measure_list(given)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    from ray.cluster_utils import Cluster

    inputs, outs = make_inputs(given), given.work / "cluster-out"
    shutil.rmtree(outs, ignore_errors=True)
    begun = time.monotonic()
    run_job(Job((inputs,), outs / "local", ScanOptions(save="evidence")), Listener())
    local_s, expected = time.monotonic() - begun, contents(outs / "local")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **_MEMORY})
    cluster.add_node(num_cpus=1, **_MEMORY)
    print("| scan | seconds | result |\n|---|---|---|\n| " + f"without a cluster | {local_s:.0f} | |", flush=True)
    wrong = 0

    def tell(name: str, seconds: float, is_same: bool) -> None:
        nonlocal wrong
        wrong += not is_same
        print(f"| {name} | {seconds:.0f} | {'the same bytes' if is_same else 'DIFFERENT'} |", flush=True)

    ray_s = scan(cluster, inputs, outs / "ray")
    tell("two nodes of one core", ray_s, contents(outs / "ray") == expected)
    if given.kills:
        draw = random.Random(given.seed)
        moments = sorted(draw.random() * ray_s for _ in range(given.kills))
        seconds = scan_killing(cluster, inputs, outs / "killed", moments)
        tell(
            f"workers and nodes killed at {given.kills} random moments", seconds, contents(outs / "killed") == expected
        )
        begun = time.monotonic()
        code = driver_killed(cluster, inputs, outs / "driver", ray_s / 2)
        tell("the driver killed", time.monotonic() - begun, code == 0 and contents(outs / "driver") == expected)
    if given.poison:
        folder = poisoned(inputs, given.poison)
        seconds = scan(cluster, folder, outs / "poison", Poisoned)
        files, faces = (rows(outs / "poison" / name) for name in ("files.csv", "faces.csv"))
        bad = [name for name, [row] in files.items() if row["error"]]
        is_same = faces == rows(outs / "local" / "faces.csv") and len(bad) == given.poison
        tell(f"{given.poison} photos that kill their worker: {len(bad)} rows with a reason", seconds, is_same)
    cluster.shutdown()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
