"""The engine for a Ray cluster: workers scan shards and stream results to the driver, which alone stores them.

The workers are actors of Ray Core. They return a checkpoint with each segment, so that a video continues from there
when its worker dies, and a stop takes effect within a batch. Ray Data would start a block again from its beginning. A
worker never raises: an error of `run_shard` is the last item of its results. Paths, rows and checkpoints travel, but
frames do not. Media go straight to the output folder, which all machines see under the same path.
"""

import itertools
import logging
import os
import queue
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from maskbatch import __version__
from maskbatch.errors import DeviceError, UsageError
from maskbatch.overlap import IsOver, never
from maskbatch.run.engine import WorkerLost
from maskbatch.run.stages import NetworkFacts
from maskbatch.run.worker import Said, Worker
from maskbatch.settings import ClusterSettings, ScanSettings
from maskbatch.types import Checkpoint, SegmentResult, Shard

_LOOK_S, _ANSWER_S = 0.5, 5.0
# results that wait for the driver: a worker pauses when the driver does not keep up
_AHEAD = 8


class RayEngine:
    """An engine that hands shards to the workers of a cluster: one worker per GPU, or per number of cores.

    Args:
        settings: settings of the scan. Their device decides whether workers take a GPU.
        cluster: address of the cluster, and resources of a worker.
        worker: class of the workers.

    Raises:
        UsageError: Ray is not installed, or a worker has another version of maskbatch or other weights.
        DeviceError: the cluster cannot be reached, or has no room for a worker.
        WeightsError: the first worker raises it from `open_networks`.
    """

    def __init__(self, settings: ScanSettings, cluster: ClusterSettings, worker: type[Worker] = Worker) -> None:
        self._ray, self._settings, self._cluster = _imported(), settings, cluster
        self._idle: queue.SimpleQueue = queue.SimpleQueue()
        self._numbers, self._last = itertools.count(), time.monotonic()
        self.networks: NetworkFacts | None = None
        self._connect()
        try:
            self._takes, self.num_at_once = self._shares()
            self._class = self._ray.remote(worker).options(max_concurrency=2, max_restarts=0, **self._takes)
            self._idle.put(self._taken(never))
        except BaseException:
            self.close()
            raise

    def scan(
        self, shard: Shard, checkpoint: Checkpoint | None, settings: ScanSettings, is_over: IsOver
    ) -> Iterator[SegmentResult]:
        """Yield the results of a shard from a worker, and raise the worker's error.

        Raises WorkerLost when the worker died, or was ended after `cluster.patience_s` seconds without a result;
        DeviceError when no worker started for as long.
        """
        worker, number = self._taken(is_over), next(self._numbers)
        if worker is None:
            return
        own = replace(settings, workers=1)  # a worker scans one shard at a time
        said = worker.scan.options(num_returns="streaming", _generator_backpressure_num_objects=_AHEAD).remote(
            number, shard, checkpoint, own
        )
        is_whole = False
        try:
            for item in self._said(said, worker, number, is_over):
                for name, text in item.warnings:
                    logging.getLogger(name).warning("%s", text)
                if item.error is not None:
                    raise item.error
                yield item.result
            is_whole = True
        finally:
            if is_whole:
                self._idle.put(worker)
            else:  # the worker died, or its results are no longer wanted: it must not write beside its successor
                self._ray.kill(worker)

    def close(self) -> None:
        """End the workers, and leave the cluster. A cluster that was started for this scan ends."""
        with suppress(queue.Empty):
            while True:
                self._ray.kill(self._idle.get_nowait())
        self._ray.shutdown()

    def _said(self, said, worker, number: int, is_over: IsOver) -> Iterator[Said]:
        """Yield the items of a worker's stream. Once `is_over()` is true, ask the worker to stop, and yield what is left."""
        last, is_stopped = time.monotonic(), False
        while True:
            if is_over() and not is_stopped:
                worker.stop.remote(number)
                is_stopped = True
            try:
                ready, _ = self._ray.wait([said], timeout=_LOOK_S, fetch_local=False)
                if ready:
                    item = self._ray.get(next(said))
            except StopIteration:
                return
            except self._ray.exceptions.RayError as error:
                raise WorkerLost(f"a worker was lost ({_first_line(error)})") from error
            if ready:
                last = self._last = time.monotonic()
                yield item
            elif time.monotonic() - last > self._cluster.patience_s:
                raise WorkerLost(f"a worker has given nothing for {_minutes(self._cluster.patience_s)}, and was ended")

    def _taken(self, is_over: IsOver):
        """Return an idle or a new worker, whichever is ready first; None once `is_over()` is true."""
        new, began, why = None, time.monotonic(), ""
        while not is_over():
            with suppress(queue.Empty):
                worker = self._idle.get_nowait()
                if new is not None:
                    self._ray.kill(new[0])
                return worker
            if new is None:
                worker = self._class.remote()
                new = worker, worker.facts.remote(self._settings)
            try:
                if self._ray.wait([new[1]], timeout=_LOOK_S)[0]:
                    self._check(*self._ray.get(new[1]))
                    return new[0]
            except self._ray.exceptions.RayError as error:
                new, why = None, f" The last one did not start: {_last_line(error)}."
                time.sleep(_LOOK_S)
            if time.monotonic() - max(began, self._last) > self._cluster.patience_s:
                raise DeviceError(
                    f"no worker was available for {_minutes(self._cluster.patience_s)}, and none gives results: is there "
                    f"room for {self._takes} in the cluster (ray status)?{why} All finished work is kept, and the same "
                    "command goes on"
                )
        if new is not None:
            self._ray.kill(new[0])
        return None

    def _check(self, version: str, found: NetworkFacts | Exception) -> None:
        """Keep the facts of the first worker, and check that other workers have the same. Raises UsageError or `found`."""
        if isinstance(found, Exception):
            raise found
        if version != __version__:
            raise UsageError(
                f"a worker has maskbatch {version}, and this machine {__version__}: install the same version"
            )
        mine = self.networks
        if mine is None:
            self.networks = found
        elif (mine.device.runtime, mine.precision, mine.weights) != (
            found.device.runtime,
            found.precision,
            found.weights,
        ):
            raise UsageError(
                f"workers would give different numbers: one has {mine.device.description}, {mine.precision}, another one "
                f"{found.device.description}, {found.precision}: choose --device, --runtime and --precision"
            )

    def _connect(self) -> None:
        ray, address = self._ray, self._cluster.address
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where = address or os.environ.get("RAY_ADDRESS") or ""
        _check_answers(where)
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "maskbatch"}
        try:
            if where:
                ray.init(where, **quiet)
            else:
                ray.init("local", include_dashboard=False, object_store_memory=200 << 20, **quiet)
            _silence(ray)
        except Exception as error:  # an error of gRPC, Ray or the system, depending on the cause
            raise DeviceError(
                f"Ray cannot reach {where or 'a cluster on this machine'} ({_first_line(error)}): see ray status"
            ) from error

    def _shares(self) -> tuple[dict[str, float], int]:
        """Return the resources that a worker takes, and the number of workers that fit into the cluster now."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = sum(node.get("GPU", 0) for node in nodes)
        if gpus and self._settings.runtime.device != "cpu" and self._settings.runtime.runtime != "openvino":
            return {"num_gpus": 1, "num_cpus": 1}, int(gpus)
        cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
        if not cores:
            raise DeviceError("no machine of the cluster has a core to give (ray status)")
        each = self._cluster.worker_cores or min(cores)
        number = sum(own // each for own in cores)
        if not number:
            raise DeviceError(f"no machine of the cluster has {each} cores: choose a smaller --worker-cores")
        return {"num_cpus": each}, number


def _silence(ray) -> None:
    """Keep Ray's messages about lost workers, with pages of logs, off standard output, which is for results.

    Ray 2.60 prints them there even without `log_to_driver`. The driver logs one line about a lost worker.
    """
    with suppress(AttributeError):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _check_answers(address: str) -> None:
    """Raise DeviceError when no cluster answers at HOST:PORT, because Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise UsageError(f"--address takes HOST:PORT of the head of the cluster, such as head:6379, not {address}")
    if not port.isdecimal():  # auto, or nothing
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(
            f"no Ray cluster answers at {address} ({error}): is ray start --head running there?"
        ) from error


def _imported():
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'maskbatch[cluster]'") from error
    return ray


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _last_line(error: Exception) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__).strip()[
        :200
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes"
