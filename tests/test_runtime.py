"""Running networks: which precision, how often TensorFlow traces, what an unreadable int8 file says."""

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from maskbatch.errors import DeviceError, UsageError, WeightsError
from maskbatch.networks import openvino
from maskbatch.networks.device import Device, choose_device, choose_precision, open_network
from maskbatch.networks.weights import Network
from maskbatch.settings import RuntimeSettings

CPU = Device("openvino", ("CPU",), "a CPU")
GPU = Device("tensorflow", ("GPU:0",), "a GPU")
# where there is none, TensorFlow computes on the CPU what was meant for it


def network(load=None, int8: Path | None = None) -> Network:
    """Return a network; `load` may give any function of images in place of a model."""

    def load_sized():
        model = load()
        if not hasattr(model, "input_shape"):
            model.input_shape = (None, None, None, 3)
        return model

    return Network("test", Path("test.keras"), load_sized, int8)


def test_auto_takes_int8_where_it_ships_and_pays():
    """On OpenVINO with 8-bit weights int8, else fp32; a GPU computes in fp32 unless asked otherwise."""
    with_int8 = network(int8=Path("test.int8.zip"))
    assert choose_precision(with_int8, CPU, "auto") == "int8"
    assert choose_precision(network(), CPU, "auto") == "fp32"
    assert choose_precision(with_int8, GPU, "auto") == "fp32"
    assert choose_precision(with_int8, CPU, "fp32") == "fp32"


@pytest.mark.parametrize("plugin", [None, "tensorflow-metal", "tensorflow-directml-plugin"])
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_off_linux_tensorflow_is_asked_for_gpus_only_where_a_plugin_is(monkeypatch, platform, plugin):
    """Its import takes seconds, and its own wheels have no GPU there."""
    asked = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("maskbatch.networks.device._is_installed", lambda name: name == plugin)
    monkeypatch.setattr("maskbatch.networks.device.list_gpus", lambda: asked.append(platform) or [])
    assert choose_device(RuntimeSettings()).runtime == "openvino"
    assert len(asked) == (plugin is not None)


def test_int8_that_cannot_be_had_is_a_usage_error():
    """A model of the user's own has no 8-bit weights, and TensorFlow does not run them."""
    with pytest.raises(UsageError, match=r"test\.keras has no int8 weights"):
        choose_precision(network(), CPU, "int8")
    with pytest.raises(UsageError, match="int8 is for CPUs"):
        choose_precision(network(int8=Path("x.zip")), GPU, "int8")


def test_a_precision_the_processor_lacks_is_a_clear_error():
    """OpenVINO would silently compute in something else."""
    device = choose_device(RuntimeSettings(runtime="openvino"))
    with pytest.raises(DeviceError, match="does not compute in fp16: use --precision auto"):
        open_network(network(load=tiny_model), device, "fp16")


def test_threads_may_be_the_first_to_run_a_network_together():
    """Many threads that begin at the same time all come to an end, in a process that has run no network yet."""
    code = """
import os, sys, threading
import numpy as np
from openvino import Model, opset13
from maskbatch.networks.openvino import openvino_core
sys.setswitchinterval(1e-6)
image = opset13.parameter([1, 4], np.uint8)
compiled = openvino_core().compile_model(Model([opset13.convert(image, "f32")], [image]), "CPU")
together = threading.Barrier(8)
def work():
    request = compiled.create_infer_request()
    together.wait()
    request.start_async([np.zeros((1, 4), np.uint8)])
    request.wait()
    request.output_tensors[0].data.copy()
threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join(10) for thread in threads[:1]]
os._exit(any(thread.is_alive() for thread in threads[:1]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_threads_that_open_openvino_together_get_one_core():
    """Two cores would warm up at the same time, which can deadlock, and closing one of them breaks Ctrl-C."""
    code = """
import os, threading
from maskbatch.networks.openvino import openvino_core
found, together = [], threading.Barrier(4)
def open_it():
    together.wait(10)
    found.append(openvino_core())
