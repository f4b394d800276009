"""Feed damaged photos and videos to a scan without its networks, and count how they end.

    python benchmarks/fuzz.py [--variants 3000] [--seed 0] [--keep DIR] [--json FILE]

Each variant is found, probed, decoded, encoded with its sound and stored as in a scan, in a child process that is killed
when one variant takes more than 60 s or 6 GB. The program prints a Markdown table: outcomes by format, the slowest and the
largest. The exit code is 1 after a crash, a hang, a variant without exactly one row, or an unforeseen error. Linux only
(the program reads /proc).
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1])]

MOST_S, MOST_MB, CHUNK = 60.0, 6000, 250
# the reason that the loader gives for an exception that is not a DecodeError
UNFORESEEN = re.compile(r"[A-Za-z]*(Error|Exception|Warning|Interrupt)\b: ")


def make_variants(folder: Path, number: int, seed: int) -> list[Path]:
    """Make `number` damaged files, formats in turn; the same for the same seed, libraries and number of seeds."""
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
    """Scan one file with everything but the networks; give the row it got, and what it cost."""
    from maskbatch.media.sources import find_sources, make_shards
    from maskbatch.reports.frames import read_files
    from maskbatch.run.shard import run_shard
    from maskbatch.settings import OutputSettings, ReportSettings, ScanSettings
    from maskbatch.store.database import open_store
    from maskbatch.store.plan import plan_afresh
    from maskbatch.store.resume import begin
    from maskbatch.store.write import add_results, begin_session, open_sources

    settings = ScanSettings(output=OutputSettings(folder=out))
    before, start = _reset_peak(), time.monotonic()
    out.mkdir()
    with open_store(out) as store:
        session = begin_session(store, {}, {})
        [shard] = make_shards(begin(store, plan_afresh(find_sources([path], None), out)).pending)
        open_sources(store, session, shard.sources)
        add_results(store, list(run_shard(shard, None, settings)))
        seconds, peak_mb = time.monotonic() - start, _peak_mb()
        with store.transaction() as connection:
            rows = read_files(connection, ReportSettings())
    shutil.rmtree(out)
    row = rows.iloc[0]
    return {"rows": len(rows), "status": row.status, "error": row.error, "frames": int(row.frames_decoded),
            "seconds": seconds, "mb": peak_mb - before}  # fmt: skip


def use_no_networks() -> None:
    """Let scans in this process find no faces, and open no networks."""
    from maskbatch.networks.device import Device
    from maskbatch.run import shard
    from maskbatch.run.stages import Networks
    from maskbatch.types import Faces

    none = Networks(
        lambda _: lambda images: Faces.empty(), lambda _: lambda images, faces: faces,
        Device("openvino", ("CPU",), "no device"), {}, {},
    )  # fmt: skip
    shard.open_networks = lambda settings: none


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb(pid: int | str = "self", field: str = "VmHWM") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # a process that has just ended has no such line
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)


def work() -> None:
    """Read paths from stdin, and write a line of JSON before and after each to stdout."""
    import logging

    from makers import write_photo

    logging.disable()
    use_no_networks()
    folder = Path(tempfile.mkdtemp())
    out = folder / "out"
    scan_one(write_photo(folder / "first.png"), out)  # imports are not the variants' cost
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
    """Return the result of each path. A child that dies, or is killed for time or memory, costs the path it was at."""
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
    """Run one child over `paths`. Return the path it was at and why it ended, or (None, "") when it did them all."""
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
    """Print the tables; return the same as a dictionary."""
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
    """Make the variants, run them, print the summary."""
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
