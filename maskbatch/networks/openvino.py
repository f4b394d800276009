"""The OpenVINO runtime: networks on a CPU, converted from Keras and compiled once, then read from the user's cache.

Each image is a separate inference request, and the cores share the requests. The numbers of an image therefore do not
depend on the other images in its batch.
"""

import functools
import hashlib
import logging
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from maskbatch.errors import DeviceError, Interrupted, WeightsError
from maskbatch.networks import cache
from maskbatch.networks.tensorflow import forward
from maskbatch.networks.weights import Network, sha256

log = logging.getLogger(__name__)

# part of the cache's keys: raise it when the conversion, or a network written in code, changes
_CONVERSION = 2
# images of at least this size run one at a time, each on all cores: every parallel stream would need as much memory
_LARGE_PIXELS = 1_700_000
# interval at which a waiting call checks whether the scan was stopped
_POLL_MS = 100
# OpenVINO's names of maskbatch's precisions
_PRECISIONS = {"fp32": ("FP32", "f32"), "bf16": ("BF16", "bf16"), "fp16": ("FP16", "f16")}
_OPENING = threading.Lock()
# unfinished requests of a stopped scan: deleting a request would wait for its image, which may take seconds
_ABANDONED: list[object] = []


class OpenVinoNetwork:
    """A network with one compiled model per image shape, compiled when that shape first occurs.

    Several threads may call the network at once: each thread has its own requests, as many as can run at once on all
    cores. `size_px` is the height of images that the network takes, None for any height.
    """

    def __init__(self, network: Network, precision: str) -> None:
        self._role = network.role
        with _openvino_errors(self._role):
            # the few operations of an int8 model that are not quantised compute in fp32
            self._precision_hint = _hint("fp32" if precision == "int8" else precision)
            self._model = read_int8(network) if precision == "int8" else converted(network)
        self.size_px = _size_px(self._model)
        self._identity = f"{network.role} {sha256(network.int8 if precision == 'int8' else network.path)}"
        self._compiled = {}
        self._compiling = threading.Lock()
        self._of_thread = threading.local()

    def _compile(self, shape: tuple[int, ...]):
        with self._compiling:
            if shape not in self._compiled:
                hint = "LATENCY" if shape[0] * shape[1] > _LARGE_PIXELS else "THROUGHPUT"
                options = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": self._precision_hint}
                self._compiled[shape] = compiled(self._model, shape, options, self._identity)
            return self._compiled[shape]

    def _requests(self, shape: tuple[int, ...]) -> list:
        own = self._of_thread.__dict__
        if shape not in own:
            network = self._compile(shape)
            num_requests = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            own[shape] = [network.create_infer_request() for _ in range(num_requests)]
        return own[shape]

    def __call__(self, images: np.ndarray, is_over: Callable[[], bool] = lambda: False) -> list[np.ndarray]:
        with _openvino_errors(self._role):
            results = self._results(images, self._requests(images.shape[1:]), is_over)
        return [np.concatenate(output) for output in zip(*results, strict=True)]

    def _results(self, images: np.ndarray, requests: list, is_over: Callable[[], bool]) -> list[list[np.ndarray]]:
        """Return the network's outputs for each image."""
        results = []
        for position in range(len(images) + len(requests)):
            request = requests[position % len(requests)]
            if 0 <= position - len(requests) < len(images):
                _wait(request, requests, is_over)
                results.append([output.data.copy() for output in request.output_tensors])
            if position < len(images):
                request.start_async([images[position : position + 1]])
        return results


def _size_px(model) -> int | None:
    height = model.input(0).partial_shape[1]
    return height.get_length() if height.is_static else None


def _wait(request, requests: list, is_over: Callable[[], bool]) -> None:
    """Wait for one request. Raises Interrupted, and abandons all requests, when the scan was stopped."""
    is_done = False
    while not is_done and not is_over():
        is_done = request.wait_for(_POLL_MS)
    if not is_done:
        _ABANDONED.extend(requests)
        raise Interrupted("stopped")


