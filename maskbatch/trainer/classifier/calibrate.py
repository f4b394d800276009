"""Calibrate p_mask, so that its value is the share of masks among faces with this value.

Temperature scaling (Guo et al. 2017) divides the logit by a number; Platt scaling (Platt 1999) also shifts the logit.
Both are folded into the last Dense layer, so a calibrated model is an ordinary model.
"""

from dataclasses import dataclass

import numpy as np

from maskbatch.errors import MaskbatchError
from maskbatch.trainer.data.batches import evaluation_batches, shape_of
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.evaluate.figures import calibration_error
from maskbatch.trainer.model import P_MASK

# minimum relative gain of held-out log loss for a shift
_MIN_GAIN = 0.01
# a scale beyond these limits comes from a model that is perfect or useless on a few faces
_SCALE_LIMITS = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration, fitted on `faces` faces: the new logit is logit / `temperature` + `shift`.

    `error_*` is the expected calibration error, `loss_*` the log loss: before, after, and held out, where each half of
    the groups is judged by the calibration that was fitted on the other half.
    """

    method: str
    temperature: float
    shift: float
    faces: int
    error_before: float
    error_after: float
    error_held_out: float
    loss_before: float
    loss_after: float
    loss_held_out: float


def calibrate(model, samples: Samples, method: str = "auto") -> tuple[object, Calibration]:
    """Calibrate p_mask of a model of `build_model` on samples, by changing its last layer in place.

    Args:
        model: The trained model.
        samples: Faces with and without a mask that the model was not trained on and that resemble the input of a scan.
        method: "temperature", "platt", or "auto": Platt scaling where its held-out log loss is at least 1 % lower.

    Raises:
        MaskbatchError: The model's logits are not finite.
    """
    logit = predict_logits(model, samples)
    if not np.isfinite(logit).all():
        raise MaskbatchError(
            "the trained model gives numbers that are not finite: it can be neither calibrated nor kept"
        )
    found = fit_calibration(logit, samples.label, samples.group, method)
    fold(model.get_layer(P_MASK), found.temperature, found.shift)
    return model, found


def fold(layer, temperature: float, shift: float) -> None:
    """Change the weights of a Dense layer so that its logit is divided by `temperature` and then shifted."""
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel / temperature, bias / temperature + shift])


def predict_logits(model, samples: Samples, name: str = P_MASK) -> np.ndarray:
    """Return the input (N,) float64 of the sigmoid layer `name`, which is exact even if the probability rounds to 1."""
    import keras

    layer = model.get_layer(name)
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        # the given model may have been compiled with the sigmoid
        bare = keras.Model(model.inputs, layer.output)
        return bare.predict(evaluation_batches(samples, shape=shape_of(model)), verbose=0)[:, 0].astype(np.float64)
    finally:
        layer.activation = activation


def fit_calibration(logit: np.ndarray, label: np.ndarray, group: np.ndarray, method: str = "auto") -> Calibration:
    """Return the calibration for logits (N,) of labels (N,) in {0, 1}; faces of one `group` (N,) are not independent."""
    held_out = {name: _held_out(logit, label, group, name == "platt") for name in ("temperature", "platt")}
    losses = {name: log_loss(changed, label) for name, changed in held_out.items()}
    if method == "auto":
        method = "platt" if losses["platt"] < (1 - _MIN_GAIN) * losses["temperature"] else "temperature"
    scale, shift = fit_scale(logit, label, method == "platt")
    after = scale * logit + shift
    return Calibration(
        method=method,
        temperature=1 / scale,
        shift=shift,
        faces=len(label),
        error_before=calibration_error(label, _sigmoid(logit)),
        error_after=calibration_error(label, _sigmoid(after)),
        error_held_out=calibration_error(label, _sigmoid(held_out[method])),
        loss_before=log_loss(logit, label),
        loss_after=log_loss(after, label),
        loss_held_out=losses[method],
    )


def fit_scale(logit: np.ndarray, label: np.ndarray, with_shift: bool) -> tuple[float, float]:
    """Return (scale, shift) of least log loss for sigmoid(scale * logit + shift).

    Labels are moved slightly towards the middle (Platt 1999), so that the answer is finite for separable classes: each
    face counts for both classes, with weights that add up to 1.
    """
    from sklearn.linear_model import LogisticRegression

    counts = np.bincount(label, minlength=2)
    target = np.where(label == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    # an infinite C means no regularisation
    model = LogisticRegression(C=np.inf, fit_intercept=with_shift, tol=1e-8, max_iter=1000)
    both = np.repeat([0, 1], len(label))
    model.fit(np.tile(logit, 2)[:, None], both, sample_weight=np.concatenate([1 - target, target]))
    return float(np.clip(model.coef_[0, 0], *_SCALE_LIMITS)), float(model.intercept_[0]) if with_shift else 0.0


def log_loss(logit: np.ndarray, label: np.ndarray) -> float:
    """Return the mean cross-entropy of logits (N,) and labels (N,) in nats, even where p_mask rounds to 0 or 1."""
    return float(np.mean(np.logaddexp(0, logit) - label * logit)) if len(logit) else float("nan")


def _held_out(logit: np.ndarray, label: np.ndarray, group: np.ndarray, with_shift: bool) -> np.ndarray:
    """Return the logits (N,), each calibrated by the fit on the other half of the groups."""
    names, number = np.unique(group, return_inverse=True)
    second = np.random.default_rng(0).permutation(len(names))[number] % 2 == 1
    changed = np.array(logit)
    for half in (second, ~second):
        if half.any() and not half.all():
            scale, shift = fit_scale(logit[~half], label[~half], with_shift)
            changed[half] = scale * logit[half] + shift
    return changed


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logit))
