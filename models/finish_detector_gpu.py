"""Measure weights of `train_detector_gpu.py` as `maskbatch train-detector` does, and choose the share of them to keep.

    python models/finish_detector_gpu.py norms.npz original.weights.h5 SCENES --splits FILE --ignore FILE --out DIR

The folder gets `yunet.weights.h5`, and `report.json` with the figures of all shares on the validation scenes.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskbatch.networks import weights
from maskbatch.networks.yunet import build_network
from maskbatch.trainer.detector.measure import ALPHAS, choose_alpha, figures_by_alpha, interpolated_file
from maskbatch.trainer.evaluate.measure import DatasetSettings, load_pictures
from maskbatch.trainer.json_files import write_json


def network_of(files: Sequence[Path]):
    """Return YuNet with the mean of the weights in the files, which are named by layer."""
    network, kept = build_network(), [np.load(file) for file in files]
    for layer in network.layers:
        names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
        layer.set_weights([np.mean([one[name] for one in kept], axis=0) for name in names])
    return network


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tuned", type=Path, help="a file of train_detector_gpu.py")
    parser.add_argument("original", type=Path, help="the weights that the training began with")
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--mean-with", type=Path, action="append", default=[], help="a further file; averaged")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--ignore", type=Path)
    parser.add_argument("--loose-boxes-of", action="append", default=[], metavar="SOURCE")
    parser.add_argument("--alpha", type=float, nargs="+", default=ALPHAS, help="shares to measure; 0 is the original")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tuned = given.out / "tuned.weights.h5"
    network_of([given.tuned, *given.mean_with]).save_weights(tuned)
    settings = DatasetSettings(tuple(given.datasets), given.splits, ignore=given.ignore)
    val = [picture for picture in load_pictures(settings)[0] if picture.split == "val"]
    figures = figures_by_alpha(given.original, tuned, val, sorted({0.0, *given.alpha}))
    alpha = choose_alpha(figures, [source for source in figures[0.0] if source not in given.loose_boxes_of])
    chosen = given.out / "yunet.weights.h5"
    shutil.copyfile(interpolated_file(tuned, alpha), chosen)
    write_json(
        {"alpha": alpha, "weights_sha256": weights.sha256(chosen), "figures_by_alpha": figures},
        given.out / "report.json",
    )
    print(f"{chosen}: {alpha:g} of {given.tuned}")


if __name__ == "__main__":
    main()
