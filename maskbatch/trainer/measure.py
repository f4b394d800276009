"""`maskbatch evaluate` as functions: a model and a dataset in, figures, an operating point and plots out."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from maskbatch import centerface, runtime, weights
from maskbatch.classifier import Classifier
from maskbatch.config import DetectorSettings, RuntimeSettings
from maskbatch.detector import Detector
from maskbatch.errors import DatasetError
from maskbatch.trainer.checks import check_folder, check_packages
from maskbatch.trainer.cut_cache import CutCache
from maskbatch.trainer.dataset import Picture, read_datasets, split_pictures
from maskbatch.trainer.evaluate import Judged, figures_by_size, predict
from maskbatch.trainer.groups import Grouping, describe_groups, group_by_file, group_near_duplicates
from maskbatch.trainer.labels import LabelRules
from maskbatch.trainer.model import classifier_network
from maskbatch.trainer.operating_point import Thresholds, choose_for_faces, choose_for_scenes
from maskbatch.trainer.outputs import versions, write_evaluation
from maskbatch.trainer.samples import Samples, load_samples
from maskbatch.trainer.scenes import Scene, analyse_scenes, scene_figures, worn_incorrectly

# findings down to this score make the precision-recall curve; a scan reports from its own threshold on
_LOW = 0.05


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """`roots`: dataset folders; `splits_file`: a CSV of path, split, cluster, set; `groups_file`: a CSV of path, group;
    `cache`: where cut faces are kept; `labels`: the meaning of labels that are not ours. Where there is no file,
    near-duplicates are the groups."""

    roots: tuple[Path, ...]
    splits_file: Path | None = None
    groups_file: Path | None = None
    val_fraction: float = 0.15
    seed: int = 0
    cache: Path | None = None
    labels: LabelRules = field(default_factory=LabelRules)


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """`split`: the part of the dataset that is measured, None for all; `thresholds` at which; with `choose` those that
    are best on this very dataset; `out`: where plots and JSON go; `precision`: see `RuntimeSettings`."""

    split: str | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    choose: bool = False
    out: Path | None = None
    precision: str = "auto"


def load_pictures(settings: DatasetSettings) -> tuple[list[Picture], Grouping]:
    """The dataset's pictures, grouped and split, and what the groups are."""
    pictures, by = _with_given_groups(settings)
    if not by:
        pictures, by = group_near_duplicates(pictures), "perceptual hash"
    pictures = split_pictures(pictures, settings.val_fraction, settings.seed)
    return pictures, describe_groups(pictures, by)


def _with_given_groups(settings: DatasetSettings) -> tuple[list[Picture], str]:
    """Return the pictures with the groups that files give, and by which file; "" where there is none."""
    pictures = read_datasets(settings.roots, settings.splits_file, settings.labels)
    if settings.groups_file:
        return group_by_file(pictures, settings.groups_file), "the groups file"
    return pictures, "the splits file" if settings.splits_file else ""


