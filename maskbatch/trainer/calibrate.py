"""Calibration: makes p_mask mean what it says, by rescaling the last layer of a trained model.

Temperature scaling (Guo et al. 2017) divides the logit by one number; Platt scaling (Platt 1999) also shifts it. Both
are folded into the last Dense layer, so a calibrated model is an ordinary model.
"""

from dataclasses import dataclass

import numpy as np

from maskbatch.errors import MaskbatchError
from maskbatch.trainer.batches import evaluation_batches
from maskbatch.trainer.evaluate import calibration_error
from maskbatch.trainer.samples import Samples

# by how much the held-out log loss must fall for the second number to be worth having
_MIN_GAIN = 0.01
# beyond these a model is perfect or useless on the few faces it was fitted on, and nothing was learnt about it
_SCALE_LIMITS = (0.05, 20.0)
_MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibrated logit is logit / `temperature` + `shift` (0 for method temperature), fitted on `faces` faces.

    `error_*` is the expected calibration error, `loss_*` the log loss: before, after, and after with each half of the
    faces judged by what was fitted on the other half (groups whole).
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
    """The model of `build_model`, its last layer changed in place, and what was found on `samples`.

    `method`: temperature, platt, or auto: Platt where its held-out log loss is at least 1 % lower. `samples` must not be
    those the model was trained on, and should look like what a scan meets. Raises MaskbatchError for a model whose logits
    are not finite.
    """
    logit = predict_logits(model, samples)
    if not np.isfinite(logit).all():
        raise MaskbatchError(
            "the trained model gives numbers that are not finite: it cannot be calibrated, and is not kept"
        )
    found = fit_calibration(logit, samples.label, samples.group, method)
    layer = model.get_layer("p_mask")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel / found.temperature, bias / found.temperature + found.shift])
    return model, found


def predict_logits(model, samples: Samples) -> np.ndarray:
    """Logits (N,) float64 of the samples: what goes into the last sigmoid, exact where p_mask would be rounded to 1."""
    import keras

    layer = model.get_layer("p_mask")
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        # a model of its own, for the old one may have been compiled with the sigmoid
        bare = keras.Model(model.inputs, model.outputs)
        return bare.predict(evaluation_batches(samples), verbose=0)[:, 0].astype(np.float64)
    finally:
        layer.activation = activation


def fit_calibration(logit: np.ndarray, label: np.ndarray, group: np.ndarray, method: str = "auto") -> Calibration:
    """The calibration for logits (N,) of labels (N,) in {0, 1}; `group` (N,) says which faces are not independent."""
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
    """(scale, shift) of least log loss for sigmoid(scale * logit + shift), by Newton's method with halved steps.

    Labels are drawn a little towards the middle (Platt 1999), so that separable classes have a finite answer.
    """
    counts = np.bincount(label, minlength=2)
    target = np.where(label == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    columns = np.stack([logit, np.ones_like(logit)])[: 1 + with_shift]
    weights = np.array([1.0, 0.0])[: 1 + with_shift]
    for _ in range(_MAX_STEPS):
        p = _sigmoid(weights @ columns)
        gradient = columns @ (p - target)
        hessian = (columns * (p * (1 - p))) @ columns.T + 1e-9 * np.eye(len(weights))
        step, before = np.linalg.solve(hessian, gradient), log_loss(weights @ columns, target)
        while log_loss((weights - step) @ columns, target) > before and np.abs(step).max() > 1e-9:
            step /= 2
        weights = weights - step
        if np.abs(step).max() < 1e-7:
            break
    scale = float(np.clip(weights[0], *_SCALE_LIMITS))
    return scale, float(weights[1]) if with_shift else 0.0


def log_loss(logit: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy of logits (N,) and labels or target probabilities (N,), in nats."""
    return float(np.mean(np.logaddexp(0, logit) - label * logit)) if len(logit) else float("nan")


def _held_out(logit: np.ndarray, label: np.ndarray, group: np.ndarray, with_shift: bool) -> np.ndarray:
    """Logits (N,), each changed by what was fitted on the half of the groups that it is not in."""
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
