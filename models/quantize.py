"""Make `mask.int8.zip`: the shipped classifier with 8-bit weights, for OpenVINO on CPUs.

    pip install -e '.[dev]' && python models/quantize.py ../shared/data/scenes --splits ../shared/data/splits.csv

NNCF quantises the trained network, calibrated on the crops of faces in training scenes, exactly as a scan cuts them. This
takes a few minutes on two cores. The program prints the checksum for `maskbatch/networks/weights.py`. `maskbatch evaluate`
with `--precision int8` and with `--precision fp32` measures the loss.
"""

import argparse
from pathlib import Path

import maskbatch.networks  # isort: skip  # noqa: F401 (before nncf: turns its telemetry off)
import nncf
import numpy as np
from convert_openvino import write

from maskbatch.analyse.classifier import Classifier
from maskbatch.analyse.detector import Detector
from maskbatch.networks import weights, yunet
from maskbatch.networks.device import Infer, choose_device, open_network
from maskbatch.networks.openvino import converted
from maskbatch.networks.weights import Network
from maskbatch.settings import ClassifierSettings, DetectorSettings, RuntimeSettings
from maskbatch.trainer.data.dataset import read_datasets
from maskbatch.trainer.data.reading import read_batches
from maskbatch.trainer.model import classifier_network

_HERE = Path(__file__).parent


class Recorded:
    """Run a network, and keep its input, one image (1, H, W, 3) at a time."""

    def __init__(self, run: Infer) -> None:
        self._run, self.size_px = run, run.size_px
        self.images: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the network's outputs."""
        self.images += [images[i : i + 1].copy() for i in range(len(images))]
        return self._run(images)


def calibration(network: Network, scenes: Path, splits: Path, num_pictures: int) -> list[np.ndarray]:
    """Return the classifier's input for the faces of some training scenes: crops (1, H, W, 3) uint8."""
    pictures = [p for p in read_datasets([scenes], splits) if p.split == "train"]
    pictures = pictures[:: max(1, len(pictures) // num_pictures)][:num_pictures]
    device = choose_device(RuntimeSettings(runtime="openvino"))
    recorded = Recorded(open_network(network, device, "fp32"))
    detect = Detector(open_network(yunet.shipped_network(), device, "fp32"), DetectorSettings())
    classify = Classifier(recorded, recorded.size_px)
    for batch in read_batches(pictures):
        images = [image for _, image in batch]
        classify(images, detect(images))
    return recorded.images


def quantized(network: Network, images: list[np.ndarray]):
    """Return the OpenVINO model with 8-bit weights and activations.

    Half the range of the weights is left unused. Processors without VNNI add pairs of products in 16 bits, which would
    overflow, and so give other numbers than newer processors.
    """
    return nncf.quantize(
        converted(network),
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,  # activations that go below zero (linear bottlenecks) are asymmetric
        subset_size=len(images),
        fast_bias_correction=True,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )


def main() -> None:
    """Quantise the classifier."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--out", type=Path, default=_HERE)
    given = parser.parse_args()
    name = ClassifierSettings().model
    network, path = classifier_network(weights.find(name)), given.out / weights.SHIPPED[name].int8_file
    images = calibration(network, given.scenes, given.splits, given.pictures)
    print(f"{name}: calibrating on {len(images)} images", flush=True)
    write(quantized(network, images), path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {weights.sha256(path)}", flush=True)


if __name__ == "__main__":
    main()
