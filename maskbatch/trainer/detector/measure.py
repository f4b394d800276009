"""What a detector finds on annotated scenes, by source and face size; how much of a fine-tuning to take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskbatch.analyse.detector import Detector
from maskbatch.networks.centerface import load_network
from maskbatch.networks.device import choose_device, open_network
from maskbatch.networks.weights import Network
from maskbatch.settings import DetectorSettings, RuntimeSettings
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.scenes import analyse_scenes, scene_figures
from maskbatch.trainer.detector.fit import interpolated
from maskbatch.types import Faces

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
# findings down to this score make the precision-recall curve; a scan reports from its own threshold on
_LOW = 0.05
_FIGURES = ("pictures", "faces", "ap50", "ap40", "recall_by_size", "false_faces")
# no source may lose more than this share of one of its faces: less is findings that changed their order
_TOLERANCE = 0.5


def detector_figures(weights: Path, pictures: Sequence[Picture]) -> dict[str, dict]:
    """{source: figures} of CenterFace with the weights in a file, at a scan's size and threshold; IoU 0.4 but for AP50."""
    device = choose_device(RuntimeSettings())
    run = open_network(Network("centerface", weights, lambda: load_network(weights)), device)
    detect = Detector(run, DetectorSettings(threshold=_LOW))
    result = {}
    for source in sorted({picture.source for picture in pictures if picture.xyxy is not None}):
        own = [picture for picture in pictures if picture.source == source]
        figures = scene_figures(list(analyse_scenes(own, detect, _unclassified)), DetectorSettings().threshold, 0.5)
        result[source] = {name: value for name, value in figures.as_dict().items() if name in _FIGURES}
    return result


def figures_by_alpha(
    original: Path, tuned: Path, pictures: Sequence[Picture], alphas: Sequence[float] = ALPHAS
) -> dict[float, dict[str, dict]]:
    """{alpha: {source: figures}} on the way from the original to the tuned weights; the files are left beside `tuned`."""
    result = {}
    for alpha in alphas:
        path = interpolated_file(tuned, alpha)
        interpolated(load_network(original), load_network(tuned), alpha).save_weights(path)
        result[alpha] = detector_figures(path, pictures)
    return result


def interpolated_file(tuned: Path, alpha: float) -> Path:
    """Where `figures_by_alpha` leaves the weights of one alpha."""
    return tuned.with_name(f"alpha_{alpha:.2f}.weights.h5")


def choose_alpha(figures: dict[float, dict[str, dict]], sources: Sequence[str]) -> float:
    """The alpha with the best mean of AP50 and AP40 over `sources`, of those where none of them loses against alpha 0 (half
    a face is no loss)."""

    def gains(alpha: float) -> np.ndarray:
        return np.array([[figures[alpha][s][ap] - figures[0.0][s][ap] for ap in ("ap50", "ap40")] for s in sources])

    least = np.array([[-_TOLERANCE / figures[0.0][s]["faces"]] for s in sources])
    harmless = [alpha for alpha in figures if (gains(alpha) >= least).all()]
    return max(harmless, key=lambda alpha: float(gains(alpha).mean()))


def _unclassified(images: Sequence[np.ndarray], faces: Faces) -> Faces:
    """Stands for the classifier, which has no part in finding faces."""
    return faces.with_p_mask(np.full(len(faces), 0.5, np.float32))
