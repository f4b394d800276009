"""The output folder of a scan: whether it may be written, making it ready, and `run.json`, its record."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.writers import partial_file

_WRITTEN = ("annotated", "crops", ".state", "faces.csv", "files.csv", "summary.csv", "run.json")
_HOLDS_SCAN = (
    "{} holds an earlier scan: choose another folder with --out, or replace it with --if-exists overwrite "
    "(a scan that was interrupted starts over)"
)


def check_out(out: Path, overwrite: bool) -> None:
    """Whether a scan may write to `out`; touches nothing. Raises UsageError when it holds something already."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")
    earlier = _earlier(out)
    if earlier and not (out / ".state").is_dir():
        raise UsageError(
            f"{out} holds {earlier[0].name}, which is not from maskbatch: choose another folder with --out"
        )
    if earlier and not overwrite:
        raise UsageError(_HOLDS_SCAN.format(out))


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raises UsageError when a file to be scanned lies in what overwriting `out` would remove."""
    removed = [path.resolve() for path in _earlier(out)]
    for path in inputs:
        if any(path.resolve().is_relative_to(folder) for folder in removed):
            raise UsageError(
                f"{path} lies in the output folder that would be replaced: choose another folder with --out"
            )


def prepare_out(out: Path, overwrite: bool) -> None:
    """Makes the output folder. With `overwrite`, what an earlier scan wrote there is removed, and nothing else. Raises
    UsageError when the folder cannot be written, or when another scan has just begun in it."""
    try:
        for path in _earlier(out) if overwrite else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        out.mkdir(parents=True, exist_ok=True)
        (out / ".state").mkdir()
        (out / ".state" / "rows").mkdir()
    except FileExistsError as error:
        raise UsageError(_HOLDS_SCAN.format(out)) from error
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write to {out}: {reason}. Choose another folder with --out") from error


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
