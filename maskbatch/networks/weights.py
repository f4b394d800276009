"""The weight files that ship in `models/`, with their checksums, and the networks that load them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from maskbatch.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Network:
    """A network that `open_network` can run.

    `role` says what it is for, `path` is its weight file. `load` returns it as a Keras model; it is called only when
    needed, and checks that the file fits. `int8`, where there is one, is a zip archive of the same network as an
    OpenVINO model with 8-bit weights (`model.xml` and `model.bin`). A network that 8 bits would not make faster has
    `gains_by_int8` False, and computes in fp32 where int8 is asked for. `openvino`, where there is one, is the network in
    fp32 as OpenVINO converts it: without the archive, TensorFlow is needed once on each machine.
    """

    role: str
    path: Path
    load: Callable[[], object]
    int8: Path | None = None
    gains_by_int8: bool = True
    openvino: Path | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A named weight file with the labels of its outputs.

    `int8_sha256` is the checksum of the same network with 8-bit weights, a separate file beside it, or "" without one;
    `openvino_sha256` is that of the converted network.
    """

    name: str
    file: str
    sha256: str
    labels: tuple[str, ...]
    licence: str
    int8_sha256: str = ""
    openvino_sha256: str = ""

    @property
    def openvino_file(self) -> str:
        """The name of the file with the converted network."""
        return f"{self.name}.openvino.zip"

    @property
    def int8_file(self) -> str:
        """The name of the file with 8-bit weights."""
        return f"{self.name}.int8.zip"


SHIPPED = {
    weights.name: weights
    for weights in (
        Weights(
            name="yunet",
            file="yunet.weights.h5",
            sha256="4623f4ff80dd77d19a170e206345040659607e2e8b4a7e816ae3cccd28b4125c",
            labels=("face",),
            licence="MIT (from YuNet-n of ShiqiYu/libfacedetection.train, Apache-2.0)",
            openvino_sha256="6e313f9eec1ff64923d571f319a57d0ac418d5f9c7bac21c18f0de1c442ef425",
        ),
        Weights(
            name="mask",
            file="mask.keras",
            sha256="ef4160551f03cfd800f58c15ca5b270ecdf77e7e2e47a202a53db4fc1f4edec7",
            labels=("without_mask", "with_mask"),
            licence="MIT (from Keras's MobileNetV2 ImageNet weights, Apache-2.0)",
            int8_sha256="aad66cc709e05d58523c3ff5dc9d2f0f39eae3146be2b7621478cc4129a5fb5b",
        ),
    )
}


def folder() -> Path:
    """Return the folder of the shipped weights: the installed package data, or `models/` of a checkout."""
    try:
        return Path(str(resources.files("maskbatch.models")))
    except ModuleNotFoundError:  # run from a checkout that was not installed
        return Path(__file__).parents[2] / "models"


def find(name: str) -> Path:
    """Return the path of shipped weights after a check of their checksum. Raises WeightsError when missing or damaged."""
    return _checked(SHIPPED[name].file, SHIPPED[name].sha256)


def find_int8(path: Path) -> Path | None:
    """Return the 8-bit weights of the shipped weights at `path`, checked likewise, or None for other weights.

    Raises WeightsError.
    """
    for weights in SHIPPED.values():
        if weights.int8_sha256 and path == folder() / weights.file:
            return _checked(weights.int8_file, weights.int8_sha256)
    return None


def find_openvino(path: Path) -> Path | None:
    """Return the converted network of the shipped weights at `path`, checked likewise, or None where none is shipped.

    Raises WeightsError.
    """
    for weights in SHIPPED.values():
        if weights.openvino_sha256 and path == folder() / weights.file:
            return _checked(weights.openvino_file, weights.openvino_sha256)
    return None


def _checked(file: str, checksum: str) -> Path:
    path = folder() / file
    if not path.is_file():
        raise WeightsError(f"{path} is missing: install maskbatch again")
    if sha256(path) != checksum:
        raise WeightsError(f"{path} is damaged (its sha256 is not the recorded one): install maskbatch again")
    return path


def sha256(path: Path) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits. Raises WeightsError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error


def _digest(file) -> str:
    """Do as `hashlib.file_digest`, which Python 3.10 lacks."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
