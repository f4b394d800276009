"""Convert YuNet-n, from which the shipped detector was fine-tuned, out of the ONNX file of libfacedetection.train.

    pip install '.[test]' && python models/convert_yunet.py original.weights.h5

The ONNX convolutions are read in the order of the graph's nodes and become the weights of the Keras network in
`maskbatch/networks/yunet.py`. That network has one head of 16 channels in place of four, and takes RGB in place of BGR.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from maskbatch.networks.yunet import STRIDES, build_network

ORIGINAL = Path(__file__).parent / "yunet_n.onnx"
_HEADS = ("cls", "obj", "bbox", "kps")  # in the order of our channels
# the file's order of the four heads
_HEADS_IN_FILE = ("cls", "bbox", "obj", "kps")


def convert(path: Path):
    """Return the Keras network with the weights of the ONNX file at `path`."""
    graph = onnx.load(str(path)).graph
    initialisers = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    found = [[initialisers[name] for name in node.input[1:]] for node in nodes]
    network = build_network()
    names = _unit_names(network)
    (kernel, bias), *rest = found
    network.get_layer("stem").set_weights([kernel.transpose(2, 3, 1, 0)[:, :, ::-1], bias])  # BGR -> RGB
    body, heads = rest[: 2 * len(names)], rest[2 * len(names) :]
    for name, point, depth in zip(names, body[::2], body[1::2], strict=True):
        _set_unit(network, name, point, depth)
    for level, stride in enumerate(STRIDES):
        units = {}
        for number, head in enumerate(_HEADS_IN_FILE):
            first = 2 * (number * len(STRIDES) + level)
            units[head] = heads[first : first + 2]
        joined = [
            [np.concatenate([units[head][part][which] for head in _HEADS]) for which in (0, 1)] for part in (0, 1)
        ]
        _set_unit(network, f"head{stride}", *joined)
    return network


def _unit_names(network) -> list[str]:
    """Return the names of the units before the heads, in the order of the file: backbone, pyramid, shared units."""
    points = [layer.name.removesuffix("_point") for layer in network.layers if layer.name.endswith("_point")]
    backbone = [name for name in points if name.startswith("stage")]
    return [*backbone, "lateral2", "lateral1", "lateral0", *(f"share{stride}" for stride in STRIDES)]


def _set_unit(network, name: str, point: list[np.ndarray], depth: list[np.ndarray]) -> None:
    """Set the weights of a unit: (out, in, 1, 1) -> (1, 1, in, out), and (C, 1, 3, 3) -> (3, 3, C, 1)."""
    network.get_layer(f"{name}_point").set_weights([point[0].transpose(2, 3, 1, 0), point[1]])
    network.get_layer(f"{name}_depth").set_weights([depth[0].transpose(2, 3, 0, 1), depth[1]])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    convert(ORIGINAL).save_weights(target)
    print(f"wrote {target}")
