"""Could the classifier tell masks that are worn wrongly? A second sigmoid, and a three-way head, on its features.

    python benchmarks/third_state.py SCENES [SCENES...] --splits FILE [--model FILE]

Both are logistic regressions on the trained backbone's pooled features (1280 numbers a face), the classes balanced by
weight; regularisation and the sigmoid's threshold come from cross-validation over groups of the train split. The
shipped model itself is not touched, so its two-class figures stay as they are. Prints precision, recall and average
precision on the val split, and what becomes of every class.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskbatch import weights
from maskbatch.classifier import cut_crop
from maskbatch.trainer.dataset import Picture, read_datasets
from maskbatch.trainer.labels import WORN_INCORRECTLY
from maskbatch.trainer.model import load_model
from maskbatch.trainer.reading import read_batches

_NAMES = ("without_mask", "with_mask", "worn_incorrectly")
_REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1)


def faces(pictures: list[Picture], model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled features (N, C), label (N,) in 0-2 and group (N,) of every annotated face and its mirror image."""
    features, labels, groups = [], [], []
    for batch in read_batches(pictures):
        crops = []
        for picture, image in batch:
            for xyxy, label in zip(picture.xyxy, picture.label, strict=True):
                crop = cut_crop(image, xyxy)
                crops += [crop, crop[:, ::-1]]
                labels += [2 if label == WORN_INCORRECTLY else label] * 2
                groups += [picture.group] * 2
        features += [model.predict_on_batch(np.stack(crops).astype(np.float32))] if crops else []
    return np.concatenate(features), np.array(labels), np.array(groups)


def head(regularisation: float):
    """A linear head on standardised features."""
    logistic = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=300)
    return make_pipeline(StandardScaler(), logistic)


def out_of_fold(train: tuple, target: np.ndarray, regularisation: float) -> np.ndarray:
    """Probabilities (N, classes) of each training face by heads that have not seen its group."""
    folds = GroupKFold(4)
    return cross_val_predict(head(regularisation), train[0], target, groups=train[2], cv=folds, method="predict_proba")


def second_sigmoid(train: tuple, val: tuple) -> float:
    """Prints what a sigmoid for 'worn incorrectly' against both other classes reaches; returns its regularisation."""
    wrong = (train[1] == 2).astype(int)
    scored = [(average_precision_score(wrong, out_of_fold(train, wrong, c)[:, 1]), c) for c in _REGULARISATION]
    best = max(scored)[1]
    precision, recall, thresholds = precision_recall_curve(wrong, out_of_fold(train, wrong, best)[:, 1])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    threshold = thresholds[f1[:-1].argmax()]
    p_wrong = head(best).fit(train[0], wrong).predict_proba(val[0])[:, 1]
    called, truth = p_wrong >= threshold, val[1] == 2
    hits = (called & truth).sum()
    print(f"second sigmoid (C {best}, threshold {threshold:.2f} by cross-validation): precision "
          f"{hits / max(called.sum(), 1):.2f}, recall {hits / truth.sum():.2f}, average precision "
          f"{average_precision_score(truth, p_wrong):.2f}; it would flag "
          f"{(called & (val[1] == 1)).sum() / (val[1] == 1).sum():.1%} of the faces with a mask and "
          f"{(called & (val[1] == 0)).sum() / (val[1] == 0).sum():.1%} of those without")  # fmt: skip
    return best


def three_way(train: tuple, val: tuple, best: float) -> None:
    """Prints the confusion of a softmax over the three classes."""
    called = head(best).fit(train[0], train[1]).predict(val[0])
    print(f"three-way head (C {best}), rows the truth, columns what it says: {', '.join(_NAMES)}")
    for name, row in zip(_NAMES, confusion_matrix(val[1], called, labels=[0, 1, 2]), strict=True):
        print(f"  {name:18s} {row[0]:5d} {row[1]:5d} {row[2]:5d}   recall {row[_NAMES.index(name)] / row.sum():.3f}")


def main() -> None:
    """Reads the scenes, makes the features once, and tries both heads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=weights.find("mask"))
    given = parser.parse_args()
    model = load_model(given.model)
    pooled = keras.Model(model.inputs, model.get_layer("pool").output)
    pictures = [picture for picture in read_datasets(given.scenes, given.splits) if picture.xyxy is not None]
    train, val = (faces([p for p in pictures if p.split == split], pooled) for split in ("train", "val"))
    one_each = slice(None, None, 2)  # the mirror images are for training only
    val = tuple(column[one_each] for column in val)
    print(f"train {np.bincount(train[1][one_each])}, val {np.bincount(val[1])} faces of {', '.join(_NAMES)}")
    three_way(train, val, second_sigmoid(train, val))


if __name__ == "__main__":
    main()
