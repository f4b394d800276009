"""Runs a Keras network: TensorFlow on a GPU, OpenVINO on a CPU; the same arrays in and out.

Everything else sees a `Run`: a callable from images (B, H, W, 3) uint8 RGB to a list of float32 arrays (B, ...), one
for each output of the network. On OpenVINO every image is a request of its own, spread over the cores, so an image's
numbers do not depend on what shares its batch.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from maskbatch.config import RuntimeSettings
from maskbatch.errors import DeviceError, WeightsError
from maskbatch.weights import sha256

log = logging.getLogger(__name__)

Run = Callable[[np.ndarray], list[np.ndarray]]

# part of the cache's key: to be raised when what is converted changes, such as a network written out in code
_CONVERSION = 1
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can be run: what it is for, its weight file, and how to load it as a Keras model (called only when
    needed; it also checks that the file fits)."""

    role: str
    path: Path
    load: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run: `runtime` tensorflow or openvino, TensorFlow's or OpenVINO's `name`, and words for a person."""

    runtime: str
    name: str
    description: str


def choose_device(settings: RuntimeSettings) -> Device:
    """The device that `settings` ask for. Raises DeviceError when it is not usable here; never falls back silently."""
    wants_gpu = settings.require_gpu or settings.device.startswith("gpu")
    if wants_gpu and settings.device == "cpu":
        raise DeviceError("a GPU is required, but the device asked for is cpu: drop one of the two")
    if wants_gpu and settings.runtime == "openvino":
        raise DeviceError("the OpenVINO runtime is for CPUs: use --runtime tensorflow for a GPU")
    gpus = [] if settings.runtime == "openvino" or settings.device == "cpu" else _tensorflow_gpus()
    if wants_gpu and not gpus:
        raise DeviceError(
            "no usable GPU: TensorFlow sees none. Install the CUDA libraries (pip install 'maskbatch[gpu]'), check the "
            "driver with nvidia-smi, or run without --require-gpu / --device gpu"
        )
    if gpus:
        number = int(settings.device.partition(":")[2] or 0)
        if number >= len(gpus):
            raise DeviceError(f"there is no gpu:{number}: TensorFlow sees {len(gpus)}")
        return Device("tensorflow", f"GPU:{number}", f"GPU {number} ({gpus[number]}), TensorFlow")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if settings.runtime == "tensorflow":
        return Device("tensorflow", "CPU:0", f"CPU ({cores} cores), TensorFlow")
    return Device("openvino", "CPU", f"CPU ({cores} cores), OpenVINO")


def open_network(network: Network, device: Device, precision: str = "float32") -> Run:
    """Makes a network ready to run on a device. Raises DeviceError, or WeightsError when its file does not fit."""
    if device.runtime == "openvino":
        return _OpenVino(network, device, precision)
    return _TensorFlow(network, device, precision)


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
    """A `tf.function` per image shape; batches are padded to a power of two so that few shapes are ever traced."""

    def __init__(self, network: Network, device: Device, precision: str) -> None:
        import tensorflow as tf

        self._tf = tf
        self._device = device.name
        with tf.device(self._device):
            model = _cast(network.load(), precision)
        self._run = tf.function(lambda images: _forward(model, images), reduce_retracing=False)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        num_images = len(images)
        padding = (1 << max(num_images - 1, 0).bit_length()) - num_images
        padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.uint8)]) if padding else images
        with self._tf.device(self._device):
            return [output.numpy()[:num_images] for output in self._run(self._tf.constant(padded))]


class _OpenVino:
    """A compiled model per image shape, made when a shape is first met."""

    def __init__(self, network: Network, device: Device, precision: str) -> None:
        import openvino

        self._openvino = openvino
        self._core = openvino.Core()
        self._device = device.name
        self._options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self._precision(precision)}
        self._model = _converted(network)
        self._queues = {}

    def _precision(self, precision: str) -> str:
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        if {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}[precision] not in capabilities:
            raise DeviceError(f"this CPU does not compute in {precision}: use --precision float32")
        return _PRECISIONS[precision]

    def _queue(self, shape: tuple[int, ...]):
        if shape not in self._queues:
            model = self._model.clone()
            model.reshape([1, *shape])
            compiled = self._core.compile_model(model, self._device, self._options)
            self._queues[shape] = self._openvino.AsyncInferQueue(compiled)
        return self._queues[shape]

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        queue = self._queue(images.shape[1:])
        results = [None] * len(images)

        def keep(request, position: int) -> None:
            results[position] = [output.data.copy() for output in request.output_tensors]

        queue.set_callback(keep)
        for position in range(len(images)):
            queue.start_async([images[position : position + 1]], position)
        queue.wait_all()
        return [np.concatenate(output) for output in zip(*results, strict=True)]


def _forward(model, images):
    """The network's outputs as a list of float32 tensors, from uint8 images."""
    import tensorflow as tf

    outputs = model(tf.cast(images, tf.float32), training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [tf.cast(output, tf.float32) for output in outputs]


def _cast(model, precision: str):
    """The same model computing in `precision`, its weights kept in float32 (Keras's mixed policies)."""
    if precision == "float32":
        return model
    import keras

    def with_policy(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": f"mixed_{precision}"})

    clone = keras.models.clone_model(model, clone_function=with_policy)
    clone.set_weights(model.get_weights())
    return clone


def _converted(network: Network):
    """The network as an OpenVINO model, from the cache where an earlier run has left it there."""
    import openvino

    version = openvino.__version__.split("-")[0]
    folder = _cache_folder() / "openvino" / f"{network.role}-{sha256(network.path)[:24]}-{version}-{_CONVERSION}"
    if (folder / "whole").is_file():
        try:
            if (folder / "whole").read_text() == sha256(folder / "model.bin"):
                return openvino.Core().read_model(folder / "model.xml")
        except (RuntimeError, OSError, WeightsError):
            pass
        log.warning("the converted model in %s is damaged: converting it again", folder)
    model = _convert(network)
    try:
        _keep(model, folder)
    except (OSError, RuntimeError) as error:  # OpenVINO's own, when the disk is full
        log.warning("cannot keep the converted model in %s (%s): every run will convert it again", folder, error)
    return model


def _convert(network: Network):
    """Keras -> OpenVINO, uint8 images in, by tracing the network once."""
    import openvino
    import tensorflow as tf

    model = network.load()
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
    traced = tf.function(lambda images: _forward(model, images), input_signature=signature)
    return openvino.convert_model(traced.get_concrete_function())


def _keep(model, folder: Path) -> None:
    """Saves a converted model so that a run killed meanwhile, or another run at the same time, leaves no half of it."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent))
    openvino.save_model(model, partial / "model.xml", compress_to_fp16=False)
    (partial / "whole").write_text(sha256(partial / "model.bin"))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:  # another run was first; its copy is as good
        shutil.rmtree(partial, ignore_errors=True)


def _cache_folder() -> Path:
    """Where converted models are kept: `MASKBATCH_CACHE`, or the platform's cache folder of the user."""
    chosen = os.environ.get("MASKBATCH_CACHE")
    return Path(chosen) if chosen else user_cache_path("maskbatch")
