"""`maskbatch train` and `maskbatch evaluate` as functions: datasets in, a model and its figures out."""

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch import __version__, centerface, runtime, weights
from maskbatch.classifier import Classifier
from maskbatch.config import ClassifierSettings, DetectorSettings, RuntimeSettings
from maskbatch.detector import Detector
from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.dataset import Picture, read_datasets, split_pictures
from maskbatch.trainer.evaluate import FaceFigures, figures_by_size, predict
from maskbatch.trainer.fit import FitSettings, fit
from maskbatch.trainer.model import build_model, model_loader
from maskbatch.trainer.recipes import RECIPES
from maskbatch.trainer.samples import Samples, fingerprint, load_samples
from maskbatch.trainer.scenes import analyse_scenes, scene_figures

# findings down to this score make the precision-recall curve; a scan reports from its own threshold on
_LOW = 0.05


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """`roots`: dataset folders; `splits_file`: a CSV of path, split, cluster, set; `cache`: where cut faces are kept."""

    roots: tuple[Path, ...]
    splits_file: Path | None = None
    val_fraction: float = 0.15
    seed: int = 0
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What is trained, and on what."""

    dataset: DatasetSettings
    recipe: str = "best"
    backbone: str = "mobilenet_v2"
    base_weights: str = "imagenet"


def train(settings: TrainSettings, fitting: FitSettings, progress: Callable[[int, int, int, float], None]) -> dict:
    """Trains a classifier into `fitting.out`: `model.keras`, `history.csv`, `report.json`. Returns the report.

    Raises UsageError when the folder holds a model already, DatasetError when a class or a split is empty.
    """
    target = fitting.out / "model.keras"
    if target.exists():
        raise UsageError(f"{target} exists: choose another --out, or remove it first")
    pictures, samples = _samples(settings.dataset, fitting.out)
    by_split = {split: samples.take(samples.split == split) for split in ("train", "val", "test")}
    for split in ("train", "val"):
        if len(np.unique(by_split[split].label)) < 2:
            raise DatasetError(f"the {split} split needs faces of both classes; it has {len(by_split[split])} faces")
    fitting.out.mkdir(parents=True, exist_ok=True)
    recipe = RECIPES[settings.recipe]
    build = lambda: build_model(settings.backbone, settings.base_weights)  # noqa: E731 - called only when not resuming
    model = fit(build, by_split["train"], by_split["val"], recipe, fitting, progress)
    model.save(target)
    report = {
        "maskbatch": __version__,
        "python": platform.python_version(),
        "recipe": settings.recipe,
        "backbone": settings.backbone,
        "seed": fitting.seed,
        "dataset": {"fingerprint": fingerprint(pictures), "faces": {name: len(s) for name, s in by_split.items()}},
        "model_sha256": weights.sha256(target),
        "figures": evaluate(target, by_split["val"]),
    }
    (fitting.out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The operating point that is examined: of the detector's score, and of p_mask."""

    detector: float = DetectorSettings().threshold
    mask: float = ClassifierSettings().threshold


def evaluate_dataset(model: Path, settings: DatasetSettings, split: str | None, thresholds: Thresholds) -> dict:
    """Figures of the classifier at `model` on a dataset, or on one split of it.

    {"faces": what `evaluate` gives, "scenes": {source or "all sources": figures of the whole chain}}; "scenes" is empty
    where no picture has boxes. Raises DatasetError when there is no face to measure on.
    """
    pictures = split_pictures(read_datasets(settings.roots, settings.splits_file), settings.val_fraction, settings.seed)
    pictures = [picture for picture in pictures if split in (None, picture.split)]
    if not pictures:
        raise DatasetError(f"the dataset has no picture in the split {split!r}")
    device = runtime.choose_device(RuntimeSettings())
    faces = load_samples(pictures, _detector(device, DetectorSettings()), settings.cache)
    classify = Classifier(runtime.open_network(runtime.Network(model, model_loader(model)), device))
    detect = _detector(device, DetectorSettings(threshold=_LOW))
    sources = sorted({picture.source for picture in pictures if picture.xyxy is not None})
    scenes = {
        source: list(analyse_scenes([p for p in pictures if p.source == source], detect, classify))
        for source in sources
    }
    if len(sources) > 1:
        scenes["all sources"] = [scene for source in sources for scene in scenes[source]]
    figures = {
        source: scene_figures(found, thresholds.detector, thresholds.mask).as_dict() for source, found in scenes.items()
    }
    return {"faces": evaluate(model, faces, thresholds.mask), "scenes": figures}


def evaluate(model: Path, samples: Samples, threshold: float = 0.5) -> dict:
    """{source or "all sources" or "scenes": {face size: figures}} for the classifier at `model`."""
    device = runtime.choose_device(RuntimeSettings())
    run = runtime.open_network(runtime.Network(model, model_loader(model)), device)
    p_mask = predict(run, samples)
    result = {"all sources": np.ones(len(samples), bool)}
    result |= {str(source): samples.source == source for source in np.unique(samples.source)}
    if samples.annotated.any():
        result["scenes"] = samples.annotated
    return {
        name: _as_dicts(figures_by_size(samples.label[k], p_mask[k], samples.size_px[k], threshold))
        for name, k in result.items()
    }


def _as_dicts(figures: dict[str, FaceFigures]) -> dict[str, dict]:
    return {size: item.as_dict() for size, item in figures.items()}


def _samples(settings: DatasetSettings, out: Path) -> tuple[list[Picture], Samples]:
    pictures = read_datasets(settings.roots, settings.splits_file)
    pictures = split_pictures(pictures, settings.val_fraction, settings.seed)
    detect = _detector(runtime.choose_device(RuntimeSettings()), DetectorSettings())
    return pictures, load_samples(pictures, detect, settings.cache or out / "cache")


def _detector(device: runtime.Device, settings: DetectorSettings) -> Detector:
    return Detector(runtime.open_network(centerface.shipped_network(), device), settings)
