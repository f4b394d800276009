"""Scans that are killed, with fake networks: a program, so that each run is a process of its own.

python tests/killed_runs.py FOLDER NUM: makes inputs in FOLDER, scans them without a kill, then NUM times with SIGKILL at
moments spread over the whole run, each gone on with (killed once more first, every third time; with three shards at a
time, every second time). Prints the differences
from the uninterrupted run as JSON, {moment: [paths]}.
"""

import json
import os
import random
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import makers
import numpy as np

from maskbatch import aside, engine
from maskbatch.config import LoaderSettings, OutputSettings, RuntimeSettings, ScanSettings
from maskbatch.data import Faces
from maskbatch.media.audio import AudioTrack
from maskbatch.media.sources import find_sources
from maskbatch.media.video_writer import VideoWriter
from maskbatch.media.writers import RowWriter
from maskbatch.outputs import prepared
from maskbatch.stopping import Stop

SETTINGS = ScanSettings(
    runtime=RuntimeSettings(runtime="openvino", device="cpu"),
    loader=LoaderSettings(batch_size=8, num_parallel=2, prefetch=4),
    output=OutputSettings(save=frozenset({"annotated", "crops"}), segment_s=1.4),
)
REPORTS = ("faces.csv", "files.csv", "summary.csv")


def detect(images):
    """One face in every image, where its brightness says; a second one in bright ones."""
    rows, boxes = [], []
    for row, image in enumerate(images):
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
    """p_mask from the brightness of the image."""
    return faces.with_p_mask(np.array([images[row].mean() / 255 for row in faces.row], np.float32))


def make_inputs(folder: Path) -> Path:
    """Photos around a video of five segments with sound, and a short one with a cut end and sound that is encoded."""
    for name in ("a1.png", "a2.jpg", "a3.png", "p1.jpg", "p2.png", "z1.png", "z2.jpg"):
        makers.write_photo(folder / name)
    (folder / "p3.jpg").write_bytes(b"not a photo")
    grey = [np.full((64, 96, 3), 20 + (7 * number) % 200, np.uint8) for number in range(190)]
    makers.write_video(folder / "m.mp4", grey, makers.Clip(audio="aac"))
    whole = makers.write_video(folder / ".whole.mp4", grey[:60], makers.Clip(audio="ac3"))
    makers.write_cut(folder / "t.mp4", whole, 0.8)
    return folder


def scan(inputs: Path, out: Path, workers: int = 1) -> None:
    """One session."""
    engine.runtime.open_network = lambda *_: None
    engine.Detector, engine.Classifier = lambda *_: detect, lambda *_: classify
    aside.crash_reasons = lambda *_: {}  # has a test of its own, and takes a process each time
    one = engine.Engine(replace(SETTINGS, workers=workers))
    with prepared(out, "resume") as lock:
        one.scan(one.plan(find_sources([inputs], None), out, [inputs]), lock, Stop())


def in_fork(job) -> int:
    """Runs `job` in a process of its own; its exit code, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killing_at(moment: int, count: Path | None = None):
    """Counts what changes files (renames, removals, journal lines, frames, rows and sound written), and kills the
    process before number `moment`; the count goes to the file `count`."""
    done = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            if count is not None:
                count.write_text(str(done))
            return function(*arguments, **options)

        return call

    os.replace, os.write, os.unlink = counted(os.replace), counted(os.write), counted(os.unlink)
    VideoWriter.write, RowWriter.write = counted(VideoWriter.write), counted(RowWriter.write)
    AudioTrack.write_until = counted(AudioTrack.write_until)


def contents(out: Path) -> dict[str, bytes]:
    """All that a user gets, but `run.json`, which has times; temporary files would show."""
    files = [out / name for name in REPORTS] + sorted(out.glob("annotated/**/*")) + sorted(out.glob("crops/**/*"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files if path.is_file()}


def main(folder: Path, num: int) -> None:
    inputs, whole = make_inputs(folder / "in"), folder / "whole"

    def killed(out: Path, moment: int, workers: int):
        def job():
            killing_at(moment)
            scan(inputs, out, workers)

        return job

    def counted():
        killing_at(0, folder / "count")
        scan(inputs, whole)

    assert in_fork(counted) == 0
    num_moments, expected = int((folder / "count").read_text()), contents(whole)
    assert not list(whole.glob(".state/videos/*"))
    draw, differing = random.Random(0), {}
    for number in range(num):
        moment = 1 + int(num_moments * (number + draw.random()) / num)
        out, workers = folder / f"killed_{number}", 3 if number % 2 else 1
        code = in_fork(killed(out, min(moment, num_moments), workers))
        if number % 3 == 0:
            in_fork(killed(out, 1 + draw.randrange(max(num_moments - moment, 1)), workers))
        again = in_fork(partial(scan, inputs, out, workers))
        got = contents(out) if again == 0 else {}
        if code != -signal.SIGKILL or got != expected:
            wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
            differing[moment] = [f"exit codes {code}, {again}", *wrong[:9]]
    print(json.dumps({"moments": num_moments, "differing": differing, "num_files": len(expected)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
