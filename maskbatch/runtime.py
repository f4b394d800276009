"""Runs a network: TensorFlow on a GPU, OpenVINO on a CPU; the same arrays in and out.

Everything else sees a `Run`: a callable from images (B, H, W, 3) uint8 RGB to a list of float32 arrays (B, ...), one
for each output of the network.
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from maskbatch.config import RuntimeSettings
from maskbatch.converted import Network, forward
from maskbatch.errors import DeviceError, Interrupted, UsageError
from maskbatch.openvino_network import OpenVinoNetwork
from maskbatch.versions import is_installed

log = logging.getLogger(__name__)

Run = Callable[[np.ndarray], list[np.ndarray]]

# images that TensorFlow takes at once on a CPU, where each operation is spread over the cores anyway: with more, what is
# between two operations passes by the caches, and takes gigabytes
_CPU_IMAGES = 2
# before an image that does not fit into a GPU's memory is tried again
_MEMORY_WAITS_S = (0.1, 0.5, 2.0)

# distributions that let TensorFlow use a GPU on Windows and on macOS
_GPU_PLUGINS = ("tensorflow-directml-plugin", "tensorflow-metal")

# our names of what a network computes in, and Keras's
_KERAS = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run: `runtime` tensorflow or openvino, the `names` it has for the devices (several GPUs share the
    work), and words for a person."""

    runtime: str
    names: tuple[str, ...]
    description: str

    @property
    def is_gpu(self) -> bool:
        return self.names[0].startswith("GPU")


def choose_device(settings: RuntimeSettings) -> Device:
    """The device that `settings` ask for. Raises DeviceError when it is not usable here; never falls back silently."""
    wants_gpu = settings.require_gpu or settings.device.startswith("gpu")
    if wants_gpu and settings.device == "cpu":
        raise DeviceError("a GPU is required, but the device asked for is cpu: drop one of the two")
    if wants_gpu and settings.runtime == "openvino":
        raise DeviceError("the OpenVINO runtime is for CPUs: use --runtime tensorflow for a GPU")
    on_cpu = settings.runtime == "openvino" or settings.device == "cpu" or not (wants_gpu or _may_have_gpu())
    gpus = [] if on_cpu else _tensorflow_gpus()
    if wants_gpu and not gpus:
        raise DeviceError(
            "no usable GPU: TensorFlow sees none. Install the CUDA libraries (pip install 'maskbatch[gpu]'), check the "
            "driver with nvidia-smi, or run without --require-gpu / --device gpu"
        )
    if gpus:
        number = settings.device.partition(":")[2]
        if number and int(number) >= len(gpus):
            raise DeviceError(f"there is no gpu:{number}: TensorFlow sees {len(gpus)}")
        chosen = [int(number)] if number else range(len(gpus))
        words = ", ".join(f"GPU {each} ({gpus[each]})" for each in chosen)
        return Device("tensorflow", tuple(f"GPU:{each}" for each in chosen), f"{words}, TensorFlow")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if settings.runtime == "tensorflow":
        return Device("tensorflow", ("CPU:0",), f"CPU ({cores} cores), TensorFlow")
    return Device("openvino", ("CPU",), f"CPU ({cores} cores), OpenVINO")


def choose_precision(network: Network, device: Device, asked: str) -> str:
    """What a network will compute in: fp32, bf16, fp16 or int8. `asked` may be auto: int8 on OpenVINO where the network
    has such weights (they ship when they keep the figures), else fp32. Raises UsageError when it cannot be had."""
    if asked == "auto":
        return "int8" if network.int8 and device.runtime == "openvino" else "fp32"
    if asked == "int8" and device.runtime != "openvino":
        raise UsageError("int8 is for CPUs, by the OpenVINO runtime: use --precision auto, fp16 or fp32 here")
    if asked == "int8" and not network.int8:
        raise UsageError(f"{network.path.name} has no int8 weights (only the shipped models do): use --precision auto")
    return asked


def open_network(
    network: Network, device: Device, precision: str = "auto", is_over: Callable[[], bool] = lambda: False
) -> Run:
    """Makes a network ready to run on a device. Its `Run` raises Interrupted, within the image at work, once `is_over()`
    says so. Raises DeviceError, UsageError (see `choose_precision`), or WeightsError when its file does not fit."""
    precision = choose_precision(network, device, precision)
    if device.runtime == "openvino":
        return OpenVinoNetwork(network, precision, is_over)
    return _TensorFlow(network, device, precision, is_over)


