"""The TensorFlow runtime: networks on GPUs, or on a CPU if requested."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from maskbatch.errors import DeviceError, Interrupted
from maskbatch.networks.weights import Network

log = logging.getLogger(__name__)

# images per call on a CPU, where each operation uses all cores anyway: with more images, intermediate results take
# gigabytes and do not fit the caches
_CPU_IMAGES = 2
# waits before retrying one image that did not fit into a GPU's memory
_MEMORY_WAITS_S = (0.1, 0.5, 2.0)
# Keras's names of maskbatch's precisions
_POLICIES = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


class TensorFlowNetwork:
    """A network with one concrete `tf.function` per batch shape and device, named as TensorFlow names devices ("GPU:0").

    Batches are padded to a power of two, so that few shapes are traced. Several threads may call the network at once:
    each call runs on the device with the fewest calls. A batch that does not fit into a GPU's memory is halved, and so
    are all later batches. `size_px` is the height of images that the network takes, None for any height.
    """

    def __init__(self, network: Network, devices: Sequence[str], precision: str) -> None:
        try:
            import tensorflow as tf
        except ImportError as error:
            raise DeviceError(
                "TensorFlow is not installed: pip install tensorflow, or use --runtime openvino"
            ) from error
        self._tf, self._role, self.size_px = tf, network.role, None
        on_gpu = devices[0].startswith("GPU")
        if precision == "fp32" and on_gpu:  # from Ampere on, the default is TF32 with 10 bits of 23
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._replicas = [(name, self._function(network, name, precision)) for name in devices]
        self._lock = threading.Lock()
        self._num_calls, self._by_last_use = [0] * len(self._replicas), list(range(len(self._replicas)))
        self._most_images = 1 << 20 if on_gpu else _CPU_IMAGES

    def _function(self, network: Network, device: str, precision: str) -> Callable:
        with self._tf.device(device):
            model = _cast(network.load(), precision)
        self.size_px = model.input_shape[1]
        function = self._tf.function(lambda images: forward(model, images))
        # one trace per shape: TensorFlow would otherwise warn about each new shape after the fifth
        return functools.cache(lambda shape: function.get_concrete_function(self._tf.TensorSpec(shape, self._tf.uint8)))

    def __call__(self, images: np.ndarray, is_over: Callable[[], bool] = lambda: False) -> list[np.ndarray]:
        parts, start, waits_s = [], 0, list(_MEMORY_WAITS_S)
        while start < len(images):
            if is_over():
                raise Interrupted("stopped")
            chosen = images[start : start + self._most_images]
            try:
                parts.append(self._run(chosen))
                start, waits_s = start + len(chosen), list(_MEMORY_WAITS_S)
            except self._tf.errors.ResourceExhaustedError as error:
                if len(chosen) > 1:
                    self._take_fewer(len(chosen))
                elif waits_s:  # another thread or program may be using the memory at the moment
                    time.sleep(waits_s.pop(0))
                else:
                    height, width = chosen.shape[1:3]
                    raise DeviceError(
                        f"the GPU's memory is too small for one image of {width} x {height} ({self._role}): end other "
                        "programs that use the GPU, try a larger --min-face, or --device cpu"
                    ) from error
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _take_fewer(self, num_images: int) -> None:
        """Halve the number of images per call, unless another thread has already done so."""
        with self._lock:
            if self._most_images >= num_images:
                self._most_images = (num_images + 1) // 2
                log.warning("%d images at once are too many for the GPU's memory: continuing with %d", num_images,
                            self._most_images)  # fmt: skip

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        num_images = len(images)
        padding = (1 << (num_images - 1).bit_length()) - num_images
        padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.uint8)]) if padding else images
        with self._replica() as (name, function), self._tf.device(name):
            return [output.numpy()[:num_images] for output in function(padded.shape)(self._tf.constant(padded))]

    @contextmanager
    def _replica(self) -> Iterator[tuple[str, Callable]]:
        """Yield the network on the device with the fewest calls; in case of a tie, on the least recently used device."""
        with self._lock:
            number = min(self._by_last_use, key=self._num_calls.__getitem__)
            self._by_last_use.remove(number)
            self._by_last_use.append(number)
            self._num_calls[number] += 1
        try:
            yield self._replicas[number]
        finally:
            with self._lock:
                self._num_calls[number] -= 1


def forward(model, images):
    """Return the outputs of a Keras model for uint8 images, as a list of float32 tensors."""
    import tensorflow as tf

    outputs = model(tf.cast(images, tf.float32), training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [tf.cast(output, tf.float32) for output in outputs]


def list_gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow can use; an empty list without TensorFlow.

    Also turn memory growth on, so that programs can share a GPU.
    """
    try:
        import tensorflow as tf
    except ImportError:  # a slim install: docs/slim.md
        return []
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is already in use, and memory growth was set then
            log.debug("memory growth of %s is fixed already", gpu.name)
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def _cast(model, precision: str):
    """Return the same model computing in `precision`, with weights in float32 (Keras's mixed policies)."""
    if precision == "fp32":
        return model
    import keras

    def with_policy(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": _POLICIES[precision]})

    clone = keras.models.clone_model(model, clone_function=with_policy)
    clone.set_weights(model.get_weights())
    return clone
