"""Fine-tune the face detector on a GPU with PyTorch, from a pack of `pack_scenes.py`.

    PYTHONPATH=. python models/train_detector_gpu.py scenes.npz --seconds 400 --out runs/gpu

The views, the loss and the assignment are those of `maskbatch train-detector`; batches are larger, there are many more of
them, and the weights that are kept are a moving average. Several variants learn from the same batches (see `VARIANTS`).
`finish_detector_gpu.py` measures the weights and chooses. The program needs PyTorch, NumPy, OpenCV and platformdirs.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskbatch.trainer.data.jpeg import decode_jpeg
from maskbatch.trainer.detector.augment import training_view
from maskbatch.trainer.detector.scene import SceneFaces
from maskbatch.trainer.detector.targets import COLUMNS, MOST_FACES, face_table
from models.feed import Feed, Part

# peak of the learning rate, and True for batch norms
VARIANTS = {"plain": (5e-4, False), "fast": (2e-3, False), "norms": (1e-3, True), "fast_norms": (4e-3, True)}
_REPORTS = 12
# batches whose statistics the batch norms begin with
_FIRST = 8


@dataclass(frozen=True, slots=True)
class DecodedScene:
    """A scene as `training_view` wants it, with its picture decoded once."""

    picture: np.ndarray
    faces: SceneFaces

    def image(self) -> np.ndarray:
        """Return the picture, (H, W, 3) uint8 RGB."""
        return self.picture


def read_packs(paths: Sequence[Path], repeats: Sequence[int]) -> tuple[list[DecodedScene], dict[str, np.ndarray]]:
    """Return the scenes of all packs, those of each pack repeated, and the original network's weights by name."""
    scenes, weights = [], {}
    for path, times in zip(paths, repeats, strict=True):
        own, held = _read_pack(path)
        scenes += own * times
        weights |= held
    return scenes, weights


def _read_pack(path: Path) -> tuple[list[DecodedScene], dict[str, np.ndarray]]:
    with np.load(path) as kept:
        joined, ends = kept["joined"].tobytes(), np.cumsum(kept["lengths"])
        faces, cuts = SceneFaces(*(kept[name] for name in SceneFaces.__slots__)), np.cumsum(kept["num_faces"])
        weights = {name: kept[name] for name in kept.files if "/" in name}
    files = [joined[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(decode_jpeg, files))  # OpenCV tells WebP from JPEG by itself
    own = [faces.take(np.arange(start, end)) for start, end in zip([0, *cuts[:-1]], cuts, strict=True)]
    return [DecodedScene(*pair) for pair in zip(pictures, own, strict=True)], weights


def fill_batch(scenes: Sequence[DecodedScene], seed: int, number: int, out: list[np.ndarray]) -> None:
    """Write views (B, S, S, 3) uint8 and tables (B, 80, 17) float32 of batch `number`; they depend on (seed, number)."""
    views, tables = out
    for place in range(len(views)):
        rng = np.random.default_rng((seed, number, place))
        views[place], faces = training_view(scenes, int(rng.integers(len(scenes))), views.shape[1], rng)
        tables[place] = face_table(faces)


def train(learners: list, feed: Feed, held: tuple, given: argparse.Namespace) -> None:
    """Let the learners see all batches, or as many as `--seconds` allow; report and write their weights a dozen times."""
    import torch

    reported = 0
    for number, share, spent_s, waited_s, batch in feed.within(given.seconds):
        for tensor, array in zip(held, batch, strict=True):
            tensor.copy_(torch.from_numpy(array))
        losses = [learner.step(share) for learner in learners]
        if number % 8 == 7:
            losses = [float(loss) for loss in losses]
        if _REPORTS * share >= reported + 1 or number == 0:
            reported += number > 0
            words = " ".join(f"{float(loss):.3f}" for loss in losses)
            print(f"step {number + 1}, {spent_s:.0f} s, {waited_s:.0f} waiting for views; loss {words}", flush=True)
            write(learners, given.out)
    write(learners, given.out)
    print("end", flush=True)


def write(learners: list, out: Path) -> None:
    """Write the weights of each learner."""
    for learner in learners:
        learner.write(out / f"{learner.variant.name}.npz")


def main() -> None:
    """Fine-tune the variants, and write the weights of each as `NAME.npz`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--repeat", type=int, nargs="+", help="how often each pack's scenes count; once by default")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end the training after this time at most")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--side", type=int, default=384, help="side of a view, px, a multiple of 32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=["plain"])
    parser.add_argument("--workers", type=int, default=max(1, multiprocessing.cpu_count() - 1))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # before the fork, which the library's own threads do not survive
    scenes, weights = read_packs(given.packs, given.repeat or [1] * len(given.packs))
    print(f"{len(scenes)} scenes", flush=True)
    views, table = (given.batch_size, given.side, given.side, 3), (given.batch_size, MOST_FACES, COLUMNS)
    parts = [Part("uint8", views), Part("float32", table)]
    feed = Feed(parts, given.steps, given.workers, lambda number, out: fill_batch(scenes, given.seed, number, out))
    # after the fork, which a GPU in use does not survive
    import torch
    from detector_learner import Learner, Variant

    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    held = tuple(torch.zeros(part.shape, dtype=getattr(torch, part.dtype), device=given.device) for part in parts)
    first = [torch.from_numpy(np.empty(views, np.uint8)) for _ in range(_FIRST)]
    for number, batch in enumerate(first):
        tables = np.empty(table, np.float32)
        fill_batch(scenes, given.seed + 1, number, [batch.numpy(), tables])
    held[0].copy_(batch)
    held[1].copy_(torch.from_numpy(tables))
    learners = [Learner(Variant(name, *VARIANTS[name]), weights, *held, first) for name in given.variants]
    train(learners, feed, held, given)
    feed.close()


if __name__ == "__main__":
    main()
