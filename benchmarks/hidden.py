"""Measure how many annotated faces `--anonymize` covers, and for how long one is seen within a person's time in view.

    python benchmarks/hidden.py clips CLIPS [--names corridor ...]           CLIPS was made by benchmarks/rendered.py
    python benchmarks/hidden.py photos SCENES --splits splits.csv            the val split of annotated photos

A face counts as covered when at least 90 % of its box is. Only boxes whose longer side has 24 pixels or more are asked for.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import maskbatch as mb
from maskbatch.drawing.anonymize import grown
from maskbatch.sinks.shard import Sinks
from maskbatch.trainer.data.dataset import read_datasets, split_pictures
from maskbatch.trainer.data.labels import LabelRules

_LEAST_PX, _COVERED = 24, 0.9

Hidden = dict[tuple[str, int], np.ndarray]


def hidden_by_scan(paths: list[Path], out: Path) -> Hidden:
    """Scan files with their faces hidden; return the hidden boxes of each frame, by name of the file and frame."""
    found: Hidden = {}
    shown = Sinks._shown

    def recorded(self, batch):
        names = {source_id: source.name for source_id, source in self._evidence._sources.items()}
        for row, boxes in enumerate(batch.hidden):
            found[names[int(batch.frames.source_id[row])], int(batch.frames.index[row])] = grown(boxes)
        return batch

    Sinks._shown = recorded
    try:
        mb.scan(paths, out, anonymize="solid", save="annotated,evidence")
    finally:
        Sinks._shown = shown
    return found


def is_covered(box: np.ndarray, hidden: np.ndarray) -> bool:
    """Tell if 90 % of a box (4,) lies in the union of hidden boxes (N, 4), on a grid of 20 x 20 points."""
    share = (np.arange(20) + 0.5) / 20
    x, y = box[0] + share * (box[2] - box[0]), box[1] + share * (box[3] - box[1])
    inside = np.zeros((20, 20), bool)
    for left, top, right, bottom in hidden:
        inside |= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None, :]
    return bool(inside.mean() >= _COVERED)


def measure_clip(clip: Path, out: Path) -> tuple[int, int, float]:
    """Return faces, covered faces, and the longest time in seconds for which a face is seen within a clip."""
    truth = pd.read_csv(clip.with_suffix(".csv"))
    truth = truth[truth.is_static == 0]
    sides = np.maximum(truth.x_max - truth.x_min, truth.y_max - truth.y_min)
    truth = truth[sides >= _LEAST_PX]
    hidden = hidden_by_scan([clip], out)
    boxes = truth[["x_min", "y_min", "x_max", "y_max"]].to_numpy()
    covered = np.array([is_covered(box, hidden.get((clip.name, int(frame)), np.empty((0, 4))))
                        for box, frame in zip(boxes, truth.frame, strict=True)])  # fmt: skip
    longest = 0.0
    for _, own in truth.assign(covered=covered).sort_values("frame").groupby("person"):
        run = (own.covered != own.covered.shift()).cumsum()
        for _, stretch in own[~own.covered].groupby(run):
            longest = max(longest, float(stretch.time_s.iloc[-1] - stretch.time_s.iloc[0]) + 0.04)
    return len(truth), int(covered.sum()), longest


def measure_photos(root: Path, splits: Path, out: Path) -> tuple[int, int]:
    """Return faces and covered faces of the val split of annotated photos."""
    pictures = split_pictures(read_datasets((root,), splits, LabelRules()), 0.15, 0)
    chosen = [picture for picture in pictures if picture.split == "val" and picture.xyxy is not None]
    hidden = hidden_by_scan([picture.path for picture in chosen], out)
    by_end = {}
    for (name, _), boxes in hidden.items():
        by_end.setdefault(Path(name).name, []).append((name, boxes))
    faces = covered = missing = 0
    for picture in chosen:
        own = [boxes for name, boxes in by_end.get(picture.path.name, []) if str(picture.path).endswith(name)]
        missing += not own
        for box in picture.xyxy:
            if own and max(box[2] - box[0], box[3] - box[1]) >= _LEAST_PX:
                faces, covered = faces + 1, covered + is_covered(box, own[0])
    print(f"{len(chosen)} photos, {missing} not found again")
    return faces, covered


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("clips", "photos"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--splits", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        if chosen.kind == "photos":
            faces, covered = measure_photos(chosen.folder, chosen.splits, Path(kept, "out"))
            print(f"{covered} of {faces} faces covered: {covered / faces:.2%}")
            return
        print("| clip | faces | covered | longest seen |\n|---|---|---|---|")
        for clip in sorted(chosen.folder.glob("*.mp4")):
            if chosen.names is None or clip.stem in chosen.names:
                faces, covered, longest = measure_clip(clip, Path(kept, clip.stem))
                print(f"| {clip.stem} | {faces} | {covered / max(faces, 1):.2%} | {longest:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
