"""Samples as tf.data batches for training and evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from maskbatch.analyse.classifier import CROP_PX, cut_crop
from maskbatch.trainer.classifier.augment import Augment
from maskbatch.trainer.data.samples import Samples

Balance = Literal["none", "weights", "oversample"]

# annotated scenes look like the input of a scan; in class folders the background gives the class away
_SCENE_WEIGHT = 2.0


class TensorSpec(NamedTuple):
    """Type and shape of one part of an element."""

    dtype: str
    shape: tuple[int, ...]


_CROP_PARTS = (TensorSpec("uint8", (CROP_PX, CROP_PX, 3)), TensorSpec("float32", (1,)), TensorSpec("float32", ()))


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Settings of an epoch of `steps` batches; everything random follows `seed`.

    `balance`: "oversample" draws by weight (see `sample_weights`); "weights" takes every sample in turn and lets the rarer
    class count more in the loss; "none" takes every sample in turn.
    """

    batch_size: int
    steps: int
    seed: int
    augment: Augment
    balance: Balance = "none"


def training_batches(samples: Samples, settings: BatchSettings, epoch: int):
    """Return one epoch: a tf.data.Dataset of crops (B, 224, 224, 3) uint8, labels (B, 1) and loss weights (B,) float32.

    The batches depend on (seed, epoch, position) only, not on the number of threads.
    """
    drawn = _drawn(samples, settings, epoch)
    by_class = class_weights(samples.label) if settings.balance == "weights" else np.ones(2, np.float32)

    def crop(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        item = drawn[position]
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        label = samples.label[item]
        image, xyxy = settings.augment(samples.image(item), samples.xyxy[item, own.integers(2)], own)
        return cut_crop(image, xyxy), np.array([label], np.float32), by_class[label]

    return tensor_batches(crop, len(drawn), _CROP_PARTS, settings.batch_size)


def evaluation_batches(samples: Samples, batch_size: int = 32):
    """Return every sample once, in order, cut as in a scan.

    The parts are crops (B, 224, 224, 3) uint8, labels (B, 1) float32 and weights (B,) float32 of 1.
    """

    def crop(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return samples.crop(position), samples.label[position : position + 1].astype(np.float32), np.float32(1)

    return tensor_batches(crop, len(samples), _CROP_PARTS, batch_size)


def tensor_batches(make: Callable[[np.ndarray], tuple], count: int, parts: Sequence[TensorSpec], batch_size: int):
    """Return a tf.data.Dataset of batches of the elements `make(0)` to `make(count - 1)`, in this order.

    `make` runs in several threads; `parts` are the types and shapes of the arrays that it returns.
    """
    import tensorflow as tf

    def element(position):
        made = tf.numpy_function(make, [position], [part.dtype for part in parts])
        return tuple(tf.ensure_shape(one, part.shape) for one, part in zip(made, parts, strict=True))

    elements = tf.data.Dataset.range(count).map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return elements.batch(batch_size).prefetch(2)


def in_turn(population: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions (count,) int64 that hold every member of a population once before any comes again."""
    rounds = -(-count // population)
    return np.concatenate([rng.permutation(population) for _ in range(rounds)])[:count]


def sample_weights(samples: Samples) -> np.ndarray:
    """Return the share (N,) of draws that each sample gets.

    Both classes are drawn equally often, and each source by the root of its size. Faces of annotated scenes count twice.
    """
    weights = np.where(samples.annotated, _SCENE_WEIGHT, 1.0)
    for source in np.unique(samples.source):
        for label in (0, 1):
            cell = (samples.source == source) & (samples.label == label)
            weights[cell] /= np.sqrt(max(cell.sum(), 1))
    for label in (0, 1):
        chosen = samples.label == label
        weights[chosen] /= max(weights[chosen].sum(), np.finfo(float).tiny)
    return weights / weights.sum()


def class_weights(label: np.ndarray) -> np.ndarray:
    """Return the weight (2,) float32 of a sample of each class, so that both classes have the same sum; their mean is 1."""
    return (len(label) / (2 * np.maximum(np.bincount(label, minlength=2), 1))).astype(np.float32)


def _drawn(samples: Samples, settings: BatchSettings, epoch: int) -> np.ndarray:
    """Return the positions (batch_size * steps,) int64 of one epoch's samples."""
    rng = np.random.default_rng((settings.seed, epoch))
    count = settings.batch_size * settings.steps
    if settings.balance == "oversample":
        return rng.choice(len(samples), count, p=sample_weights(samples))
    return in_turn(len(samples), count, rng)
