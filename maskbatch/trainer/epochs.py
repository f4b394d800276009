"""The loop of training epochs: train, check, keep a checkpoint, and continue after a kill.

The folder of a run holds `history.csv` and `state/`. In `state/`, `plan.json` has the settings of the run, `rows.json`
lists the finished epochs, and `epoch0/`, `epoch1/` and so on are checkpoints.
"""

import csv
import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.write.files import partial_file
from maskbatch.trainer.json_files import plain, write_json

# epoch, finished steps, steps of an epoch, loss
Progress = Callable[[int, int, int, float], None]

_ROWS, _PLAN = "rows.json", "plan.json"
MODEL = "model.keras"


def no_progress(epoch: int, step: int, steps: int, loss: float) -> None:
    """Ignore the progress of training."""


class Course(ABC):
    """Base of the training of classifier and detector: the parts in which their epochs differ.

    An epoch has `steps` batches; `seed` determines everything random; `columns` are those of `history.csv`;
    `validation` are the batches on which each epoch is measured, if any.
    """

    columns: Sequence[str] = ("epoch", "learning_rate", "loss", "seconds")
    validation = None

    def __init__(self, steps: int, seed: int) -> None:
        self.steps, self.seed = steps, seed

    @abstractmethod
    def start(self):
        """Return the model for the first epoch."""

    @abstractmethod
    def batches(self, epoch: int):
        """Return the tf.data.Dataset of one epoch."""

    @abstractmethod
    def is_over(self, rows: Sequence[dict]) -> bool:
        """Return True when no epoch follows the finished epochs."""

    def resume(self, folder: Path):
        """Return the model in an epoch's folder with the state of its optimizer, and restore the other data of `save`."""
        import keras

        return keras.models.load_model(folder / MODEL, safe_mode=True)

    def begin_epoch(self, model, epoch: int) -> None:  # noqa: B027 (a hook)
        """Prepare the model for an epoch."""

    def end_step(self, model) -> None:  # noqa: B027 (a hook)
        """Hook after each batch."""

    def weights(self, model) -> list[np.ndarray]:
        """Return the weights that must be finite for an epoch to be kept."""
        return model.get_weights()

    def save(self, folder: Path) -> None:  # noqa: B027 (a hook)
        """Keep data that the model's own file does not hold in an epoch's folder."""

    def kept_epochs(self, rows: Sequence[dict]) -> set[int]:
        """Return the epochs whose checkpoints are still needed: by default the last one."""
        return {rows[-1]["epoch"]}


def run_epochs(course: Course, out: Path, resume: bool, progress: Progress) -> tuple[object, list[dict]]:
    """Train a course to its end. Every finished epoch leaves a checkpoint and a row in `history.csv`.

    Returns:
        The model after the last epoch, and a row for each epoch.

    Raises:
        UsageError: `resume` is set, but no epoch is finished.
        MaskbatchError: The training diverged. The checkpoint of the last good epoch is kept.
    """
    import keras

    keras.utils.set_random_seed(course.seed)
    rows = read_rows(out) if resume else []
    model = course.resume(epoch_folder(out, rows[-1]["epoch"])) if rows else course.start()
    while not course.is_over(rows):
        epoch = len(rows)
        course.begin_epoch(model, epoch)
        row = _train_epoch(course, model, epoch, progress)
        check_finite(row, course.weights(model), rows)
        rows.append(row)
        _keep(course, model, rows, out)
    return model, rows


def load_epoch(out: Path, epoch: int):
    """Return the model after an epoch, not compiled."""
    import keras

    return keras.models.load_model(epoch_folder(out, epoch) / MODEL, compile=False, safe_mode=True)


def warm_cosine(peak: float, steps: int, warmup: int):
    """Return a learning rate that rises to `peak` over `warmup` of the steps, and then falls to zero along a cosine."""
    import keras

    warmup = max(1, warmup)
    return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup)


def state_folder(out: Path) -> Path:
    """Return the folder with the checkpoints of a run."""
    return out / "state"


def epoch_folder(out: Path, epoch: int) -> Path:
    """Return the folder of an epoch's checkpoint."""
    return state_folder(out) / f"epoch{epoch}"


def check_begun(out: Path, resume: bool) -> None:
    """Raise UsageError when `resume` contradicts the content of the folder."""
    begun = (state_folder(out) / _ROWS).is_file()
    if begun and not resume:
        raise UsageError(f"{out} holds an unfinished run: add --resume, or choose another --out")
    if resume and not begun:
        raise UsageError(f"nothing to resume: {out} holds no finished epoch. Start without --resume")


def check_plan(plan: dict, out: Path, resume: bool) -> None:
    """Write the plan of a new run, or compare it with the plan of the run to resume. Raises UsageError."""
    kept = state_folder(out) / _PLAN
    if resume and kept.is_file():
        other = json.loads(kept.read_text(encoding="utf-8"))
        changed = [name for name, value in plain(plan).items() if other.get(name) != value]
        if changed:
            raise UsageError(f"cannot resume: {', '.join(changed)} differ from those of the run in {out}")
    else:
        write_json(plan, kept)


def read_rows(out: Path) -> list[dict]:
    """Return a row for each finished epoch. Raises UsageError when there is none."""
    check_begun(out, resume=True)
    return json.loads((state_folder(out) / _ROWS).read_text(encoding="utf-8"))


def check_finite(row: dict, weights: Iterable[np.ndarray], rows: Sequence[dict]) -> None:
    """Raise MaskbatchError when a figure of an epoch or a weight is not finite; `rows` are the earlier epochs.

    The check precedes the checkpoint of the epoch, so that the last good checkpoint stays.
    """
    wrong = [name for name, value in row.items() if not np.isfinite(value)]
    if not wrong and all(np.isfinite(weight).all() for weight in weights):
        return
    kept = f"epoch {rows[-1]['epoch'] + 1} is kept, and --resume continues after it" if rows else "nothing is kept"
    raise MaskbatchError(
        f"the training diverged in epoch {row['epoch'] + 1}: {', '.join(wrong) or 'a weight'} is not a finite number; "
        f"{kept}. If the training diverges again, look for wrong boxes, or start again with larger batches or a lower "
        "learning rate"
    )


def _train_epoch(course: Course, model, epoch: int, progress: Progress) -> dict:
    """Train for one epoch, and return its row."""
    import keras

    start = time.monotonic()

    def after_step(step: int, logs: dict) -> None:
        course.end_step(model)
        progress(epoch, step + 1, course.steps, logs["loss"])

    history = model.fit(
        course.batches(epoch),
        validation_data=course.validation,
        verbose=0,
        shuffle=False,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=after_step), keras.callbacks.TerminateOnNaN()],
    ).history
    figures = {name: values[-1] for name, values in history.items()}
    rate = float(model.optimizer.learning_rate)
    return {"epoch": epoch, "learning_rate": rate, **figures, "seconds": round(time.monotonic() - start, 1)}


def _keep(course: Course, model, rows: Sequence[dict], out: Path) -> None:
    """Write the checkpoint of the last epoch, then the list of epochs. A kill in between only repeats the epoch."""
    folder = epoch_folder(out, rows[-1]["epoch"])
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    course.save(folder)
    with partial_file(state_folder(out) / _ROWS) as partial:
        partial.write_text(json.dumps(rows, allow_nan=False), encoding="utf-8")
    with partial_file(out / "history.csv") as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, course.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for epoch in {row["epoch"] for row in rows} - course.kept_epochs(rows):
        shutil.rmtree(epoch_folder(out, epoch), ignore_errors=True)
