"""Compare what tells people apart in a video: colours, as a scan uses them, or the classifier's features.

    python benchmarks/appearance.py VIDEO... [--sample-fps 3] [--apart 1]

The colours are those of hair and clothes. Two looks at one person, `--apart` seconds and more apart, are compared with looks
at two people of the same video. In a rendered clip (benchmarks/rendered.py) the truth says who is who. In other videos the
tracks do: faces of one track are one person, faces in the same frame are two. The area under the ROC curve is the share of
cases in which two people look less alike than one person at two times; 0.5 is chance. The classifier's features are the
pooled ones below its head, compared by their cosine.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from maskbatch import Model
from maskbatch.analyse.appearance import describe, unlikeness
from maskbatch.analyse.classifier import cut_crop
from maskbatch.geometry import boxes
from maskbatch.networks import weights
from maskbatch.trainer.model import load_model

_MIN_IOU = 0.5
_MOST_PER_PERSON = 40


class Looks(NamedTuple):
    """N looks at people: `person` (N,), `frame` (N,), `time_s` (N,), `colours` (N, D), `crops` (N, side, side, 3)."""

    person: np.ndarray
    frame: np.ndarray
    time_s: np.ndarray
    colours: np.ndarray
    crops: np.ndarray


def looks_at(video: Path, sample_fps: float, side_px: int) -> Looks:
    """Return the looks at people in a video whose person is known."""
    truth = pd.read_csv(video.with_suffix(".csv")) if video.with_suffix(".csv").exists() else None
    rows = []
    for frame in Model().frames(video, sample_fps=sample_fps):
        faces = describe([frame.image], frame.faces)
        person = faces.track_id if truth is None else _by_truth(faces.xyxy, truth[truth.frame == frame.index])
        for at in np.flatnonzero(person >= 0).tolist():
            crop = cut_crop(frame.image, faces.xyxy[at], side_px)
            rows.append((int(person[at]), frame.index, frame.timestamp_s, faces.appearance[at], crop))
    kept = [row for _, own in pd.Series(range(len(rows))).groupby([row[0] for row in rows]) for row in _thinned(own)]
    return Looks(*map(np.array, zip(*(rows[at] for at in sorted(kept)), strict=True)))


def _thinned(places: pd.Series) -> list[int]:
    return places.iloc[:: -(-len(places) // _MOST_PER_PERSON)].tolist()


def _by_truth(xyxy: np.ndarray, truth: pd.DataFrame) -> np.ndarray:
    """Return the person (N,) of each box (N, 4) by the truth of its frame, -1 where there is none."""
    if not len(truth) or not len(xyxy):
        return np.full(len(xyxy), -1)
    overlap = boxes.iou(xyxy.astype(np.float64), truth[["x_min", "y_min", "x_max", "y_max"]].to_numpy(np.float64))
    best = overlap.argmax(axis=1)
    return np.where(overlap.max(axis=1) >= _MIN_IOU, truth.person.to_numpy()[best], -1)


def measured(looks: Looks, pooled: np.ndarray, apart_s: float, is_true: bool) -> dict[str, float]:
    """Return both areas under the curve, and the numbers of pairs."""
    first, second = np.triu_indices(len(looks.person), 1)
    is_same = looks.person[first] == looks.person[second]
    gap_s = np.abs(looks.time_s[first] - looks.time_s[second])
    is_two = ~is_same & (is_true | (looks.frame[first] == looks.frame[second]))
    used = (is_same & (gap_s >= apart_s)) | is_two
    first, second, is_same = first[used], second[used], is_same[used]
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    by_colours = unlikeness(looks.colours, looks.colours)[first, second]
    by_classifier = 1 - (unit[first] * unit[second]).sum(1)
    return {
        "one person": int(is_same.sum()), "two people": int((~is_same).sum()),
        "colours": roc_auc_score(~is_same, by_colours), "classifier": roc_auc_score(~is_same, by_classifier),
        "both": roc_auc_score(~is_same, _ranked(by_colours) + _ranked(by_classifier)),
    }  # fmt: skip


def _ranked(values: np.ndarray) -> np.ndarray:
    return values.argsort().argsort() / len(values)


def pooling_network():
    """Return the shipped classifier up to its pooled features, and the side of its input in pixels."""
    import keras

    model = load_model(weights.find("mask"))
    pooling = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    return keras.Model(model.inputs, pooling.output), model.input_shape[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--sample-fps", type=float, default=3)
    parser.add_argument("--apart", type=float, default=1, metavar="S")
    options = parser.parse_args()
    network, side_px = pooling_network()
    print("| video | pairs of one person | of two people | colours | classifier's features | mean of both ranks |")
    print("|---|---|---|---|---|---|")
    for video in options.videos:
        looks = looks_at(video, options.sample_fps, side_px)
        pooled = network.predict(looks.crops, verbose=0, batch_size=32)
        found = measured(looks, pooled, options.apart, video.with_suffix(".csv").exists())
        print(f"| `{video.name}` | {found['one person']} | {found['two people']} |", end="")
        print(f" {found['colours']:.3f} | {found['classifier']:.3f} | {found['both']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
