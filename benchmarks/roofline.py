"""The least time that a network's layers need for a batch, from their arithmetic and their memory traffic.

A layer reads its input and its weights once and writes its output once. Batch norms, activations and rescaling are free, as
if fused with the layer before them.
"""

from dataclasses import dataclass

import keras
import numpy as np


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


def _trace(model, shape: tuple, shapes: dict, works: list[Work]) -> None:
    """Add the work of a functional model's layers for an input of `shape`, nested models included."""
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
