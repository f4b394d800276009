"""Pack the cut faces of a dataset into one small file, for `train_classifier_gpu.py` on another machine.

    python models/pack_faces.py SCENES FACES --splits FILE --cache runs/cache --out faces.npz

A machine with a GPU need not have the dataset, a video decoder or the detector: the pack holds the training faces and the
validation faces that `maskbatch train` would use, smaller and with less around them, and each face's share of the draws.
The dataset's terms hold for the pack, too. `--part 1/2` and `--part 2/2` make two files of half the size.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from maskbatch.geometry import boxes
from maskbatch.trainer.classifier.train import guide_samples
from maskbatch.trainer.data.batches import sample_weights
from maskbatch.trainer.data.jpeg import encode_jpeg
from maskbatch.trainer.data.samples import Samples, load_samples
from maskbatch.trainer.evaluate.measure import DatasetSettings, face_cache, load_pictures, shipped_detector
from maskbatch.trainer.model import backbone_of, build_model

# around the face: the crop's own margin of a quarter, and room for jitter and turning
_REGION_MARGIN = 0.5


def pack(samples: Samples, face_px: int, quality: int) -> dict[str, np.ndarray]:
    """Return the arrays of a pack: JPEG files (joined, and their lengths), boxes, labels, face sizes.

    Args:
        samples: N faces as cut for `maskbatch train`.
        face_px: The longer side of the detected face in the pack is at most this.
        quality: JPEG quality, 1 to 100.
    """
    shrunk = [_shrunk(samples.image(i), samples.xyxy[i], face_px) for i in range(len(samples))]
    files = [encode_jpeg(image, quality) for image, _ in shrunk]
    return {
        "joined": np.frombuffer(b"".join(files), np.uint8),
        "lengths": np.array([len(file) for file in files]),
        "xyxy": np.array([pair for _, pair in shrunk], np.float32),
        "label": samples.label,
        "source": samples.source.astype("U32"),
        "size_px": samples.size_px,
    }


def write_base(base_weights: str, out: Path) -> None:
    """Write the weights of the classifier's backbone as arrays w000, w001, ... in Keras's order, kernels in float16."""
    arrays = backbone_of(build_model(base_weights=base_weights)).get_weights()
    halved = [array.astype(np.float16) if array.ndim > 1 else array for array in arrays]
    np.savez(out, **{f"w{i:03d}": array for i, array in enumerate(halved)})


def _shrunk(image: np.ndarray, pair: np.ndarray, face_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of the region around both boxes (2, 4), shrunk where the face is large, and the boxes in its pixels."""
    around = np.concatenate([pair[:, :2].min(axis=0), pair[:, 2:].max(axis=0)])
    left, top, right, bottom = np.round(boxes.square(around, _REGION_MARGIN)).astype(int)
    height, width = image.shape[:2]
    left, top = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = min(1.0, face_px / max((pair[1, 2:] - pair[1, :2]).max(), 1))
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA) if scale < 1 else part
    factor = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
    return small, ((pair - np.tile([left, top], 2)) * np.tile(factor, 2)).astype(np.float32)


def main() -> None:
    """Write the pack."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--face-px", type=int, default=100)
    parser.add_argument("--quality", type=int, default=88)
    parser.add_argument("--part", default="1/1", help="the part K of N of the training faces, as K/N")
    parser.add_argument("--base-weights", default="imagenet", help="the backbone's weights that a training begins with")
    parser.add_argument("--base-out", type=Path, help="write them there, as an .npz in the order of the layers")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pictures, _ = load_pictures(DatasetSettings(tuple(given.datasets), given.splits, cache=given.cache))
    samples = load_samples(pictures, shipped_detector(), face_cache(given.cache))
    train, val = (samples.take(samples.split == split) for split in ("train", "val"))
    number, parts = map(int, given.part.split("/"))
    chosen = np.random.default_rng(0).permutation(len(train)) % parts == number - 1
    packed = {f"train_{name}": array for name, array in pack(train.take(chosen), given.face_px, given.quality).items()}
    packed["train_share"] = sample_weights(train)[chosen]
    if number == 1:
        guide = guide_samples(val)
        packed |= {f"val_{name}": array for name, array in pack(guide, given.face_px, given.quality).items()}
    np.savez(given.out, **packed)
    if given.base_out:
        write_base(given.base_weights, given.base_out)
    print(f"{given.out}: {chosen.sum()} training faces, {given.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
