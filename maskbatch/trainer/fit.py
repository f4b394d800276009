"""Training: a recipe's phases, epoch by epoch, each kept so that a killed run goes on where it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch.trainer.batches import BatchSettings, evaluation_batches, training_batches
from maskbatch.trainer.epochs import check_finite, read_rows, state_folder, write_rows
from maskbatch.trainer.model import unfreeze
from maskbatch.trainer.recipes import Phase, Recipe
from maskbatch.trainer.samples import Samples

_HISTORY = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """`steps` batches make an epoch; None: as many as the training samples fill. `resume` goes on after the last
    finished epoch."""

    out: Path
    batch_size: int = 32
    steps: int | None = None
    seed: int = 0
    resume: bool = False


def fit(
    build: Callable[[], object],
    train: Samples,
    val: Samples,
    recipe: Recipe,
    settings: FitSettings,
    progress: Callable[[int, int, int, float], None] = lambda *_: None,
) -> tuple[object, list[dict]]:
    """Trains what `build` makes. Returns the model as the best epoch (least validation loss) left it, or the last one
    where the recipe has no patience; and the epochs' rows.

    Every finished epoch leaves the model with its optimizer's state in `out/state/`, and a row in `out/history.csv`.
    `progress(epoch, step, steps, loss)` is called after each batch. Raises UsageError when there is nothing to resume,
    MaskbatchError when the training diverges: the last good epoch then stays.
    """
    import keras

    keras.utils.set_random_seed(settings.seed)
    run = _Run(train, recipe, settings)
    state = state_folder(settings.out)
    rows, model = _resume(settings.out) if settings.resume else ([], build())
    for epoch in range(len(rows), recipe.num_epochs):
        if _patience_is_over(rows, recipe):
            break
        phase, begins = recipe.phase_at(epoch)
        if begins:
            _compile(model, phase, run.steps)
        _seed_dropout(model, settings.seed, epoch)
        row = _train_epoch(model, run.batches(epoch), evaluation_batches(val), epoch, run.steps, progress)
        check_finite(row, model.get_weights(), rows)
        rows.append(row)
        _keep(model, rows, recipe, settings.out)
    chosen = state / f"epoch{chosen_epoch(rows, recipe)}.keras"
    return keras.models.load_model(chosen, compile=False, safe_mode=True), rows


class _Run:
    """What stays the same over all epochs: the samples and how they are drawn."""

    def __init__(self, train: Samples, recipe: Recipe, settings: FitSettings) -> None:
        self._train = train
        self.steps = settings.steps or max(1, len(train) // settings.batch_size)
        self._settings = BatchSettings(
            settings.batch_size, self.steps, settings.seed, recipe.augment, recipe.covers, recipe.balance
        )

    def batches(self, epoch: int):
        """The tf.data.Dataset of one epoch."""
        return training_batches(self._train, self._settings, epoch)


def _compile(model, phase: Phase, steps: int) -> None:
    import keras

    unfreeze(model, phase.first_layer)
    rate = phase.learning_rate
    if phase.cosine:
        total = phase.epochs * steps
        warmup = max(1, total // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=phase.learning_rate, warmup_steps=warmup
        )
    model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])


def _seed_dropout(model, seed: int, epoch: int) -> None:
    """Let dropout depend on (seed, epoch) only: Keras does not keep its state with the model, so a resumed run would draw
    other units than one that nobody stopped."""
    import keras

    drawn = int(np.random.default_rng((seed, epoch)).integers(1 << 31))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(drawn).state)


def _train_epoch(model, batches, val_batches, epoch: int, steps: int, progress) -> dict:
    import keras

    start = time.monotonic()
    on_batch_end = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: progress(epoch, step + 1, steps, logs["loss"])
    )
    history = model.fit(
        batches,
        validation_data=val_batches,
        verbose=0,
        shuffle=False,
        callbacks=[on_batch_end, keras.callbacks.TerminateOnNaN()],
    )
    row = {name: values[-1] for name, values in history.history.items()}
    rate = float(model.optimizer.learning_rate)
    return {"epoch": epoch, "learning_rate": rate, **row, "seconds": round(time.monotonic() - start, 1)}


def chosen_epoch(rows: list[dict], recipe: Recipe) -> int:
    """The epoch whose model is the result: the one of least validation loss, or the last where there is no patience."""
    chosen = rows[-1] if recipe.patience is None else min(rows, key=lambda row: row["val_loss"])
    return chosen["epoch"]


def _keep(model, rows: list[dict], recipe: Recipe, out: Path) -> None:
    """Keeps the epoch; the list of epochs is written after its model, so that a kill in between repeats the epoch."""
    state = state_folder(out)
    state.mkdir(parents=True, exist_ok=True)
    partial = state / "partial.keras"
    model.save(partial)
    partial.replace(state / f"epoch{rows[-1]['epoch']}.keras")
    write_rows(rows, _HISTORY, out)
    wanted = {rows[-1]["epoch"], chosen_epoch(rows, recipe)}
    for row in rows:
        if row["epoch"] not in wanted:
            (state / f"epoch{row['epoch']}.keras").unlink(missing_ok=True)


def _resume(out: Path):
    """The finished epochs' rows, and the model as the last of them left it, its optimizer's state included."""
    import keras

    rows = read_rows(out)
    return rows, keras.models.load_model(state_folder(out) / f"epoch{rows[-1]['epoch']}.keras", safe_mode=True)


def _patience_is_over(rows: list[dict], recipe: Recipe) -> bool:
    """Whether the last phase has gone on for `patience` epochs without a better validation loss."""
    if recipe.patience is None or not rows:
        return False
    waited = rows[-1]["epoch"] - chosen_epoch(rows, recipe)
    in_last_phase = len(rows) - (recipe.num_epochs - recipe.phases[-1].epochs)
    return min(waited, in_last_phase) >= recipe.patience
