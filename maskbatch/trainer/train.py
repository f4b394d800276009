"""`maskbatch train` as a function: datasets in; a calibrated model, its figures, plots and card out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from maskbatch import weights
from maskbatch.config import ClassifierSettings
from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.batches import Balance
from maskbatch.trainer.calibrate import calibrate
from maskbatch.trainer.checks import check_folder, check_packages
from maskbatch.trainer.epochs import check_begun, check_plan, state_folder
from maskbatch.trainer.fit import FitSettings, chosen_epoch, fit
from maskbatch.trainer.groups import Grouping
from maskbatch.trainer.labels import LABELS
from maskbatch.trainer.measure import (
    DatasetSettings,
    face_cache,
    face_report,
    load_pictures,
    predict_file,
    shipped_detector,
)
from maskbatch.trainer.model import build_model
from maskbatch.trainer.operating_point import choose_for_faces
from maskbatch.trainer.outputs import versions, write_training
from maskbatch.trainer.reading import fingerprint
from maskbatch.trainer.recipes import RECIPES, Recipe
from maskbatch.trainer.samples import Samples, load_samples

# fewer faces of a class in annotated scenes than this, and all validation faces are the guide
_MIN_GUIDE_FACES = 50
_NEEDED = ("train", "val")
_MODEL = "model.keras"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What is trained, and on what. `balance`, `patience` None: what the recipe says."""

    dataset: DatasetSettings
    recipe: str = "best"
    backbone: str = "mobilenet_v2"
    base_weights: str | None = "imagenet"
    balance: Balance | None = None
    patience: int | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know: `say(message)`, and `progress(epoch, step, steps, loss)` after each batch."""

    say: Callable[[str], None] = lambda message: None
    progress: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None


def train(settings: TrainSettings, fitting: FitSettings, listener: Listener | None = None) -> dict:
    """Trains and calibrates a classifier into `fitting.out`: `model.keras`, `history.csv`, `report.json`,
    `model_card.md` and plots. Returns the report.

    `model.keras` appears last, so that a run killed at any point can be resumed. Raises UsageError when the folder holds
    a model or an unfinished run already, or the run to resume was another one; DatasetError when a class or a split is
    empty; WeightsError when the backbone's weights cannot be had; MaskbatchError when the training diverges.
    """
    listener, recipe, dataset = listener or Listener(), _recipe(settings), settings.dataset
    _check_places(fitting.out, dataset.cache, fitting.resume)
    pictures, groups = load_pictures(dataset)
    listener.say(f"{len(pictures)} pictures; {groups}")
    for split in _NEEDED:
        _check_classes(split, [label for p in pictures if p.split == split for label in p.label if label >= 0])
    report = _plan(settings, fitting, recipe) | {"dataset": _dataset(settings, fingerprint(pictures), groups)}
    check_plan(report, fitting.out, fitting.resume)
    untrained = None if fitting.resume else _untrained(settings, recipe, fitting.seed)
    samples = load_samples(pictures, shipped_detector(), face_cache(dataset.cache or fitting.out / "cache"))
    by_split = {split: samples.take(samples.split == split) for split in (*_NEEDED, "test")}
    for split in _NEEDED:  # some pictures could not be read, maybe
        _check_classes(split, by_split[split].label)
    report["dataset"]["faces"] = {split: _counts(samples) for split, samples in by_split.items()}
    guide = guide_samples(by_split["val"])
    model, epochs = fit(lambda: untrained, by_split["train"], guide, recipe, fitting, listener.progress)
    report |= {"versions": versions(), "epochs": epochs, "chosen_epoch": chosen_epoch(epochs, recipe)}
    _finish(model, guide, by_split["val"], report, fitting.out)
    return report


def _check_places(out: Path, cache: Path | None, resume: bool) -> None:
    """Raise UsageError when there is a model already, no run to go on with, or a folder that cannot be written."""
    check_packages()
    if (out / _MODEL).exists():
        raise UsageError(f"{out / _MODEL} exists: choose another --out, or remove it first")
    check_folder(out, "--out")
    check_folder(cache, "--cache")
    check_begun(out, resume)


def _untrained(settings: TrainSettings, recipe: Recipe, seed: int):
    """Return the network as training begins with it; built early, for weights that cannot be had are then told at once."""
    import keras

    keras.utils.set_random_seed(seed)
    return build_model(settings.backbone, settings.base_weights, recipe.unit_scale)


def _finish(model, guide: Samples, val: Samples, report: dict, out: Path) -> None:
    """Calibrates on `guide`, measures on `val` and writes everything; `report` gets what was found."""
    model, calibration = calibrate(model, guide)
    whole = state_folder(out) / "calibrated.keras"
    model.save(whole)
    p_mask, threshold = predict_file(whole, val), ClassifierSettings().threshold
    report |= {
        "calibration": asdict(calibration),
        "model_sha256": weights.sha256(whole),
        "threshold": threshold,
        "figures": face_report(val, p_mask, threshold),
        "operating_point": asdict(choose_for_faces(val.label, p_mask)),
    }
    write_training(report, val.label, p_mask, out)
    whole.replace(out / _MODEL)


def guide_samples(val: Samples) -> Samples:
    """The validation faces that epochs are compared on and calibration is fitted on: those of annotated scenes, which are
    what a scan meets, where there are enough of both classes; else all."""
    enough = np.bincount(val.label[val.annotated], minlength=2).min() >= _MIN_GUIDE_FACES
    return val.take(val.annotated) if enough else val


def _recipe(settings: TrainSettings) -> Recipe:
    changed = {"balance": settings.balance, "patience": settings.patience}
    return replace(RECIPES[settings.recipe], **{name: value for name, value in changed.items() if value is not None})


def _check_classes(split: str, label: Sequence[int]) -> None:
    if len(np.unique(label)) < 2:
        raise DatasetError(f"the {split} split needs faces of both classes; it has {len(label)} faces")


def _counts(samples: Samples) -> dict[str, int]:
    return dict(zip(LABELS, np.bincount(samples.label, minlength=2).tolist(), strict=True))


def _plan(settings: TrainSettings, fitting: FitSettings, recipe: Recipe) -> dict:
    """The part of the report that is known before training, and must be the same when a run is resumed."""
    return {
        "recipe": recipe.as_dict(),
        "backbone": settings.backbone,
        "base_weights": settings.base_weights and Path(settings.base_weights).name,
        "detector_sha256": weights.sha256(weights.find("centerface")),
        "batch_size": fitting.batch_size,
        "steps": fitting.steps,
        "seeds": {"split": settings.dataset.seed, "training": fitting.seed},
    }


def _dataset(settings: TrainSettings, digest: str, groups: Grouping) -> dict:
    dataset = settings.dataset
    return {
        "roots": [root.resolve().name for root in dataset.roots],
        "fingerprint": digest,
        "files": {
            "splits": dataset.splits_file and dataset.splits_file.name,
            "groups": dataset.groups_file and dataset.groups_file.name,
        },
        "labels": asdict(dataset.labels),
        "val_fraction": dataset.val_fraction,
        "groups": asdict(groups),
    }
