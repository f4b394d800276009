"""Ctrl-C: the program ends within two seconds, keeps the rows of all batches that were analysed, and goes on from there."""

import csv
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from killed_runs import contents
from makers import write_photo
from test_resume import open_in

from maskbatch.errors import Interrupted
from maskbatch.media.guard import limits
from maskbatch.media.guard.limits import TimeLimitedReader
from maskbatch.media.read_ahead import by_tf_data, by_threads
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.weights import Network
from maskbatch.overlap import Ahead
from maskbatch.settings import RuntimeSettings
from maskbatch.store.database import is_store

SAMPLES = Path(__file__).parents[1] / "sample_media"


def command(inputs, out, *options):
    words = ["scan", inputs, "--out", out, "-q", "--device", "cpu", *options]
    return [sys.executable, "-m", "maskbatch", *map(str, words)]


def interrupted(words, is_time):
    """Runs the command and presses Ctrl-C when `is_time()`. Returns its exit code, the seconds that it took to end, and
    those that it may take: two, and more where all that comes before was slow, too."""
    start = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not is_time():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert "Traceback" not in said
        return process.returncode, time.monotonic() - asked, max(2.0, asked - start)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_long_batch_is_not_waited_for(tmp_path, workers):
    """Sixteen photos through a large network take many seconds: what is at work is given up within the image."""
    for number in range(16):
        write_photo(tmp_path / "in" / f"{number}.jpg", np.full((900, 900, 3), 10 * number, np.uint8))
    opened = []

    def is_time():  # all are open, and decoded a second later
        if not opened and is_store(tmp_path / "out/scan.db") and len(open_in(tmp_path / "out")) == 16:
            opened.append(time.monotonic())
        return bool(opened) and time.monotonic() > opened[0] + 1

    options = ["--det-size", 3072, "--batch-size", 16, "--save", "none", "--workers", workers]
    code, took_s, limit_s = interrupted(command(tmp_path / "in", tmp_path / "out", *options), is_time)
    assert code == 130 and took_s < limit_s


OPTIONS = ("--batch-size", 4, "--every", 5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photos and a video with sound in `in`, and in `whole` a scan of them without a Ctrl-C."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in/photos").mkdir(parents=True)
    shutil.copy(SAMPLES / "video/visitors.mp4", folder / "in")
    for number in range(16):
        shutil.copy(SAMPLES / "groups/meeting.jpg", folder / f"in/photos/{number:02}.jpg")
    subprocess.run(command(folder / "in", folder / "whole", *OPTIONS), check=True)
    return folder


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_analysed_is_kept_and_the_same_command_goes_on(made, tmp_path, workers):
    """A photo that has its copy was in a batch that was analysed: the whole batch is in the report. The end is byte for byte
    that of a scan without a Ctrl-C."""
    out = tmp_path / "out"
    words = command(made / "in", out, *OPTIONS, "--workers", workers)
    code, took_s, limit_s = interrupted(words, lambda: any((out / "annotated").glob("photos/[!.]*")))
    assert code == 130 and took_s < limit_s
    with (out / "files.csv").open(encoding="utf-8") as file:
        kept = [row["source"] for row in csv.DictReader(file) if row["source"].startswith("photos/")]
    assert len(kept) >= 4 and len(kept) % 4 == 0
    subprocess.run(words, check=True)
    assert contents(out) == contents(made / "whole")


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_networks_stop_inside_a_batch(tmp_path, name):
    """Once the run is over they raise Interrupted, and begin nothing."""
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1)])
    (tmp_path / "test.keras").write_bytes(b"weights")
    is_over = threading.Event()
    device = choose_device(RuntimeSettings(runtime=name, device="cpu"))
    network = Network("test", tmp_path / "test.keras", lambda: model)
    run = partial(open_network(network, device, "fp32"), is_over=is_over.is_set)
    images = np.zeros((9, 8, 8, 3), np.uint8)
    assert run(images)[0].shape == (9, 8, 8, 1)
    is_over.set()
    with pytest.raises(Interrupted):
        run(images)


def test_a_probe_that_hangs_is_not_waited_for():
    """Its thread is left behind."""
    is_over, come_back = threading.Event(), threading.Event()
    threading.Timer(0.2, is_over.set).start()
    with pytest.raises(Interrupted):
        limits.with_time_limit(lambda: come_back.wait(30), 60, is_over.is_set)
    assert not come_back.is_set()
    come_back.set()


def test_items_that_are_made_still_come_once_it_is_over():
    """And no others: the thread makes no more, and nobody waits for the one in the making."""
    is_over, made = threading.Event(), threading.Event()

    def make():
        yield 1
        made.set()
        yield 2
        is_over.wait(10)
        time.sleep(0.5)
        yield 3
        yield 4

    with Ahead(make(), depth=2, is_over=is_over.is_set) as items:
        made.wait(10)
        time.sleep(0.1)
        is_over.set()
        assert list(items) in ([1, 2], [1, 2, 3])


class Reader:
    """Frames without end, each after `wait_s`."""

    frames_decoded = progress = 0
    notes = ()

    def __init__(self, wait_s):
        self._wait_s, self.has_begun, self.is_closed = wait_s, threading.Event(), threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_closed.set()

    def __iter__(self):
        self.has_begun.set()
        while True:
            time.sleep(self._wait_s)
            yield 0, 0.0, np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize("read_ahead", [by_threads, by_tf_data], ids=["threads", "tf.data"])
@pytest.mark.parametrize("wait_s", [0.0, 4.0])
def test_readers_stop_between_frames_and_inside_one(monkeypatch, read_ahead, wait_s):
    """Frames that were read come, then Interrupted; a decoder that is slow to come back is left behind, and closes its file
    when it does."""
    monkeypatch.setattr(limits, "_LEAVE_S", 0.4)
    is_over, reader = threading.Event(), Reader(wait_s)

    def frames():
        with TimeLimitedReader(reader, 60, is_over.is_set) as limited_reader:
            yield from limited_reader

    asked = []

    def ask():
        reader.has_begun.wait(30)
        time.sleep(0.3)
        asked.append(time.monotonic())
        is_over.set()

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(Interrupted):
        for _ in read_ahead([frames()], 1):
            pass
    assert time.monotonic() - asked[0] < 3
    assert reader.is_closed.wait(10)
