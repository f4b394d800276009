"""Measure how p_incorrect does on sources that a training did without (`train_classifier_gpu.py --without`).

    python models/left_out.py runs/gpu SCENES --splits FILE --cache runs/cache

Reads `without_SOURCE.npz` for each source. The operating point is chosen, as for the shipped weights, on the val faces of
all other sources, and the val faces of that source are judged by it.
"""

import argparse
from pathlib import Path

import numpy as np
from finish_classifier_gpu import model_of

from maskbatch.trainer.classifier.calibrate import predict_logits
from maskbatch.trainer.classifier.calibrate_incorrect import fit_incorrect
from maskbatch.trainer.classifier.train import guide_samples
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from maskbatch.trainer.data.samples import load_samples
from maskbatch.trainer.evaluate.measure import DatasetSettings, face_cache, load_pictures, shipped_detector
from maskbatch.trainer.model import P_INCORRECT, P_MASK


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="the folder of train_classifier_gpu.py")
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    pictures, _ = load_pictures(DatasetSettings(tuple(given.datasets), given.splits, cache=given.cache))
    val = [picture for picture in pictures if picture.split == "val"]
    guide = guide_samples(load_samples(val, shipped_detector(), face_cache(given.cache)))
    wrong, total = guide.label == WORN_INCORRECTLY, np.zeros(3, int)
    print(
        "| without | worn incorrectly | found | other faces | flagged | precision | recall | p_mask right |\n"
        + "|---" * 8
        + "|"
    )
    for path in sorted(given.weights.glob("without_*.npz")):
        own = guide.source == path.stem.removeprefix("without_")
        model = model_of([path], given.size)
        logit = predict_logits(model, guide, P_INCORRECT)
        found = fit_incorrect(logit[~own], wrong[~own], guide.group[~own])
        flagged = logit / found.temperature + found.shift >= 0
        hits, false = (own & wrong & flagged).sum(), (own & ~wrong & flagged).sum()
        total += hits, false, (own & wrong).sum()
        sure = own & ~wrong
        right = ((predict_logits(model, guide, P_MASK) >= 0) == (guide.label == 1))[sure]
        print(f"| {path.stem.removeprefix('without_')} | {(own & wrong).sum()} | {hits} | {sure.sum()} | {false} | "
              f"{hits / max(hits + false, 1):.2f} | {hits / max((own & wrong).sum(), 1):.2f} | "
              f"{right.mean() if sure.any() else float('nan'):.3f} |")  # fmt: skip
    hits, false, there = total
    print(
        f"| together | {there} | {hits} | | {false} | {hits / max(hits + false, 1):.2f} | {hits / max(there, 1):.2f} | |"
    )


if __name__ == "__main__":
    main()
