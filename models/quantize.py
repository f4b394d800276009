"""Make `yunet.int8.zip` and `mask.int8.zip`: the shipped networks with 8-bit weights, for OpenVINO on CPUs.

    pip install -e '.[dev]' && python models/quantize.py ../shared/data/scenes --splits ../shared/data/splits.csv

NNCF quantises the trained networks, calibrated on training scenes exactly as a scan sees them: the detector's canvases, and
the crops of the faces it finds. This takes a few minutes on two cores. The program prints the checksums for
`maskbatch/networks/weights.py`. `maskbatch evaluate` with `--precision int8` and with `--precision fp32` measures the loss.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import maskbatch.networks  # isort: skip  # noqa: F401 (before nncf: turns its telemetry off)
import nncf
import numpy as np
import openvino
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

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
        """Give the network's outputs."""
        self.images += [images[i : i + 1].copy() for i in range(len(images))]
        return self._run(images)


def calibration(scenes: Path, splits: Path, num_pictures: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Give the input of both networks for some training scenes: canvases and crops (1, H, W, 3) uint8."""
    pictures = [p for p in read_datasets([scenes], splits) if p.split == "train"]
    pictures = pictures[:: max(1, len(pictures) // num_pictures)][:num_pictures]
    device = choose_device(RuntimeSettings(runtime="openvino"))
    opened = [Recorded(open_network(network, device, "fp32")) for network in networks()]
    detect, classify = Detector(opened[0], DetectorSettings()), Classifier(opened[1], opened[1].size_px)
    for batch in read_batches(pictures):
        images = [image for _, image in batch]
        classify(images, detect(images))
    return opened[0].images, opened[1].images


def networks() -> tuple[Network, Network]:
    """Give the shipped detector and classifier."""
    return yunet.shipped_network(), classifier_network(weights.find(ClassifierSettings().model))


def quantized(network: Network, images: list[np.ndarray]):
    """Give the OpenVINO model with 8-bit weights and activations.

    Half the range of the weights is left unused. Processors without VNNI add pairs of products in 16 bits, which would
    overflow, and so give other numbers than newer processors. The detector's heads stay in floating point. Its ranges end
    at the highest activation of the calibration.
    """
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    model, kept = converted(network), []
    if network.role == "yunet":
        advanced.activations_range_estimator_params = RangeEstimatorParametersSet.MINMAX
        kept = heads(model)
    return nncf.quantize(
        model,
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,  # activations that go below zero (linear bottlenecks) are asymmetric
        subset_size=len(images),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=kept),
        advanced_parameters=advanced,
    )


def heads(model) -> list[str]:
    """Give the names of the convolutions of YuNet's heads (the conversion drops our names and numbers them)."""
    kinds = ("Convolution", "GroupConvolution")
    found = [op for op in model.get_ordered_ops() if op.get_type_name() in kinds]
    points = [i for i, op in enumerate(found) if tuple(op.input(1).shape) == (yunet.CHANNELS, yunet.WIDTH, 1, 1)]
    return [found[i + step].get_friendly_name() for i in points for step in (0, 1)]


def write(model, path: Path) -> None:
    """Write the model as a zip archive of `model.xml` and `model.bin`, the same bytes for the same model."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("model.xml", "model.bin"):
                archive.writestr(zipfile.ZipInfo(name), (Path(folder) / name).read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Quantise both networks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--out", type=Path, default=_HERE)
    given = parser.parse_args()
    for network, images in zip(networks(), calibration(given.scenes, given.splits, given.pictures), strict=True):
        name = next(name for name, shipped in weights.SHIPPED.items() if shipped.file == network.path.name)
        path = given.out / weights.SHIPPED[name].int8_file
        print(f"{name}: calibrating on {len(images)} images", flush=True)
        write(quantized(network, images), path)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {weights.sha256(path)}", flush=True)


if __name__ == "__main__":
    main()
