"""Running networks: which precision, how often TensorFlow traces, what an unreadable int8 file says."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from maskbatch import runtime
from maskbatch.config import RuntimeSettings
from maskbatch.converted import Network
from maskbatch.errors import DeviceError, UsageError, WeightsError

CPU = runtime.Device("openvino", "CPU", "a CPU")
GPU = runtime.Device("tensorflow", "GPU:0", "a GPU")


def network(load=None, int8: Path | None = None) -> Network:
    return Network("test", Path("test.keras"), load, int8)


def test_auto_takes_int8_where_it_ships_and_pays():
    """On OpenVINO with 8-bit weights int8, else fp32; a GPU computes in fp32 unless asked otherwise."""
    with_int8 = network(int8=Path("test.int8.zip"))
    assert runtime.choose_precision(with_int8, CPU, "auto") == "int8"
    assert runtime.choose_precision(network(), CPU, "auto") == "fp32"
    assert runtime.choose_precision(with_int8, GPU, "auto") == "fp32"
    assert runtime.choose_precision(with_int8, CPU, "fp32") == "fp32"


def test_int8_that_cannot_be_had_is_a_usage_error():
    """A model of the user's own has no 8-bit weights, and TensorFlow does not run them."""
    with pytest.raises(UsageError, match=r"test\.keras has no int8 weights"):
        runtime.choose_precision(network(), CPU, "int8")
    with pytest.raises(UsageError, match="int8 is for CPUs"):
        runtime.choose_precision(network(int8=Path("x.zip")), GPU, "int8")


def test_a_precision_the_processor_lacks_is_a_clear_error():
    """OpenVINO would silently compute in something else."""
    device = runtime.choose_device(RuntimeSettings(runtime="openvino"))
    with pytest.raises(DeviceError, match="does not compute in fp16: use --precision auto"):
        runtime.open_network(network(load=tiny_model), device, "fp16")


def test_tensorflow_traces_once_for_each_power_of_two():
    """Batches of 1 to 16 images trace five times, and another round not at all."""
    traces = []

    def load():
        def model(images, training):
            traces.append(images.shape)
            return images[:, :1, :1, 0]

        return model

    run = runtime.open_network(network(load), runtime.Device("tensorflow", "CPU:0", ""), "fp32")
    for _ in range(2):
        for count in range(1, 17):
            images = np.full((count, 8, 8, 3), count, np.uint8)
            (found,) = run(images)
            assert found.shape[0] == count and (found == count).all()
    assert len(traces) == 5


def test_an_unreadable_int8_file_is_a_weights_error(tmp_path):
    """Whatever is wrong with it: no archive, no model in it, no model at all."""
    device = runtime.choose_device(RuntimeSettings(runtime="openvino"))
    path = tmp_path / "bad.int8.zip"
    for members in (None, {}, {"model.xml": b"<net>", "model.bin": b""}):
        path.unlink(missing_ok=True)
        if members is None:
            path.write_bytes(b"no archive")
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        with pytest.raises(WeightsError, match=r"bad\.int8\.zip.*--precision fp32"):
            runtime.open_network(network(int8=path), device, "int8")


def tiny_model():
    """A Keras model of one convolution."""
    import keras

    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1)])
