"""What a person sees: progress on stderr, results on stdout, and nothing of what libraries print behind our back.

The only file with rich and tqdm.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from maskbatch.cache import keep_libraries_out_of_home
from maskbatch.loglines import log, log_handlers
from maskbatch.progress import Tally, counted, json_line, printable
from maskbatch.standard_streams import open_lenient

# between two lines of progress
_EVERY_S = {"plain": 10.0, "json": 2.0}
# more columns of figures than these would be cut at 80 characters
_SOURCES_A_TABLE = 4


class Terminal:
    """Progress on `stderr`, in one of progress.MODES; results on stdout; nothing but errors when quiet."""

    def __init__(self, stderr, quiet: bool, mode: str = "auto") -> None:
        self._stderr, self._quiet = stderr, quiet
        self._mode = "none" if quiet else "plain" if mode == "auto" and not stderr.isatty() else mode
        self._rate = 0.0

    def say(self, message: str) -> None:
        """A line of progress."""
        if self._mode != "none":
            self._print(json_line("message", text=message) if self._mode == "json" else printable(message))

    def _print(self, line: str) -> None:
        print(line, file=self._stderr, flush=True)

    def warn(self, message: str) -> None:
        """A warning, which the log has, too."""
        log.warning(message)

    @contextmanager
    def progress(self, sampling) -> Iterator["Progress"]:
        """A bar over frames with an ETA, and a count of files; or now and then a line, and one at the end for JSON."""
        from tqdm import tqdm

        with tqdm(total=0, unit="frame", file=self._stderr, disable=self._mode != "auto", dynamic_ncols=True) as bar:
            progress = Progress(Tally(sampling), bar, self._tell, _EVERY_S.get(self._mode, float("inf")))
            yield progress
        self._rate = progress.tally.rate()
        if self._mode == "json":
            self._tell(progress.tally)

    def _tell(self, tally: Tally) -> None:
        self._print(json_line("progress", **tally.figures()) if self._mode == "json" else tally.words())

    @contextmanager
    def epochs(self) -> Iterator[Callable]:
        """A bar over the steps of each epoch."""
        from tqdm import tqdm

        with tqdm(unit="step", file=self._stderr, disable=self._quiet, dynamic_ncols=True,
                  mininterval=0.2 if self._stderr.isatty() else 30) as bar:  # fmt: skip

            def progress(epoch: int, step: int, steps: int, loss: float) -> None:
                if step == 1:
                    bar.reset(steps)
                    bar.set_description_str(f"epoch {epoch + 1}", refresh=False)
                bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                bar.update()

            yield progress

    def table(self, summary, out: Path, remarks: Sequence[str] = ()) -> None:
        """The scan's result, with the rate of the frames that `progress` saw, and lines of `remarks` below. When quiet, what
        went wrong only."""
        broken = summary.failed + summary.partial
        how_many = f"{broken} of {counted(summary.files, 'file')} failed, or could be read in part only"
        why = f"{how_many}: {out / 'files.csv'} says why (column error)"
        if self._quiet:
            if broken:
                log.error(why)
            return
        with suppress(BrokenPipeError, SystemExit):  # nobody reads it any more; the scan is done all the same
            self._show(summary, [f"reports in {out}", *([why] if broken else []), *remarks])

    def _show(self, summary, lines: Sequence[str]) -> None:
        from rich.table import Table

        table = Table(title="people with and without a mask", title_justify="left")
        rate = "" if summary.compliance_rate is None else f"{summary.compliance_rate:.1%}"
        columns = {
            "files": summary.files, "failed": summary.failed, "partial": summary.partial, "people": summary.faces,
            "with": summary.with_mask, "without": summary.without_mask, "compliance": rate,
        }  # fmt: skip
        if self._rate:
            columns["frames/s"] = f"{self._rate:.1f}"
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row(*map(str, columns.values()))
        console = _console()
        console.print(table)
        for line in lines:
            console.print(printable(line), soft_wrap=True, highlight=False)

    def dry_run(self, paths: Sequence[Path], forecast: Sequence[str]) -> None:
        """What a scan would do: the files that are to be scanned on stdout, then words about them."""
        for path in paths:
            print(printable(str(path)))
        for line in forecast:
            self.say(line)

    def figures(self, figures: dict) -> None:
        """A classifier's figures by source and face size; balanced is balanced accuracy, with its 95 % interval over
        pictures."""
        table = _table("on", "px", "faces", "balanced", "95 %", "accuracy", "ROC area", "ECE")
        for name, by_size in figures.items():
            for size, item in by_size.items():
                if item["faces"]:
                    b = item["balanced_accuracy"]
                    interval = f"{b['low']:.3f}-{b['high']:.3f}"
                    rest = (f"{item[key]:.3f}" for key in ("accuracy", "roc_auc", "calibration_error"))
                    table.add_row(name, size, str(item["faces"]), f"{b['value']:.4f}", interval, *rest)
        console = _console()
        console.print(table)
        words = (
            "95 %: bootstrap over pictures with all their faces; near-duplicates, where they are known, count as one"
        )
        console.print(words, highlight=False, soft_wrap=True)

    def scenes(self, figures: dict) -> None:
        """The whole chain's figures, a column for each source; pairs are without and with a mask."""
        if not figures:
            return
        names = {"pictures": "pictures", "faces": "faces", "ap50": "face AP50", "ap40": "face AP40",
                 "class_ap50": "class AP50", "class_ap40": "class AP40", "precision": "precision", "recall": "recall",
                 "f1": "F1", "macro_f1": "macro F1", "false_faces": "false faces a picture",
                 "rate_error": "rate error a picture", "total_rate_error": "rate error of all"}  # fmt: skip
        console, sources = _console(), list(figures)
        for start in range(0, len(sources), _SOURCES_A_TABLE):
            shown = sources[start : start + _SOURCES_A_TABLE]
            table = _table("whole chain", *map(printable, shown))
            for key, name in names.items():
                table.add_row(name, *(_shown(figures[source][key]) for source in shown))
            console.print(table)
        for source, item in figures.items():
            if (third := item["worn_incorrectly"])["faces"]:
                words = f"{third['found']} were found, {third['with_mask']} of them labelled with_mask"
                console.print(
                    f"{printable(source)}: of {third['faces']} masks worn incorrectly {words}",
                    highlight=False,
                    soft_wrap=True,
                )

    def detector(self, figures: dict, chosen: float) -> None:
        """A detector's figures by source, for each share (alpha) of the fine-tuning; 0 is before, the chosen one has a
        star. Recall is by face size in pixels."""
        sizes = list(next(iter(figures[0.0].values()))["recall_by_size"])
        table = _table("alpha", "scenes", "AP50", "AP40", "false", *sizes)
        for alpha, by_source in figures.items():
            for source, item in by_source.items():
                values = [item[key] for key in ("ap50", "ap40", "false_faces")]
                name = f"{alpha:.2f}{' *' if alpha == chosen else ''}"
                table.add_row(name, source, *map(_shown, [*values, *item["recall_by_size"].values()]))
        _console().print(table)

    def operating_point(self, chosen: dict) -> None:
        """The thresholds that were chosen, and for what."""
        for on, point in chosen.items():
            detector = "" if point["detector"] is None else f" --det-threshold {point['detector']:.2f}"
            _console().print(f"best for these {on}: --threshold {point['mask']:.2f}{detector} ({point['maximises']} "
                            f"{point['value']:.4f}; a little too good on the pictures it was chosen on)",
                            highlight=False, soft_wrap=True)  # fmt: skip


