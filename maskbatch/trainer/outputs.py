"""What training and evaluation leave behind: JSON that any program can read, plots, and a model card."""

import json
import math
import platform
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from maskbatch import __version__
from maskbatch.media.writers import partial_file
from maskbatch.trainer import plots
from maskbatch.trainer.card import model_card

_PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python", "openvino", "scikit-learn")


def write_training(report: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    """`report.json`, `model_card.md`, `curves.png`, `confusion_matrix.png`, `reliability.png`; label, p_mask (N,) are
    those of the validation split."""
    plots.draw_curves(report["epochs"], out / "curves.png")
    _draw_faces(report["figures"], label, p_mask, out)
    write_json(report, out / "report.json")
    (out / "model_card.md").write_text(model_card(plain(report)), encoding="utf-8")


def write_evaluation(report: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    """`evaluation.json`, `confusion_matrix.png`, `reliability.png`; label, p_mask (N,) of all faces."""
    out.mkdir(parents=True, exist_ok=True)
    _draw_faces(report["faces"], label, p_mask, out)
    write_json(report, out / "evaluation.json")


def write_json(report: object, path: Path) -> None:
    """JSON by the letter of its standard: what is not a number is null."""
    with partial_file(path) as partial:
        partial.write_text(json.dumps(plain(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: object) -> object:
    """The value as dicts, lists, strings, numbers and None."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def versions() -> dict[str, str | None]:
    """Of maskbatch, Python and the packages that figures depend on."""
    found = {"maskbatch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _draw_faces(figures: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    plots.draw_confusion(figures["all sources"]["all"]["confusion"], out / "confusion_matrix.png")
    plots.draw_reliability(label, p_mask, out / "reliability.png")
