"""Write the shipped classifier for other sizes of its input, with the same weights, to measure what the size is worth.

    python models/sizes.py OUT 96 112 128 160 224

Each OUT/mask_SIZE.keras takes crops of that size: `maskbatch evaluate ... --model OUT/mask_96.keras --precision fp32`. The
weights were trained at 128 px and are not adapted.
"""

import argparse
from pathlib import Path

import numpy as np

from maskbatch.networks import weights
from maskbatch.trainer.model import build_model, load_model, with_face_output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sizes", nargs="+", type=int)
    options = parser.parse_args()
    shipped = load_model(weights.find("mask"))
    options.out.mkdir(parents=True, exist_ok=True)
    for size_px in options.sizes:
        model = build_model(base_weights=None, size_px=size_px, third_state=True)
        model = with_face_output(model, np.zeros(model.get_layer("pool").output.shape[1]), 0.0)
        model.set_weights(shipped.get_weights())
        model.save(options.out / f"mask_{size_px}.keras")


if __name__ == "__main__":
    main()
