"""`maskbatch train` as a function: datasets in; a calibrated model, its figures, plots and card out."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from maskbatch import weights
from maskbatch.config import ClassifierSettings
from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.batches import Balance
from maskbatch.trainer.calibrate import calibrate
from maskbatch.trainer.fit import FitSettings, chosen_epoch, fit
from maskbatch.trainer.groups import Grouping
from maskbatch.trainer.labels import LABELS
from maskbatch.trainer.measure import DatasetSettings, face_report, load_pictures, predict_file, shipped_detector
from maskbatch.trainer.model import build_model
from maskbatch.trainer.operating_point import choose_for_faces
from maskbatch.trainer.outputs import plain, versions, write_json, write_training
from maskbatch.trainer.plots import check_plots
from maskbatch.trainer.recipes import RECIPES, Recipe
from maskbatch.trainer.samples import Samples, fingerprint, load_samples

# fewer faces of a class in annotated scenes than this, and all validation faces are the guide
_MIN_GUIDE_FACES = 50


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
    empty.
    """
    listener = listener or Listener()
    check_plots()
    target, recipe = fitting.out / "model.keras", _recipe(settings)
    if target.exists():
        raise UsageError(f"{target} exists: choose another --out, or remove it first")
    pictures, groups = load_pictures(settings.dataset)
    listener.say(f"{len(pictures)} pictures; {groups}")
    samples = load_samples(pictures, shipped_detector(), settings.dataset.cache or fitting.out / "cache")
    by_split = _by_split(samples)
    report = _plan(settings, fitting, recipe) | {"dataset": _dataset(settings, fingerprint(pictures), groups, by_split)}
    _check_state(report, fitting)

    def build():
        return build_model(settings.backbone, settings.base_weights, recipe.unit_scale)

    guide = guide_samples(by_split["val"])
    model, epochs = fit(build, by_split["train"], guide, recipe, fitting, listener.progress)
    report |= {"versions": versions(), "epochs": epochs, "chosen_epoch": chosen_epoch(epochs, recipe)}
    _finish(model, guide, by_split["val"], report, fitting.out)
    return report


def _finish(model, guide: Samples, val: Samples, report: dict, out: Path) -> None:
    """Calibrates on `guide`, measures on `val` and writes everything; `report` gets what was found."""
    model, calibration = calibrate(model, guide)
    whole = out / "state" / "calibrated.keras"
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
    whole.replace(out / "model.keras")


def guide_samples(val: Samples) -> Samples:
    """The validation faces that epochs are compared on and calibration is fitted on: those of annotated scenes, which are
    what a scan meets, where there are enough of both classes; else all."""
    enough = np.bincount(val.label[val.annotated], minlength=2).min() >= _MIN_GUIDE_FACES
    return val.take(val.annotated) if enough else val


def _recipe(settings: TrainSettings) -> Recipe:
    changed = {"balance": settings.balance, "patience": settings.patience}
    return replace(RECIPES[settings.recipe], **{name: value for name, value in changed.items() if value is not None})


def _by_split(samples: Samples) -> dict[str, Samples]:
    by_split = {split: samples.take(samples.split == split) for split in ("train", "val", "test")}
    for split in ("train", "val"):
        if len(np.unique(by_split[split].label)) < 2:
            raise DatasetError(f"the {split} split needs faces of both classes; it has {len(by_split[split])} faces")
    return by_split


def _plan(settings: TrainSettings, fitting: FitSettings, recipe: Recipe) -> dict:
    """The part of the report that is known before training, and must be the same when a run is resumed."""
    return {
        "recipe": recipe.as_dict(),
        "backbone": settings.backbone,
        "base_weights": settings.base_weights and Path(settings.base_weights).name,
        "batch_size": fitting.batch_size,
        "steps": fitting.steps,
        "seeds": {"split": settings.dataset.seed, "training": fitting.seed},
    }


def _dataset(settings: TrainSettings, digest: str, groups: Grouping, by_split: dict[str, Samples]) -> dict:
    counts = {
        split: dict(zip(LABELS, np.bincount(samples.label, minlength=2).tolist(), strict=True))
        for split, samples in by_split.items()
    }
    return {
        "roots": [root.resolve().name for root in settings.dataset.roots],
        "fingerprint": digest,
        "files": {
            "splits": settings.dataset.splits_file and settings.dataset.splits_file.name,
            "groups": settings.dataset.groups_file and settings.dataset.groups_file.name,
        },
        "val_fraction": settings.dataset.val_fraction,
        "groups": asdict(groups),
        "faces": counts,
    }


def _check_state(plan: dict, fitting: FitSettings) -> None:
    """Keeps what the run is about to do, or compares it with what the run to be resumed did."""
    kept, rows = fitting.out / "state" / "plan.json", fitting.out / "state" / "rows.json"
    if fitting.resume and kept.is_file():
        other = json.loads(kept.read_text(encoding="utf-8"))
        changed = [name for name, value in plain(plan).items() if other.get(name) != value]
        if changed:
            raise UsageError(f"cannot resume: {', '.join(changed)} differ from those of the run in {fitting.out}")
    elif rows.is_file() and not fitting.resume:
        raise UsageError(f"{fitting.out} holds an unfinished run: add --resume, or choose another --out")
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(plan, kept)
