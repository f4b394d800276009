"""Show the ten hottest functions of a scan, by sampling the running program (needs py-spy from PyPI).

    python benchmarks/hot.py PATH [-- SCAN OPTIONS]

Self time is a function's own, total time includes what it calls; both as shares of all samples of threads that were not
idle in Python's own waits. A thread that waits for OpenVINO counts, as a function of `networks/openvino.py`: OpenVINO's
and the codecs' own threads run no Python, and cannot be seen here. Imports count as one function.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from measure import scan_command

NUM_SHOWN = 10
_IMPORTS = "importlib._bootstrap"
# where threads wait for each other
_WAITS = (
    "(threading.py", "(queue.py", "(concurrent/futures/", "(selectors.py", "(multiprocessing/",
    "(maskbatch/media/guard/limits.py",
)  # fmt: skip


def sample(path: Path, options: list[str]) -> list[tuple[list[str], int]]:
    """Return (stack from the outermost function, samples) of a whole scan."""
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if spy is None:
        raise SystemExit("py-spy is missing: pip install py-spy")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "stacks"
        command = [spy, "record", "--rate", "50", "--idle", "--format", "raw", "--output", str(raw), "--"]
        ran = subprocess.run(
            [*command, *scan_command(path, Path(folder) / "out", options)], capture_output=True, text=True
        )
        if not raw.exists():
            raise SystemExit(f"py-spy recorded nothing:\n{ran.stderr}")
        lines = [line.rpartition(" ") for line in raw.read_text().splitlines()]
    stacks = [([frame for frame in stack.split(";") if frame], int(count)) for stack, _, count in lines]
    return [(stack, count) for stack, count in stacks if stack and not any(wait in stack[-1] for wait in _WAITS)]


def hottest(stacks: list[tuple[list[str], int]]) -> list[tuple[str, float, float]]:
    """Return (function, self share, total share), the largest self share first."""
    own, whole = Counter(), Counter()
    for stack, count in stacks:
        names = ["imports"] if any(_IMPORTS in frame for frame in stack) else [_name(frame) for frame in stack]
        own[names[-1]] += count
        for name in set(names):
            whole[name] += count
    num_samples = max(1, sum(own.values()))
    return [(name, count / num_samples, whole[name] / num_samples) for name, count in own.most_common(NUM_SHOWN)]


def _name(frame: str) -> str:
    """Drop the line number: `_fit (detector.py:74)` -> `_fit (detector.py)`."""
    return frame.rpartition(":")[0] + ")" if frame.endswith(")") and ":" in frame else frame


def main() -> None:
    """Print the table; what follows `--` are options of the scan."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    given = parser.parse_args(sys.argv[1:split])
    print("| function | self | total |\n|---|---|---|")
    for name, own, whole in hottest(sample(given.path, sys.argv[split + 1 :])):
        print(f"| `{name}` | {100 * own:.1f} % | {100 * whole:.1f} % |")


if __name__ == "__main__":
    main()
