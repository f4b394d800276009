"""`maskbatch train-detector` as a function: annotated scenes in; fine-tuned weights and figures before and after out."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from maskbatch import centerface, runtime, weights
from maskbatch.config import DetectorSettings, RuntimeSettings
from maskbatch.detector import Detector
from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.checks import check_folder
from maskbatch.trainer.dataset import Picture
from maskbatch.trainer.detector_fit import DetectorFitSettings, fit_detector
from maskbatch.trainer.detector_measure import ALPHAS, choose_alpha, figures_by_alpha, interpolated_file
from maskbatch.trainer.detector_samples import DetectorScene, load_scenes
from maskbatch.trainer.epochs import check_begun, check_plan, state_folder
from maskbatch.trainer.measure import DatasetSettings, load_pictures
from maskbatch.trainer.outputs import versions, write_json
from maskbatch.trainer.reading import fingerprint

# the original network looks at each scene at a scan's size, and closer, so that small faces nobody boxed are known too
_LOOKS_PX = (640, 960)
# down to this score a finding may be a face, and is not learnt to be none
_UNSURE = 0.2
_WEIGHTS = "centerface.weights.h5"


@dataclass(frozen=True, slots=True)
class DetectorTrainSettings:
    """`ignore_boxes_of`: sources whose boxes do not go around the face; `distil`: sources where the original network is to
    be kept as it is, so that it forgets nothing; on both its own findings are learnt, and figures of the first say
    nothing. `original`: the weights to begin with, None for the shipped ones. `alpha`: how much of the fine-tuning to
    take, 0 to 1, None for what is best on the validation split without loss to any source."""

    dataset: DatasetSettings
    ignore_boxes_of: tuple[str, ...] = ()
    distil: tuple[str, ...] = ()
    original: Path | None = None
    alpha: float | None = None


def train_detector(
    settings: DetectorTrainSettings,
    fitting: DetectorFitSettings,
    progress: Callable[[int, int, int, float], None] = lambda *_: None,
) -> dict:
    """Fine-tunes CenterFace into `fitting.out`: `centerface.weights.h5`, `history.csv`, `report.json`. Returns the report.

    Where nothing better is found, the weights are the original's (alpha 0). `centerface.weights.h5` appears last. Raises
    UsageError when the folder holds weights already, there is nothing to resume, or the run to resume was another one;
    DatasetError when a split has no scene; MaskbatchError when the training diverges.
    """
    start, target = time.monotonic(), fitting.out / _WEIGHTS
    if target.exists():
        raise UsageError(f"{target} exists: choose another --out, or remove it first")
    check_folder(fitting.out, "--out")
    check_begun(fitting.out, fitting.resume)
    original = settings.original or weights.find("centerface")
    network = runtime.Network("centerface", original, lambda: centerface.load_network(original))
    run = runtime.open_network(network, runtime.choose_device(RuntimeSettings()))
    pictures, groups = load_pictures(settings.dataset)
    parts = {split: _scenes(pictures, split) for split in ("train", "val")}
    dataset = {"fingerprint": fingerprint(pictures), "groups": groups, "labels": settings.dataset.labels}
    plan = _plan(settings, fitting) | {"dataset": dataset, "original_sha256": weights.sha256(original)}
    check_plan(plan, fitting.out, fitting.resume)
    scenes = _load(parts["train"], run, settings)
    tuned = state_folder(fitting.out) / "tuned.weights.h5"
    fit_detector(original, scenes, fitting, progress).save_weights(tuned)
    alphas = ALPHAS if settings.alpha is None else sorted({0.0, settings.alpha})
    figures = figures_by_alpha(original, tuned, parts["val"], alphas)
    trusted = [source for source in figures[0.0] if source not in settings.ignore_boxes_of]
    alpha = choose_alpha(figures, trusted) if settings.alpha is None else settings.alpha
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
    write_json(report, fitting.out / "report.json")
    chosen.replace(target)
    return report


def _plan(settings: DetectorTrainSettings, fitting: DetectorFitSettings) -> dict:
    """The part of the report that must be the same when a run is resumed."""
    numbers = {name: value for name, value in asdict(fitting).items() if name not in ("out", "resume")}
    return {"settings": numbers | {"ignore_boxes_of": settings.ignore_boxes_of, "distil": settings.distil}}


def _scenes(pictures: list[Picture], split: str) -> list[Picture]:
    found = [picture for picture in pictures if picture.split == split and picture.xyxy is not None]
    if not found:
        raise DatasetError(f"the {split} split has no annotated scene: a detector is trained and measured on those")
    return found


def _load(pictures: list[Picture], run: runtime.Run, settings: DetectorTrainSettings) -> list[DetectorScene]:
    """The training scenes, looked through by the original network."""
    looks = [Detector(run, DetectorSettings(size_px=size_px, threshold=_UNSURE)) for size_px in _LOOKS_PX]
    return load_scenes(pictures, looks, {*settings.ignore_boxes_of, *settings.distil})
