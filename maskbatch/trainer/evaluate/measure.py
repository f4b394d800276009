"""`maskbatch evaluate` as functions: measure a model on a dataset, with an operating point and plots."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from maskbatch.analyse.classifier import Classifier
from maskbatch.analyse.detector import Detector
from maskbatch.errors import DatasetError
from maskbatch.networks import weights, yunet
from maskbatch.networks.device import Infer, choose_device, choose_precision, open_network
from maskbatch.settings import DetectorSettings, RuntimeSettings
from maskbatch.trainer.checks import check_folder, check_packages
from maskbatch.trainer.data.cut_cache import CutCache
from maskbatch.trainer.data.dataset import Picture, read_datasets, split_pictures
from maskbatch.trainer.data.groups import Grouping, describe_groups, group_by_file, group_near_duplicates
from maskbatch.trainer.data.labels import WORN_INCORRECTLY, LabelRules
from maskbatch.trainer.data.marks import with_marks
from maskbatch.trainer.data.samples import Samples, load_samples
from maskbatch.trainer.data.scenes import CURVE_SCORE, Scene, analyse_scenes
from maskbatch.trainer.evaluate.face_groups import group_report
from maskbatch.trainer.evaluate.figures import Answers, Judged, figures_by_size, incorrect_figures, predict
from maskbatch.trainer.evaluate.operating_point import Thresholds, choose_for_faces, choose_for_scenes
from maskbatch.trainer.evaluate.outputs import write_evaluation
from maskbatch.trainer.evaluate.scene_figures import scene_figures, worn_incorrectly
from maskbatch.trainer.json_files import versions
from maskbatch.trainer.model import classifier_network

# the names of several sources together
_ALL, _SCENES = "all sources", "scenes"


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """The folders of a dataset, and the rules that label, group and split its pictures.

    `roots` are the folders of datasets. `splits_file` is a CSV of path, split, cluster, set, and `groups_file` a CSV of
    path, group; without either file, near-duplicates form the groups. `cache` is the folder for cut faces. `labels`
    gives the meaning of labels that are not ours. `ignore` is a CSV of marks, see `with_marks`.
    """

    roots: tuple[Path, ...]
    splits_file: Path | None = None
    groups_file: Path | None = None
    val_fraction: float = 0.15
    seed: int = 0
    cache: Path | None = None
    labels: LabelRules = field(default_factory=LabelRules)
    ignore: Path | None = None


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings of a measurement.

    `split` is the part of the dataset to measure, None for all. The figures are at `thresholds`, or with `choose` at
    the best thresholds for this dataset. `out` is the folder for plots and JSON. For `precision`, see
    `RuntimeSettings`. `by` are the kinds of groups of faces to measure, keys of `face_groups.GROUPS`.
    """

    split: str | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    choose: bool = False
    out: Path | None = None
    precision: str = "auto"
    by: tuple[str, ...] = ()


def load_pictures(settings: DatasetSettings) -> tuple[list[Picture], Grouping]:
    """Return the dataset's pictures, grouped and split, and a description of the groups."""
    pictures, by = _with_given_groups(settings)
    if not by:
        pictures, by = group_near_duplicates(pictures), "perceptual hash"
    pictures = split_pictures(pictures, settings.val_fraction, settings.seed)
    return pictures, describe_groups(pictures, by)


def _with_given_groups(settings: DatasetSettings) -> tuple[list[Picture], str]:
    """Return the pictures with the groups from a file, and a name for that file; "" without a file."""
    pictures = read_datasets(settings.roots, settings.splits_file, settings.labels)
    if settings.ignore:
        pictures = with_marks(pictures, settings.ignore)
    if settings.groups_file:
        return group_by_file(pictures, settings.groups_file), "the groups file"
    return pictures, "the splits file" if settings.splits_file else ""


def evaluate_dataset(model: Path, settings: DatasetSettings, evaluation: EvaluationSettings) -> dict:
    """Measure the classifier at `model` on a dataset, or on one split of it.

    Returns:
        {"faces": the result of `face_report`, "scenes": {source or "all sources": figures of the whole chain},
        "thresholds": those in use, "operating_point": {"faces": ..., "scenes of SOURCE": ...} if one is chosen}.
        "scenes" is empty if no picture has boxes. "groups" is the result of `group_report` for the kinds in `by`.

    Raises:
        DatasetError: There is no face to measure on.
        UsageError: A label is unknown, or a folder cannot be written.
        MaskbatchError: A package is missing. All errors but the first come before the pictures are read.
    """
    check_packages()
    check_folder(evaluation.out, "--out")
    check_folder(settings.cache, "--cache")
    pictures = _measured_pictures(settings, evaluation.split)
    run = _open(model, evaluation.precision)
    samples = load_samples(pictures, shipped_detector(), face_cache(settings.cache))
    answers = predict(run, samples, run.size_px)
    worn_or_not = samples.label != WORN_INCORRECTLY
    label, p_mask = samples.label[worn_or_not], answers.p_mask[worn_or_not]
    scenes = _analyse(
        pictures, shipped_detector(CURVE_SCORE, evaluation.precision), Classifier(run, run.size_px, confirms=True)
    )
    of_faces = of_scenes = evaluation.thresholds
    report = {}
    if evaluation.choose:
        points = report["operating_point"] = _operating_points(label, p_mask, scenes)
        of_faces = Thresholds(mask=points["faces"]["mask"])
        if scenes:  # the last are all of them, or the only ones
            last = points[f"scenes of {list(scenes)[-1]}"]
            of_scenes = Thresholds(last["detector"], last["mask"])
    report["thresholds"] = {"faces": of_faces.mask, "scenes": asdict(of_scenes)}
    report["faces"] = face_report(samples, answers, of_faces.mask)
    report["scenes"] = {source: _scene_report(found, of_scenes) for source, found in scenes.items()}
    if evaluation.by:
        judged = Judged(label, p_mask, samples.group[worn_or_not])
        report["groups"] = group_report(samples.take(worn_or_not), judged, of_faces.mask, evaluation.by)
    if evaluation.out:
        write_evaluation(report, label, p_mask, evaluation.out)
    return report


