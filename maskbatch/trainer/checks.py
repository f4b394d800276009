"""Checks before the work begins: an error should appear at once, not after an hour."""

import tempfile
from pathlib import Path

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.trainer.epochs import check_begun


def check_packages() -> None:
    """Raise MaskbatchError when a package of the extra `train` is missing."""
    try:
        import matplotlib
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MaskbatchError(f"{error.name} is missing: pip install 'maskbatch[train]'") from error
    matplotlib.use("agg", force=False)


def check_out(out: Path, result: str, resume: bool) -> None:
    """Raise UsageError when `out` already holds the `result`, cannot be written, or contradicts `resume`."""
    if (out / result).exists():
        raise UsageError(f"{out / result} exists: choose another --out, or remove it first")
    check_folder(out, "--out")
    check_begun(out, resume)


def check_folder(folder: Path | None, option: str) -> None:
    """Raise UsageError when files cannot be written into `folder`, which need not exist yet; leave no trace."""
    if folder is None:
        return
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write into {folder}: {reason}. Choose another folder with {option}") from error


def check_file(file: Path | None, option: str) -> None:
    """Raise UsageError when `file` cannot be written; leave no trace."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: give a file with {option}")
    check_folder(file and file.parent, option)