class Progress:
    """Counts what a scan does, shows it in a bar, and tells of it every `every_s` seconds."""

    def __init__(self, tally: Tally, bar, tell: Callable[[Tally], None], every_s: float) -> None:
        self.tally = tally
        self._bar, self._tell, self._every_s = bar, tell, every_s
        self._told = time.monotonic()

    def expect(self, sources) -> None:
        """These will be scanned."""
        self.tally.expect(sources)
        self._bar.reset(self.tally.num_frames)

    def add(self, batch) -> None:
        """A batch is done."""
        self.tally.add(batch)
        self._bar.set_postfix_str(f"{self.tally.files_done}/{self.tally.num_files} files", refresh=False)
        self._bar.update(len(batch.frames))
        if time.monotonic() - self._told > self._every_s:
            self._told = time.monotonic()
            self._tell(self.tally)


def _console():
    """A console on stdout that shows what it is given: no part of a file's name is a colour or a picture for it."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def _table(*columns: str):
    """A table whose cells are never cut, however narrow the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ignore")
    return table


def _shown(value: object) -> str:
    """A figure or a pair of figures with three decimals; counts as they are."""
    values = value if isinstance(value, (tuple, list)) else [value]
    return " ".join(f"{one:.3f}" if isinstance(one, float) else str(one) for one in values)


@contextmanager
def open_terminal(quiet: bool, log_file: Path | None, progress: str = "auto") -> Iterator[Terminal]:
    """Our own words reach the terminal and the log; what TensorFlow, OpenCV and FFmpeg print to stderr does not.

    They write to file descriptor 2 from C++, so that is what is turned away while `sys.stderr` keeps the terminal.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    keep_libraries_out_of_home()
    if hasattr(sys.stdout, "reconfigure"):  # an ASCII terminal must not end a run over a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    own = os.dup(2)
    away = os.open(os.devnull, os.O_WRONLY)
    stderr, attached = sys.stderr, _is_descriptor(sys.stderr, 2)
    handlers = []
    try:
        os.dup2(away, 2)
        if attached:
            sys.stderr = open_lenient(os.dup(own))
            faulthandler.enable(sys.stderr)
        handlers = log_handlers(sys.stderr, log_file, progress == "json")
        yield Terminal(sys.stderr, quiet, progress)
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        os.dup2(own, 2)
        os.close(own)
        os.close(away)
        if attached:
            faulthandler.disable()
            sys.stderr.close()
            sys.stderr = stderr


def _is_descriptor(stream, number: int) -> bool:
    """Whether a text stream writes to that file descriptor (test runners replace `sys.stderr` by one that does not)."""
    try:
        return stream.fileno() == number
    except (AttributeError, OSError, ValueError):
        return False
