"""Samples -> tf.data batches for training and evaluation."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from maskbatch.analyse.classifier import CROP_PX, cut_crop
from maskbatch.trainer.classifier.augment import Augment
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.drawn.covers import CoverSettings, cover

Balance = Literal["none", "weights", "oversample"]

# the sources with annotated scenes show what a scan meets; class folders give their class away by their background
_SCENE_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """`steps` batches an epoch; everything random follows `seed`.

    `balance`: oversample draws by weight (see `sample_weights`); weights takes every sample in turn, and the rarer class
    counts more in the loss; none only takes every sample in turn.
    """

    batch_size: int
    steps: int
    seed: int
    augment: Augment
    covers: CoverSettings = field(default_factory=CoverSettings)
    balance: Balance = "none"


def training_batches(samples: Samples, settings: BatchSettings, epoch: int):
    """One epoch: a tf.data.Dataset of crops (B, 224, 224, 3) uint8, labels (B, 1) float32, loss weights (B,) float32.

    What is drawn and how it is changed depends on (seed, epoch, position) only, not on how many threads do it.
    """
    import tensorflow as tf

    drawn = _drawn(samples, settings, epoch)
    by_class = class_weights(samples.label) if settings.balance == "weights" else np.ones(2, np.float32)

    def draw(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        item = drawn[position]
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        image, label = samples.image(item), samples.label[item]
        if not label:
            image, label = cover(image, samples.landmarks[item], samples.xyxy[item, 1], settings.covers, own)
        image, xyxy = settings.augment(image, samples.xyxy[item, own.integers(2)], own)
        return cut_crop(image, xyxy), np.array([label], np.float32), by_class[label]

    return _batches(tf.data.Dataset.range(len(drawn)), draw, settings.batch_size)


def _drawn(samples: Samples, settings: BatchSettings, epoch: int) -> np.ndarray:
    """Positions (batch_size * steps,) int64 of one epoch's samples."""
    rng = np.random.default_rng((settings.seed, epoch))
    count = settings.batch_size * settings.steps
    if settings.balance == "oversample":
        weights = sample_weights(samples, settings.covers.mask)
        return rng.choice(len(samples), count, p=weights / weights.sum())
    rounds = -(-count // len(samples))
    return np.concatenate([rng.permutation(len(samples)) for _ in range(rounds)])[:count]


def evaluation_batches(samples: Samples, batch_size: int = 32):
    """Every sample once, in order, as a scan would cut it: crops (B, 224, 224, 3) uint8, labels (B, 1) float32,
    weights (B,) float32 of 1."""
    import tensorflow as tf

    def cut(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return samples.crop(position), samples.label[position : position + 1].astype(np.float32), np.float32(1)

    return _batches(tf.data.Dataset.range(len(samples)), cut, batch_size)


def sample_weights(samples: Samples, mask_share: float = 0.0) -> np.ndarray:
    """How often each sample (N,) is drawn: both classes equally often, each source's share by the root of its size.

    Faces of annotated scenes count twice. `mask_share` of the bare faces with landmarks will get a drawn mask and the
    label of one: so many more of the bare ones are drawn that the classes are equal afterwards.
    """
    weights = np.where(samples.annotated, _SCENE_WEIGHT, 1.0)
    for source in np.unique(samples.source):
        for label in (0, 1):
            cell = (samples.source == source) & (samples.label == label)
            weights[cell] /= np.sqrt(max(cell.sum(), 1))
    for label in (0, 1):
        chosen = samples.label == label
        weights[chosen] /= max(weights[chosen].sum(), np.finfo(float).tiny)
    bare = samples.label == 0
    drawable = np.isfinite(samples.landmarks).all(axis=(1, 2))
    weights[bare] /= 1 - 2 * min(mask_share, 0.4) * weights[bare & drawable].sum()
    return weights


def class_weights(label: np.ndarray) -> np.ndarray:
    """(2,) float32: what a sample of each class counts, so that both classes count the same in all; mean 1."""
    return (len(label) / (2 * np.maximum(np.bincount(label, minlength=2), 1))).astype(np.float32)


def _batches(positions, cut, batch_size: int):
    import tensorflow as tf

    def element(position):
        crop, label, weight = tf.numpy_function(cut, [position], (tf.uint8, tf.float32, tf.float32))
        crop = tf.ensure_shape(crop, (CROP_PX, CROP_PX, 3))
        return crop, tf.ensure_shape(label, (1,)), tf.ensure_shape(weight, ())

    dataset = positions.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(4)
