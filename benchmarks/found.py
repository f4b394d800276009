"""Compare the faces that maskbatch and face-mask-detector find in annotated photos.

    python benchmarks/found.py --data ../shared/data --work /tmp/bench [--sources ilc,afw] [-- SCAN OPTIONS]

The photos are the val scenes of the data set, which no training picture resembles. A face is found when a finding overlaps
its annotated box by an IoU of 0.3 or more: programs draw their boxes in different styles, and at 0.5 many right findings
would count as wrong. Each finding counts for one face, the best overlap first. All other findings are false faces, although
annotators leave out blurred people in the background. Both programs run with their defaults.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import scan_command
from rivals import RIVALS

from maskbatch.geometry import boxes
from maskbatch.trainer.data.dataset import Picture, read_datasets

_MIN_IOU = 0.3
_RIVAL = "face-mask-detector"
# by photo: boxes (N, 4) in pixels, and the answer masked or not (N,)
Found = dict[str, tuple[np.ndarray, np.ndarray]]


def link(pictures: list[Picture], folder: Path) -> dict[str, Picture]:
    """Link the pictures into one folder; give them by their names there."""
    folder.mkdir()
    named = {f"{number:04d}{picture.path.suffix}": picture for number, picture in enumerate(pictures)}
    for name, picture in named.items():
        (folder / name).symlink_to(picture.path.resolve())
    return named


def of_maskbatch(photos: Path, out: Path, options: list[str]) -> Found:
    """Return the findings of a scan."""
    subprocess.run(scan_command(photos, out, ["--save", "none", *options]), check=True)
    faces = pd.read_csv(out / "faces.csv")
    return {
        str(name): (
            rows[["x_min", "y_min", "x_max", "y_max"]].to_numpy(np.float64),
            (rows["label"] == "with_mask").to_numpy(),
        )
        for name, rows in faces.groupby("source")
    }


def of_rival(photos: Path, out: Path, work: Path) -> Found:
    """Return the findings of face-mask-detector."""
    rival = RIVALS[_RIVAL]
    rival.set_up(work)
    file = out.with_suffix(".json")
    command = [*rival.command(rival.bin(work), photos, out), str(file)]
    subprocess.run(command, check=True, capture_output=True)
    found = {name: np.array(faces, float).reshape(-1, 5) for name, faces in json.loads(file.read_text()).items()}
    return {name: (faces[:, :4], faces[:, 4] > 0) for name, faces in found.items()}


def matched(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the finding of each face (K,) of `truth` (K, 4), -1 for none; the best overlaps first, each once."""
    overlap = boxes.iou(truth, found)
    which = np.full(len(truth), -1)
    while overlap.size and overlap.max() >= _MIN_IOU:
        face, finding = np.unravel_index(overlap.argmax(), overlap.shape)
        which[face] = finding
        overlap[face], overlap[:, finding] = 0, 0
    return which


def row(name: str, pictures: dict[str, Picture], found: Found) -> str:
    """Return a row of the table."""
    counts = np.zeros((2, 3), int)  # [label]: faces, found, found with the right label
    num_false = 0
    for photo, picture in pictures.items():
        place, masked = found.get(photo, (np.empty((0, 4)), np.empty(0, bool)))
        which = matched(picture.xyxy.astype(float), place)
        num_false += len(place) - int((which >= 0).sum())
        for label in (0, 1):
            theirs = which[picture.label == label]
            hit = theirs[theirs >= 0]
            counts[label] += len(theirs), len(hit), int((masked[hit] == bool(label)).sum())
    cells = [f"{part} of {whole} ({part / max(whole, 1):.0%})" for whole, *parts in counts[::-1] for part in parts]
    return f"| {name} | {' | '.join(cells)} | {num_false / len(pictures):.2f} |"


def main() -> None:
    """Print a table."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sources", default="ilc,afw")
    given = parser.parse_args(sys.argv[1:split])
    scenes = read_datasets([given.data / "scenes"], given.data / "splits.csv")
    wanted = [one for one in scenes if one.split == "val" and one.source in given.sources.split(",")]
    print("| program | masked faces found | with the right label | bare faces found | with the right label "
          "| false faces a photo |\n|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        pictures = link(wanted, top / "photos")
        for size in ("640", "320"):
            options = ["--det-size", size, *sys.argv[split + 1 :]]
            found = of_maskbatch(top / "photos", top / size, options)
            print(row(f"maskbatch, `{' '.join(options)}`", pictures, found), flush=True)
        print(row(_RIVAL, pictures, of_rival(top / "photos", top / "rival", given.work)))


if __name__ == "__main__":
    main()
