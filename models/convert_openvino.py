"""Make `yunet.openvino.zip`: the shipped detector as OpenVINO converts it, so that a CPU needs no TensorFlow.

    pip install -e . && python models/convert_openvino.py

Run it whenever the detector's weights change. The program prints the checksum for `maskbatch/networks/weights.py`. A test
compares the outputs of both.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import maskbatch.networks  # isort: skip  # noqa: F401 (before openvino: turns its telemetry off)
import openvino

from maskbatch.networks import weights, yunet
from maskbatch.networks.openvino import converted
from maskbatch.networks.weights import Network

_HERE = Path(__file__).parent


def write(model, path: Path) -> None:
    """Write the model as a zip archive of `model.xml` and `model.bin`, the same bytes for the same model."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("model.xml", "model.bin"):
                archive.writestr(zipfile.ZipInfo(name), (Path(folder) / name).read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Convert the detector."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=_HERE)
    out = parser.parse_args().out
    source, path = weights.find("yunet"), out / weights.SHIPPED["yunet"].openvino_file
    network = Network("yunet", source, lambda: yunet.load_network(source), gains_by_int8=False)
    write(converted(network), path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {weights.sha256(path)}", flush=True)


if __name__ == "__main__":
    main()
