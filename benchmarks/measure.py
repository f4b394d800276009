"""Run a program as a user would, and measure it from outside: wall and CPU time, peak memory, first result."""

import os
import shlex
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
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
    """Run `command` to its end, with its output appended to `log`. CPU and memory are those of the process and of the
    children it waited for. Exit with the end of the log when the exit code is not one of `allowed`."""
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
    """Return the command line of a scan by this checkout."""
    return [sys.executable, "-m", "maskbatch", "scan", str(path), "--out", str(out), "-q", *options]


def scan(path: Path, out: Path, options: Sequence[str] = ()) -> Run:
    """Measure a scan; some inputs may fail (exit code 3)."""
    return measure(scan_command(path, out, options), out.with_suffix(".log"), out, (0, 3))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median, and the range in brackets when there are several values."""
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


class _Watch:
    """Look, beside a running scan, for its first result: a file with stored results, or an annotated file with its name."""

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
    with suppress(OSError):  # not there yet, or renamed meanwhile
        if any(not path.name.startswith(".") for path in (out / "annotated").rglob("*.*")):
            return True
    with suppress(sqlite3.Error):  # not there yet, or being made
        store = (out / "scan.db").absolute().as_uri()
        with closing(sqlite3.connect(f"{store}?mode=ro", uri=True)) as connection:
            query = "SELECT 1 FROM source WHERE state != 'pending' LIMIT 1"
            return connection.execute(query).fetchone() is not None
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