threads = [threading.Thread(target=open_it, daemon=True) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
print(len(found), len(set(map(id, found))), flush=True)
os._exit(0)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.split() == ["4", "1"], ended.stderr


def test_tensorflow_traces_once_for_each_power_of_two():
    """Batches of 1 to 16 images trace five times, and another round not at all."""
    traces = []

    def load():
        def model(images, training):
            traces.append(images.shape)
            return images[:, :1, :1, 0]

        return model

    run = open_network(network(load), GPU, "fp32")
    for _ in range(2):
        for count in range(1, 17):
            images = np.full((count, 8, 8, 3), count, np.uint8)
            (found,) = run(images)
            assert found.shape[0] == count and (found == count).all()
    assert len(traces) == 5


def test_tensorflow_on_a_cpu_takes_few_images_at_once():
    """However large the batch is: each would take its share of gigabytes."""
    sizes = []

    def load():
        def model(images, training):
            sizes.append(images.shape[0])
            return images[:, :1, :1, 0]

        return model

    run = open_network(network(load), Device("tensorflow", ("CPU:0",), ""), "fp32")
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    (found,) = run(images)
    assert found.ravel().tolist() == list(range(7)) and sorted(sizes) == [1, 2]


def test_threads_share_the_devices():
    """Two calls at the same time run on a device each, whichever threads make them; the network is loaded on both."""
    loaded, used, together = [], [], threading.Barrier(2)

    def load():
        number = len(loaded)
        loaded.append(number)

        def note():
            used.append(number)
            together.wait(10)

        def model(images, training):
            with tf.control_dependencies([tf.py_function(note, [], [])]):
                return tf.identity(images[:, :1, :1, 0])

        return model

    run = open_network(network(load), Device("tensorflow", ("GPU:0", "GPU:1"), ""), "fp32")
    for _ in range(3):  # new threads each time, as for each shard
        threads = [threading.Thread(target=run, args=[np.zeros((2, 8, 8, 3), np.uint8)]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert loaded == [0, 1] and [sorted(used[pair : pair + 2]) for pair in (0, 2, 4)] == 3 * [[0, 1]]


def test_a_busy_device_is_left_alone():
    """While one of two is at work, calls of any other thread go to the other one."""
    used, begun, go_on = [], threading.Event(), threading.Event()

    def load():
        number = len(loaded)
        loaded.append(number)

        def note(is_long):
            used.append(number)
            if is_long:
                begun.set()
                assert go_on.wait(10)

        def model(images, training):
            with tf.control_dependencies([tf.py_function(note, [images[0, 0, 0, 0] > 0], [])]):
                return tf.identity(images[:, :1, :1, 0])

        return model

    loaded = []
    run = open_network(network(load), Device("tensorflow", ("GPU:0", "GPU:1"), ""), "fp32")
    busy = threading.Thread(target=run, args=[np.ones((1, 8, 8, 3), np.uint8)])
    busy.start()
    assert begun.wait(10)
    for _ in range(3):
        other = threading.Thread(target=run, args=[np.zeros((1, 8, 8, 3), np.uint8)])
        other.start()
        other.join()
    go_on.set()
    busy.join()
    assert used[1:] == 3 * [1 - used[0]]


def test_a_batch_too_large_for_the_gpu_is_halved(caplog, monkeypatch):
    """Until it fits, now and from then on, with a warning; when one image is too much, that is the error."""
    sizes, room = [], 5

    def load():
        def check(count):
            sizes.append(int(count))
            if count > room:
                raise MemoryError  # ResourceExhaustedError, to who called

        def model(images, training):
            with tf.control_dependencies([tf.py_function(check, [tf.shape(images)[0]], [])]):
                return tf.identity(images[:, :1, :1, 0])

        return model

    run = open_network(network(load), GPU, "fp32")
    images = np.arange(13, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    for _ in range(2):
        (found,) = run(images)
        assert found.ravel().tolist() == list(range(13))
    assert sizes == [16, 8] + 2 * [4, 4, 4, 1]
    assert "13 images at once are too many for the GPU's memory: continuing with 7" in caplog.text
    monkeypatch.setattr("maskbatch.networks.tensorflow._MEMORY_WAITS_S", (0, 0))
    room = 0
    with pytest.raises(DeviceError, match=r"too small for one image of 8 x 8 \(test\)"):
        run(images)


def test_an_image_that_finds_no_memory_is_tried_again(monkeypatch):
    """Another thread, or program, may have had it for a moment."""
    refusals = [True, True, False]

    def load():
        def check():
            if refusals.pop(0):
                raise MemoryError  # ResourceExhaustedError, to who called

        def model(images, training):
            with tf.control_dependencies([tf.py_function(check, [], [])]):
                return tf.identity(images[:, :1, :1, 0])

        return model

    monkeypatch.setattr("maskbatch.networks.tensorflow._MEMORY_WAITS_S", (0, 0))
    run = open_network(network(load), GPU, "fp32")
    (found,) = run(np.full((1, 8, 8, 3), 7, np.uint8))
    assert found.ravel().tolist() == [7] and refusals == []


def test_fp32_on_a_gpu_is_no_tf32():
    """TensorFlow would multiply with 10 bits of 23 on GPUs that can."""
    tf.config.experimental.enable_tensor_float_32_execution(True)
    open_network(network(lambda: lambda images: images), GPU, "fp32")
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_an_unreadable_int8_file_is_a_weights_error(tmp_path):
    """Whatever is wrong with it: no archive, no model in it, no model at all."""
    device = choose_device(RuntimeSettings(runtime="openvino"))
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
            open_network(network(int8=path), device, "int8")


def tiny_model():
    """A Keras model of one convolution."""
    import keras

    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1)])


def test_a_conversion_that_cannot_be_kept_leaves_nothing(tmp_path, monkeypatch, caplog):
    """A full disk costs the next run another conversion, and this one a warning."""

    def full(model, path, **_):
        path.write_text("half of it")
        raise RuntimeError("No space left on device")

    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino, "_convert", lambda network: "a model")
    monkeypatch.setattr("openvino.save_model", full)
    (tmp_path / "test.keras").write_bytes(b"weights")
    assert openvino.converted(Network("test", tmp_path / "test.keras", None, None)) == "a model"
    assert list((tmp_path / "cache/openvino").iterdir()) == [] and "No space left on device" in caplog.text
