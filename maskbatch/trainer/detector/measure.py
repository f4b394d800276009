"""Measure a detector on annotated scenes by source, and choose the share of a fine-tuning to keep."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskbatch.analyse.detector import Detector
from maskbatch.networks.device import Infer, choose_device, open_network
from maskbatch.networks.yunet import load_network, network_of
from maskbatch.settings import DetectorSettings, RuntimeSettings
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.scenes import CURVE_SCORE, analyse_scenes
from maskbatch.trainer.detector.fit import interpolated
from maskbatch.trainer.evaluate.scene_figures import scene_figures
from maskbatch.types import Faces

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FIGURES = ("pictures", "faces", "ap50", "ap40", "recall_by_size", "false_faces")
# a source with at least this many faces may lose at most this average precision; with fewer faces, it varies by chance
_MANY_FACES, _TOLERANCE = 50, 0.01 + 1e-9  # a loss of one point in binary fractions is no larger loss


def open_detector(weights: Path) -> Infer:
    """Return YuNet with the weights in a file, ready to run."""
    return open_network(network_of(weights), choose_device(RuntimeSettings()))


def detector_figures(weights: Path, pictures: Sequence[Picture]) -> dict[str, dict]:
    """Return {source: figures} of YuNet with the weights in a file, at a scan's size and threshold.

    The figures are at IoU 0.4, except AP50.
    """
    detect = Detector(open_detector(weights), DetectorSettings(threshold=CURVE_SCORE))
    result = {}
    for source in sorted({picture.source for picture in pictures if picture.xyxy is not None}):
        own = [picture for picture in pictures if picture.source == source]
        figures = scene_figures(list(analyse_scenes(own, detect, _unclassified)), DetectorSettings().threshold, 0.5)
        result[source] = {name: value for name, value in figures.as_dict().items() if name in _FIGURES}
    return result


def figures_by_alpha(
    original: Path, tuned: Path, pictures: Sequence[Picture], alphas: Sequence[float] = ALPHAS
) -> dict[float, dict[str, dict]]:
    """Return {alpha: {source: figures}} between the original and the tuned weights; leave the files beside `tuned`."""
    result = {}
    for alpha in alphas:
        path = interpolated_file(tuned, alpha)
        interpolated(load_network(original), load_network(tuned), alpha).save_weights(path)
        result[alpha] = detector_figures(path, pictures)
    return result


def interpolated_file(tuned: Path, alpha: float) -> Path:
    """Return the path at which `figures_by_alpha` leaves the weights of one alpha."""
    return tuned.with_name(f"alpha_{alpha:.2f}.weights.h5")


def choose_alpha(figures: dict[float, dict[str, dict]], sources: Sequence[str]) -> float:
    """Return the alpha with the best AP at IoU 0.4 over `sources`, weighted by their faces.

    An alpha at which a source with 50 faces or more loses more than a point against alpha 0 is never chosen. Sources
    without faces are ignored.
    """
    sources = [source for source in sources if figures[0.0][source]["faces"]]
    faces = np.array([figures[0.0][source]["faces"] for source in sources])

    def gains(alpha: float) -> np.ndarray:
        return np.array([figures[alpha][source]["ap40"] - figures[0.0][source]["ap40"] for source in sources])

    harmless = [alpha for alpha in figures if (gains(alpha)[faces >= _MANY_FACES] >= -_TOLERANCE).all()]
    return max(harmless, key=lambda alpha: float((gains(alpha) * faces).sum()))


def _unclassified(images: Sequence[np.ndarray], faces: Faces) -> Faces:
    """Replace the classifier, which does not affect the detector's figures."""
    return faces.with_state(np.full(len(faces), 0.5, np.float32))
