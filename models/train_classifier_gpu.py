"""Train the mask classifier on a GPU with PyTorch, from the packs of `pack_faces.py`.

    PYTHONPATH=. python models/train_classifier_gpu.py faces.npz --base-weights base.npz --steps 10000 --out runs/gpu

The network, the augmentation and the draws are those of `maskbatch train`; batches are larger, and the weights that are kept
are a moving average. Several variants can learn from the same batches, so that processors change each face only once.
`still` keeps ImageNet's statistics in the batch norms, `live` trains them, and `mixup` also mixes pairs of crops.
`finish_classifier_gpu.py` makes a calibrated model of the weights. Needed are PyTorch, NumPy, OpenCV and platformdirs.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from maskbatch.analyse.classifier import cut_crop
from maskbatch.trainer.data.augment import recorded_webp
from maskbatch.trainer.data.jpeg import decode_jpeg
from maskbatch.trainer.data.labels import WORN_INCORRECTLY
from models.feed import Feed, Part

# size of the shipped classifier's crops
SHIPPED_PX = 128
_UNKNOWN = -1.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to train: the peak of the learning rate, `live` batch norms, and the strength of mixup (0: none).

    It learns from crops of `size_px`, and nothing from the faces of the source `without`.
    """

    name: str
    peak: float
    live: bool = False
    mixup: float = 0.0
    without: str = ""
    size_px: int = SHIPPED_PX


VARIANTS = {
    variant.name: variant
    for variant in (Variant("still", 4e-4), Variant("live", 1e-3, True), Variant("mixup", 1e-3, True, 0.2))
}


