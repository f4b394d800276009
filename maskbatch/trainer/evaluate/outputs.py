"""Write the files of an evaluation or a training run: JSON, plots and a model card."""

from pathlib import Path

import numpy as np

from maskbatch.trainer.evaluate import plots
from maskbatch.trainer.evaluate.card import model_card
from maskbatch.trainer.json_files import plain, write_json


def write_training(report: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    """Write `report.json`, `model_card.md`, `curves.png`, `confusion_matrix.png` and `reliability.png`.

    Labels and p_mask (N,) are those of the validation split, without masks worn incorrectly.
    """
    plots.draw_curves(report["epochs"], out / "curves.png")
    _draw_faces(report["figures"], label, p_mask, out)
    write_json(report, out / "report.json")
    (out / "model_card.md").write_text(model_card(plain(report)), encoding="utf-8")


def write_evaluation(report: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    """Write `evaluation.json`, `confusion_matrix.png` and `reliability.png` for labels and p_mask (N,) of two states.

    Without a face of these states, there are no plots.
    """
    out.mkdir(parents=True, exist_ok=True)
    if len(label):
        _draw_faces(report["faces"], label, p_mask, out)
    write_json(report, out / "evaluation.json")


def _draw_faces(figures: dict, label: np.ndarray, p_mask: np.ndarray, out: Path) -> None:
    plots.draw_confusion(figures["two_class"]["all sources"]["all"]["confusion"], out / "confusion_matrix.png")
    plots.draw_reliability(label, p_mask, out / "reliability.png")
