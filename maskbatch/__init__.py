"""maskbatch: who wore a mask, where and when, and how sure are we?

The names below are loaded when they are first used; see `docs/api.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["Faces", "Frame", "Model", "Progress", "Results", "ScanOptions", "draw", "find", "open", "scan"]

if TYPE_CHECKING:
    from maskbatch.api import Faces, Frame, Model, Progress, Results, ScanOptions, draw, find, open, scan


def __getattr__(name: str) -> object:
    """Load the library behind a public name at its first use: numpy, OpenCV and the networks take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module("maskbatch.api"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
