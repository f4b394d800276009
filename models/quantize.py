"""Make `mask.int8.zip` and `yunet.int8.zip`: the shipped networks with 8-bit weights, for OpenVINO on CPUs.

    pip install -e '.[dev]' && python models/quantize.py ../shared/data/scenes --splits ../shared/data/splits.csv

NNCF quantises the trained networks, calibrated on training scenes: the detector on their canvases, the classifier on the
crops of their faces, exactly as a scan makes them. This takes a few minutes on two cores. The program prints the checksums
for `maskbatch/networks/weights.py`. `maskbatch evaluate` with `--precision int8` and with `--precision fp32` measures the
loss.
"""

import argparse
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path

import maskbatch.networks  # isort: skip  # noqa: F401 (before nncf: turns its telemetry off)
import nncf
import numpy as np
import openvino

from maskbatch.analyse.classifier import Classifier
from maskbatch.analyse.detector import Detector
from maskbatch.networks import weights, yunet
from maskbatch.networks.device import Infer, choose_device, open_network
from maskbatch.networks.openvino import converted
from maskbatch.networks.weights import Network
from maskbatch.settings import ClassifierSettings, DetectorSettings, RuntimeSettings
from maskbatch.trainer.data.dataset import read_datasets
from maskbatch.trainer.data.reading import read_batches
from maskbatch.trainer.model import P_FACE, classifier_network

_HERE = Path(__file__).parent
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
# the detector's convolutions before the first pooling: their 16 channels gain nothing by 8 bits
_FIRST = 3
# convolutions of each head: they compute scores and boxes, which 8 bits make worse
_OF_HEAD = 2


class Recorded:
    """Run a network, and keep its input, one image (1, H, W, 3) at a time."""

    def __init__(self, run: Infer) -> None:
        self._run, self.size_px = run, run.size_px
        self.images: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the network's outputs."""
        self.images += [images[i : i + 1].copy() for i in range(len(images))]
        return self._run(images)


def calibration(
    detector: Network, classifier: Network, scenes: Path, splits: Path, num_pictures: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the input of both networks for some training scenes: canvases and crops (1, H, W, 3) uint8."""
    pictures = [p for p in read_datasets([scenes], splits) if p.split == "train"]
    pictures = pictures[:: max(1, len(pictures) // num_pictures)][:num_pictures]
    device = choose_device(RuntimeSettings(runtime="openvino"))
    canvases, crops = (Recorded(open_network(network, device, "fp32")) for network in (detector, classifier))
    detect, classify = Detector(canvases, DetectorSettings()), Classifier(crops, crops.size_px)
    for batch in read_batches(pictures):
        images = [image for _, image in batch]
        classify(images, detect(images))
    return canvases.images, crops.images


def ends(model) -> list[str]:
    """Return the names of the detector's operations that stay in fp32: those of its first layers and of its heads."""
    convolutions = [operation for operation in model.get_ordered_ops() if operation.get_type_name() in _CONVOLUTIONS]
    kept = convolutions[:_FIRST]
    for result in model.get_results():
        node, found = result, []
        while len(found) < _OF_HEAD:
            node = node.input_value(node.get_input_size() - 1 if node.get_type_name() == "Select" else 0).get_node()
            found += [node] if node.get_type_name() in _CONVOLUTIONS else []
        kept += found
    readers = [port.get_node() for node in kept for port in node.output(0).get_target_inputs()]  # they add the bias
    pooling = next(operation for operation in model.get_ordered_ops() if operation.get_type_name() == "MaxPool")
    return [node.get_friendly_name() for node in (*kept, *readers, pooling)]


def face_output(model) -> list[str]:
    """Return the names of the classifier's operations for p_face, a small regression that 8 bits make worse."""
    return [name for operation in model.get_ordered_ops() if f"/{P_FACE}" in (name := operation.get_friendly_name())]


def quantized(network: Network, images: list[np.ndarray], in_fp32: Collection[str] = ()):
    """Return the OpenVINO model with 8-bit weights and activations, except for the operations named in `in_fp32`.

    Half the range of the weights is left unused. Processors without VNNI add pairs of products in 16 bits, which would
    overflow, and so give other numbers than newer processors.
    """
    return nncf.quantize(
        converted(network),
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,  # activations that go below zero (linear bottlenecks) are asymmetric
        subset_size=len(images),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=list(in_fp32)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )


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
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--only", choices=list(weights.SHIPPED), help="quantise this network alone")
    parser.add_argument("--out", type=Path, default=_HERE)
    given = parser.parse_args()
    classifier = ClassifierSettings().model
    networks = {
        "yunet": yunet.network_of(weights.find("yunet")),
        classifier: classifier_network(weights.find(classifier)),
    }
    kept = {"yunet": ends, classifier: face_output}
    images = calibration(*networks.values(), given.scenes, given.splits, given.pictures)
    for (name, network), own in zip(networks.items(), images, strict=True):
        if given.only in (None, name):
            print(f"{name}: calibrating on {len(own)} images", flush=True)
            path = given.out / weights.SHIPPED[name].int8_file
            write(quantized(network, own, kept[name](converted(network))), path)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {weights.sha256(path)}", flush=True)


if __name__ == "__main__":
    main()
