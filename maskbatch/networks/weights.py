"""The weight files in `models/`, their checksums, and the networks that load them."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from maskbatch.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Network:
    """A network that `open_network` can run.

    `role` is the purpose of the network; `path` is its weight file. `load` checks the file and returns the Keras model;
    it is called only when needed. `int8`, if any, is a zip archive of the same network as an OpenVINO model with 8-bit
    weights (`model.xml` and `model.bin`). `arrange`, if any, changes the network in place once it is converted for
    OpenVINO, so that it gives the same numbers in less time.
    """

    role: str
    path: Path
    load: Callable[[], object]
    int8: Path | None = None
    arrange: Callable[[object], None] | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A named weight file with the labels of its outputs.

    `int8_sha256` is the checksum of the separate file with 8-bit weights.
    """

    name: str
    file: str
    sha256: str
    labels: tuple[str, ...]
    licence: str
    int8_sha256: str

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
            sha256="b817d7de5e69b7e06d6f660b20be0191d09635f1dd6dc89aa920a586ae3f3baf",
            labels=("face",),
            licence="MIT (from YuNet-n of ShiqiYu/libfacedetection.train, Apache-2.0)",
            int8_sha256="c1125e41940335b7eb17909f5ee4ff1aa836400111229ae14f40fc6a76afabc6",
        ),
        Weights(
            name="mask",
            file="mask.keras",
            sha256="3130ec32b2786ff66ab4418746b8b38fb6b4a903d4f583b3026ae65a1f81fc13",
            labels=("without_mask", "with_mask"),
            licence="MIT (from Keras's MobileNetV2 ImageNet weights, Apache-2.0)",
            int8_sha256="1e8b1541a64ba1dd64930dd776b9bdc88a13378404c947a88e21ece2b7dea0e7",
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
    """Check shipped weights and return their path. Raises WeightsError when the file is missing or damaged."""
    return _checked(SHIPPED[name].file, SHIPPED[name].sha256)


def find_int8(path: Path) -> Path | None:
    """Check and return the 8-bit version of the shipped weights at `path`, None for other weights.

    Raises WeightsError.
    """
    for weights in SHIPPED.values():
        if path == folder() / weights.file:
            return _checked(weights.int8_file, weights.int8_sha256)
    return None


def _checked(file: str, checksum: str) -> Path:
    path = folder() / file
    if not path.is_file():
        raise WeightsError(f"{path} is missing: install maskbatch again")
    if sha256(path) != checksum:
        raise WeightsError(f"{path} is damaged (its sha256 is not the recorded one): install maskbatch again")
    return path


def load_weights(network, path: Path, name: str) -> None:
    """Load the weights of a file into a Keras network that messages call `name`. Raises WeightsError if they do not fit."""
    if not path.is_file():
        raise WeightsError(f"{path} does not hold weights of {name}: there is no such file")
    try:
        with warnings.catch_warnings():
            # Keras warns of each layer that the file does not have, and leaves it as it is
            warnings.filterwarnings("error", message="Skipping nested container")
            network.load_weights(path)
    except UserWarning as error:
        raise WeightsError(f"{path} does not hold weights of {name}: it has the layers of another network") from error
    except Exception as error:  # Keras and HDF5 raise many types, and some list all layers
        reason = str(error).strip().split("\n")[0][:200]
        raise WeightsError(f"{path} does not hold weights of {name}: {reason}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits. Raises WeightsError when the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error


def _digest(file) -> str:
    """Replace `hashlib.file_digest`, which Python 3.10 lacks."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
