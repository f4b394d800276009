"""Networks as OpenVINO models: converted from Keras once and kept in the user's cache, or read as they ship (int8)."""

import functools
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskbatch.cache import WHOLE, make_room, networks_folder, used
from maskbatch.errors import WeightsError
from maskbatch.weights import sha256

log = logging.getLogger(__name__)

# part of the caches' keys: to be raised when what is converted changes, such as a network written out in code
CONVERSION = 1


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can be run: what it is for, its weight file, and how to load it as a Keras model (called only when
    needed; it also checks that the file fits). `int8`: the same network with 8-bit weights, where there is one: a zip
    archive of an OpenVINO model, `model.xml` and `model.bin`."""

    role: str
    path: Path
    load: Callable[[], object]
    int8: Path | None = None


@functools.cache
def openvino_core():
    """OpenVINO, opened once: each one that is closed takes the signals' stack with it that another one may have put up, and
    then the next Ctrl-C is a crash. Its Python side makes tables at their first use, and lets go of the interpreter
    meanwhile: two threads that came first together would wait for each other for ever. So a network of nothing runs here,
    alone."""
    import numpy as np
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


def converted(network: Network):
    """The network as an OpenVINO model, from the cache where an earlier run has left it there."""
    import openvino

    version = openvino.__version__.split("-")[0]
    folder = networks_folder() / f"{network.role}-{sha256(network.path)[:24]}-{version}-{CONVERSION}"
    if (folder / WHOLE).is_file():
        try:
            if (folder / WHOLE).read_text() == sha256(folder / "model.bin"):
                used(folder)
                return openvino_core().read_model(folder / "model.xml")
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
    traced = tf.function(lambda images: forward(model, images), input_signature=signature)
    return openvino.convert_model(traced.get_concrete_function())


def _keep(model, folder: Path) -> None:
    """Saves a converted model so that a run killed meanwhile, or another run at the same time, leaves no half of it."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        openvino.save_model(model, partial / "model.xml", compress_to_fp16=False)
        (partial / WHOLE).write_text(sha256(partial / "model.bin"))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:  # another run was first; its copy is as good
        shutil.rmtree(partial, ignore_errors=True)
    make_room(folder)


def read_int8(network: Network):
    """The OpenVINO model with 8-bit weights. Raises WeightsError when it cannot be read."""
    import openvino

    try:
        with zipfile.ZipFile(network.int8) as archive:
            return openvino_core().read_model(archive.read("model.xml"), archive.read("model.bin"))
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]  # before it, OpenVINO names the lines of its own source
        raise WeightsError(
            f"cannot read {network.int8} with OpenVINO {openvino.__version__}: {reason} Use --precision fp32"
        ) from error


def forward(model, images):
    """The network's outputs as a list of float32 tensors, from uint8 images."""
    import tensorflow as tf

    outputs = model(tf.cast(images, tf.float32), training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [tf.cast(output, tf.float32) for output in outputs]
