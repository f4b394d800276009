"""Choose device, runtime and precision: TensorFlow on a GPU, OpenVINO on a CPU; the arrays in and out are the same.

Other packages see an `Infer`: a function from images (B, H, W, 3) uint8 RGB to a list of float32 arrays (B, ...). Each
array is an output of the network. An opened network also has `size_px`, the height of its images if that is fixed.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from maskbatch.errors import DeviceError, UsageError
from maskbatch.networks.openvino import OpenVinoNetwork
from maskbatch.networks.tensorflow import TensorFlowNetwork, list_gpus
from maskbatch.networks.weights import Network
from maskbatch.settings import RuntimeSettings

Infer = Callable[[np.ndarray], list[np.ndarray]]

# distributions that let TensorFlow use a GPU on Windows and on macOS
_GPU_PLUGINS = ("tensorflow-directml-plugin", "tensorflow-metal")


@dataclass(frozen=True, slots=True)
class Device:
    """A place where networks run.

    `runtime` is tensorflow or openvino. `names` are the runtime's names of the devices; several GPUs share the work.
    `description` is for people.
    """

    runtime: str
    names: tuple[str, ...]
    description: str

    @property
    def is_gpu(self) -> bool:
        return self.names[0].startswith("GPU")


def choose_device(settings: RuntimeSettings) -> Device:
    """Return the device that `settings` ask for. Raises DeviceError when it cannot be used; there is no silent fallback."""
    wants_gpu = settings.require_gpu or settings.device.startswith("gpu")
    if wants_gpu and settings.device == "cpu":
        raise DeviceError("--require-gpu contradicts --device cpu: drop one of the two")
    if wants_gpu and settings.runtime == "openvino":
        raise DeviceError("the OpenVINO runtime is for CPUs: use --runtime tensorflow for a GPU")
    on_cpu = settings.runtime == "openvino" or settings.device == "cpu" or not (wants_gpu or _may_have_gpu())
    gpus = [] if on_cpu else list_gpus()
    if wants_gpu and not gpus:
        raise DeviceError(
            "no usable GPU: TensorFlow sees none. Install the CUDA libraries (pip install 'maskbatch[gpu]'), check the "
            "driver with nvidia-smi, or scan without --require-gpu / --device gpu"
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
    """Return the precision in which a network computes: fp32, bf16, fp16 or int8.

    `asked` may be auto: int8 on OpenVINO if the network ships with int8 weights, else fp32. int8 weights ship only if
    they keep the accuracy. Raises UsageError when the device or the network does not support the precision.
    """
    if asked == "auto":
        return "int8" if network.int8 and device.runtime == "openvino" else "fp32"
    if asked == "int8" and device.runtime != "openvino":
        raise UsageError("int8 is for CPUs, by the OpenVINO runtime: use --precision auto, fp16 or fp32 here")
    if asked == "int8" and not network.int8:
        raise UsageError(f"{network.path.name} has no int8 weights (only the shipped models do): use --precision auto")
    return asked


def open_network(network: Network, device: Device, precision: str = "auto") -> Infer:
    """Load a network for a device and return its `Infer`.

    The `Infer` also takes `is_over` and raises Interrupted, even during an image, once `is_over` returns true. Raises
    DeviceError, UsageError (see `choose_precision`), or WeightsError when the file is not for this network.
    """
    precision = choose_precision(network, device, precision)
    if device.runtime == "openvino":
        return OpenVinoNetwork(network, precision)
    return TensorFlowNetwork(network, device.names, precision)


def _may_have_gpu() -> bool:
    """Return False when TensorFlow cannot have a GPU on this machine. TensorFlow itself would take seconds to answer."""
    if sys.platform == "linux":  # device files of NVIDIA's driver, of WSL, and of AMD's driver
        return any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd"))
    # TensorFlow's own wheels have no GPU on Windows and macOS: plugins bring it
    return any(_is_installed(plugin) for plugin in _GPU_PLUGINS)


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
