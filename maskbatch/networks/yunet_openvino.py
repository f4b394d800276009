"""Rearrange YuNet for OpenVINO: the same numbers, to the bit, without copies that only move channels.

OpenVINO's convolutions keep the channels last in memory, like our images and maps. As converted from Keras, the network
nevertheless copies its input and its maps to channels first and back, and repeats rows and columns one after the other.
Without these copies, the network takes up to a sixth less time (benchmarks/canvas.py).
"""

import numpy as np

# operations that only move numbers
_MOVES = ("Reshape", "Tile", "Transpose", "Unsqueeze")


def arrange(model) -> None:
    """Rearrange YuNet in place. `model` is an `openvino.Model`, as converted from `yunet.build_network()`."""
    _convert_input_flat(model)
    for result in model.get_results():
        _make_map_in_one_step(result)
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Add":
            _enlarge_in_one_step(operation)
    model.validate_nodes_and_infer_types()


def _convert_input_flat(model) -> None:
    """Convert the pixels to float32 as a flat list.

    OpenVINO moves a transposition in front of a conversion to float32, where it costs a copy, but not in front of this
    one. Behind it, it is merely another view of the same memory.
    """
    from openvino import opset13 as ops

    images = model.get_parameters()[0]
    [converted] = [port.get_node() for port in images.output(0).get_target_inputs() if _is(port.get_node(), "Convert")]
    readers = converted.output(0).get_target_inputs()
    flat = ops.convert(ops.reshape(images, [-1], False), "f32")
    pixels = ops.reshape(flat, ops.shape_of(images), False)
    for reader in readers:
        reader.replace_source_output(pixels.output(0))


def _make_map_in_one_step(result) -> None:
    """Compute a map (B, h, w, 16) with the channels first, and transpose it last, which then needs no copy."""
    from openvino import opset13 as ops

    joined = _source(result)
    probabilities, others = (port.get_source_output() for port in joined.inputs())
    channels = _source(others.get_node()).input_value(0)  # of both parts, before they are transposed and cut
    number = np.arange(joined.get_output_partial_shape(0)[3].get_length()).reshape(1, -1, 1, 1)
    is_probability = ops.constant(number < probabilities.get_partial_shape()[3].get_length())
    cells = ops.select(is_probability, ops.sigmoid(channels), channels)
    result.input(0).replace_source_output(ops.transpose(cells, [0, 2, 3, 1]).output(0))


def _enlarge_in_one_step(addition) -> None:
    """Enlarge a level of the pyramid, which is an input of an addition, by one operation that repeats cells."""
    from openvino import opset13 as ops

    for port in addition.inputs():
        passed, node = [], port.get_source_output().get_node()
        while node.get_type_name() in _MOVES:
            passed.append(node.get_type_name())
            node = _source(node)
        if "Tile" in passed:
            scales = np.array([2, 2], np.float32)
            large = ops.interpolate(
                node, scales, "nearest", "scales", axes=[2, 3], coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )  # fmt: skip
            port.replace_source_output(large.output(0))


def _source(node):
    """Return the node that makes the first input of a node."""
    return node.input_value(0).get_node()


def _is(node, type_name: str) -> bool:
    return node.get_type_name() == type_name