def _may_have_gpu() -> bool:
    """False when this machine has no GPU that TensorFlow could use: asking TensorFlow itself takes seconds."""
    if sys.platform == "linux":  # the drivers of NVIDIA, of WSL, and of AMD
        return any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd"))
    # TensorFlow's own wheels have no GPU on Windows and macOS: plugins bring it
    return any(is_installed(plugin) for plugin in _GPU_PLUGINS)


def _tensorflow_gpus() -> list[str]:
    """Names of the GPUs TensorFlow can use; memory growth is turned on so that others can share them."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # it is in use already, with the growth it was given then
            log.debug("memory growth of %s is fixed already", gpu.name)
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


class _TensorFlow:
    """A concrete `tf.function` per batch shape and device; batches are padded to a power of two so that few are ever traced.

    Threads may call it at the same time; each gets the GPU on which the fewest are. A batch that does not fit into a GPU's
    memory is halved, and so are all later ones.
    """

    def __init__(self, network: Network, device: Device, precision: str, is_over: Callable[[], bool]) -> None:
        import tensorflow as tf

        self._is_over = is_over
        self._tf, self._role = tf, network.role
        if precision == "fp32" and device.is_gpu:  # else it is TF32, with 10 bits of 23, from Ampere on
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._replicas = [(name, self._function(network, name, precision)) for name in device.names]
        self._lock = threading.Lock()
        self._num_on, self._in_turn = [0] * len(self._replicas), list(range(len(self._replicas)))
        self._most_images = 1 << 20 if device.is_gpu else _CPU_IMAGES

    def _function(self, network: Network, name: str, precision: str) -> Callable:
        with self._tf.device(name):
            model = _cast(network.load(), precision)
        function = self._tf.function(lambda images: forward(model, images))
        # by shape: asked for by a call, each new one after the fifth would be warned of
        return functools.cache(lambda shape: function.get_concrete_function(self._tf.TensorSpec(shape, self._tf.uint8)))

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        parts, start, waits_s = [], 0, list(_MEMORY_WAITS_S)
        while start < len(images):
            if self._is_over():
                raise Interrupted("stopped")
            chosen = images[start : start + self._most_images]
            try:
                parts.append(self._run(chosen))
                start, waits_s = start + len(chosen), list(_MEMORY_WAITS_S)
            except self._tf.errors.ResourceExhaustedError as error:
                if len(chosen) > 1:
                    self._take_fewer(len(chosen))
                elif waits_s:  # another thread, or program, may have the memory for the moment
                    time.sleep(waits_s.pop(0))
                else:
                    height, width = chosen.shape[1:3]
                    raise DeviceError(
                        f"the GPU's memory is too small for one image of {width} x {height} ({self._role}): end other "
                        "programs that use the GPU, try a smaller --det-size, or --device cpu"
                    ) from error
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _take_fewer(self, num_images: int) -> None:
        """So many at once were too many; another thread may have found that already."""
        with self._lock:
            if self._most_images >= num_images:
                self._most_images = (num_images + 1) // 2
                log.warning("%d images at once are too many for the GPU's memory: going on with %d", num_images,
                            self._most_images)  # fmt: skip

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        num_images = len(images)
        padding = (1 << (num_images - 1).bit_length()) - num_images
        padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.uint8)]) if padding else images
        with self._replica() as (name, function), self._tf.device(name):
            return [output.numpy()[:num_images] for output in function(padded.shape)(self._tf.constant(padded))]

    @contextmanager
    def _replica(self) -> Iterator[tuple[str, Callable]]:
        """The network on the device that has the least to do of it; of several, on that which was last chosen before."""
        with self._lock:
            number = min(self._in_turn, key=self._num_on.__getitem__)
            self._in_turn.remove(number)
            self._in_turn.append(number)
            self._num_on[number] += 1
        try:
            yield self._replicas[number]
        finally:
            with self._lock:
                self._num_on[number] -= 1


def _cast(model, precision: str):
    """The same model computing in `precision`, its weights kept in float32 (Keras's mixed policies)."""
    if precision == "fp32":
        return model
    import keras

    def with_policy(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": _KERAS[precision]})

    clone = keras.models.clone_model(model, clone_function=with_policy)
    clone.set_weights(model.get_weights())
    return clone
