"""The least time that a network's layers need for a batch, from their arithmetic and their memory traffic.

    python benchmarks/roofline.py works.json           # the work of both networks, for gpu.py on a machine without Keras

A layer reads its input and its weights once and writes its output once. Batch norms, activations and rescaling are free, as
if fused with the layer before them.
"""

import json
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

# networks and their input
IMAGES = {"detector": (384, 640, 3), "classifier 128": (128, 128, 3), "classifier 224": (224, 224, 3)}


@dataclass(frozen=True, slots=True)
class Work:
    """A layer's work on one image: multiplications and additions; numbers read and written; numbers of its weights."""

    flops: float
    moved: float
    weights: float


def layer_work(model, image: tuple[int, int, int]) -> list[Work]:
    """Return the work of each layer of a model that computes, on one image."""
    shapes, works = {}, []
    _trace(model, (1, *image), shapes, works)
    return works


def roofline_s(works: list[Work], batch: int, rates: tuple[float, float], item_bytes: int) -> float:
    """Return the least seconds for a batch; `rates` are operations and bytes a second."""
    flops, moved = rates
    return sum(
        max(batch * work.flops / flops, (batch * work.moved + work.weights) * item_bytes / moved) for work in works
    )


def network(name: str):
    """Return a network of `IMAGES` in Keras, with random weights."""
    from maskbatch.networks.yunet import build_network
    from maskbatch.trainer.model import build_model

    if name == "detector":
        return build_network()
    return build_model(base_weights=None, size_px=IMAGES[name][0], third_state=True)


def _trace(model, shape: tuple, shapes: dict, works: list[Work]) -> None:
    """Add the work of a functional model's layers for an input of `shape`, nested models included."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _trace(layer, shape, shapes, works)
        elif isinstance(layer, keras.layers.InputLayer):
            shapes[layer.output.name] = shape
        else:
            given = layer.input if isinstance(layer.input, list) else [layer.input]
            inputs = [shapes.get(tensor.name, shape) for tensor in given]
            if not isinstance(layer.output, list):
                out = layer.compute_output_shape(inputs if len(inputs) > 1 else inputs[0])
                shapes[layer.output.name] = tuple(out)
                works += _layer_work(layer, inputs, tuple(out))


def _layer_work(layer, inputs: list[tuple], out: tuple) -> list[Work]:
    import keras

    read, written = sum(float(np.prod(shape)) for shape in inputs), float(np.prod(out))
    held = sum(float(np.prod(w.shape)) for w in layer.weights)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [Work(2 * written * np.prod(layer.kernel_size), read + written, held)]
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        return [Work(2 * written * np.prod(layer.kernel.shape[:-1]), read + written, held)]
    if isinstance(layer, (keras.layers.Add, keras.layers.GlobalAveragePooling2D, keras.layers.MaxPooling2D)):
        # the other operand of a sum, or the input of a pooling, comes from memory
        return [Work(written, read, held)]
    return []


if __name__ == "__main__":
    found = {name: [astuple(work) for work in layer_work(network(name), image)] for name, image in IMAGES.items()}
    Path(sys.argv[1]).write_text(json.dumps(found))
