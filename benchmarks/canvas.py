"""Time the detector's network for one canvas: as converted from Keras, rearranged, and in 8 bits.

    taskset -c 0 python benchmarks/canvas.py
    ONEDNN_MAX_CPU_ISA=AVX2 taskset -c 0 python benchmarks/canvas.py    # as on a processor with AVX2 and no more

The networks take turns, and the program prints the median time of each in milliseconds.
"""

import os
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from statistics import median

import click
import numpy as np

from maskbatch.networks import yunet
from maskbatch.networks.openvino import OpenVinoNetwork

_ROUNDS = 200


@click.command()
@click.option("--size", type=int, nargs=2, default=(640, 448), show_default=True, help="Width and height in pixels.")
def main(size: tuple[int, int]) -> None:
    """Print a line for each form of the network."""
    shipped = yunet.shipped_network()
    canvas = np.random.default_rng(0).integers(0, 256, (1, size[1], size[0], 3), np.uint8)
    forms = {
        "fp32, as converted": (replace(shipped, arrange=None), "fp32"),
        "fp32, rearranged": (shipped, "fp32"),
        "8 bits": (shipped, "int8"),
    }
    seconds = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        networks = {}
        for name, (network, precision) in forms.items():
            os.environ["MASKBATCH_CACHE"] = f"{folder}/{name}"  # the cache does not tell the first two apart
            networks[name] = OpenVinoNetwork(network, precision)
            networks[name](canvas)
        for _ in range(_ROUNDS):
            for name, network in networks.items():
                start = time.perf_counter()
                network(canvas)
                seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        print(f"{name}: {1000 * median(taken):.1f} ms")


if __name__ == "__main__":
    main()
