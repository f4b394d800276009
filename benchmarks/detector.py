"""Measure detector weights side by side on annotated scenes, by source and face size.

    python models/convert_yunet.py /tmp/original.weights.h5
    python benchmarks/detector.py ../shared/data/scenes --splits ../shared/data/splits.csv --split val \\
        --ignore models/val_marks.csv /tmp/original.weights.h5 models/yunet.weights.h5

The figures are those of a scan's views and threshold, at IoU 0.4, except AP at IoU 0.5. The program prints a Markdown table.
"""

import argparse
from pathlib import Path

from maskbatch.trainer.detector.measure import detector_figures
from maskbatch.trainer.evaluate.measure import DatasetSettings, load_pictures

_HEAD = "| weights | source | faces | AP50 | AP40 | recall 8-16 | 16-32 | 32-64 | 64+ px | false faces a picture |"


def main() -> None:
    """Print a row for each source and each file of weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--ignore", type=Path)
    given = parser.parse_args()
    settings = DatasetSettings((given.scenes,), given.splits, ignore=given.ignore)
    pictures = [picture for picture in load_pictures(settings)[0] if picture.split == given.split]
    figures = {path: detector_figures(path, pictures) for path in given.weights}
    print(_HEAD)
    print("|---" * (_HEAD.count("|") - 1) + "|")
    for source in figures[given.weights[0]]:
        for path in given.weights:
            print(_row(path.name, source, figures[path][source]))


def _row(name: str, source: str, found: dict) -> str:
    sizes = [found["recall_by_size"][size] for size in ("8-16", "16-32", "32-64", "64-")]
    recalls = ["-" if share != share else f"{share:.2f}" for share in sizes]  # NaN without a face of that size
    numbers = [found["faces"], f"{found['ap50']:.3f}", f"{found['ap40']:.3f}", *recalls, f"{found['false_faces']:.2f}"]
    return f"| {name} | {source} | {' | '.join(map(str, numbers))} |"


if __name__ == "__main__":
    main()
