"""Workers of a Ray cluster for tests: with the networks of killed_runs.py, and a white photo kills them."""

import os
import signal
import time
from dataclasses import replace

from killed_runs import classify, detect, networks

from maskbatch.run import shard
from maskbatch.run import worker as worker_module
from maskbatch.run.stages import Networks
from maskbatch.run.worker import Worker

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
        os.fsync = os.fstat  # no disk is waited for, as in the tests' own process
        worker_module.open_networks = shard.open_networks = self.networks

    @staticmethod
    def networks(_) -> Networks:
        """Networks that are small functions."""
        return replace(networks(_), detector=lambda _: deadly, classifier=lambda _: classify)


class OtherWorker(FakeWorker):
    """A worker whose networks compute in another precision when it is not the first for an output folder."""

    @staticmethod
    def networks(settings) -> Networks:
        """Networks that are small functions."""
        found = FakeWorker.networks(settings)
        return found if is_first(settings) else replace(found, precision={"detector": "int8"})


class SilentWorker(FakeWorker):
    """A worker that hangs in its first shard when it is the first for an output folder."""

    def scan(self, number, shard, checkpoint, settings):
        """Yield the results, or nothing for ever."""
        if is_first(settings):
            time.sleep(3600)
        yield from super().scan(number, shard, checkpoint, settings)


def is_first(settings) -> bool:
    """Tell if nobody has asked before for the output folder of the settings."""
    marker = settings.output.folder.with_name("marker")
    if marker.exists():
        return False
    marker.touch()
    return True
