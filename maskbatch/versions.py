"""The packages a scan runs on, under whichever names they were installed."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# module -> the distributions that have it; pip takes "opencv-python" for missing when a headless one is there
_DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-rocm", "tensorflow-macos", "tensorflow-intel", "tf-nightly"),
    "cv2": (
        "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
    ),
}  # fmt: skip


def installed(modules: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of the distributions that have these modules, by the distributions' names.

    A module that no known distribution brought is there under its own name with "unknown", a missing one with None, under
    the name to install. Nothing is imported.
    """
    found: dict[str, str | None] = {}
    for module in modules:
        names = _DISTRIBUTIONS.get(module, (module,))
        versions = {name: number for name in names if (number := _version(name)) is not None}
        if not versions:
            versions = {names[0]: None} if find_spec(module) is None else {module: "unknown"}
        found |= versions
    return found


def is_installed(distribution: str) -> bool:
    """Return whether pip knows the distribution."""
    return _version(distribution) is not None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