def evaluate_dataset(model: Path, settings: DatasetSettings, evaluation: EvaluationSettings) -> dict:
    """Figures of the classifier at `model` on a dataset, or on one split of it.

    {"faces": what `face_report` gives, "scenes": {source or "all sources": figures of the whole chain},
    "operating_point": {"faces": ..., "scenes of SOURCE": ...} where one is chosen}; "scenes" is empty where no picture has
    boxes. Raises DatasetError when there is no face to measure on, UsageError when a label is unknown or nothing can be
    written, MaskbatchError when a package is missing: all before the pictures are looked at.
    """
    check_packages()
    check_folder(evaluation.out, "--out")
    check_folder(settings.cache, "--cache")
    if evaluation.split is None:  # every picture is measured, so no split needs to be made
        pictures, _ = _with_given_groups(settings)
    else:
        pictures = [picture for picture in load_pictures(settings)[0] if picture.split == evaluation.split]
    if not pictures:
        raise DatasetError(f"the dataset has no picture in the split {evaluation.split!r}")
    run = _open(model, evaluation.precision)
    samples = load_samples(pictures, shipped_detector(), face_cache(settings.cache))
    p_mask = predict(run, samples)
    scenes = _analyse(pictures, shipped_detector(_LOW, evaluation.precision), Classifier(run))
    of_faces = of_scenes = evaluation.thresholds
    report = {}
    if evaluation.choose:
        report["operating_point"] = {"faces": asdict(choose_for_faces(samples.label, p_mask))}
        of_faces = Thresholds(mask=report["operating_point"]["faces"]["mask"])
        for source, found in scenes.items():  # the last is all of them, or the only one
            chosen = choose_for_scenes(found)
            report["operating_point"][f"scenes of {source}"] = asdict(chosen)
            of_scenes = Thresholds(chosen.detector, chosen.mask)
    report["thresholds"] = {"faces": of_faces.mask, "scenes": asdict(of_scenes)}
    report["faces"] = face_report(samples, p_mask, of_faces.mask)
    report["scenes"] = {source: _scene_report(found, of_scenes) for source, found in scenes.items()}
    if evaluation.out:
        write_evaluation(report, samples.label, p_mask, evaluation.out)
    return report


def predict_file(model: Path, samples: Samples) -> np.ndarray:
    """p_mask (N,) float32 of the samples by the classifier at `model`, run as in a scan."""
    return predict(_open(model), samples)


def face_report(samples: Samples, p_mask: np.ndarray, threshold: float = 0.5) -> dict:
    """{"all sources" or "scenes" or a source: {face size: figures}} for p_mask (N,) of the samples."""
    chosen = {"all sources": np.ones(len(samples), bool)}
    chosen |= {str(source): samples.source == source for source in np.unique(samples.source)}
    if samples.annotated.any():
        chosen["scenes"] = samples.annotated
    result = {}
    for name, k in chosen.items():
        judged = Judged(samples.label[k], p_mask[k], samples.group[k])
        by_size = figures_by_size(judged, samples.size_px[k], threshold)
        result[name] = {size: figures.as_dict() for size, figures in by_size.items()}
    return result


def shipped_detector(threshold: float = DetectorSettings().threshold, precision: str = "auto") -> Detector:
    """The shipped face detector, ready to run."""
    device = runtime.choose_device(RuntimeSettings())
    run = runtime.open_network(centerface.shipped_network(), device, precision)
    return Detector(run, DetectorSettings(threshold=threshold))


def face_cache(folder: Path | None) -> CutCache | None:
    """Return the cache in a folder for what `shipped_detector()` finds; None without a folder."""
    if folder is None:
        return None
    network, device = centerface.shipped_network(), runtime.choose_device(RuntimeSettings())
    precision = runtime.choose_precision(network, device, "auto")
    identity = {
        "weights": weights.sha256(network.int8 if precision == "int8" else network.path),
        "settings": asdict(DetectorSettings()),
        "runtime": [device.runtime, "GPU" if device.is_gpu else "CPU", versions()[device.runtime]],
        "precision": precision,
    }
    return CutCache(folder, json.dumps(identity, sort_keys=True))


def _open(model: Path, precision: str = "auto") -> runtime.Run:
    return runtime.open_network(classifier_network(model), runtime.choose_device(RuntimeSettings()), precision)


def _analyse(pictures: list[Picture], detect: Callable, classify: Callable) -> dict[str, list[Scene]]:
    """The scenes of each source, and of all of them last where there are several."""
    sources = sorted({picture.source for picture in pictures if picture.xyxy is not None})
    scenes = {
        source: list(analyse_scenes([p for p in pictures if p.source == source], detect, classify))
        for source in sources
    }
    if len(sources) > 1:
        scenes["all sources"] = [scene for source in sources for scene in scenes[source]]
    return scenes


def _scene_report(scenes: list[Scene], thresholds: Thresholds) -> dict:
    figures = scene_figures(scenes, thresholds.detector, thresholds.mask).as_dict()
    third = worn_incorrectly(scenes, thresholds.detector, thresholds.mask)
    return {**figures, "worn_incorrectly": asdict(third)}
