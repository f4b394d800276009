"""Samples -> tf.data batches for training and evaluation."""

from dataclasses import dataclass

import numpy as np

from maskbatch.classifier import CROP_PX, cut_crop
from maskbatch.trainer.augment import Augment
from maskbatch.trainer.samples import Samples

# the sources with annotated scenes show what a scan meets; class folders give their class away by their background
_SCENE_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """`steps` batches an epoch are drawn by weight (see `sample_weights`); everything random follows `seed`."""

    batch_size: int
    steps: int
    seed: int


def training_batches(samples: Samples, augment: Augment, weights: np.ndarray, settings: BatchSettings, epoch: int):
    """One epoch: a tf.data.Dataset of crops (B, 224, 224, 3) uint8 and labels (B, 1) float32.

    What is drawn and how it is changed depends on (seed, epoch, position) only, not on how many threads do it.
    """
    import tensorflow as tf

    rng = np.random.default_rng((settings.seed, epoch))
    drawn = rng.choice(len(samples), settings.batch_size * settings.steps, p=weights / weights.sum())

    def draw(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        item = drawn[position]
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        image, xyxy = augment(samples.image(item), samples.xyxy[item, own.integers(2)], own)
        return cut_crop(image, xyxy), samples.label[item : item + 1].astype(np.float32)

    return _batches(tf.data.Dataset.range(len(drawn)), draw, settings.batch_size)


def evaluation_batches(samples: Samples, batch_size: int = 32):
    """Every sample once, in order, as a scan would cut it: crops (B, 224, 224, 3) uint8 and labels (B, 1) float32."""
    import tensorflow as tf

    def cut(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return samples.crop(position), samples.label[position : position + 1].astype(np.float32)

    return _batches(tf.data.Dataset.range(len(samples)), cut, batch_size)


def sample_weights(samples: Samples) -> np.ndarray:
    """How often each sample (N,) is drawn: both classes equally often, each source's share by the root of its size.

    Faces of annotated scenes count twice.
    """
    weights = np.where(samples.annotated, _SCENE_WEIGHT, 1.0)
    for source in np.unique(samples.source):
        for label in (0, 1):
            cell = (samples.source == source) & (samples.label == label)
            weights[cell] /= np.sqrt(max(cell.sum(), 1))
    for label in (0, 1):
        chosen = samples.label == label
        weights[chosen] /= max(weights[chosen].sum(), np.finfo(float).tiny)
    return weights


def _batches(positions, cut, batch_size: int):
    import tensorflow as tf

    def element(position):
        crop, label = tf.numpy_function(cut, [position], (tf.uint8, tf.float32))
        return tf.ensure_shape(crop, (CROP_PX, CROP_PX, 3)), tf.ensure_shape(label, (1,))

    dataset = positions.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(4)