@dataclass(frozen=True, slots=True)
class Faces:
    """N faces of a pack: regions (H, W, 3) uint8, boxes (N, 2, 4), label, source, size_px and share of the draws (N,)."""

    image: list[np.ndarray]
    xyxy: np.ndarray
    label: np.ndarray
    source: np.ndarray
    size_px: np.ndarray
    share: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` batches of `batch_size` faces, each cut in all `sizes` (px); everything random by `seed`."""

    steps: int
    batch_size: int
    sizes: tuple[int, ...]
    seed: int


def read_packs(paths: list[Path], split: str) -> Faces:
    """Return the faces of a split from all packs, decoded."""
    files, columns = [], {"xyxy": [], "label": [], "source": [], "size_px": [], "share": []}
    for path in paths:
        with np.load(path) as kept:
            if f"{split}_joined" not in kept:
                continue
            joined, ends = kept[f"{split}_joined"].tobytes(), np.cumsum(kept[f"{split}_lengths"])
            files += [joined[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
            for name, parts in columns.items():
                if f"{split}_{name}" in kept:
                    parts.append(kept[f"{split}_{name}"])
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(decode_jpeg, files))
    whole = {name: np.concatenate(parts) if parts else None for name, parts in columns.items()}
    return Faces(images, **whole)


def feed_of(faces: Faces, plan: Plan, num_workers: int) -> Feed:
    """Return the feed of crops (B, S, S, 3) uint8 of each size S."""
    parts = [Part("uint8", (plan.batch_size, size_px, size_px, 3)) for size_px in plan.sizes]
    return Feed(parts, plan.steps, num_workers, lambda number, out: fill_batch(faces, plan, number, out))


def drawn(faces: Faces, plan: Plan, number: int) -> np.ndarray:
    """Return the positions (B,) of the faces of batch `number`."""
    rng = np.random.default_rng((plan.seed, number))
    return rng.choice(len(faces.share), plan.batch_size, p=faces.share / faces.share.sum())


def fill_batch(faces: Faces, plan: Plan, number: int, out: Sequence[np.ndarray]) -> None:
    """Write the changed crops of batch `number`, (B, S, S, 3) uint8 of each size; they depend on (seed, number) only."""
    for place, item in enumerate(drawn(faces, plan, number)):
        rng = np.random.default_rng((plan.seed, number, place))
        xyxy = faces.xyxy[item, rng.integers(2)]
        image, xyxy = recorded_webp(faces.image[item], xyxy, int(faces.label[item]), rng)
        for crops, size_px in zip(out, plan.sizes, strict=True):
            crops[place] = cut_crop(image, xyxy, size_px)


def targets(label: np.ndarray) -> np.ndarray:
    """Return the targets (N, 2) float32 of p_mask, -1 where a mask is worn incorrectly, and of p_incorrect."""
    wrong = label == WORN_INCORRECTLY
    return np.stack([np.where(wrong, _UNKNOWN, label), wrong], axis=1).astype(np.float32)


def known_to(variant: Variant, wanted: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the targets (B, 2) that a variant learns from: none of the faces (B,) of the source it does without."""
    return np.where((source == variant.without)[:, None], np.float32(_UNKNOWN), wanted) if variant.without else wanted


def evaluation_crops(faces: Faces, size_px: int) -> np.ndarray:
    """Return every face as a scan cuts it, (N, S, S, 3) uint8."""
    return np.stack([cut_crop(image, pair[1], size_px) for image, pair in zip(faces.image, faces.xyxy, strict=True)])


def describe(p: np.ndarray, faces: Faces) -> str:
    """Return figures of answers (N, 2) on validation faces: balanced accuracies at 0.5, and p_incorrect's precision."""
    known, words = faces.label != WORN_INCORRECTLY, []
    for low, high in ((0, 1e9), (16, 1e9), (32, 1e9), (0, 16), (16, 32), (32, 64), (64, 1e9)):
        k = known & (faces.size_px >= low) & (faces.size_px < high)
        right = (p[k, 0] >= 0.5) == (faces.label[k] == 1)
        words.append(f"{np.mean([right[faces.label[k] == c].mean() for c in (0, 1)]):.3f}")
    order = np.argsort(-p[:, 1])
    hit = (faces.label == WORN_INCORRECTLY)[order]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return f"{' '.join(words)} incorrect AP {precision[hit].mean():.3f}"


def train(learners: list, feed: Feed, known: tuple[Faces, Faces], plan: Plan, given: argparse.Namespace) -> None:
    """Let the learners see all batches, or as many as `--seconds` allow; report and write their weights a dozen times."""
    faces, val = known
    crops = {size_px: evaluation_crops(val, size_px) for size_px in plan.sizes}
    reported = 0
    for number, share, spent_s, waited_s, batch in feed.within(given.seconds):
        chosen, by_size = drawn(faces, plan, number), dict(zip(plan.sizes, batch, strict=True))
        losses = []
        for learner in learners:
            wanted = known_to(learner.variant, targets(faces.label[chosen]), faces.source[chosen])
            losses.append(learner.step(by_size[learner.variant.size_px], wanted, share))
        if number % 8 == 7:  # wait, so that the time is that of work done, and little is in flight
            losses = [float(loss) for loss in losses]
        if 12 * share >= reported + 1:
            reported += 1
            words = " ".join(f"{float(loss):.3f}" for loss in losses)
            print(f"step {number + 1}, {spent_s:.0f} s, {waited_s:.0f} waiting for crops; loss {words}", flush=True)
            report(learners, crops, val, given.out)
    print("end", flush=True)
    report(learners, crops, val, given.out)


def report(learners: list, crops: dict[int, np.ndarray], val: Faces, out: Path) -> None:
    """Print the figures of each learner, and write its weights."""
    for learner in learners:
        print(
            f"  {learner.variant.name:6s} {describe(learner.answers(crops[learner.variant.size_px]), val)}", flush=True
        )
        learner.write(out / f"{learner.variant.name}.npz")


def main() -> None:
    """Train the variants, and write the weights of each as `NAME.npz`, or of several sizes as `NAME_SIZE.npz`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--base-weights", type=Path, required=True, help="an .npz of `pack_faces.py --base-out`")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end the training after this time at most")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--size", type=int, nargs="+", default=[SHIPPED_PX], help="each variant learns at each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=["still"])
    parser.add_argument("--without", nargs="+", default=[], metavar="SOURCE",
                        help="in place of the variants: mixup without one source, for each of these")  # fmt: skip
    parser.add_argument("--workers", type=int, default=max(1, multiprocessing.cpu_count() - 1))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # before the fork, which the library's own threads do not survive
    plan = Plan(given.steps, given.batch_size, tuple(given.size), given.seed)
    faces, val = read_packs(given.packs, "train"), read_packs(given.packs, "val")
    print(f"{len(faces.image)} training faces, {len(val.image)} validation faces", flush=True)
    feed = feed_of(faces, plan, given.workers)
    from classifier_learner import Learner  # after the fork, which a GPU in use does not survive

    mixup, start = VARIANTS["mixup"], (given.base_weights, given.seed, given.device)
    variants = [replace(mixup, name=f"without_{source}", without=source) for source in given.without]
    variants = variants or [VARIANTS[name] for name in given.variants]
    sized = [replace(variant, size_px=px) for variant in variants for px in plan.sizes]
    if len(plan.sizes) > 1:
        sized = [replace(variant, name=f"{variant.name}_{variant.size_px}") for variant in sized]
    train([Learner(variant, *start) for variant in sized], feed, (faces, val), plan, given)
    feed.close()


if __name__ == "__main__":
    main()
