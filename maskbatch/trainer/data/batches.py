"""Samples as tf.data batches for training and evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from maskbatch.analyse.classifier import CROP_PX, cut_crop
from maskbatch.trainer.data.augment import Augment
from maskbatch.trainer.data.labels import LABELS, STATES, WORN_INCORRECTLY
from maskbatch.trainer.data.samples import Samples

Balance = Literal["none", "weights", "oversample"]

# the target of p_mask for a mask that is worn incorrectly
UNKNOWN = -1.0
# the share of draws of masks worn incorrectly, which are rare
_INCORRECT_SHARE = 0.12
# annotated scenes resemble the input of a scan; in class folders, the background gives the class away
_SCENE_WEIGHT = 2.0


class TensorSpec(NamedTuple):
    """Type and shape of one part of an element."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The crops and targets of a model: crops of `size_px`, and a second column of targets with a `third_state`."""

    size_px: int = CROP_PX
    third_state: bool = False

    @property
    def parts(self) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
        """Return types and shapes of a crop, its targets and its weight."""
        crop, targets = (self.size_px, self.size_px, 3), (2 if self.third_state else 1,)
        return TensorSpec("uint8", crop), TensorSpec("float32", targets), TensorSpec("float32", ())

    def targets(self, label: int) -> np.ndarray:
        """Return the targets (1,) or (2,) float32 of p_mask and p_incorrect; see `UNKNOWN`."""
        is_incorrect = label == WORN_INCORRECTLY
        both = np.array([UNKNOWN if is_incorrect else label, is_incorrect], np.float32)
        return both if self.third_state else both[:1]


def shape_of(model) -> Shape:
    """Return the shape of a model of `build_model`."""
    return Shape(model.input_shape[1], model.output_shape[1] > 1)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Settings of an epoch of `steps` batches; `seed` determines everything random.

    `balance`: "oversample" draws by weight (see `sample_weights`); "weights" takes every sample in turn and gives the
    rarer class more weight in the loss; "none" takes every sample in turn.
    """

    batch_size: int
    steps: int
    seed: int
    augment: Augment
    balance: Balance = "none"
    shape: Shape = field(default_factory=Shape)


def training_batches(samples: Samples, settings: BatchSettings, epoch: int):
    """Return one epoch: a tf.data.Dataset of crops (B, S, S, 3) uint8, targets (B, 1 or 2) and loss weights (B,) float32.

    The batches depend only on (seed, epoch, position), not on the number of threads.
    """
    drawn = _drawn(samples, settings, epoch)
    by_class = class_weights(samples.label) if settings.balance == "weights" else np.ones(len(STATES), np.float32)

    def crop(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        item = drawn[position]
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        label = samples.label[item]
        image, xyxy = settings.augment(samples.image(item), samples.xyxy[item, own.integers(2)], int(label), own)
        return cut_crop(image, xyxy, settings.shape.size_px), settings.shape.targets(label), by_class[label]

    return tensor_batches(crop, len(drawn), settings.shape.parts, settings.batch_size)


def evaluation_batches(samples: Samples, batch_size: int = 32, shape: Shape | None = None):
    """Return every sample once, in order, cut as in a scan.

    The parts are crops (B, S, S, 3) uint8, targets (B, 1 or 2) float32 and weights (B,) float32 of 1.
    """
    shape = shape or Shape()

    def crop(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return samples.crop(position, shape.size_px), shape.targets(samples.label[position]), np.float32(1)

    return tensor_batches(crop, len(samples), shape.parts, batch_size)


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
    """Return positions (count,) int64 in which every member of a population occurs once before any is repeated."""
    rounds = -(-count // population)
    return np.concatenate([rng.permutation(population) for _ in range(rounds)])[:count]


def sample_weights(samples: Samples) -> np.ndarray:
    """Return the share (N,) of draws that each sample gets.

    Faces with and without a mask are drawn equally often, and masks worn incorrectly in 12 % of the draws. Each source
    is drawn by the square root of its size. For masks worn incorrectly, the size is the number of groups, because some
    sources show one person many times. Faces of annotated scenes count twice.
    """
    weights = np.where(samples.annotated, _SCENE_WEIGHT, 1.0)
    for source in np.unique(samples.source):
        for label in range(len(STATES)):
            cell = (samples.source == source) & (samples.label == label)
            size = len(np.unique(samples.group[cell])) if label == WORN_INCORRECTLY else cell.sum()
            weights[cell] *= np.sqrt(size) / max(cell.sum(), 1)
    for label in range(len(STATES)):
        chosen = samples.label == label
        share = _INCORRECT_SHARE if label == WORN_INCORRECTLY else (1 - _INCORRECT_SHARE) / len(LABELS)
        weights[chosen] *= share / max(weights[chosen].sum(), np.finfo(float).tiny)
    return weights / weights.sum()


def class_weights(label: np.ndarray) -> np.ndarray:
    """Return the weight (3,) float32 of a sample of each state.

    The weights of faces with and without a mask have the same sum and a mean of 1. Masks worn incorrectly have 12 % of
    the total.
    """
    counts = np.bincount(label, minlength=len(STATES))
    total = counts[: len(LABELS)].sum()
    sums = np.array([total / 2, total / 2, total * _INCORRECT_SHARE / (1 - _INCORRECT_SHARE)])
    return (sums / np.maximum(counts, 1)).astype(np.float32)


def _drawn(samples: Samples, settings: BatchSettings, epoch: int) -> np.ndarray:
    """Return the positions (batch_size * steps,) int64 of one epoch's samples."""
    rng = np.random.default_rng((settings.seed, epoch))
    count = settings.batch_size * settings.steps
    if settings.balance == "oversample":
        return rng.choice(len(samples), count, p=sample_weights(samples))
    return in_turn(len(samples), count, rng)
