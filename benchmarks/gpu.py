"""Measure both networks on a GPU with Keras on JAX: images a second, share of the roofline, decoding beside it.

    KERAS_BACKEND=jax PYTHONPATH=. python benchmarks/gpu.py --seconds 400

It needs JAX, Keras, NumPy, OpenCV and platformdirs. Weights are the shipped ones; images are random bytes, already in the
GPU's memory. The bound of a batch is the sum over the layers of the longer of two times: arithmetic at the measured rate of
a large matrix product in this precision, and memory traffic at the measured rate of a large copy. fp32 is computed in
fp32, without TF32. XLA tries many kernels for each convolution, which takes minutes; `XLA_FLAGS=--xla_gpu_autotune_level=0`
leaves that out, but may choose slower kernels. What is not compiled in `--seconds` is named and not measured.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import keras
import numpy as np
from roofline import Work, layer_work, roofline_s

from maskbatch.networks import weights, yunet
from maskbatch.trainer.model import build_model, load_model

BATCHES = (256, 1, 32, 8, 128, 64)
POLICIES = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16", "fp32": "float32"}
IMAGES = {"detector": (384, 640, 3), "classifier 128": (128, 128, 3), "classifier 224": (224, 224, 3)}
_TYPES = {"bf16": jnp.bfloat16, "fp16": jnp.float16, "fp32": jnp.float32}
_REPEATS = 5
_PART_S = 0.06


@dataclass(frozen=True, slots=True)
class Case:
    """A network in a precision on batches of one size."""

    network: str
    precision: str
    batch: int

    def __str__(self) -> str:
        return f"{self.network} {self.precision} {self.batch}"


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates: operations a second of each precision, and bytes copied a second, read and written."""

    flops: dict[str, float]
    copied: float


@dataclass(frozen=True, slots=True)
class Traced:
    """A case ready to be compiled: what `jax.jit(...).lower` gave, the weights it takes, and the work of its layers."""

    lowered: object
    weights: tuple[list, list]
    works: list[Work]


