"""Train a classifier through the phases of its recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch.trainer.classifier.recipes import Phase, Recipe
from maskbatch.trainer.data.batches import BatchSettings, evaluation_batches, training_batches
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.epochs import Course, Progress, load_epoch, no_progress, run_epochs, warm_cosine
from maskbatch.trainer.model import unfreeze


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of one training run.

    An epoch has `steps` batches; None means as many as the training samples fill. `resume` continues after the last
    finished epoch.
    """

    out: Path
    batch_size: int = 32
    steps: int | None = None
    seed: int = 0
    resume: bool = False


@dataclass(frozen=True, slots=True)
class FitSamples:
    """Faces for training, and faces on which each epoch is measured."""

    train: Samples
    val: Samples


def fit(
    build: Callable[[], object],
    samples: FitSamples,
    recipe: Recipe,
    settings: FitSettings,
    progress: Progress = no_progress,
) -> tuple[object, list[dict]]:
    """Train the model from `build`, and leave a checkpoint after each epoch (see `run_epochs`).

    Returns:
        The model after the epoch from `chosen_epoch`, and a row for each epoch.

    Raises:
        UsageError: There is nothing to resume.
        MaskbatchError: The training diverged. The last good checkpoint is kept.
    """
    course = _Phases(build, samples, recipe, settings)
    _, rows = run_epochs(course, settings.out, settings.resume, progress)
    return load_epoch(settings.out, chosen_epoch(rows, recipe)), rows


def chosen_epoch(rows: Sequence[dict], recipe: Recipe) -> int:
    """Return the epoch whose model is the result: the last, or with patience the one of least validation loss."""
    chosen = rows[-1] if recipe.patience is None else min(rows, key=lambda row: row["val_loss"])
    return chosen["epoch"]


_COLUMNS = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


class _Phases(Course):
    """The training of the classifier, in phases that unfreeze more layers or change the learning rate."""

    columns = _COLUMNS

    def __init__(self, build: Callable[[], object], samples: FitSamples, recipe: Recipe, settings: FitSettings) -> None:
        super().__init__(settings.steps or max(1, len(samples.train) // settings.batch_size), settings.seed)
        self._build, self._recipe, self._train = build, recipe, samples.train
        self.validation = evaluation_batches(samples.val, shape=recipe.shape)
        self._settings = BatchSettings(
            settings.batch_size, self.steps, self.seed, recipe.augment, recipe.balance, recipe.shape
        )
        if recipe.third_state:
            self.columns = (*_COLUMNS[:-1], "incorrect_area", "val_incorrect_area", _COLUMNS[-1])

    def start(self):
        """Return the untrained model."""
        return self._build()

    def resume(self, folder: Path):
        """Return the model of an epoch's folder."""
        from maskbatch.trainer.classifier import loss  # noqa: F401 (registers loss and metrics of the model)

        return super().resume(folder)

    def batches(self, epoch: int):
        """Return the tf.data.Dataset of one epoch."""
        return training_batches(self._train, self._settings, epoch)

    def begin_epoch(self, model, epoch: int) -> None:
        """Compile the model at the beginning of a phase, and seed dropout."""
        phase, begins = self._recipe.phase_at(epoch)
        if begins:
            _compile(model, phase, self.steps, self._recipe.third_state)
        _seed_dropout(model, self.seed, epoch)

    def is_over(self, rows: Sequence[dict]) -> bool:
        """Return True after the last epoch, or when the last phase has run out of patience."""
        return len(rows) >= self._recipe.num_epochs or _patience_is_over(rows, self._recipe)

    def kept_epochs(self, rows: Sequence[dict]) -> set[int]:
        """Return the last epoch, and the epoch that would be the result if no other followed."""
        return super().kept_epochs(rows) | {chosen_epoch(rows, self._recipe)}


def _compile(model, phase: Phase, steps: int, third_state: bool) -> None:
    import keras

    from maskbatch.trainer.classifier.loss import StatesLoss, metrics

    unfreeze(model, phase.first_layer)
    total = phase.epochs * steps
    rate = warm_cosine(phase.learning_rate, total, total // 10) if phase.cosine else phase.learning_rate
    if third_state:
        model.compile(keras.optimizers.Adam(rate), loss=StatesLoss(), metrics=metrics())
    else:
        model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])


def _seed_dropout(model, seed: int, epoch: int) -> None:
    """Make dropout depend only on (seed, epoch).

    Keras does not save the state of dropout with the model, so a resumed run would drop other units than an
    uninterrupted run.
    """
    import keras

    drawn = int(np.random.default_rng((seed, epoch)).integers(1 << 31))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(drawn).state)


def _patience_is_over(rows: Sequence[dict], recipe: Recipe) -> bool:
    """Return True when `patience` epochs of the last phase have passed without a better validation loss."""
    if recipe.patience is None or not rows:
        return False
    waited = rows[-1]["epoch"] - chosen_epoch(rows, recipe)
    in_last_phase = len(rows) - (recipe.num_epochs - recipe.phases[-1].epochs)
    return min(waited, in_last_phase) >= recipe.patience
