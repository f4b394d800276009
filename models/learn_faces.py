"""Add the output p_face to `mask.keras`: the probability that a crop shows a face at all.

    pip install -e '.[dev]' && python models/learn_faces.py ../shared/data/scenes --splits ../shared/data/splits.csv

The detector searches the training scenes at four sizes. A finding that hits an annotated box is a face. A finding with a low
score that touches no box is none; others are left out, because annotators leave people out, too. A logistic regression on
the classifier's pooled features tells both apart. The backbone and the other outputs stay as they are. This takes a few
minutes on two cores. The program prints the checksum for `maskbatch/networks/weights.py`; `quantize.py --only mask` is next.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression

from maskbatch.analyse.classifier import cut_crop
from maskbatch.geometry import boxes
from maskbatch.networks import weights
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.weights import Network
from maskbatch.settings import RuntimeSettings
from maskbatch.trainer.data.dataset import Picture, read_datasets
from maskbatch.trainer.data.reading import read_batches
from maskbatch.trainer.data.scenes import END_TO_END_IOU
from maskbatch.trainer.evaluate.measure import shipped_detector
from maskbatch.trainer.model import load_model, with_face_output

_HERE = Path(__file__).parent
# sizes of the scenes, as shares of their own: most faces of the scenes are large, most of those in recordings small
_SCALES = (1.0, 0.65, 0.45, 0.3)
# lowest score of the findings, and the score below which a finding outside all boxes is no face
_LEAST, _NO_FACE = 0.15, 0.5
# maximum overlap of a finding with a box that it does not touch
_TOUCHES = 0.15
# inverse strength of the regularisation of standardised features; a missed face costs as much as five false ones
_C, _COST = 1e-2, {0: 1, 1: 5}


def findings(pictures: list[Picture], scale: float, size_px: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield a crop (size_px, size_px, 3) uint8 of each usable finding in the scenes at a scale, and True for a face."""
    detect = shipped_detector(_LEAST)
    for batch in read_batches(pictures):
        images = [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for _, image in batch]
        found = detect(images)
        for row, (picture, _) in enumerate(batch):
            own = found.take(found.row == row)
            overlap = boxes.iou(own.xyxy, picture.xyxy * scale).max(axis=1, initial=0)
            is_face = overlap >= END_TO_END_IOU
            is_usable = is_face | ((overlap < _TOUCHES) & (own.score < _NO_FACE))
            for at in np.flatnonzero(is_usable).tolist():
                yield cut_crop(images[row], own.xyxy[at], size_px), bool(is_face[at])


def features(path: Path, pictures: list[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pooled features (N, features) float32 of all findings, and whether they are faces (N,) bool."""
    import keras

    def pooled():
        model = load_model(path)
        return keras.Model(model.input, model.get_layer("pool").output)

    run = open_network(Network("features", path, pooled), choose_device(RuntimeSettings(runtime="openvino")), "fp32")
    parts, is_face = [], []
    for scale in _SCALES:
        for crop, face in findings(pictures, scale, run.size_px):
            parts.append(run(crop[None])[0])
            is_face.append(face)
        print(f"scenes at {scale}: {len(is_face)} findings so far, {sum(is_face)} of them faces", flush=True)
    return np.concatenate(parts), np.array(is_face)


def main() -> None:
    """Learn, and write the classifier in place."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=_HERE / "mask.keras")
    given = parser.parse_args()
    pictures = [p for p in read_datasets([given.scenes], given.splits) if p.split == "train" and p.xyxy is not None]
    found, is_face = features(given.model, pictures)
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-3
    learned = LogisticRegression(C=_C, class_weight=_COST, max_iter=500).fit((found - mean) / spread, is_face)
    kernel = learned.coef_[0] / spread
    bias = float(learned.intercept_[0] - kernel @ mean)
    with_face_output(load_model(given.model), kernel.astype(np.float32), bias).save(given.model)
    print(f"{given.model.name}: sha256 {weights.sha256(given.model)}")


if __name__ == "__main__":
    main()