def predict_file(model: Path, samples: Samples) -> Answers:
    """Return the answers of the classifier at `model` for the samples, computed as in a scan."""
    run = _open(model)
    return predict(run, samples, run.size_px)


def face_report(samples: Samples, answers: Answers, threshold: float = 0.5) -> dict:
    """Return the figures of a classifier's answers by source, with "all sources" and "scenes".

    "two_class" is {source: {face size: figures}} for faces with and without a mask, at a threshold of p_mask.
    "incorrect_mask" is {source: figures} for faces of all three states, and empty for a model with two states.
    """
    together = {_ALL: np.ones(len(samples), bool)}
    if samples.annotated.any():
        together[_SCENES] = samples.annotated
    chosen = {_ALL: together[_ALL]}
    for source in map(str, np.unique(samples.source)):
        own = samples.source == source
        is_clear = source not in together or (own == together[source]).all()
        chosen[source if is_clear else _clear(source)] = own
    chosen |= together
    two_class, third = {}, {}
    for name, everyone in chosen.items():
        k = everyone & (samples.label != WORN_INCORRECTLY)
        if k.any():
            judged = Judged(samples.label[k], answers.p_mask[k], samples.group[k])
            by_size = figures_by_size(judged, samples.size_px[k], threshold)
            two_class[name] = {size: figures.as_dict() for size, figures in by_size.items()}
        if everyone.any() and not np.isnan(answers.p_incorrect).all():
            figures = incorrect_figures(samples.label[everyone], answers.p_incorrect[everyone])
            third[name] = figures.as_dict()
    return {"two_class": two_class, "incorrect_mask": third}


def shipped_detector(threshold: float = DetectorSettings().threshold, precision: str = "auto") -> Detector:
    """Return the shipped face detector, ready to run."""
    device = choose_device(RuntimeSettings())
    run = open_network(yunet.shipped_network(), device, precision)
    return Detector(run, DetectorSettings(threshold=threshold))


def face_cache(folder: Path | None) -> CutCache | None:
    """Return the cache of cut faces of `shipped_detector()` in a folder; None without a folder."""
    if folder is None:
        return None
    network, device = yunet.shipped_network(), choose_device(RuntimeSettings())
    precision = choose_precision(network, device, "auto")
    identity = {
        "weights": weights.sha256(network.int8 if precision == "int8" else network.path),
        "settings": asdict(DetectorSettings()),
        "runtime": [device.runtime, "GPU" if device.is_gpu else "CPU", versions()[device.runtime]],
    }
    return CutCache(folder, json.dumps(identity, sort_keys=True))


def _measured_pictures(settings: DatasetSettings, split: str | None) -> list[Picture]:
    """Return the pictures of a split, or all pictures. Raises DatasetError when there are none."""
    if split is None:  # no split needs to be made
        pictures, _ = _with_given_groups(settings)
    else:
        pictures = [picture for picture in load_pictures(settings)[0] if picture.split == split]
    if not pictures:
        where = "" if split is None else f" in the split {split!r}"
        raise DatasetError(f"the dataset has no picture with a label that counts{where}")
    return pictures


def _operating_points(label: np.ndarray, p_mask: np.ndarray, scenes: dict[str, list[Scene]]) -> dict[str, dict]:
    """Return the best thresholds for the faces, and for the scenes of each source."""
    of_scenes = {f"scenes of {source}": asdict(choose_for_scenes(found)) for source, found in scenes.items()}
    return {"faces": asdict(choose_for_faces(label, p_mask)), **of_scenes}


def _open(model: Path, precision: str = "auto") -> Infer:
    return open_network(classifier_network(model), choose_device(RuntimeSettings()), precision)


def _analyse(pictures: list[Picture], detect: Callable, classify: Callable) -> dict[str, list[Scene]]:
    """Return the scenes by source; with several sources, all scenes together come last."""
    sources = sorted({picture.source for picture in pictures if picture.xyxy is not None})
    scenes = {
        _clear(source) if source == _ALL else source: list(
            analyse_scenes([p for p in pictures if p.source == source], detect, classify)
        )
        for source in sources
    }
    if len(sources) > 1:
        scenes[_ALL] = [scene for found in scenes.values() for scene in found]
    return scenes


def _clear(source: str) -> str:
    """Return another name for a source that is called like several sources together."""
    return f"{source} (folder)"


def _scene_report(scenes: list[Scene], thresholds: Thresholds) -> dict:
    figures = scene_figures(scenes, thresholds.detector, thresholds.mask).as_dict()
    third = worn_incorrectly(scenes, thresholds.detector, thresholds.mask)
    return {**figures, "worn_incorrectly": asdict(third)}