def measured_rates(size: int = 8192, num_bytes: int = 1 << 31) -> Rates:
    """Return the rates of products of `size` x `size` matrices and of a copy of `num_bytes`."""
    flops = {}
    for precision, dtype in _TYPES.items():
        a, b = (jax.random.normal(jax.random.key(i), (size, size), dtype) for i in (0, 1))
        with _exact(precision):
            flops[precision] = 2 * size**3 / median_seconds(jax.jit(jnp.matmul), a, b)
    source = jnp.ones(num_bytes // 4, jnp.float32)
    return Rates(flops, 2 * num_bytes / median_seconds(jax.jit(lambda x: x + 1), source))


def decode_rate(photo: Path, threads: int) -> float:
    """Return how many JPEG frames of 1280 x 720 a second the CPUs decode, from a photo scaled to that size."""
    frame = cv2.resize(cv2.imread(str(photo)), (1280, 720), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
    cv2.setNumThreads(1)

    def some(_: int) -> None:
        for _ in range(60):
            cv2.imdecode(jpeg, cv2.IMREAD_COLOR)

    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(some, range(threads)))
        return 60 * threads / (time.perf_counter() - start)


def median_seconds(run: Callable, *arguments: object) -> float:
    """Return the median seconds of a call, over five parts of many calls each, after one that warms up."""
    jax.block_until_ready(run(*arguments))
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    count, parts = max(3, int(_PART_S / max(time.perf_counter() - start, 1e-6))), []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for _ in range(count):
            result = run(*arguments)
        jax.block_until_ready(result)
        parts.append((time.perf_counter() - start) / count)
    return float(np.median(parts))


def traced(batches: list[int]) -> dict[Case, Traced]:
    """Return all cases, traced: those of all networks and precisions in turn for each batch size, in the given order."""
    models = {}
    # kernels for the random first values of weights would be compiled for the GPU one by one
    with jax.default_device(jax.devices("cpu")[0]):
        for precision, policy in POLICIES.items():
            keras.config.set_dtype_policy(policy)
            for name in IMAGES:
                models[name, precision] = _build(name.split()[0], IMAGES[name][0])
    return {Case(*key, batch): _traced(model, Case(*key, batch)) for batch in batches for key, model in models.items()}


def compiled(cases: dict[Case, Traced], threads: int, seconds: float) -> dict[Case, Callable]:
    """Return the functions images -> outputs of the cases that are compiled in time; the others are printed."""
    ready = {}
    with ThreadPoolExecutor(threads) as pool:
        waiting = {pool.submit(case.lowered.compile): name for name, case in cases.items()}
        try:
            for done in as_completed(waiting, timeout=max(1.0, seconds)):
                ready[waiting[done]] = functools.partial(done.result(), *jax.device_put(cases[waiting[done]].weights))
        except TimeoutError:
            missing = "; ".join(str(case) for case in cases if case not in ready)
            print(f"Not compiled in time, and not measured: {missing}")
        pool.shutdown(wait=True, cancel_futures=True)
    return ready


def row(case: Case, run: Callable, works: list[Work], rates: Rates) -> str:
    """Return the row of the table for a compiled case."""
    images = np.random.default_rng(0).integers(0, 256, (case.batch, *IMAGES[case.network]), np.uint8)
    took, item_bytes = median_seconds(run, jax.device_put(images)), jnp.dtype(_TYPES[case.precision]).itemsize
    bound = roofline_s(works, case.batch, (rates.flops[case.precision], rates.copied), item_bytes)
    words = (
        case.network,
        case.precision,
        case.batch,
        f"{case.batch / took:.0f}",
        f"{took * 1e3:.2f}",
        f"{bound / took:.2f}",
    )
    return f"| {' | '.join(map(str, words))} |"


def _exact(precision: str):
    """Return a context in which fp32 is computed in fp32; JAX's default is TF32 there, with 10 bits of 23."""
    return jax.default_matmul_precision("highest" if precision == "fp32" else "default")


def _build(network: str, size_px: int):
    """Return a network with the shipped weights; the classifier's fit every size."""
    if network == "detector":
        return yunet.load_network(weights.find("yunet"))
    model = build_model(base_weights=None, size_px=size_px, third_state=True)
    model.set_weights(load_model(weights.find("mask")).get_weights())
    return model


def _traced(model, case: Case) -> Traced:
    held = ([v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables])

    def answer(trained, other, images):
        return model.stateless_call(trained, other, images.astype(jnp.float32), training=False)[0]

    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), held)
    images = jax.ShapeDtypeStruct((case.batch, *IMAGES[case.network]), jnp.uint8)
    with _exact(case.precision):
        return Traced(jax.jit(answer).lower(*shapes, images), held, layer_work(model, IMAGES[case.network]))


def main() -> None:
    """Print the machine's rates, and a row of the table for each case that is compiled in time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=400, help="measure what is compiled by then")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="batch sizes, the most wanted first")
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1), help="cases compiled at a time")
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices whose product is the peak")
    given = parser.parse_args()
    begun, rates = time.monotonic(), measured_rates(given.matrix)
    print(f"{jax.devices()[0].device_kind}; jax {jax.__version__}, keras {keras.__version__}; {os.cpu_count()} cores")
    flops = "; ".join(f"{name} {rate / 1e12:.1f} TFLOP/s" for name, rate in rates.flops.items())
    print(f"{flops}; copy {rates.copied / 1e12:.2f} TB/s")
    photo = Path(__file__).parents[1] / "sample_media/portrait_surgical.jpg"
    for threads in sorted({1, os.cpu_count() or 1}):
        print(f"JPEG 1280 x 720: {decode_rate(photo, threads):.0f} decoded/s by {threads} threads", flush=True)
    cases = traced(given.batches)
    print(f"traced, {time.monotonic() - begun:.0f} s", flush=True)
    ready = compiled(cases, given.threads, given.seconds - (time.monotonic() - begun))
    print(
        f"compiled, {time.monotonic() - begun:.0f} s\n\n| network | precision | batch | images/s | ms a batch | roofline |"
    )
    print("|---|---|---|---|---|---|")
    for case in sorted(ready, key=lambda case: (case.network, case.precision, case.batch)):
        print(row(case, ready[case], cases[case].works, rates), flush=True)


if __name__ == "__main__":
    main()
