"""The output folder of a scan: whether it may be written, making it ready, and `run.json`, its record."""

import functools
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.leftovers import remove_media, remove_temporary
from maskbatch.lock import LOCK, REPORTS_LOCK, Lock, locked
from maskbatch.marks import ORDER, ROWS
from maskbatch.media.writers import partial_file

_log = logging.getLogger(__name__)

_REPORTS = ("faces.csv", "files.csv", "summary.csv", "run.json")
_MEDIA_FOLDERS = ("annotated", "crops/with_mask", "crops/without_mask", "crops")  # the inner ones first
_WRITTEN = ("annotated", "crops", ".state", *_REPORTS)


def check_out(out: Path, if_exists: str) -> None:
    """Whether a scan may write to `out`; touches nothing. `if_exists`: resume, overwrite or error. Raises UsageError."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")
    earlier = _earlier(out)
    if earlier and not (out / ".state").is_dir():
        raise UsageError(
            f"{out} holds {earlier[0].name}, which is not from maskbatch: choose another folder with --out"
        )
    if if_exists == "error" and (out / ORDER).exists():
        raise UsageError(
            f"{out} holds an earlier scan: choose another folder with --out, go on with it (--if-exists resume), or "
            "replace it (--if-exists overwrite)"
        )


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raises UsageError when a file to be scanned lies in what a scan to `out` writes, or removes to overwrite it."""
    written = [os.path.realpath(path) for path in _earlier(out)]
    folder_of = functools.cache(os.path.realpath)  # a look at each part of a path takes its time, 100,000 times
    for path in inputs:
        # and not resolve(), which raises for a link to itself and for a name that is too long
        real = Path(os.path.realpath(path)) if os.path.islink(path) else Path(folder_of(path.parent), path.name)
        if any(real.is_relative_to(folder) for folder in written):
            raise UsageError(
                f"{path} lies in the output folder, among what is written: choose another folder with --out"
            )


@contextmanager
def prepared(out: Path, if_exists: str) -> Iterator[Lock]:
    """The output folder, made and locked. To overwrite, what an earlier scan wrote is removed, and nothing else. Raises
    UsageError when the folder cannot be written or used, MaskbatchError when another run writes to it."""
    try:
        (out / ROWS).mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            lock = stack.enter_context(locked(out))
            check_out(out, if_exists)
            if if_exists == "overwrite":
                _clear(out)
            elif lock.died:
                _log.warning("an earlier run (%s) died; going on after it", lock.died)
                remove_temporary(out)
            locking = stack.pop_all()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write to {out}: {reason}. Choose another folder with --out") from error
    with locking:
        yield lock


def _clear(out: Path) -> None:
    """Removes what an earlier scan wrote, and nothing of the user's; not the locks, one of which is held, and not the folder
    of rows, by which other scans know that this is an output folder."""
    for path in (out / ROWS).iterdir():  # first, so that after a kill nothing counts as done whose media are gone
        path.unlink()
    remove_temporary(out)
    remove_media(out, ())
    for folder in _MEDIA_FOLDERS:
        with suppress(OSError):  # there is something in it, or it is not there
            (out / folder).rmdir()
    kept = {out / LOCK, out / REPORTS_LOCK, out / ROWS}
    for path in {*(out / name for name in _REPORTS), *(out / ".state").iterdir()} - kept:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_run(out: Path, record: dict) -> None:
    """Writes `run.json`: what an auditor needs to know to get these numbers again."""
    with partial_file(out / "run.json") as partial:
        partial.write_text(
            json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace"
        )


def read_run(out: Path) -> dict:
    """The record of the scan in `out`. Raises MaskbatchError when there is none that can be read."""
    try:
        return json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MaskbatchError(
            f"{out} is not the output folder of a scan: its run.json cannot be read ({error})"
        ) from error


def _earlier(out: Path) -> list[Path]:
    return [out / name for name in _WRITTEN if (out / name).exists() or (out / name).is_symlink()]
