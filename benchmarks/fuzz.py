"""Feeds damaged photos and videos to a scan without its networks, and counts what comes of them.

    python benchmarks/fuzz.py [--variants 3000] [--seed 0] [--keep DIR] [--json FILE]

Each variant is walked, probed, decoded, encoded with its sound and written to rows as in a scan, in a child process
that is killed when one variant takes more than 60 s or 6 GB. Prints a Markdown table: outcomes by format, the slowest
and the largest. Exit code 1 when there was a crash, a hang, a variant without exactly one row, or an error nobody foresaw.
Linux only (it reads /proc).
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from maskbatch.config import ScanSettings
    from maskbatch.data import Batch, Source
    from maskbatch.media.segments import Segments

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1])]

MOST_S, MOST_MB, CHUNK = 60.0, 6000, 250
# what the loader makes of an exception that is not a DecodeError
UNFORESEEN = re.compile(r"[A-Za-z]*(Error|Exception|Warning|Interrupt)\b: ")


def make_variants(folder: Path, number: int, seed: int) -> list[Path]:
    """`number` damaged files, formats in turn; the same for the same seed, libraries and number of seeds."""
    from mutations import make_seeds, mutate

    (folder / "seeds").mkdir()
    seeds = [(path, path.read_bytes()) for path in make_seeds(folder / "seeds")]
    variants = []
    for index in range(number):
        rng = np.random.default_rng([seed, index])
        path, data = seeds[index % len(seeds)]
        variant = folder / f"{path.stem}_{index:05d}{path.suffix}"
        variant.write_bytes(mutate(data, seeds[int(rng.integers(len(seeds)))][1], rng))
        variants.append(variant)
    return variants


# --- the child ---------------------------------------------------------------------------------------------------------


def scan_one(path: Path, out: Path) -> dict:
    """One file through everything but the networks; the row it got, and what it cost."""
    from maskbatch.config import ScanSettings
    from maskbatch.media.probe import probe
    from maskbatch.media.sources import find_sources, make_shards
    from maskbatch.shard_sink import open_shard

    settings = ScanSettings()
    before, start = _reset_peak(), time.monotonic()
    [shard] = make_shards([probe(source) for source in find_sources([path], None)])
    (out / ".state" / "rows").mkdir(parents=True)
    with open_shard(shard, out, settings) as sink:
        for batch in batches(shard.sources[0], settings, sink.segments):
            sink.write(batch)
    seconds, peak_mb = time.monotonic() - start, _peak_mb()
    with (out / ".state" / "rows" / "000000.files.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shutil.rmtree(out)
    frames, error = int(rows[0]["frames_decoded"]), rows[0]["error"]
    status = "ok" if not error else "partial" if frames else "failed"
    return {"rows": len(rows), "status": status, "error": error, "frames": frames, "seconds": seconds,
            "mb": peak_mb - before}  # fmt: skip


def batches(source: Source, settings: ScanSettings, segments: Segments) -> Iterator[Batch]:
    """A batch for each frame and one for the end, as the loader makes them, but without TensorFlow, which takes longer
    to set up for a file than such a file takes to scan. No faces are found."""
    from maskbatch.data import Batch, Ended, Faces, Frames
    from maskbatch.errors import DecodeError
    from maskbatch.media.decode import open_source

    def batch_of(*frames: tuple[int, float, np.ndarray], ended: tuple[Ended, ...] = ()) -> Batch:
        index, timestamp_s, images = zip(*frames, strict=True) if frames else ((), (), ())
        ids = np.full(len(frames), source.id, np.int64)
        return Batch(Frames(tuple(images), ids, np.array(index, np.int64), np.array(timestamp_s, np.float64), ended),
                     Faces.empty())  # fmt: skip

    error, reader = None, open_source(source, settings.sampling, segments)
    num_analysed = 0
    try:
        with reader:
            for frame in reader:
                num_analysed += 1
                yield batch_of(frame)
    except DecodeError as reason:
        error = str(reason)
    except Exception as unforeseen:  # the loader does the same
        error = f"{type(unforeseen).__name__}: {unforeseen}"
    yield batch_of(ended=(Ended(source.id, reader.frames_decoded, num_analysed, error=error),))


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb(pid: int | str = "self", field: str = "VmHWM") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # a process that has just ended has no such line
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)


def work() -> None:
    """Reads paths from stdin, writes a line of JSON before and after each to stdout."""
    import logging

    from makers import write_photo

    logging.disable()
    folder = Path(tempfile.mkdtemp())
    out = folder / "out"
    scan_one(write_photo(folder / "first.png"), out)  # what is imported and set up at first is not the variants' cost
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        print(json.dumps({"begin": str(path)}), flush=True)
        try:
            result = scan_one(path, out)
        except Exception as error:  # it would have ended the run
            shutil.rmtree(out, ignore_errors=True)
            result = {"rows": 0, "status": "raised", "error": f"{type(error).__name__}: {error}", "frames": 0,
                      "seconds": 0.0, "mb": 0.0}  # fmt: skip
        print(json.dumps({"end": str(path), **result}), flush=True)


# --- the parent --------------------------------------------------------------------------------------------------------


def watch(paths: list[Path]) -> dict[Path, dict]:
    """The result of each path. A child that dies, or is killed for time or memory, costs the one it was at."""
    results: dict[Path, dict] = {}
    while left := [path for path in paths if path not in results]:
        current, reason = _run_child(left[:CHUNK], results)
        if reason:
            results[current or left[0]] = {
                "rows": 0,
                "status": reason,
                "error": "",
                "frames": 0,
                "seconds": 0.0,
                "mb": 0.0,
            }
            print(f"{reason}: {current}", file=sys.stderr, flush=True)
        else:
            print(f"{len(results)} of {len(paths)} variants", file=sys.stderr, flush=True)
    return results


def _run_child(paths: list[Path], results: dict[Path, dict]) -> tuple[Path | None, str]:
    """Runs one child over `paths`. Returns the path it was at and why it ended, or (None, "") when it did them all."""
    command = [sys.executable, __file__, "--work"]
    with tempfile.TemporaryFile("w+") as listed:
        listed.write("".join(f"{path}\n" for path in paths))
        listed.seek(0)
        child = subprocess.Popen(command, stdin=listed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    current, since, rest = None, time.monotonic() + 120, b""  # it has to import a lot first
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.2):
                block = child.stdout.read1()
                if not block:
                    code = child.wait()
                    return (None, "") if code == 0 else (current, f"crash ({_named(code)})")
                *lines, rest = (rest + block).split(b"\n")
                for line in map(json.loads, lines):
                    if "begin" in line:
                        current, since = Path(line["begin"]), time.monotonic()
                    else:
                        results[Path(line.pop("end"))] = line
            reason = "hang" if time.monotonic() - since > MOST_S else ""
            if child.poll() is None and _peak_mb(child.pid, "VmRSS") > MOST_MB:
                reason = "memory"
            if reason:
                child.kill()
                child.wait()
                return current, reason


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def report(results: dict[Path, dict]) -> dict:
    """Prints the tables; returns the same as a dictionary."""
    by_format: dict[str, Counter] = defaultdict(Counter)
    for path, result in results.items():
        by_format[path.suffix.lstrip(".")][result["status"]] += 1
    total = sum(by_format.values(), Counter())
    rest = sorted(total.keys() - {"ok", "partial", "failed"})
    print(f"| format | variants | ok | partial | failed |{''.join(f' {name} |' for name in rest)}")
    print("|---" * (5 + len(rest)) + "|")
    for name, counts in [*sorted(by_format.items()), ("all", total)]:
        cells = (counts[status] for status in ("ok", "partial", "failed", *rest))
        print(f"| {name} | {sum(counts.values())} | {' | '.join(map(str, cells))} |")
    slowest = max(results, key=lambda path: results[path]["seconds"])
    largest = max(results, key=lambda path: results[path]["mb"])
    unforeseen = {path.name: result["error"] for path, result in results.items()
                  if result["status"] == "raised" or UNFORESEEN.match(result["error"])}  # fmt: skip
    rowless = [path.name for path, result in results.items() if result["rows"] != 1]
    print(f"\nslowest: {results[slowest]['seconds']:.2f} s ({slowest.name}); "
          f"most memory: {results[largest]['mb']:.0f} MB more than before ({largest.name}); "
          f"unforeseen errors: {len(unforeseen)}; without exactly one row: {len(rowless)}")  # fmt: skip
    for name, error in list(unforeseen.items())[:20]:
        print(f"- {name}: {error}")
    return {"variants": len(results), "outcomes": dict(total), "by_format": {k: dict(v) for k, v in by_format.items()},
            "slowest_s": results[slowest]["seconds"], "most_mb": results[largest]["mb"], "unforeseen": unforeseen,
            "rowless": rowless}  # fmt: skip


def main() -> None:
    """Makes the variants, runs them, prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variants", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the variants in this new folder")
    parser.add_argument("--json", type=Path, help="write the summary to this file too")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=bool(given.keep is None))
        summary = report(watch(make_variants(folder, given.variants, given.seed)))
    if given.json:
        given.json.write_text(json.dumps(summary, indent=2) + "\n")
    bad = summary["unforeseen"] or summary["rowless"] or summary["outcomes"].keys() - {"ok", "partial", "failed"}
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
