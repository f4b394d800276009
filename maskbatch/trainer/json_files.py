"""JSON files of the trainer, and the versions on which its figures depend."""

import json
import math
import platform
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from maskbatch import __version__
from maskbatch.media.write.files import partial_file

_PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python", "openvino", "scikit-learn")


def write_json(report: object, path: Path) -> None:
    """Write strict JSON: NaN and infinity become null."""
    with partial_file(path) as partial:
        partial.write_text(json.dumps(plain(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: object) -> object:
    """Return the value as dicts, lists, strings, numbers and None."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def versions() -> dict[str, str | None]:
    """Return the versions of maskbatch, Python and relevant packages; None for a missing package."""
    found = {"maskbatch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
