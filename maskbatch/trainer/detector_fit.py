"""Fine-tuning of the detector: epochs of training views, a running average of the weights, and the way back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch import centerface
from maskbatch.centerface import load_network
from maskbatch.trainer.detector_augment import training_view
from maskbatch.trainer.detector_loss import detection_loss, raw_maps
from maskbatch.trainer.detector_samples import DetectorScene
from maskbatch.trainer.detector_targets import CHANNELS, target_maps
from maskbatch.trainer.epochs import check_finite, read_rows, state_folder, write_rows

_HISTORY = ("epoch", "learning_rate", "loss", "seconds")
_WARMUP_SHARE = 0.05
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True)
class DetectorFitSettings:
    """`side_px`: of the square views, a multiple of 32; `steps` batches make an epoch, None: each scene once;
    `averaged_steps`: how many of the last steps the average of the weights spans."""

    out: Path
    epochs: int = 12
    steps: int | None = None
    batch_size: int = 8
    side_px: int = 384
    learning_rate: float = 1e-4
    averaged_steps: int = 200
    seed: int = 0
    resume: bool = False


def fit_detector(
    original: Path,
    scenes: Sequence[DetectorScene],
    settings: DetectorFitSettings,
    progress: Callable[[int, int, int, float], None] = lambda *_: None,
):
    """Trains on from the weights at `original`; returns the network with the running average of its weights.

    The average over the last steps is flatter and steadier than the weights of any one (Polyak & Juditsky 1992). Every
    finished epoch leaves the model, its optimizer's state and the average in `out/state/`, and a row in
    `out/history.csv`. Raises UsageError when there is nothing to resume, MaskbatchError when the training diverges: the
    last good epoch then stays.
    """
    import keras

    keras.utils.set_random_seed(settings.seed)
    steps = settings.steps or max(1, len(scenes) // settings.batch_size)
    if settings.resume:
        rows, model, average = _resume(settings.out)
    else:
        network = load_network(original)
        rows, model, average = [], raw_maps(network), network.get_weights()
        _compile(model, settings, steps)
    averaging = _Averaging(model, average, settings.averaged_steps)
    for epoch in range(len(rows), settings.epochs):
        batches = training_views(scenes, settings, steps, epoch)
        row = _train_epoch(model, batches, (epoch, steps), averaging, progress)
        check_finite(row, [*model.get_weights(), *averaging.average], rows)
        rows.append(row)
        _keep(model, with_weights(averaging.average), rows, settings.out)
    return with_weights(averaging.average)


def with_weights(weights: Sequence[np.ndarray]):
    """CenterFace with these weights, in the order of `get_weights`."""
    network = centerface.build_network()
    network.set_weights(weights)
    return network


def interpolated(original, tuned, alpha: float):
    """A network with (1 - alpha) of the original's weights and alpha of the tuned one's.

    Fine-tuning stays in one basin, so the way between keeps what the original knew and most of what was learnt (WiSE-FT,
    Wortsman et al. 2022, arXiv:2109.01903).
    """
    pairs = zip(original.get_weights(), tuned.get_weights(), strict=True)
    return with_weights([first + np.float32(alpha) * (second - first) for first, second in pairs])


def training_views(scenes: Sequence[DetectorScene], settings: DetectorFitSettings, steps: int, epoch: int):
    """One epoch: a tf.data.Dataset of views (B, S, S, 3) uint8 and target maps (B, S/4, S/4, 19) float32.

    What is drawn and how it is changed depends on (seed, epoch, position) only, not on how many threads do it.
    """
    import tensorflow as tf

    rng, side_px = np.random.default_rng((settings.seed, epoch)), settings.side_px
    num_views = steps * settings.batch_size
    rounds = -(-num_views // len(scenes))
    drawn = np.concatenate([rng.permutation(len(scenes)) for _ in range(rounds)])[:num_views]

    def draw(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        image, faces = training_view(scenes, int(drawn[position]), side_px, own)
        return image, target_maps(faces, side_px)

    def element(position):
        image, target = tf.numpy_function(draw, [position], (tf.uint8, tf.float32))
        cells = side_px // centerface.STRIDE
        return tf.ensure_shape(image, (side_px, side_px, 3)), tf.ensure_shape(target, (cells, cells, CHANNELS))

    positions = tf.data.Dataset.range(num_views)
    views = positions.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return views.batch(settings.batch_size, drop_remainder=True).prefetch(2)


class _Averaging:
    """A running mean of the model's weights over about `span` steps; shorter at the beginning."""

    def __init__(self, model, average: Sequence[np.ndarray], span: int) -> None:
        self._model, self._span = model, span
        self.average = [np.array(weight) for weight in average]

    def step(self) -> None:
        done = int(self._model.optimizer.iterations)
        share = 1 / min(self._span, 1 + done)
        for mean, weight in zip(self.average, self._model.get_weights(), strict=True):
            mean += share * (weight - mean)


def _compile(model, settings: DetectorFitSettings, steps: int) -> None:
    import keras

    total = settings.epochs * steps
    warmup = max(1, round(total * _WARMUP_SHARE))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=_MAX_GRADIENT_NORM)
    # XLA takes half a minute to compile this network on a CPU, for every run
    model.compile(optimizer, loss=detection_loss, jit_compile=False)


def _train_epoch(model, batches, position: tuple[int, int], averaging: _Averaging, progress) -> dict:
    """`position`: the epoch's number and its steps."""
    import keras

    start, (epoch, steps) = time.monotonic(), position

    def after_step(step: int, logs: dict) -> None:
        averaging.step()
        progress(epoch, step + 1, steps, logs["loss"])

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=after_step), keras.callbacks.TerminateOnNaN()]
    history = model.fit(batches, verbose=0, shuffle=False, callbacks=callbacks).history
    rate = float(model.optimizer.learning_rate)
    seconds = round(time.monotonic() - start, 1)
    return {"epoch": epoch, "learning_rate": rate, "loss": history["loss"][-1], "seconds": seconds}


def _keep(model, average, rows: list[dict], out: Path) -> None:
    """Keeps the epoch; the list of epochs is written last, so that a kill in between repeats the epoch."""
    state, epoch = state_folder(out), rows[-1]["epoch"]
    state.mkdir(parents=True, exist_ok=True)
    model.save(state / f"epoch{epoch}.keras")
    average.save_weights(state / f"average{epoch}.weights.h5")
    write_rows(rows, _HISTORY, out)
    for earlier in range(epoch):
        (state / f"epoch{earlier}.keras").unlink(missing_ok=True)
        (state / f"average{earlier}.weights.h5").unlink(missing_ok=True)


def _resume(out: Path):
    """The finished epochs' rows, the model as the last of them left it, optimizer included, and the average's weights."""
    import keras

    rows, state = read_rows(out), state_folder(out)
    epoch, known = rows[-1]["epoch"], {"detection_loss": detection_loss}
    model = keras.models.load_model(state / f"epoch{epoch}.keras", custom_objects=known, safe_mode=True)
    return rows, model, load_network(state / f"average{epoch}.weights.h5").get_weights()
