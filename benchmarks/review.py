"""Measure a review in a real browser: from a key to the next picture, and from Space to a playing video.

    maskbatch scan sample_media --out runs/audit
    python benchmarks/review.py runs/audit [--items 100]

DIR is the output folder of a scan; it is copied, so that its store keeps no verdict. Needs chromium and the extra `test`.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

_SHOWN = "document.querySelector('#picture').dataset.number"
_PLAYS = "(() => { const v = document.querySelector('#video'); return v.readyState >= 2 && !v.seeking; })()"


def until(page: Page, condition: str) -> float:
    """Return the milliseconds until a condition holds."""
    start = time.perf_counter()
    while not page.evaluate(condition):
        if time.perf_counter() - start > 10:
            raise TimeoutError(condition)
    return 1000 * (time.perf_counter() - start)


def measure(page: Page, num_items: int) -> None:
    """Give verdicts as fast as pictures come, then play each video that is left."""
    waited, total = [], page.evaluate("state.items.length")
    for _ in range(min(num_items, page.evaluate("state.queue.length") - 1)):
        before = page.evaluate(_SHOWN)
        page.keyboard.press("m")
        waited.append(until(page, f"{_SHOWN} !== '{before}'"))
    ordered = sorted(waited)
    print(f"{len(waited)} verdicts: {median(waited):.0f} ms from key to picture (median), {ordered[-1]:.0f} ms at most")
    page.select_option("#show", "all")
    page.evaluate("document.activeElement.blur()")
    seeks = []
    for _ in range(total):
        if page.evaluate("Boolean(state.queue[state.at] && state.queue[state.at].video)"):
            page.keyboard.press(" ")
            seeks.append(until(page, _PLAYS))
            page.keyboard.press(" ")
        page.keyboard.press("ArrowRight")
    if seeks:
        print(
            f"{len(seeks)} videos: {median(seeks):.0f} ms from Space to a picture (median), {max(seeks):.0f} ms at most"
        )


def main() -> None:
    """Start a review of a copy of the folder, and drive it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept, sync_playwright() as play:
        out = Path(kept, "out")
        shutil.copytree(chosen.folder, out)
        command = [sys.executable, "-m", "maskbatch", "review", str(out), "--no-browser"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http\S+", server.stdout.readline())[0]
            opened = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = opened.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.wait_for_selector("#picture[data-number]")
            measure(page, chosen.items)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


if __name__ == "__main__":
    main()
