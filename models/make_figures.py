"""Write `models/figures.json`, the error rates that a report shows and corrects with, from evaluations of the weights.

    maskbatch evaluate ../shared/data/scenes --model mask --precision int8 --splits ../shared/data/splits.csv \\
        --split val --ignore models/val_marks.csv --out runs/eval8
    python models/make_figures.py models/mask.int8.zip=runs/eval8/evaluation.json --measured-on "953 faces of web photos."
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import click

_SIZES = {"0-16": "under 16 pixels", "16-32": "16 to 32 pixels", "32-64": "32 to 64 pixels", "64-": "64 pixels and more",
          "all": "all sizes"}  # fmt: skip


@click.command()
@click.argument("measured", nargs=-1, required=True, metavar="WEIGHTS=EVALUATION.json...")
@click.option("--measured-on", required=True, help="A sentence about the pictures.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("models/figures.json"), show_default=True)
def main(measured: tuple[str, ...], measured_on: str, out: Path) -> None:
    """Write the figures of each pair of weights and their evaluation."""
    models = []
    for pair in measured:
        weights, _, evaluation = pair.partition("=")
        by_size = json.loads(Path(evaluation).read_text(encoding="utf-8"))["faces"]["two_class"]["all sources"]
        sizes = []
        for key, name in _SIZES.items():
            (bare_right, bare_wrong), (masked_wrong, masked_right) = by_size[key]["confusion"]
            sizes.append({"name": name, "masked": masked_right + masked_wrong, "masked_right": masked_right,
                          "bare": bare_right + bare_wrong, "bare_right": bare_right})  # fmt: skip
        models.append({"file": Path(weights).name, "sha256": sha256(Path(weights).read_bytes()).hexdigest(),
                       "measured_on": measured_on, "by_size": sizes})  # fmt: skip
    out.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {len(models)} models", file=sys.stderr)


if __name__ == "__main__":
    main()
