"""Workers of a Ray cluster for tests: with the networks of killed_runs.py, and a white photo kills them."""

import os
import signal
from dataclasses import replace

from killed_runs import classify, detect, networks

from maskbatch.networks.device import Device
from maskbatch.run import ray as ray_engine
from maskbatch.run import shard
from maskbatch.run.ray import Worker
from maskbatch.run.stages import Networks

WHITE = 250


def deadly(images):
    """Find faces as killed_runs.py does, and die of a white picture."""
    if any(image.mean() > WHITE for image in images):
        os.kill(os.getpid(), signal.SIGKILL)
    return detect(images)


class FakeWorker(Worker):
    """A worker that needs no network."""

    def __init__(self) -> None:
        super().__init__()
        ray_engine.open_networks = shard.open_networks = self.networks

    @staticmethod
    def networks(_) -> Networks:
        """Networks that are small functions."""
        return replace(networks(_), detector=lambda _: deadly, classifier=lambda _: classify)

    def pid(self) -> int:
        """The process, for tests that kill it."""
        return os.getpid()


class OtherWorker(FakeWorker):
    """A worker whose networks compute in another precision, every second time one starts."""

    @staticmethod
    def networks(_) -> Networks:
        """Networks that the file of the test counts."""
        marker = os.environ["MASKBATCH_TEST_MARKER"]
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return replace(
                FakeWorker.networks(_), precision={"detector": "int8"}, device=Device("openvino", ("CPU",), "x")
            )
        return FakeWorker.networks(_)


class SilentWorker(FakeWorker):
    """A worker that hangs in every video."""

    def scan(self, number, item, checkpoint, settings):
        """Yield results of photos; of a video, none, for ever."""
        if item.sources[0].kind == "video":
            import time

            time.sleep(3600)
        yield from super().scan(number, item, checkpoint, settings)
