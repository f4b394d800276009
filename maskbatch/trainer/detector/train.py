"""`maskbatch train-detector` as a function: fine-tune weights on scenes, with figures before and after."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from maskbatch.analyse.detector import Detector
from maskbatch.errors import DatasetError
from maskbatch.networks import weights
from maskbatch.networks.device import Infer
from maskbatch.settings import DetectorSettings
from maskbatch.trainer.checks import check_out
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.reading import fingerprint
from maskbatch.trainer.detector.fit import DetectorFitSettings, fit_detector
from maskbatch.trainer.detector.measure import ALPHAS, choose_alpha, figures_by_alpha, interpolated_file, open_detector
from maskbatch.trainer.detector.samples import load_scenes
from maskbatch.trainer.epochs import Progress, check_plan, no_progress, state_folder
from maskbatch.trainer.evaluate.measure import DatasetSettings, load_pictures
from maskbatch.trainer.json_files import versions, write_json

# the original network analyses each scene at two sizes, because the larger shows small faces without a box
_LOOKS_PX = (640, 960)
# a finding of at least this score may be a face, and is never a negative
_UNSURE = 0.2
_WEIGHTS = "yunet.weights.h5"


@dataclass(frozen=True, slots=True)
class DetectorTrainSettings:
    """The dataset, the trust in its boxes, and the weights.

    The boxes of the sources `loose_boxes_of` give the place of a face, but not its size; figures of box overlap mean
    little for them. `original` are the weights to begin with; None takes the shipped weights. `alpha` is the share of
    the fine-tuning to keep, 0 to 1; None takes the share that is best on the validation split without loss for any
    source.
    """

    dataset: DatasetSettings
    loose_boxes_of: tuple[str, ...] = ()
    original: Path | None = None
    alpha: float | None = None


def train_detector(
    settings: DetectorTrainSettings, fitting: DetectorFitSettings, progress: Progress = no_progress
) -> dict:
    """Fine-tune YuNet into `fitting.out`, and return the report.

    The folder then holds `history.csv`, `report.json` and, written last, `yunet.weights.h5`. If no share is better,
    these are the original weights (alpha 0).

    Raises:
        UsageError: The folder holds weights or an unfinished run, or the run to resume was another one.
        DatasetError: A split has no scene.
        MaskbatchError: The training diverged.
    """
    start, out = time.monotonic(), fitting.out
    check_out(out, _WEIGHTS, fitting.resume)
    original = settings.original or weights.find("yunet")
    run = open_detector(original)
    pictures, groups = load_pictures(settings.dataset)
    parts = {split: _scenes(pictures, split) for split in ("train", "val")}
    plan = _plan(settings, fitting) | {"original_sha256": weights.sha256(original)}
    plan["dataset"] = {"fingerprint": fingerprint(pictures), "groups": groups, "labels": settings.dataset.labels}
    check_plan(plan, out, fitting.resume)
    tuned = state_folder(out) / "tuned.weights.h5"
    scenes = load_scenes(parts["train"], first_looks(run), settings.loose_boxes_of)
    fit_detector(original, scenes, fitting, progress).save_weights(tuned)
    figures = figures_by_alpha(original, tuned, parts["val"], _alphas(settings))
    alpha = _alpha(settings, figures)
    chosen = interpolated_file(tuned, alpha)
    report = {
        "versions": versions(),
        **plan,
        "scenes": {split: len(scenes) for split, scenes in parts.items()},
        "weights_sha256": weights.sha256(chosen),
        "alpha": alpha,
        "alpha_chosen_on": "val" if settings.alpha is None else None,
        "figures_by_alpha": figures,
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(report, out / "report.json")
    chosen.replace(out / _WEIGHTS)
    return report


def _alphas(settings: DetectorTrainSettings) -> Sequence[float]:
    """Return the shares of the fine-tuning to measure; 0, the original, is always among them."""
    return ALPHAS if settings.alpha is None else sorted({0.0, settings.alpha})


def _alpha(settings: DetectorTrainSettings, figures: dict[float, dict[str, dict]]) -> float:
    """Return the share of the fine-tuning to keep, chosen by the figures unless the settings give one."""
    if settings.alpha is not None:
        return settings.alpha
    return choose_alpha(figures, [source for source in figures[0.0] if source not in settings.loose_boxes_of])


def _plan(settings: DetectorTrainSettings, fitting: DetectorFitSettings) -> dict:
    """Return the part of the report that must be the same in a resumed run."""
    numbers = {name: value for name, value in asdict(fitting).items() if name not in ("out", "resume")}
    return {"settings": numbers | {"loose_boxes_of": settings.loose_boxes_of}}


def _scenes(pictures: list[Picture], split: str) -> list[Picture]:
    found = [picture for picture in pictures if picture.split == split and picture.xyxy is not None]
    if not found:
        raise DatasetError(f"the {split} split has no annotated scene: a detector is trained and measured on those")
    return found


def first_looks(run: Infer) -> list[Detector]:
    """Return the detectors that look for faces without a box: the original network, at two sizes."""
    return [Detector(run, DetectorSettings(size_px=size_px, threshold=_UNSURE)) for size_px in _LOOKS_PX]
