"""Scans that are killed, with fake networks: a program, so that each run is a process of its own.

python tests/killed_runs.py FOLDER NUM [photos]: makes inputs in FOLDER (photos and videos, or photos alone), scans them
without a kill, then NUM times with SIGKILL at moments spread over the whole run, each gone on with (killed once more first,
every third time; with three shards at a time, every second time). Prints the differences from the uninterrupted run as
JSON, {moment: [paths]}.
"""

import csv
import json
import os
import pickle
import random
import signal
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import makers
import numpy as np

from maskbatch.media.sources import find_sources
from maskbatch.media.write.sound import AudioTrack
from maskbatch.media.write.video import VideoWriter
from maskbatch.networks.device import Device
from maskbatch.reports.tables import TABLES
from maskbatch.run import engine, local, quarantine, shard
from maskbatch.run.progress import Listener
from maskbatch.run.stages import Networks
from maskbatch.run.stop import Stop
from maskbatch.settings import (
    LOOK_AGAIN_S,
    ClassifierSettings,
    LoaderSettings,
    OutputSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanSettings,
)
from maskbatch.store.database import Store
from maskbatch.store.folder import prepared
from maskbatch.types import Faces

SETTINGS = ScanSettings(
    runtime=RuntimeSettings(runtime="openvino", device="cpu"),
    loader=LoaderSettings(batch_size=8, num_parallel=2, prefetch=4),
    classifier=ClassifierSettings(incorrect_threshold=0.8),
    output=OutputSettings(save=frozenset({"annotated", "crops", "evidence"}), segment_s=1.4, anonymize="solid"),
)
REPORTS = TABLES


def detect(images):
    """One face in every image that is not dark, where its brightness says; a second one in bright ones."""
    rows, boxes = [], []
    for row, image in enumerate(images):
        if image.mean() < 14:
            continue
        x = float(image.mean()) / 10
        rows, boxes = [*rows, row], [*boxes, [x, 5, x + 20, 25]]
        if image.mean() > 100:
            rows, boxes = [*rows, row], [*boxes, [60, 30, 80, 50]]
    num_faces = len(rows)
    return Faces(
        np.array(rows, np.int64), np.array(boxes, np.float32).reshape(num_faces, 4),
        np.full(num_faces, 0.9, np.float32), np.zeros((num_faces, 5, 2), np.float32),
    )  # fmt: skip


def classify(images, faces):
    """p_mask from the brightness of the image; p_incorrect is high for some brightness, wherever the face."""
    p_mask = np.array([images[row].mean() / 255 for row in faces.row], np.float32)
    return faces.with_state(p_mask, (7 * p_mask) % 1)


def make_inputs(folder: Path) -> Path:
    """Photos around a video of five segments with sound, a dark and still one in which somebody is seen twice, and a short
    one with a cut end and sound that is encoded."""
    for name in ("a1.png", "a2.jpg", "a3.png", "p1.jpg", "p2.png", "z1.png", "z2.jpg"):
        makers.write_photo(folder / name)
    (folder / "p3.jpg").write_bytes(b"not a photo")
    # a pattern moves, or the groups of pictures would be still
    pattern = np.random.default_rng(0).integers(-12, 13, (64, 96, 1))
    grey = [
        np.repeat(20 + (7 * number) % 200 + np.roll(pattern, 5 * number, axis=1), 3, axis=2).clip(0).astype(np.uint8)
        for number in range(190)
    ]
    makers.write_video(folder / "m.mp4", grey, makers.Clip(audio="aac", is_bt709=True))
    quiet = np.full(190, 8)
    quiet[60:75], quiet[118:133] = 40 + 3 * np.arange(15), 90
    options = {"g": "12", "bf": "2", "x264-params": "scenecut=0"}
    dark = [np.full((64, 96, 3), level, np.uint8) for level in quiet]
    makers.write_video(folder / "q.mp4", dark, makers.Clip(is_bt709=True, options=options))
    whole = makers.write_video(folder / ".whole.mp4", grey[:60], makers.Clip(audio="ac3"))
    makers.write_cut(folder / "t.mp4", whole, 0.8)
    return folder


def make_photos(folder: Path) -> Path:
    """Photos from dark to bright, four batches of them."""
    for number in range(28):
        image = np.full((64, 96, 3), 20 + 7 * number, np.uint8)
        makers.write_photo(folder / f"{number:02d}.{'jpg' if number % 2 else 'png'}", image)
    return folder


def networks(_) -> Networks:
    """Networks that are small functions."""
    return Networks(
        lambda _: detect, lambda _: classify, Device("openvino", ("CPU",), "no device"), {"detector": "fp32"}, {}
    )


def shard_results(request: bytes) -> bytes:
    """The results of `run_shard` for its pickled arguments, pickled, without the times that stages took."""
    with mock.patch.object(shard, "open_networks", networks):
        return pickle.dumps([replace(result, seconds={}) for result in shard.run_shard(*pickle.loads(request))])


