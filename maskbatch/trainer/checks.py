"""Checks before the work begins: better told at once than after an hour."""

import tempfile
from pathlib import Path

from maskbatch.errors import MaskbatchError, UsageError


def check_packages() -> None:
    """Raise MaskbatchError when a package of the extra `train` is missing."""
    try:
        import matplotlib
        import seaborn
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MaskbatchError(f"{error.name} is missing: pip install 'maskbatch[train]'") from error
    matplotlib.use("agg", force=False)
    del seaborn


def check_folder(folder: Path | None, option: str) -> None:
    """Raise UsageError when files cannot be written into `folder`, which need not exist yet; leaves no trace."""
    if folder is None:
        return
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write into {folder}: {reason}. Choose another folder with {option}") from error


def check_file(file: Path | None, option: str) -> None:
    """Raise UsageError when `file` cannot be written; leaves no trace."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: give a file with {option}")
    check_folder(file and file.parent, option)
