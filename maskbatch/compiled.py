"""Networks compiled for this CPU and one shape of images, kept in the user's cache: compiling one takes half a second."""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import cv2

from maskbatch.cache import make_room, networks_folder, used
from maskbatch.converted import CONVERSION, openvino_core

log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


def compiled(model, shape: tuple[int, ...], options: Mapping[str, str], identity: str):
    """`model` compiled for images (1, *shape): read from the cache when an earlier run on such a CPU has left it there.

    `identity` tells the model from all others. Numbers are the same bits either way.
    """
    path = networks_folder() / f"{_key(shape, options, identity)}.compiled"
    if (kept := _read(path)) is not None:
        try:
            network = openvino_core().import_model(kept, "CPU", dict(options))
            used(path)
            return network
        except RuntimeError as error:
            log.debug("OpenVINO cannot use %s: %s", path, error)
    model = model.clone()
    model.reshape([1, *shape])
    made = openvino_core().compile_model(model, "CPU", dict(options))
    try:
        _keep(made.export_model().getvalue(), path)
    except (OSError, RuntimeError) as error:
        log.debug("cannot keep %s: %s", path, error)
    return made


def _key(shape: tuple[int, ...], options: Mapping[str, str], identity: str) -> str:
    import openvino

    cpu = openvino_core().get_property("CPU", "FULL_DEVICE_NAME"), cv2.getCPUFeaturesLine()
    parts = (identity, CONVERSION, openvino.__version__, *cpu, shape, sorted(options.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """What is kept there, None when it is not there or not whole: OpenVINO would read changed weights as they are."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, kept = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return kept if digest == hashlib.sha256(kept).digest() else None


def _keep(content: bytes, path: Path) -> None:
    """Writes it so that half of it is never taken for it; the longest unused networks give way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # one name for all processes: what two of them write at once fails its checksum, and a kill leaves no more than one
    partial = path.with_suffix(".part")
    try:
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    make_room(path)
