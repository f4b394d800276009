"""Pack annotated scenes into one file, for `train_detector_gpu.py` on another machine.

    python models/convert_yunet.py original.weights.h5
    python models/pack_scenes.py SCENES --splits FILE --base-weights original.weights.h5 --out scenes.npz
    python models/pack_scenes.py FACES --splits FILE --base-weights original.weights.h5 --tuned FILE --out portraits.npz

The pack holds the training scenes of `maskbatch train-detector` as WebP files, with the original network's findings in them,
and that network's weights. With `--tuned`, it holds pictures of one person each (see `load_portraits`). The dataset's terms
hold for the pack, too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from maskbatch.networks.yunet import load_network
from maskbatch.trainer.detector.measure import open_detector
from maskbatch.trainer.detector.samples import load_portraits, load_scenes
from maskbatch.trainer.detector.scene import DetectorScene, SceneFaces
from maskbatch.trainer.detector.train import first_looks
from maskbatch.trainer.evaluate.measure import DatasetSettings, load_pictures


def pack(scenes: Sequence[DetectorScene], quality: int) -> dict[str, np.ndarray]:
    """Return the arrays of a pack: WebP files (joined, and their lengths), numbers of faces, and all faces.

    Args:
        scenes: Scenes of `load_scenes`.
        quality: WebP quality, 1 to 100.
    """
    files = [_webp(scene.image(), quality) for scene in scenes]
    faces = SceneFaces.concatenate([scene.faces for scene in scenes])
    return {
        "joined": np.frombuffer(b"".join(files), np.uint8),
        "lengths": np.array([len(file) for file in files]),
        "num_faces": np.array([len(scene.faces) for scene in scenes]),
        **{name: getattr(faces, name) for name in SceneFaces.__slots__},
    }


def weights_by_name(network) -> dict[str, np.ndarray]:
    """Return {"layer/kernel" or "layer/bias": array} of YuNet in Keras."""
    return {f"{layer.name}/{w.name}": np.asarray(w) for layer in network.layers for w in layer.weights}


def _webp(image: np.ndarray, quality: int) -> bytes:
    _, file = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    return file.tobytes()


def main() -> None:
    """Write the pack."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument(
        "--base-weights", type=Path, required=True, help="YuNet's weights to begin with, as a Keras file"
    )
    parser.add_argument(
        "--tuned", type=Path, help="fine-tuned weights, which also look for the face of a class picture"
    )
    parser.add_argument("--loose-boxes-of", action="append", default=[], metavar="SOURCE")
    parser.add_argument("--quality", type=int, default=70)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pictures, _ = load_pictures(DatasetSettings(tuple(given.datasets), given.splits))
    train = [picture for picture in pictures if picture.split == "train"]
    looks = first_looks(open_detector(given.base_weights))
    if given.tuned:
        scenes = load_portraits(train, looks, first_looks(open_detector(given.tuned)))
    else:
        scenes = load_scenes(train, looks, given.loose_boxes_of)
    np.savez(given.out, **pack(scenes, given.quality), **weights_by_name(load_network(given.base_weights)))
    print(f"{given.out}: {len(scenes)} scenes, {given.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