class Hears(Listener):
    """A listener that passes each result of a shard to a function."""

    def __init__(self, on_result):
        self.add = on_result


def scan(inputs: Path, out: Path, workers: int = 1) -> None:
    """One session. Trials of suspects have tests of their own, and take a process each time."""
    settings = replace(SETTINGS, workers=workers, output=replace(SETTINGS.output, folder=out))
    with (
        mock.patch.object(engine, "open_networks", networks),
        mock.patch.object(shard, "open_networks", networks),
        mock.patch.object(quarantine, "crash_reasons", lambda *_: {}),
        prepared(out, "resume") as (store, lock),
    ):
        driver = local.Driver(settings)
        driver.scan(driver.plan(store, find_sources([inputs], None), [inputs]), store, lock, Stop())


def in_fork(job) -> int:
    """Runs `job` in a process of its own; its exit code, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        except Exception:
            traceback.print_exc()  # os._exit says nothing
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killing_at(moment: int, count: Path | None = None, power: Path | None = None):
    """Count what changes files (renames, removals, frames written, sound joined, transactions), and kill the process before
    number `moment`; the count goes to the file `count`. With `power` the machine goes down as well (see `lose_power`)."""
    done, synced = 0, set()

    def counted(function):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done == moment:
                if power is not None:
                    lose_power(power, synced)
                os.kill(os.getpid(), signal.SIGKILL)
            if count is not None:
                count.write_text(str(done))
            return function(*arguments, **options)

        return call

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    if power is not None:
        synced |= {path.stat().st_ino for path in power.rglob("*")}
    fsync, os.fsync = os.fsync, noting
    os.replace, os.unlink = counted(os.replace), counted(os.unlink)
    VideoWriter.write, AudioTrack.write_until = counted(VideoWriter.write), counted(AudioTrack.write_until)
    Store.transaction = counted(Store.transaction)


def lose_power(out: Path, synced: set[int]) -> None:
    """Leave `out` as a power cut may: files that nobody has synced are cut, and so is the log of the store."""
    for path in out.rglob("*"):
        if path.is_file() and path.name.endswith("-wal"):
            os.truncate(path, path.stat().st_size * 2 // 3)
        elif path.is_file() and path.stat().st_ino not in synced and not path.name.startswith("scan.db"):
            os.truncate(path, path.stat().st_size // 2)


def contents(out: Path) -> dict[str, bytes]:
    """All that a user gets, but `run.json`, which has times; temporary files would show."""
    files = [out / name for name in REPORTS] + sorted(out.glob("annotated/**/*")) + sorted(out.glob("crops/**/*"))
    files += sorted(out.glob("evidence/**/*"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files if path.is_file()}


def errors_of(out: Path) -> dict[str, str]:
    """The reasons in files.csv, by the names of the files that were not read whole."""
    with open(out / "files.csv", newline="", encoding="utf-8") as file:
        return {row["source"]: row["error"] for row in csv.DictReader(file) if row["error"]}


def main(folder: Path, num: int, make) -> None:
    inputs, whole = make(folder / "in"), folder / "whole"

    def killed(out: Path, moment: int, workers: int, power: bool):
        def job():
            killing_at(moment, power=out if power else None)
            scan(inputs, out, workers)

        return job

    def counted():
        killing_at(0, folder / "count")
        scan(inputs, whole)

    assert in_fork(counted) == 0
    num_moments, expected = int((folder / "count").read_text()), contents(whole)
    assert not (whole / ".segments").exists()
    draw, differing = random.Random(0), {}
    for number in range(num):
        moment = 1 + int(num_moments * (number + draw.random()) / num)
        out, workers = folder / f"killed_{number}", 3 if number % 2 else 1
        code = in_fork(killed(out, min(moment, num_moments), workers, number % 4 == 1))
        if number % 3 == 0:
            in_fork(killed(out, 1 + draw.randrange(max(num_moments - moment, 1)), workers, number % 2 == 0))
        again = in_fork(partial(scan, inputs, out, workers))
        got = contents(out) if again == 0 else {}
        if code != -signal.SIGKILL or got != expected:
            wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
            differing[moment] = [f"exit codes {code}, {again}", *wrong[:9]]
    print(json.dumps({"moments": num_moments, "differing": differing, "num_files": len(expected)}))


if __name__ == "__main__":
    os.fsync = os.fstat  # no disk is waited for: `lose_power` stands for the power cut
    # as by default: candidates, a gate, sure faces that are classified again now and then, boxes drawn between, and faces
    # that are not hidden
    by_default = SamplingSettings(
        sample_fps=12.5, is_gated=True, all_frames=True, with_planes=True, look_again_s=LOOK_AGAIN_S
    )
    SETTINGS = replace(SETTINGS, sampling=by_default, output=replace(SETTINGS.output, anonymize="none"))
    main(Path(sys.argv[1]), int(sys.argv[2]), make_photos if "photos" in sys.argv else make_inputs)
