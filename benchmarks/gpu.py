"""Measure both networks on a GPU with PyTorch: images a second, share of the roofline, decoding beside it.

    python benchmarks/roofline.py works.json                  # where Keras is
    PYTHONPATH=. python benchmarks/gpu.py works.json          # where the GPU is

It needs PyTorch, NumPy, OpenCV and platformdirs. The networks are those of `models/classifier_learner.py` and
`models/detector_learner.py` with random weights, batch norms folded into the convolutions, channels last; images are random
bytes, already in the GPU's memory; a batch is one CUDA graph, so that starting kernels costs little. The bound of a batch
is the sum over the layers of the longer of two times: arithmetic at the measured rate of a large matrix product in this
precision, and memory traffic at the measured rate of a large copy. fp32 is computed in fp32. `tf32`, which people use in its
place, keeps 10 bits of each factor.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from roofline import IMAGES, Work, roofline_s
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.classifier_learner import Classifier
from models.detector_learner import YuNet

BATCHES = (256, 1, 32, 8, 128, 64)
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
_WARM_CALLS = 3
_REPEATS = 5
_PART_S = 0.05


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates: operations a second of each precision, and bytes copied a second, read and written."""

    flops: dict[str, float]
    copied: float


def measured_rates(device: str, size: int, num_bytes: int) -> Rates:
    """Return the rates of products of `size` x `size` matrices and of a copy of `num_bytes`."""
    flops = {}
    for precision, dtype in PRECISIONS.items():
        allow_tf32(precision == "tf32")
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        flops[precision] = 2 * size**3 / median_seconds(lambda a=a, b=b: a @ b, device)
    source = torch.ones(num_bytes // 4, device=device)
    return Rates(flops, 2 * num_bytes / median_seconds(source.clone, device))


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


def median_seconds(run: Callable, device: str) -> float:
    """Return the median seconds of a call, over five parts of many calls each, after two that warm up."""
    once = run_s(run, 1, device)
    once = min(once, run_s(run, 1, device))
    count = max(3, int(_PART_S / max(once, 1e-6)))
    return float(np.median([run_s(run, count, device) for _ in range(_REPEATS)]))


def run_s(run: Callable, count: int, device: str) -> float:
    """Return the mean seconds of `count` calls, waited for."""
    start = time.perf_counter()
    for _ in range(count):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def allow_tf32(is_allowed: bool) -> None:
    """Let products and convolutions of fp32 keep 10 bits of the fraction, or all 23."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_allowed


def network(name: str) -> nn.Module:
    """Return a network of `IMAGES` for inference, with random weights and without batch norms."""
    if name == "detector":
        return YuNet().eval()
    classifier = Classifier().eval()
    for block in list(classifier.modules()):
        parts = list(block.children()) if isinstance(block, nn.Sequential) else []
        for place, (first, second) in enumerate(pairwise(parts)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[place], block[place + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return classifier


@torch.no_grad()
def prepared(name: str, precision: str, batch: int, device: str) -> Callable:
    """Return a function that analyses the same random images again: on a GPU, the replay of a graph."""
    allow_tf32(precision == "tf32")
    model = network(name).to(device, PRECISIONS[precision], memory_format=torch.channels_last)
    for head in [layer for layer in model.modules() if isinstance(layer, nn.Linear)]:
        head.float()  # as in training
    images = torch.randint(0, 256, (batch, *IMAGES[name]), dtype=torch.uint8, device=device)

    @torch.no_grad()
    def run() -> torch.Tensor:
        return model(images.permute(0, 3, 1, 2).to(PRECISIONS[precision]))

    if device != "cuda":
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_CALLS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def row(case: tuple[str, str, int], works: list[Work], rates: Rates, device: str) -> str:
    """Return the row of the table for a network, a precision and a batch size."""
    name, precision, batch = case
    took = median_seconds(prepared(name, precision, batch, device), device)
    item_bytes = torch.empty(0, dtype=PRECISIONS[precision]).element_size()
    bound = roofline_s(works, batch, (rates.flops[precision], rates.copied), item_bytes)
    return f"| {name} | {precision} | {batch} | {batch / took:.0f} | {took * 1e3:.2f} | {bound / took:.2f} |"


def main() -> None:
    """Print the machine's rates, and a row of the table for each case that is measured in time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("works", type=Path, help="a file of roofline.py")
    parser.add_argument("--seconds", type=float, default=400, help="begin no case after this time")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="batch sizes, the most wanted first")
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices whose product is the peak")
    parser.add_argument("--copy", type=int, default=1 << 31, help="bytes of the copy")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    begun, device = time.monotonic(), given.device
    works = {name: [Work(*work) for work in found] for name, found in json.loads(given.works.read_text()).items()}
    torch.backends.cudnn.benchmark = True
    rates = measured_rates(device, given.matrix, given.copy)
    kind = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"{kind}; torch {torch.__version__}; {os.cpu_count()} cores")
    flops = "; ".join(f"{name} {rate / 1e12:.1f} TFLOP/s" for name, rate in rates.flops.items())
    print(f"{flops}; copy {rates.copied / 1e12:.2f} TB/s")
    photo = Path(__file__).parents[1] / "sample_media/portrait_surgical.jpg"
    for threads in sorted({1, os.cpu_count() or 1}):
        print(f"JPEG 1280 x 720: {decode_rate(photo, threads):.0f} decoded/s by {threads} threads", flush=True)
    print("\n| network | precision | batch | images/s | ms a batch | roofline |\n|---|---|---|---|---|---|", flush=True)
    left = []
    for case in [(name, precision, batch) for batch in given.batches for precision in PRECISIONS for name in IMAGES]:
        if time.monotonic() - begun > given.seconds:
            left.append(" ".join(map(str, case)))
        else:
            print(row(case, works[case[0]], rates, device), flush=True)
    if left:
        print(f"\nNot measured, for lack of time: {'; '.join(left)}")


if __name__ == "__main__":
    main()
