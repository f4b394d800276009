"""Runs a network by OpenVINO. Each image is a request of its own, spread over the cores, so that an image's numbers do not
depend on what shares its batch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from maskbatch.compiled import compiled
from maskbatch.converted import Network, converted, openvino_core, read_int8
from maskbatch.errors import DeviceError, Interrupted
from maskbatch.weights import sha256

# images from here on go through OpenVINO one at a time, each on all cores: its memory would be taken once for each stream
_LARGE_PIXELS = 1_700_000
# between two looks whether the run is over
_LOOK_MS = 100
# our names of what a network computes in, and OpenVINO's
_OPENVINO = {"fp32": ("FP32", "f32"), "bf16": ("BF16", "bf16"), "fp16": ("FP16", "f16")}
# requests at work when their run was stopped: OpenVINO waits for the image, which may be seconds, before one is deleted
_LEFT_BEHIND: list[object] = []


class OpenVinoNetwork:
    """A compiled model per image shape, made when a shape is first met. Threads may call it at the same time: each has
    requests of its own, as many as run at once on all cores."""

    def __init__(self, network: Network, precision: str, is_over: Callable[[], bool]) -> None:
        self._role, self._is_over = network.role, is_over
        with _openvino_errors(self._role):
            # of an int8 model, the few operations that are not quantised compute in fp32
            self._computes_in = _hint("fp32" if precision == "int8" else precision)
            self._model = read_int8(network) if precision == "int8" else converted(network)
        self._identity = f"{network.role} {sha256(network.int8 if precision == 'int8' else network.path)}"
        self._compiled = {}
        self._compiling = threading.Lock()
        self._of_thread = threading.local()

    def _compile(self, shape: tuple[int, ...]):
        with self._compiling:
            if shape not in self._compiled:
                hint = "LATENCY" if shape[0] * shape[1] > _LARGE_PIXELS else "THROUGHPUT"
                options = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": self._computes_in}
                self._compiled[shape] = compiled(self._model, shape, options, self._identity)
            return self._compiled[shape]

    def _requests(self, shape: tuple[int, ...]) -> list:
        own = self._of_thread.__dict__
        if shape not in own:
            network = self._compile(shape)
            num_requests = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            own[shape] = [network.create_infer_request() for _ in range(num_requests)]
        return own[shape]

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        with _openvino_errors(self._role):
            results = self._results(images, self._requests(images.shape[1:]))
        return [np.concatenate(output) for output in zip(*results, strict=True)]

    def _results(self, images: np.ndarray, requests: list) -> list[list[np.ndarray]]:
        """The network's outputs for each image."""
        results = []
        for position in range(len(images) + len(requests)):
            request = requests[position % len(requests)]
            if 0 <= position - len(requests) < len(images):
                self._wait(request, requests)
                results.append([output.data.copy() for output in request.output_tensors])
            if position < len(images):
                request.start_async([images[position : position + 1]])
        return results

    def _wait(self, request, requests: list) -> None:
        """Wait for one of the requests. Raises Interrupted, all of them left behind, when the run is over."""
        is_done = False
        while not is_done and not self._is_over():
            is_done = request.wait_for(_LOOK_MS)
        if not is_done:
            _LEFT_BEHIND.extend(requests)
            raise Interrupted("stopped")


@contextmanager
def _openvino_errors(role: str) -> Iterator[None]:
    """Raise OpenVINO's errors, whose many lines name its own source, as DeviceError. Memory and threads that are not to be
    had are most of them."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(
            f"OpenVINO cannot run the network {role} ({reason}): memory or threads may be short (ulimit -v, -u)"
        ) from error


def _hint(precision: str) -> str:
    capability, hint = _OPENVINO[precision]
    if capability not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise DeviceError(f"this CPU does not compute in {precision}: use --precision auto")
    return hint
