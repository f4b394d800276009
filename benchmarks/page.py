"""Measure `report.html` of a large scan in a real browser; people and pictures are made up.

    python benchmarks/page.py [--people 10000]

Needs chromium and Playwright (extra `test`). Prints the size of the page, the seconds in which it is written, and the
milliseconds until a browser has laid it out and painted it.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.plan import make_plan
from maskbatch.store.resume import begin
from maskbatch.store.write import add_results
from maskbatch.types import Ended, FaceRow, SegmentResult, Source

_BARE_EVERY, _TRIES = 5, 5


def fill(out: Path, num_people: int) -> None:
    """Store photos of one person each, with a picture of 240 x 240 pixels."""
    photos = [Source(n, Path("/nowhere"), f"door/{n // 1000:02d}/{n:05d}.jpg", "image") for n in range(num_people)]
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (240, 240, 3), np.uint8))[1].tobytes()
    with open_store(out) as store:
        sources = begin(store, make_plan(store, photos)).sources
        rows = tuple(FaceRow(s.id, 0, 0, 0, 0, 100, 100, 900, 900, 9000, 300 if s.id % _BARE_EVERY == 0 else 9800)
                     for s in sources)  # fmt: skip
        ended = tuple((s, Ended(s.id, 1, 1, 1280, 720)) for s in sources)
        add_results(store, [SegmentResult(rows, ended, evidence=tuple((s.id, 0, 0) for s in sources))])
        for source in sources:
            path = out / "evidence" / f"{source.name}_f000000_0.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
        start = time.perf_counter()
        write_reports(store, ReportSettings())
        print(f"all tables and the page written in {time.perf_counter() - start:.1f} s")


def main() -> None:
    """Write the page, and open it a few times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10_000)
    num_people = parser.parse_args().people
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        out = Path(folder)
        fill(out, num_people)
        print(f"report.html: {(out / 'report.html').stat().st_size / 1e6:.1f} MB for {num_people} people")
        opened = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = []
        for _ in range(_TRIES):
            page = opened.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto((out / "report.html").as_uri())
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found.append(time.perf_counter() - start)
            page.close()
        print(f"opened and painted in {1000 * sorted(found)[_TRIES // 2]:.0f} ms (median of {_TRIES})")


if __name__ == "__main__":
    main()