@contextmanager
def _openvino_errors(role: str) -> Iterator[None]:
    """Raise OpenVINO's errors as DeviceError, without the lines that name OpenVINO's source code.

    Most of these errors come from a lack of memory or threads.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(
            f"OpenVINO cannot run the network {role} ({reason}): memory or threads may be short (ulimit -v, -u)"
        ) from error


def _hint(precision: str) -> str:
    capability, hint = _PRECISIONS[precision]
    if capability not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise DeviceError(f"this CPU does not compute in {precision}: use --precision auto")
    return hint


def openvino_core():
    """Return OpenVINO's core, opened once and warmed up with an empty network.

    Closing a core removes a signal stack that another core may have set, and the next Ctrl-C would then crash. During
    the first inference, OpenVINO's Python bindings fill tables without holding the interpreter lock. Two threads that
    start together would deadlock, so an empty network runs here alone first.
    """
    with _OPENING:  # `cache` alone lets two threads make two cores
        return _core()


@functools.cache
def _core():
    import openvino
    from openvino import opset13

    core = openvino.Core()
    image = opset13.parameter([1], np.uint8)
    nothing = openvino.Model([opset13.convert(image, "f32")], [image])
    request = core.compile_model(nothing, "CPU").create_infer_request()
    request.start_async([np.zeros(1, np.uint8)])
    request.wait()
    for output in request.output_tensors:
        output.data.copy()
    return core


def read_int8(network: Network):
    """Return the OpenVINO model with 8-bit weights. Raises WeightsError when the file cannot be read."""
    import openvino

    try:
        with zipfile.ZipFile(network.int8) as archive:
            return openvino_core().read_model(archive.read("model.xml"), archive.read("model.bin"))
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]  # OpenVINO first names lines of its own source
        raise WeightsError(
            f"cannot read {network.int8} with OpenVINO {openvino.__version__}: {reason} Use --precision fp32"
        ) from error


def converted(network: Network):
    """Return the network as an OpenVINO model in fp32: a cached one, or a new conversion.

    Raises DeviceError when a conversion is needed and TensorFlow is not installed.
    """
    import openvino

    version = openvino.__version__.split("-")[0]
    folder = cache.networks_folder() / f"{network.role}-{sha256(network.path)[:24]}-{version}-{_CONVERSION}"
    if (folder / cache.WHOLE).is_file():
        try:
            if (folder / cache.WHOLE).read_text() == sha256(folder / "model.bin"):
                cache.mark_used(folder)
                return openvino_core().read_model(folder / "model.xml")
        except (RuntimeError, OSError, WeightsError):
            pass
        log.warning("the converted model in %s is damaged: converting it again", folder)
    model = _convert(network)
    try:
        cache.keep_folder(functools.partial(_save, model), folder)
    except (OSError, RuntimeError) as error:  # OpenVINO raises RuntimeError when the disk is full
        log.warning("cannot keep the converted model in %s (%s): every scan will convert it again", folder, error)
    return model


def _convert(network: Network):
    """Trace the Keras model once and convert it to OpenVINO, with uint8 images as input."""
    import openvino

    try:
        import tensorflow as tf
    except ImportError as error:
        raise DeviceError(
            f"{network.path.name} must be converted for OpenVINO, which takes TensorFlow: pip install tensorflow, or set "
            "MASKBATCH_CACHE to the folder of a machine that has scanned with this model (docs/slim.md)"
        ) from error
    model = network.load()
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
    traced = tf.function(lambda images: forward(model, images), input_signature=signature)
    # by default, the model would use the weights of the traced function, which are freed here
    converted = openvino.convert_model(traced.get_concrete_function(), share_weights=False)
    if network.arrange is not None:
        network.arrange(converted)
    return converted


def _save(model, folder: Path) -> None:
    import openvino

    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    (folder / cache.WHOLE).write_text(sha256(folder / "model.bin"))


def compiled(model, shape: tuple[int, ...], options: Mapping[str, str], identity: str):
    """Return `model` compiled for images (1, *shape), from the cache if an earlier scan on the same CPU model kept it.

    `identity` distinguishes the model from all others. Results are bit-identical either way. Compiling takes half a
    second.
    """
    path = cache.networks_folder() / f"{_key(shape, options, identity)}.compiled"
    if (kept := cache.read_file(path)) is not None:
        try:
            network = openvino_core().import_model(kept, "CPU", dict(options))
            cache.mark_used(path)
            return network
        except RuntimeError as error:
            log.debug("OpenVINO cannot use %s: %s", path, error)
    model = model.clone()
    model.reshape([1, *shape])
    made = openvino_core().compile_model(model, "CPU", dict(options))
    try:
        cache.keep_file(made.export_model().getvalue(), path)
    except (OSError, RuntimeError) as error:
        log.debug("cannot keep %s: %s", path, error)
    return made


def _key(shape: tuple[int, ...], options: Mapping[str, str], identity: str) -> str:
    import openvino

    cpu = openvino_core().get_property("CPU", "FULL_DEVICE_NAME"), cv2.getCPUFeaturesLine()
    parts = (identity, _CONVERSION, openvino.__version__, *cpu, shape, sorted(options.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
