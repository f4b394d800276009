"""`maskbatch train` as a function: train a calibrated model on datasets, with figures, plots and a card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from maskbatch.errors import DatasetError
from maskbatch.networks import weights
from maskbatch.settings import ClassifierSettings
from maskbatch.trainer.checks import check_folder, check_out, check_packages
from maskbatch.trainer.classifier.calibrate import calibrate
from maskbatch.trainer.classifier.calibrate_incorrect import calibrate_incorrect
from maskbatch.trainer.classifier.fit import FitSamples, FitSettings, chosen_epoch, fit
from maskbatch.trainer.classifier.recipes import RECIPES, Recipe
from maskbatch.trainer.data.batches import Balance
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.groups import Grouping
from maskbatch.trainer.data.labels import LABELS, STATES, WORN_INCORRECTLY
from maskbatch.trainer.data.reading import fingerprint
from maskbatch.trainer.data.samples import Samples, load_samples
from maskbatch.trainer.epochs import Progress, check_plan, no_progress, state_folder
from maskbatch.trainer.evaluate.measure import (
    DatasetSettings,
    face_cache,
    face_report,
    load_pictures,
    predict_file,
    shipped_detector,
)
from maskbatch.trainer.evaluate.operating_point import choose_for_faces
from maskbatch.trainer.evaluate.outputs import write_training
from maskbatch.trainer.json_files import versions
from maskbatch.trainer.model import build_model

# with fewer faces of a class in annotated scenes, all validation faces are guide faces
_MIN_GUIDE_FACES = 50
_NEEDED = ("train", "val")
_MODEL = "model.keras"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Dataset, recipe and network; None in `balance`, `patience` and `size_px` keeps the recipe's value."""

    dataset: DatasetSettings
    recipe: str = "best"
    backbone: str = "mobilenet_v2"
    base_weights: str | None = "imagenet"
    balance: Balance | None = None
    patience: int | None = None
    size_px: int | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks: `say(message)`, and `progress` after each batch."""

    say: Callable[[str], None] = lambda message: None
    progress: Progress = no_progress


def train(settings: TrainSettings, fitting: FitSettings, listener: Listener | None = None) -> dict:
    """Train and calibrate a classifier into `fitting.out`, and return the report.

    The folder then holds `model.keras`, `history.csv`, `report.json`, `model_card.md` and plots. `model.keras` appears
    last, so that a run killed at any point can be resumed.

    Raises:
        UsageError: The folder holds a model or an unfinished run, or the run to resume was another one.
        DatasetError: A class or a split is empty.
        WeightsError: The backbone's weights cannot be downloaded or read.
        MaskbatchError: The training diverged.
    """
    listener, recipe, dataset = listener or Listener(), _recipe(settings), settings.dataset
    check_packages()
    check_out(fitting.out, _MODEL, fitting.resume)
    check_folder(dataset.cache, "--cache")
    pictures, groups = load_pictures(dataset)
    listener.say(f"{len(pictures)} pictures; {groups}")
    for split in _NEEDED:
        _check_classes(split, [label for p in pictures if p.split == split for label in p.label])
    if recipe.third_state and not _has_incorrect(pictures):
        listener.say("no face for training has a mask worn incorrectly, so the model gets no third state")
        recipe = replace(recipe, third_state=False)
    report = _plan(settings, fitting, recipe) | {"dataset": _dataset(settings, fingerprint(pictures), groups)}
    check_plan(report, fitting.out, fitting.resume)
    untrained = None if fitting.resume else _untrained(settings, recipe, fitting.seed)
    by_split = _samples_by_split(pictures, dataset.cache or fitting.out / "cache", recipe)
    report["dataset"]["faces"] = {split: _counts(samples) for split, samples in by_split.items()}
    guide = guide_samples(by_split["val"])
    samples = FitSamples(by_split["train"], guide)
    model, epochs = fit(lambda: untrained, samples, recipe, fitting, listener.progress)
    report |= {"versions": versions(), "epochs": epochs, "chosen_epoch": chosen_epoch(epochs, recipe)}
    _finish(model, guide, by_split["val"], report, fitting.out)
    return report


def guide_samples(val: Samples) -> Samples:
    """Return the validation faces for comparing epochs and fitting the calibration (the guide faces).

    These are the faces of annotated scenes, which resemble the input of a scan, if both classes have enough of them;
    otherwise all faces.
    """
    counts = np.bincount(val.label[val.annotated], minlength=len(STATES))
    enough = counts[: len(LABELS)].min() >= _MIN_GUIDE_FACES
    return val.take(val.annotated) if enough else val


def _untrained(settings: TrainSettings, recipe: Recipe, seed: int):
    """Return the untrained network, built early so that missing weights show before the pictures are read."""
    import keras

    keras.utils.set_random_seed(seed)
    return build_model(settings.backbone, settings.base_weights, recipe.unit_scale, recipe.size_px, recipe.third_state)


def _samples_by_split(pictures: Sequence[Picture], cache: Path, recipe: Recipe) -> dict[str, Samples]:
    """Return the faces of each split, with the third state only for a recipe that learns it.

    Raises DatasetError when unreadable pictures leave a split without a class.
    """
    samples = load_samples(pictures, shipped_detector(), face_cache(cache))
    if not recipe.third_state:
        samples = samples.take(samples.label != WORN_INCORRECTLY)
    by_split = {split: samples.take(samples.split == split) for split in (*_NEEDED, "test")}
    for split in _NEEDED:
        _check_classes(split, by_split[split].label)
    return by_split


def _finish(model, guide: Samples, val: Samples, report: dict, out: Path) -> None:
    """Calibrate on `guide`, measure on `val`, add the figures to `report`, and write everything."""
    worn_or_not = val.label != WORN_INCORRECTLY
    model, calibration = calibrate(model, guide.take(guide.label != WORN_INCORRECTLY))
    incorrect = None
    if report["recipe"]["third_state"]:
        model, incorrect = calibrate_incorrect(model, guide)
    whole = state_folder(out) / "calibrated.keras"
    model.save(whole)
    answers, threshold = predict_file(whole, val), ClassifierSettings().threshold
    label, p_mask = val.label[worn_or_not], answers.p_mask[worn_or_not]
    report |= {
        "calibration": asdict(calibration),
        "incorrect_calibration": incorrect and asdict(incorrect),
        "model_sha256": weights.sha256(whole),
        "threshold": threshold,
        "figures": face_report(val, answers, threshold),
        "operating_point": asdict(choose_for_faces(label, p_mask)),
    }
    write_training(report, label, p_mask, out)
    whole.replace(out / _MODEL)


def _recipe(settings: TrainSettings) -> Recipe:
    changed = {"balance": settings.balance, "patience": settings.patience, "size_px": settings.size_px}
    return replace(RECIPES[settings.recipe], **{name: value for name, value in changed.items() if value is not None})


def _has_incorrect(pictures: Sequence[Picture]) -> bool:
    """Return True if the training split has a mask worn incorrectly: without one, p_incorrect would mean nothing."""
    return any(WORN_INCORRECTLY in picture.label for picture in pictures if picture.split == "train")


def _check_classes(split: str, label: Sequence[int]) -> None:
    if not set(range(len(LABELS))) <= set(np.unique(label).tolist()):
        raise DatasetError(f"the {split} split needs faces of both classes; it has {len(label)} faces")


def _counts(samples: Samples) -> dict[str, int]:
    return dict(zip(STATES, np.bincount(samples.label, minlength=len(STATES)).tolist(), strict=True))


def _plan(settings: TrainSettings, fitting: FitSettings, recipe: Recipe) -> dict:
    """Return the part of the report that is known before training, and must be the same in a resumed run."""
    return {
        "recipe": recipe.as_dict(),
        "backbone": settings.backbone,
        "base_weights": settings.base_weights and Path(settings.base_weights).name,
        "detector_sha256": weights.sha256(weights.find("yunet")),
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
