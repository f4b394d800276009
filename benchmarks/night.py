"""Scan 20,000 photos, one in a hundred of them broken, and check that each gets its row and that all counts agree.

    python benchmarks/night.py --data DATA --work DIR [--num 20000] [--broken 0.01] [--seed 0] [-- SCAN OPTIONS]

Whole photos are hard links to the 300 of the `photos` workload, in folders of a thousand. Broken ones are cut JPEGs, noise,
empty files, a PNG that claims 2500 megapixels, text, and, unless root runs this, files without permission to read. The scan
has `--save none` unless the options say otherwise. The report is in Markdown. The exit code is 1 when a file has not exactly
one row or has another outcome than it must have, when counts differ between the tables, or when memory grows.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import workloads
from measure import measure, scan_command
from memory import Timeline
from mutations import png_of_size

_PER_FOLDER = 1000
_VERDICTS = ("with_mask", "without_mask", "unsure")
_COUNTS = ("faces", "people", *_VERDICTS)
# memory at the end over that of the third tenth of the run, when all is warm; shorter runs still start up then
_MOST_GROWTH, _LEAST_TO_JUDGE = 1.1, 2000

# how a photo's bytes are broken -> (what becomes of them, the status they must get)
_Break = Callable[[bytes, np.random.Generator], bytes]
_BROKEN: dict[str, tuple[_Break, str]] = {
    "cut in its image": (lambda data, rng: data[: int(len(data) * rng.uniform(0.5, 0.9))], "partial"),
    "cut in its header": (lambda data, rng: data[: int(rng.integers(4, 100))], "failed"),
    "noise": (lambda data, rng: rng.bytes(len(data)), "failed"),
    "empty": (lambda data, rng: b"", "failed"),
    "a PNG of 50000 x 50000": (lambda data, rng: png_of_size(50_000, 50_000), "failed"),
    "text": (lambda data, rng: b"Dear Sir or Madam,\n" * int(rng.integers(1, 200)), "failed"),
    "not readable": (lambda data, rng: data, "failed"),
}


def broken_ones(num: int, share: float, seed: int) -> dict[int, str]:
    """Choose the numbers of broken files, and how each is broken; all kinds in turn."""
    kinds = [kind for kind in _BROKEN if kind != "not readable" or os.geteuid() != 0]
    chosen = np.random.default_rng(seed).choice(num, round(num * share), replace=False)
    return {int(number): kinds[turn % len(kinds)] for turn, number in enumerate(chosen)}


def make_inputs(photos: Sequence[Path], folder: Path, num: int, broken: dict[int, str]) -> dict[str, str]:
    """Make the files of a run below `folder`, unless an earlier run has left them. Give how each is broken, "" for whole
    ones, by their names in the tables."""
    part, kinds = folder.with_name(f"part-{folder.name}"), {}
    shutil.rmtree(part, ignore_errors=True)
    for number in range(num):
        photo, kind = photos[number % len(photos)], broken.get(number, "")
        name = f"camera {number // _PER_FOLDER:02d}/{number:06d}{'.jpg' if kind else photo.suffix}"
        kinds[name] = kind
        if folder.exists():
            continue
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        if kind:
            (part / name).write_bytes(_BROKEN[kind][0](photo.read_bytes(), np.random.default_rng(number)))
            (part / name).chmod(0 if kind == "not readable" else 0o644)
        else:
            os.link(photo, part / name)
    if not folder.exists():
        part.rename(folder)
    return kinds


def problems(out: Path, kinds: dict[str, str]) -> Iterator[str]:
    """Yield what does not add up in the tables of a scan of photos, where each face is a person."""
    files, faces = _rows(out / "files.csv"), Counter(row["source"] for row in _rows(out / "faces.csv"))
    verdicts = Counter((row["source"], row["verdict"]) for row in _rows(out / "people.csv"))
    times = Counter(row["source"] for row in files)
    if wrong := [name for name in kinds | times if (name in kinds, times[name]) != (True, 1)]:
        yield f"{len(wrong)} files have not exactly one row, or are none of the inputs: {wrong[:5]}"
    for row in files:
        must = _BROKEN[kinds[row["source"]]][1] if kinds.get(row["source"]) else "ok"
        if row["status"] != must or bool(row["error"]) != (must != "ok"):
            yield f"{row['source']} ({kinds.get(row['source']) or 'whole'}): {row['status']} ({row['error']}), not {must}"
    for row in files:
        num_faces, of_file = faces[row["source"]], [verdicts[row["source"], verdict] for verdict in _VERDICTS]
        found = dict(zip(_COUNTS, (num_faces, num_faces, *of_file), strict=True))
        if sum(of_file) != num_faces or found != {name: int(row[name]) for name in _COUNTS}:
            yield f"{row['source']}: {found} in faces.csv and people.csv, else in files.csv"
    if faces.total() != sum(int(row["faces"]) for row in files):
        yield "faces.csv has faces of files that files.csv has not"
    yield from _wrong_sums(out, files)


def _wrong_sums(out: Path, files: list[dict[str, str]]) -> Iterator[str]:
    """Yield where summary.csv or run.json disagree with files.csv; a folder counts the files at all depths below it."""
    expected: dict[tuple[int, str], Counter] = {}
    for row in files:
        parts = row["source"].split("/")[:-1]
        for level in range(len(parts) + 1):
            count = expected.setdefault((level, "/".join(parts[:level]) or "."), Counter())
            count.update(files=1, failed=row["status"] == "failed", partial=row["status"] == "partial")
            count.update({name: int(row[name]) for name in _COUNTS})
    summary = {(int(row["level"]), row["folder"]): row for row in _rows(out / "summary.csv")}
    if summary.keys() != expected.keys():
        yield f"summary.csv has the folders {sorted(summary)}, files.csv {sorted(expected)}"
    names = ("files", "failed", "partial", *_COUNTS)
    for folder in summary.keys() & expected.keys():
        if wrong := [name for name in names if int(summary[folder][name]) != expected[folder][name]]:
            yield f"summary.csv, {folder}: {', '.join(wrong)} are not the sums of files.csv"
    record, total = json.loads((out / "run.json").read_text(encoding="utf-8")), expected[0, "."]
    if wrong := [name for name in names if record["summary"][name] != total[name]]:
        yield f"run.json: {', '.join(wrong)} are not the sums of files.csv"
    if record["files"] != len(files) or not record["finished"]:
        yield "run.json: not finished, or of another number of files"


def growth(resident_mb: Sequence[float]) -> float:
    """Return the resident memory in the last tenth of a run over that in the third, medians."""
    size = max(1, len(resident_mb) // 10)
    return statistics.median(resident_mb[-size:]) / statistics.median(resident_mb[2 * size : 3 * size] or resident_mb)


def print_outcomes(out: Path, kinds: dict[str, str]) -> None:
    """Print a table of the outcomes of whole and broken files."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in _rows(out / "files.csv"):
        found.setdefault(kinds.get(row["source"]) or "whole", []).append(row)
    print("| photo | files | ok | partial | failed | faces | for example |\n|---|---|---|---|---|---|---|")
    for kind in ["whole", *(kind for kind in _BROKEN if kind in found)]:
        rows = found.get(kind, [])
        status = Counter(row["status"] for row in rows)
        cells = [
            len(rows),
            *(status[name] for name in ("ok", "partial", "failed")),
            sum(int(row["faces"]) for row in rows),
        ]
        print(f"| {kind} | {' | '.join(map(str, cells))} | {rows[0]['error'] if rows else ''} |")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Make the inputs, scan them, check; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--num", type=int, default=20_000)
    parser.add_argument("--broken", type=float, default=0.01, help="share of broken files")
    parser.add_argument("--seed", type=int, default=0, help="seed for the choice of broken files")
    parser.add_argument("--quick", action="store_true", help="made of 30 photos instead of 300")
    given = parser.parse_args(sys.argv[1:split])
    if not 0 <= given.broken <= 1:
        parser.error("--broken is a share, from 0 to 1")
    options = sys.argv[split + 1 :] or ["--save", "none"]
    sizes = workloads.Sizes.quick() if given.quick else workloads.Sizes()
    photos = sorted(workloads.make("photos", given.data, given.work, sizes).path.iterdir())
    broken = broken_ones(given.num, given.broken, given.seed)
    user = "root" if os.geteuid() == 0 else "user"
    name = f"{given.num}-of-{len(photos)}-broken-{given.broken:g}-{given.seed}-{user}"
    kinds = make_inputs(photos, given.work / "night" / name, given.num, broken)
    print(f"`{' '.join(scan_command(Path('INPUT'), Path('OUT'), options)[1:])}`, {time.strftime('%F')}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with Timeline() as timeline:
            # some failed: 3 and nothing else
            run = measure(
                scan_command(given.work / "night" / name, out, options), out.with_suffix(".log"), None, (3 if broken else 0,)
            )  # fmt: skip
        print_outcomes(out, kinds)
        found = list(problems(out, kinds))
    grown = growth(timeline.resident_mb)
    if grown > _MOST_GROWTH and given.num >= _LEAST_TO_JUDGE:
        found.append(f"memory grew by {grown - 1:.0%} from the third to the last tenth of the run")
    print(
        f"\n{given.num} files, {len(broken)} of them broken: exit code {3 if broken else 0}, {run.wall_s:.0f} s, "
        f"{given.num / run.wall_s:.1f} files/s, peak {run.peak_mb:.0f} MB; resident MB by tenths of the run "
        f"{timeline.shown()}, the last over the third {grown:.2f}."
    )
    print("\nEvery file has its row, and all counts agree." if not found else f"\n{len(found)} PROBLEMS:")
    for problem in found[:50]:
        print(f"- {problem}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
