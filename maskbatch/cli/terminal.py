"""The terminal: progress on stderr, results on stdout. The only file with rich and tqdm."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from maskbatch.cli.logs import log, log_handlers
from maskbatch.cli.next_steps import next_steps
from maskbatch.run.progress import Listener, Tally, counted, json_line, printable
from maskbatch.run.stop import Stop, stop_on_signals
from maskbatch.settings import SamplingSettings

if TYPE_CHECKING:  # heavy; --help needs none of them
    import pandas as pd

    from maskbatch.reports.summary import Summary
    from maskbatch.run.job import Outcome
    from maskbatch.types import SegmentResult, Shard, Source

# seconds between two lines of progress
_EVERY_S = {"plain": 10.0, "json": 2.0}
_MOST_FOLDERS, _MOST_BROKEN, _WIDEST = 20, 10, 10_000
_STYLES = {"failed": "red", "partial": "yellow"}


class Terminal(Listener):
    """A listener that prints progress on `stderr` in one of progress.MODES, and results on stdout.

    Quiet: only warnings and errors.
    """

    def __init__(self, stderr: TextIO, quiet: bool, mode: str = "auto") -> None:
        self._stderr, self._quiet = stderr, quiet
        self._mode = "none" if quiet else "plain" if mode == "auto" and not stderr.isatty() else mode
        self._tally: Tally | None = None
        self._bar = None
        self._told = 0.0

    def say(self, message: str) -> None:
        """Print a line of progress."""
        if self._mode != "none":
            self._print(json_line("message", text=message) if self._mode == "json" else printable(message))

    def warn(self, message: str) -> None:
        """Print a warning, and log it."""
        log.warning(message)

    @contextmanager
    def at_work(self, sampling: SamplingSettings) -> Iterator[Stop]:
        """Show a bar over frames with the time left, or a line now and then; stop on Ctrl-C."""
        from tqdm import tqdm

        self._tally, self._told = Tally(sampling), time.monotonic()
        with ExitStack() as stack:
            stop = stack.enter_context(stop_on_signals(self.say))
            is_off = self._mode != "auto"
            self._bar = stack.enter_context(
                tqdm(total=0, unit="frame", file=self._stderr, disable=is_off, dynamic_ncols=True)
            )
            yield stop
        if self._mode == "json":
            self._tell()

    def expect(self, sources: Sequence[Source]) -> None:
        """Set the total of the bar."""
        self._tally.expect(sources)
        self._bar.reset(self._tally.num_frames)

    def add(self, shard: Shard, result: SegmentResult) -> None:
        """Advance the bar, or print a line if the last line is some seconds old."""
        self._tally.add(shard, result)
        self._bar.set_postfix_str(f"{self._tally.files_done}/{self._tally.num_files} files", refresh=False)
        self._bar.update(result.num_frames)
        if time.monotonic() - self._told > _EVERY_S.get(self._mode, float("inf")):
            self._told = time.monotonic()
            self._tell()

    @contextmanager
    def epochs(self) -> Iterator[Callable]:
        """Show a bar over the steps of each epoch."""
        from tqdm import tqdm

        with ExitStack() as stack:
            bar = None

            def progress(epoch: int, step: int, steps: int, loss: float) -> None:
                nonlocal bar
                if bar is None:  # not earlier, because messages and errors before the training would follow on its line
                    bar = stack.enter_context(tqdm(
                        unit="step", file=self._stderr, disable=self._quiet, dynamic_ncols=True,
                        mininterval=0.2 if self._stderr.isatty() else 30,
                    ))  # fmt: skip
                if step == 1:
                    bar.reset(steps)
                    bar.set_description_str(f"epoch {epoch + 1}", refresh=False)
                bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                bar.update()

            yield progress

    def results(self, outcome: Outcome) -> None:
        """Print the results of a scan: a table by folder, the failed files, the output folder, and next steps.

        In quiet mode, print one line if files failed.
        """
        summary, files = outcome.written
        broken = files[files["status"] != "ok"]
        if self._mode == "json":
            self._print(json_line("result", out=str(outcome.out), **asdict(summary)))
        if self._quiet:
            if len(broken):
                log.error(f"{_broken_words(len(broken), len(files))}: see column error of {outcome.out / 'files.csv'}")
            return
        with suppress(BrokenPipeError, SystemExit):  # stdout was closed, but the scan is done
            show(_by_folder(files, summary.incorrect_threshold is not None))
            screen = console()
            self._print_broken(screen, broken, len(files))
            if files["people"].sum():
                screen.print(f"with a mask: {_rate(summary)}", highlight=False, soft_wrap=True)
            rate = f", {self._tally.rate():.1f} frames/s" if self._tally and self._tally.frames_done else ""
            for line in (
                *outcome.remarks,
                *_notes(files),
                f"reports in {outcome.out}{rate}",
                *next_steps(outcome),
            ):
                screen.print(printable(line), soft_wrap=True, highlight=False)

    def dry_run(self, paths: Sequence[Path], lines: Sequence[str]) -> None:
        """Print the files that a scan would read on stdout, then lines about them."""
        for path in paths:
            print(printable(str(path)))
        for line in lines:
            self.say(line)

    def _print_broken(self, screen, broken: pd.DataFrame, num_files: int) -> None:
        if broken.empty:
            return
        screen.print(f"{_broken_words(len(broken), num_files)}:", style="bold", highlight=False)
        for row in broken.head(_MOST_BROKEN).itertuples():
            screen.print(printable(f"  {row.status}: {row.source}: {row.error}"), style=_STYLES[row.status],
                         soft_wrap=True, highlight=False)  # fmt: skip
        if len(broken) > _MOST_BROKEN:
            screen.print(f"  and {len(broken) - _MOST_BROKEN} more: column error of files.csv", highlight=False)

    def _tell(self) -> None:
        progress = self._tally.progress()
        self._print(json_line("progress", **asdict(progress)) if self._mode == "json" else str(progress))

    def _print(self, line: str) -> None:
        print(line, file=self._stderr, flush=True)


def console():
    """Return a console on stdout that does not interpret names of files as colours or emoji."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def table(*columns: str, title: str | None = None):
    """Return an empty table with these columns, for `show`."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    for name in columns:
        made.add_column(name, no_wrap=True)
    return made


def show(made) -> None:
    """Print a table on stdout. It is as wide as its cells need, even in a narrow terminal and in a pipe."""
    screen = console()
    screen.width = max(screen.width, screen.measure(made, options=screen.options.update(max_width=_WIDEST)).maximum)
    screen.print(made)


def _by_folder(files: pd.DataFrame, has_third_state: bool):
    """Return a table with a row for each top folder and a total; with the third state, it counts incorrect masks."""
    from maskbatch.reports.summary import by_top_folder

    rows = by_top_folder(files)
    columns, title = {"with": "with_mask", "without": "without_mask"}, "people with and without a mask"
    if has_third_state:
        columns = {"with": "with_mask", "incorrectly": "incorrect_mask", "without": "without_mask"}
        title = "people with a mask, with one worn incorrectly, and without"
    if rows["unsure"].sum():
        columns["unsure"] = "unsure"
    shown = table("folder", "files", "failed", "partial", "people", *columns, "rate", title=title)
    for column in shown.columns[1:]:
        column.justify = "right"
    last = len(rows) - 1
    for position, row in enumerate(rows.itertuples()):
        if _MOST_FOLDERS <= position < last:
            continue
        rate = f"{row.compliance_rate:.1%}" if row.people > row.unsure else ""
        people = (getattr(row, column) for column in columns.values())
        numbers = (row.files, row.failed, row.partial, row.people, *people, rate)
        style = "bold" if position == last else "red" if row.failed else None
        shown.add_row(printable(row.folder), *map(str, numbers), style=style)
        if position == _MOST_FOLDERS - 1 and last > _MOST_FOLDERS:
            shown.add_row(f"and {last - _MOST_FOLDERS} more: see summary.csv")
    return shown


def _rate(summary: Summary) -> str:
    """Return the share of people with a mask and its interval, in words."""
    if summary.compliance_rate is None:
        return "nobody could be judged"
    number = summary.people - summary.unsure
    judged = f"{number} {'person' if number == 1 else 'people'}"
    interval = "" if summary.rate_low is None else f", 95 % interval {summary.rate_low:.1%} to {summary.rate_high:.1%}"
    return f"{summary.compliance_rate:.1%} of {judged}{interval}"


def _broken_words(num_broken: int, num_files: int) -> str:
    return f"{num_broken} of {counted(num_files, 'file')} failed, or could be read in part only"


def _notes(files: pd.DataFrame) -> list[str]:
    """Return a line that names files with parts that were not looked at, such as further pages; none without any."""
    from maskbatch.media.names import named

    noted = files[files["notes"] != ""]
    names = named([str(name) for name in noted["source"]])
    return [f"not looked at in full: {names} (column notes of files.csv)"] if len(noted) else []


@contextmanager
def open_terminal(quiet: bool, log_file: Path | None, progress: str = "auto") -> Iterator[Terminal]:
    """Yield a terminal on `sys.stderr` that receives the warnings of the block; `log_file` receives all messages.

    Raises UsageError when that file cannot be written, or is not a log of maskbatch.
    """
    handlers = log_handlers(sys.stderr, log_file, progress == "json")
    try:
        yield Terminal(sys.stderr, quiet, progress)
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
