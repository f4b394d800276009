"""Make a calibrated `model.keras` of weights from `train_classifier_gpu.py`, and measure it as `maskbatch train` does.

    python models/finish_classifier_gpu.py still.npz SCENES --splits FILE --cache runs/cache --out runs/gpu

Several weight files of one variant are averaged. `report.json` gets the calibration and the figures on the validation faces.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from maskbatch.trainer.classifier.calibrate import calibrate
from maskbatch.trainer.classifier.calibrate_incorrect import calibrate_incorrect
from maskbatch.trainer.classifier.train import guide_samples
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from maskbatch.trainer.data.samples import load_samples
from maskbatch.trainer.evaluate.measure import (
    DatasetSettings,
    face_cache,
    face_report,
    load_pictures,
    predict_file,
    shipped_detector,
)
from maskbatch.trainer.json_files import write_json
from maskbatch.trainer.model import build_model


def model_of(files: list[Path], size_px: int):
    """Return the classifier with the mean of the weights in the files."""
    model = build_model(base_weights=None, size_px=size_px, third_state=True)
    variables = [variable for variable in model.weights if "seed_generator" not in variable.path]
    total = [0.0] * len(variables)
    for file in files:
        with np.load(file) as kept:
            total = [part + kept[name].astype(np.float32) for part, name in zip(total, sorted(kept.files), strict=True)]
    for variable, value in zip(variables, total, strict=True):
        variable.assign(value / len(files))
    return model


def main() -> None:
    """Calibrate, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="a file of train_classifier_gpu.py")
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--mean-with", type=Path, action="append", default=[], help="a further file; averaged")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pictures, _ = load_pictures(DatasetSettings(tuple(given.datasets), given.splits, cache=given.cache))
    val = [picture for picture in pictures if picture.split == "val"]
    guide = guide_samples(load_samples(val, shipped_detector(), face_cache(given.cache)))
    model, found = calibrate(
        model_of([given.weights, *given.mean_with], given.size), guide.take(guide.label != WORN_INCORRECTLY)
    )
    model, incorrect = calibrate_incorrect(model, guide)
    given.out.mkdir(parents=True, exist_ok=True)
    whole = given.out / "model.keras"
    model.save(whole)
    report = {"calibration": asdict(found), "incorrect_calibration": asdict(incorrect)}
    report["figures"] = face_report(guide, predict_file(whole, guide))
    write_json(report, given.out / "report.json")
    for size, figures in report["figures"]["two_class"]["scenes"].items():
        print(size, figures["faces"], figures["balanced_accuracy"], figures["calibration_error"], flush=True)
    print(found, incorrect, report["figures"]["incorrect_mask"]["scenes"], sep="\n")


if __name__ == "__main__":
    main()
