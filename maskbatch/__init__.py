"""maskbatch: who wore a mask, where and when, and how sure are we?

The names below are loaded when they are first used; see `docs/api.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["Faces", "Frame", "Model", "Progress", "Results", "ScanOptions", "draw", "find", "merge", "open", "scan"]

if TYPE_CHECKING:
    from maskbatch.api import Faces, Frame, Model, Progress, Results, ScanOptions, draw, find, merge, open, scan


def __getattr__(name: str) -> object:
    """Load the public names when one of them is first used: numpy, OpenCV and the networks take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = import_module("maskbatch.api")
    globals().update({public: getattr(api, public) for public in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
