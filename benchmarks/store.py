"""Measure how long storing and reporting large scans takes; rows are made up, nothing is analysed.

    python benchmarks/store.py [--photos 100000] [--video-faces 1000000]

The program stores photos with two faces each and one video in segments of a minute, then writes all tables, and runs the
command `maskbatch report`, which also writes the manifest. It prints seconds, CPU seconds, peak memory and the size of the
store.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import STORE, open_store
from maskbatch.store.plan import Plan, make_plan
from maskbatch.store.resume import begin
from maskbatch.store.write import add_results, begin_session, end_session
from maskbatch.types import Ended, FaceRow, SegmentResult, Source

_BATCH, _PER_FRAME, _FRAMES_PER_SEGMENT = 16, 10, 1500
_FACTS = {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}}


def rows(source_id: int, first: int, num_frames: int, per_frame: int) -> tuple[FaceRow, ...]:
    """Return the faces of successive frames; each keeps its place and track."""
    return tuple(
        FaceRow(source_id, frame, face, frame * 400, face, 100, 100, 400 + face, 500, 9000, (frame * 7 + face) % 10001)
        for frame in range(first, first + num_frames)
        for face in range(per_frame)
    )


def store_photos(store, photos) -> None:
    """Store photos, a transaction for each batch, as in a scan."""
    for start in range(0, len(photos), _BATCH):
        batch = photos[start : start + _BATCH]
        faces = tuple(row for photo in batch for row in rows(photo.id, 0, 1, 2))
        add_results(store, [SegmentResult(faces, tuple((photo, Ended(photo.id, 1, 1, 640, 480)) for photo in batch))])


def store_video(store, video, num_faces: int) -> None:
    """Store all segments of a video, then its end."""
    num_frames, results = num_faces // _PER_FRAME, []
    for first in range(0, num_frames, _FRAMES_PER_SEGMENT):
        results.append(SegmentResult(rows(video.id, first, min(_FRAMES_PER_SEGMENT, num_frames - first), _PER_FRAME)))
        add_results(store, results)
        results.clear()
    ended = Ended(video.id, num_frames, num_frames, 1920, 1080)
    add_results(store, [SegmentResult(ended=((video, ended),))])


def timed(name: str, function, *arguments):
    """Call a function, print how long it took, and return its result. CPU time counts where other programs are at work."""
    start, cpu = time.perf_counter(), _cpu_s()
    returned = function(*arguments)
    seconds, cpu = time.perf_counter() - start, _cpu_s() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {seconds:.1f} s, CPU {cpu:.1f} s, peak memory so far {peak_mb:.0f} MB", flush=True)
    return returned


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of the commands that it has run."""
    return sum(os.times()[:4])


def report_command(folder: Path) -> None:
    """Run `maskbatch report`."""
    subprocess.run([sys.executable, "-m", "maskbatch", "report", folder], stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Store, report, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--video-faces", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        names = [f"{number % 100:02}/{number:06}.jpg" for number in range(given.photos)]
        sources = [Source(number, Path("in", name), name, "image") for number, name in enumerate(names)]
        sources.append(Source(given.photos, Path("in/v.mp4"), "v.mp4", "video", fps=Fraction(25), duration_s=4000.0))
        session = begin_session(store, {}, _FACTS)
        plan = Plan(Path(folder), (), tuple(sources), tuple(sources))
        plan = timed("begin", begin, store, plan)
        timed(f"store {given.photos} photos", store_photos, store, plan.pending[:-1])
        timed(f"store {given.video_faces} faces of a video", store_video, store, plan.pending[-1], given.video_faces)
        timed("plan, when all is done", make_plan, store, sources)
        timed("begin, when all is done", begin, store, replace(plan, pending=()))
        end_session(store, session, "finished", {})
        timed("all tables and the page", write_reports, store, ReportSettings())
        timed("maskbatch report", report_command, Path(folder))
        print(f"{(Path(folder) / STORE).stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
