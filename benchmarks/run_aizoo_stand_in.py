"""Find faces in a folder of photos with a network as AIZOO's FaceMaskDetection has it, untrained, and write what is found.

    python run_aizoo_stand_in.py FOLDER OUT [--engine opencv] [--check]

The published network (AIZOOTech/FaceMaskDetection, 2020) is not at hand, so this program makes one of the same layout: 8
convolutions at 260 x 260 pixels, and heads for boxes and two classes on five maps of 33, 17, 9, 5 and 3 cells a side. Batch
normalisation is left out, as in its published versions for inference. Random weights take as long as trained ones. Boxes are
decoded from four anchors a cell; the 100 likeliest ones of a photo reach suppression. `--check` prints the numbers of
parameters, multiply-adds and anchors. Written anew from the published list of layers; no code or weight is AIZOO's.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE_PX = 260
# of the 8 convolutions: channels, and if the map is halved after it
_BACKBONE = ((32, True), (64, True), (64, True), (64, True), (128, True), (128, True), (64, False), (64, False))
# the convolutions whose maps have heads
_WITH_HEADS = (3, 4, 5, 6, 7)
_HEAD_CHANNELS = 64
_CELLS = (33, 17, 9, 5, 3)
_ANCHOR_SIZES = ((0.04, 0.056), (0.08, 0.11), (0.16, 0.22), (0.32, 0.45), (0.64, 0.72))
_ANCHOR_RATIOS = (1, 0.62, 0.42)
_ANCHORS_A_CELL = 4
_VARIANCES = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
_NUM_CANDIDATES = 100
_IOU = 0.4


class _Graph:
    """An ONNX graph in the making, with the number of its multiply-adds."""

    def __init__(self) -> None:
        self.nodes, self.weights = [], []
        self.num_parameters = self.num_multiply_adds = 0
        self._random = np.random.default_rng(0)

    def add(self, kind: str, inputs: list[str], **attributes) -> str:
        """Add a node, and return the name of its output."""
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolve(self, name: str, channels: tuple[int, int], cells: int, pad: int = 1) -> str:
        """Add a 3 x 3 convolution from `channels[0]` to `channels[1]` with a map of `cells` a side as output."""
        weights = self._random.normal(0, (2 / (9 * channels[0])) ** 0.5, (channels[1], channels[0], 3, 3))
        names = [self._constant(weights.astype(np.float32)), self._constant(np.zeros(channels[1], np.float32))]
        self.num_parameters += weights.size + channels[1]
        self.num_multiply_adds += weights.size * cells**2
        return self.add("Conv", [name, *names], kernel_shape=[3, 3], pads=[pad] * 4)

    def rows(self, name: str, length: int) -> str:
        """Turn a map (1, C, h, w) into rows (1, N, length)."""
        moved = self.add("Transpose", [name], perm=[0, 2, 3, 1])
        return self.add("Reshape", [moved, self._constant(np.array([1, -1, length]))])

    def _constant(self, value: np.ndarray) -> str:
        name = f"weights{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name


def stand_in() -> tuple[onnx.ModelProto, _Graph]:
    """Return the network, whose outputs are boxes (1, N, 4) and classes (1, N, 2), and its graph with the counts."""
    graph, name, channels, cells = _Graph(), "image", 3, SIZE_PX
    boxes, classes = [], []
    for number, (width, is_halved) in enumerate(_BACKBONE):
        pad = int(number < len(_BACKBONE) - 1)
        cells -= 2 - 2 * pad
        name = graph.add("Relu", [graph.convolve(name, (channels, width), cells, pad)])
        channels = width
        if number in _WITH_HEADS:
            for outputs, length in ((boxes, 4), (classes, 2)):
                inner = graph.add("Relu", [graph.convolve(name, (channels, _HEAD_CHANNELS), cells)])
                outputs.append(
                    graph.rows(graph.convolve(inner, (_HEAD_CHANNELS, _ANCHORS_A_CELL * length), cells), length)
                )
        if is_halved:
            name = graph.add("MaxPool", [name], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
            cells = -(-cells // 2)
    outputs = [graph.add("Concat", boxes, axis=1), graph.add("Sigmoid", [graph.add("Concat", classes, axis=1)])]
    num_anchors = _ANCHORS_A_CELL * sum(side**2 for side in _CELLS)
    made = helper.make_graph(
        graph.nodes, "aizoo_stand_in",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE_PX, SIZE_PX])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, num_anchors, length])
         for output, length in zip(outputs, (4, 2), strict=True)],
        graph.weights,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model, graph


def anchors() -> np.ndarray:
    """Return the anchors (N, 4), as centre and size in shares of the picture: two squares and two upright ones a cell."""
    parts = []
    for cells, sizes in zip(_CELLS, _ANCHOR_SIZES, strict=True):
        shapes = [(size, size) for size in sizes]
        shapes += [(sizes[0] * ratio**0.5, sizes[0] / ratio**0.5) for ratio in _ANCHOR_RATIOS[1:]]
        y, x = np.mgrid[:cells, :cells].reshape(2, -1, 1)
        for_all = np.broadcast_to(np.array(shapes), (cells**2, len(shapes), 2))
        centre = np.stack(np.broadcast_arrays((x + 0.5) / cells, (y + 0.5) / cells, for_all[..., 0])[:2], axis=-1)
        parts.append(np.concatenate([centre, for_all], axis=-1).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def decode(boxes: np.ndarray, classes: np.ndarray, around: np.ndarray) -> list[list[float]]:
    """Return [left, top, right, bottom, class, score] of what suppression leaves, in shares of the picture."""
    moved = boxes * _VARIANCES
    centre, size = around[:, :2] + moved[:, :2] * around[:, 2:], around[:, 2:] * np.exp(np.minimum(moved[:, 2:], 4))
    corner, score, kind = centre - size / 2, classes.max(axis=1), classes.argmax(axis=1)
    threshold = float(np.partition(score, -_NUM_CANDIDATES)[-_NUM_CANDIDATES])
    rows = np.concatenate([corner, size], axis=1)
    kept = cv2.dnn.NMSBoxes(rows.tolist(), score.tolist(), threshold, _IOU)
    return [[*corner[i].tolist(), *(corner[i] + size[i]).tolist(), int(kind[i]), float(score[i])] for i in kept]


def opened(model: onnx.ModelProto, engine: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function from blobs (1, 3, 260, 260) float32 to boxes and classes, on all cores."""
    if engine == "openvino":
        import openvino

        core = openvino.Core()
        options = {"PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options).create_infer_request()
        return lambda blob: list(request.infer([blob]).values())
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    names = net.getUnconnectedOutLayersNames()

    def run(blob: np.ndarray) -> list[np.ndarray]:
        net.setInput(blob)
        return sorted(net.forward(names), key=lambda output: -output.shape[-1])

    return run


def main() -> None:
    """Look at all photos, one after the other, as the published script does; nothing is drawn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--engine", choices=("opencv", "openvino"), default="opencv")
    parser.add_argument("--check", action="store_true", help="print the size and the cost of the network")
    given = parser.parse_args()
    model, graph = stand_in()
    around = anchors()
    if given.check:
        print(f"{graph.num_parameters} parameters, {graph.num_multiply_adds / 1e6:.0f} million multiply-adds, "
              f"{len(around)} anchors on maps of {_CELLS}")  # fmt: skip
    if given.folder is None:
        return
    run, found = opened(model, given.engine), {}
    for path in sorted(given.folder.iterdir()):
        image = cv2.imread(str(path))
        blob = cv2.dnn.blobFromImage(image, 1 / 255, (SIZE_PX, SIZE_PX), swapRB=True)
        boxes, classes = run(blob)
        found[path.name] = decode(boxes[0], classes[0], around)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "found.json").write_text(json.dumps(found))
    print(f"{len(found)} photos")


if __name__ == "__main__":
    main()
