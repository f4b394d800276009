"""Checks what a scan needs on this machine, and says what to do about what is missing."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

from maskbatch import __version__, runtime, weights
from maskbatch.config import RuntimeSettings
from maskbatch.errors import MaskbatchError

_PACKAGES = ("tensorflow", "keras", "openvino", "opencv-python", "av", "numpy", "pandas")
_ENCODERS = ("libx264", "aac")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `message` says what was found and, when not `ok`, what to do."""

    subject: str
    ok: bool
    message: str


def examine() -> list[Finding]:
    """Looks at versions, the device, the codecs and every shipped weight file."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    versions = f"maskbatch {__version__}, Python {platform.python_version()}, {packages}"
    shipped = [_weights(name) for name in weights.SHIPPED]
    return [Finding("versions", True, versions), _device(), *map(_encoder, _ENCODERS), *shipped]


def _device() -> Finding:
    try:
        device = runtime.choose_device(RuntimeSettings())
    except MaskbatchError as error:
        return Finding("device", False, str(error))
    return Finding("device", True, device.description)


def _encoder(name: str) -> Finding:
    import av

    if name in av.codecs_available:
        return Finding(f"encoder {name}", True, "annotated videos can be written")
    return Finding(f"encoder {name}", False, "not in this PyAV: reinstall it from its wheel (pip install -U av)")


def _weights(name: str) -> Finding:
    try:
        path = weights.find(name)
    except MaskbatchError as error:
        return Finding(f"weights {name}", False, str(error))
    shipped = weights.SHIPPED[name]
    return Finding(f"weights {name}", True, f"{path}, checksum as recorded; {shipped.licence}")
