"""Loss and metrics of a classifier with a third state. The module imports Keras: import it late.

Targets are (B, 2): p_mask and p_incorrect. The target of p_mask for a mask worn incorrectly is `UNKNOWN`.
"""

import keras
from keras import ops

from maskbatch.trainer.data.batches import UNKNOWN

_register = keras.saving.register_keras_serializable(package="maskbatch")


@_register
class StatesLoss(keras.losses.Loss):
    """The sum of the binary cross-entropies of both columns; an unknown target adds nothing."""

    def call(self, y_true, y_pred):
        """Return the loss (B,)."""
        known = ops.cast(y_true != UNKNOWN, y_pred.dtype)
        # element by element, because binary_crossentropy takes the mean over the last axis
        entropy = keras.losses.binary_crossentropy(
            ops.expand_dims(y_true * known, -1), ops.expand_dims(y_pred, -1), axis=-1
        )
        return ops.sum(entropy * known, axis=-1)


@_register
class MaskAccuracy(keras.metrics.Mean):
    """The share of faces on the right side of p_mask = 0.5, among faces with or without a mask."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch; sample weights do not count."""
        right = (y_pred[:, 0] >= 0.5) == (y_true[:, 0] >= 0.5)
        return super().update_state(ops.cast(right, "float32"), ops.cast(y_true[:, 0] != UNKNOWN, "float32"))


@_register
class IncorrectArea(keras.metrics.AUC):
    """The area under the precision-recall curve of p_incorrect, among all faces."""

    def __init__(self, curve="PR", **options):
        super().__init__(curve=curve, **options)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch; sample weights do not count."""
        return super().update_state(y_true[:, 1], y_pred[:, 1])


def metrics() -> list:
    """Return the metrics of a training with a third state: `accuracy` and `incorrect_area`."""
    return [MaskAccuracy(name="accuracy"), IncorrectArea(name="incorrect_area")]
