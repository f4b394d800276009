"""Versions of the packages that a scan uses, under the names with which they were installed."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# module -> the distributions that contain it; pip reports "opencv-python" as missing when a headless one is installed
_DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-rocm", "tensorflow-macos", "tensorflow-intel", "tf-nightly"),
    "cv2": (
        "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
    ),
    "PIL": ("pillow",),
    "pillow_heif": ("pillow-heif",),
}  # fmt: skip


def installed(modules: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of the distributions that contain these modules, by name of distribution.

    A module from an unknown distribution is listed under its own name with "unknown". A missing module is listed under
    the name to install, with None. Nothing is imported.
    """
    found: dict[str, str | None] = {}
    for module in modules:
        names = _DISTRIBUTIONS.get(module, (module,))
        versions = {name: number for name in names if (number := _version(name)) is not None}
        if not versions:
            versions = {names[0]: None} if find_spec(module) is None else {module: "unknown"}
        found |= versions
    return found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
