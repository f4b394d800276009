"""Runs a program as a user would and measures it from outside: wall and CPU time, peak memory, the first result."""

import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run. `first_s` is when the first result was on disk, None when that was not looked for."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    first_s: float | None = None

    @property
    def cores(self) -> float:
        return self.cpu_s / self.wall_s


def measure(command: Sequence[str], log: Path, watched: Path | None = None, allowed: tuple[int, ...] = (0,)) -> Run:
    """Runs `command` to its end, its output appended to `log`. CPU and memory are those of the process and of the
    children it waited for. Exits with what it printed when its exit code is not one of `allowed`."""
    with open(log, "ab") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        watch = _Watch(watched, start)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - start
    first_s = watch.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise SystemExit(f"{shlex.join(command)}\nexited {process.returncode}: see {log}\n{_tail(log)}")
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, first_s)


def scan_command(path: Path, out: Path, options: Sequence[str] = ()) -> list[str]:
    """`maskbatch scan` of this checkout."""
    return [sys.executable, "-m", "maskbatch", "scan", str(path), "--out", str(out), "-q", *options]


def scan(path: Path, out: Path, options: Sequence[str] = ()) -> Run:
    """Measures a scan; some inputs may fail (exit 3)."""
    return measure(scan_command(path, out, options), out.with_suffix(".log"), out, (0, 3))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and behind it the range when there are several."""
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


class _Watch:
    """Looks, beside a running scan, for its first result: a row in a row file, or an annotated file of final name."""

    def __init__(self, out: Path | None, start: float) -> None:
        self._out, self._start = out, start
        self._first_s: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        if out is not None:
            self._thread.start()

    def stop(self) -> float | None:
        self._ended.set()
        if self._out is not None:
            self._thread.join()
        return self._first_s

    def _poll(self) -> None:
        is_last = False
        while self._first_s is None and not is_last:
            is_last = self._ended.wait(_POLL_S)
            if _has_result(self._out):
                self._first_s = time.monotonic() - self._start


def _has_result(out: Path) -> bool:
    try:
        for entry in os.scandir(out / ".state" / "rows"):
            with open(entry.path, "rb") as file:
                if file.read(4096).count(b"\n") > 1:
                    return True
        return any(not path.name.startswith(".") for path in (out / "annotated").rglob("*.*"))
    except OSError:  # not there yet, or renamed meanwhile
        return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
