"""Workers of a Ray cluster scan the shards, and stream their results to the driver, which alone stores them.

Ray Core's actors are used, and not Ray Data: a checkpoint comes back with each segment, so that a video goes on from there
when its worker dies, and a stop of the driver reaches the batch at work; an operator of Ray Data starts a block again from
its beginning. A worker never raises: what `run_shard` raises comes as the last item of its results. Frames never travel;
paths, rows and checkpoints do. Media go straight to the output folder, which all machines see under the same path.
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
# results that wait for the driver: a worker pauses when it does not keep up
_AHEAD = 8


class RayEngine:
    """Hands shards to the workers of a cluster: one for each GPU, or for so many cores.

    Args:
        settings: those of the scan. Their device decides whether workers take a GPU.
        cluster: how the cluster is reached, and what a worker takes.
        worker: the class of the workers.

    Raises:
        UsageError: Ray is not installed, or a worker has another version of maskbatch or other weights.
        DeviceError: the cluster cannot be reached, or has no room for a worker.
        WeightsError: as `open_networks`, in the first worker.
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
        """Yield the results of a shard from a worker, and raise its error here. Raises WorkerLost when it has died, or
        was ended because nothing came for `cluster.patience_s`; MaskbatchError when for as long no worker could be had."""
        worker, number = self._taken(is_over), next(self._numbers)
        if worker is None:
            return
        own = replace(settings, workers=1)  # of this scan, this worker has one shard at a time
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
            else:  # it died, or its results are no longer wanted: nothing of it may write beside its successor
                self._ray.kill(worker)

    def close(self) -> None:
        """End the workers, and leave the cluster; a cluster that was started for this scan ends."""
        with suppress(queue.Empty):
            while True:
                self._ray.kill(self._idle.get_nowait())
        self._ray.shutdown()

    def _said(self, said, worker, number: int, is_over: IsOver) -> Iterator[Said]:
        """Yield the items of a worker's stream. Once `is_over()`, it is asked to stop, and what is analysed still comes."""
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
        """Return a worker that is idle, or a new one, whichever is there first; None once `is_over()`."""
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
                    f"no worker could be had for {_minutes(self._cluster.patience_s)}, and none gives results: is there "
                    f"room for {self._takes} in the cluster (ray status)?{why} All finished work is kept, and the same "
                    "command goes on"
                )
        if new is not None:
            self._ray.kill(new[0])
        return None

    def _check(self, version: str, found: NetworkFacts | Exception) -> None:
        """Take the facts of the first worker, and see that others have the same. Raises UsageError, or its error."""
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
        except Exception as error:  # of gRPC, of Ray, or of the system, depending on what is wrong
            raise DeviceError(
                f"Ray cannot reach {where or 'a cluster on this machine'} ({_first_line(error)}): see ray status"
            ) from error

    def _shares(self) -> tuple[dict[str, float], int]:
        """Return what a worker takes of a machine, and how many fit into the cluster now."""
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
    """Keep what Ray says about lost workers, with pages of its own logs, from standard output, which is for results.

    Ray prints it there whatever `log_to_driver` is (2.60); the driver says in one line which worker was lost.
    """
    with suppress(AttributeError):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _check_answers(address: str) -> None:
    """Raise DeviceError when nobody answers at HOST:PORT: Ray itself would try for minutes."""
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
