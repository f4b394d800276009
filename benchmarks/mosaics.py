"""Count the small faces that are found in large photos: val scenes at their own size, side by side in 4000 x 3000 pixels.

    python benchmarks/mosaics.py --data ../shared/data [--min-face 24 --min-face 64]

The data set has no photo of more than a megapixel, and an enlarged one has no small faces. A face counts as found when a
finding overlaps its box by an IoU of 0.3. Annotators left faces out, so findings without a box are not all false.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import workloads

from maskbatch.geometry import boxes
from maskbatch.overlap import never
from maskbatch.run.stages import open_networks
from maskbatch.settings import DetectorSettings, ScanSettings

_WIDTH, _HEIGHT = 4000, 3000
_SETS = ("ilc", "afw", "haonan")
_IOU, _LEAST_PX, _SMALL_PX = 0.3, 24, 64


def mosaics(shared: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield photos (H, W, 3) uint8 RGB of the val scenes, row by row, and the boxes (N, 4) of their faces."""
    image, found = np.full((_HEIGHT, _WIDTH, 3), 110, np.uint8), []
    left = top = row_height = 0
    for scene in workloads.scenes(shared, _SETS, _val(shared)):
        part = cv2.cvtColor(cv2.imread(str(scene.path)), cv2.COLOR_BGR2RGB)
        height, width = part.shape[:2]
        if left + width > _WIDTH:
            left, top, row_height = 0, top + row_height, 0
        if top + height > _HEIGHT:
            yield image, np.concatenate(found)
            image, found, left, top, row_height = np.full_like(image, 110), [], 0, 0, 0
        image[top : top + height, left : left + width] = part
        found.append(scene.xyxy + np.array([left, top, left, top]))
        left, row_height = left + width, max(row_height, height)
    if found:
        yield image, np.concatenate(found)


def _val(shared: Path) -> set[str]:
    with open(shared / "splits.csv", newline="", encoding="utf-8") as file:
        return {row["path"] for row in csv.DictReader(file) if row["kind"] == "scene" and row["split"] == "val"}


def main() -> None:
    """Print a row for each smallest wanted face."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--min-face", type=int, action="append", metavar="PX", help="default: 24 and 64")
    given = parser.parse_args()
    photos = list(mosaics(given.data))
    print(f"| {len(photos)} photos, `--min-face` | found, {_LEAST_PX} px and more | of {_LEAST_PX}-{_SMALL_PX} px "
          "| findings without a box |\n|---|---|---|---|")  # fmt: skip
    for least in given.min_face or (24, 64):
        detect = open_networks(ScanSettings(detector=DetectorSettings(min_face_px=least))).detector(never)
        sums = np.zeros(5, int)
        for image, xyxy in photos:
            longer = (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1)
            wanted, small = longer >= _LEAST_PX, (longer >= _LEAST_PX) & (longer < _SMALL_PX)
            overlap = boxes.iou(xyxy.astype(np.float32), detect([image]).xyxy)
            is_found = overlap.max(axis=1, initial=0) >= _IOU
            unexplained = (overlap.max(axis=0, initial=0) < _IOU).sum()
            sums += (is_found & wanted).sum(), wanted.sum(), (is_found & small).sum(), small.sum(), unexplained
        print(f"| {least} | {sums[0]} of {sums[1]} | {sums[2]} of {sums[3]} | {sums[4]} |", flush=True)


if __name__ == "__main__":
    main()
