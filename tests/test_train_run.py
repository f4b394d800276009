"""`maskbatch train` and `evaluate` from end to end, on tiny networks: a kill, a resume, and all that is left behind."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from trainer_makers import class_folders, coco_scenes, grey_samples, scenes, tiny_model

from maskbatch.cli.main import main
from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.trainer.classifier import train as module
from maskbatch.trainer.classifier.fit import FitSettings
from maskbatch.trainer.classifier.train import Listener, TrainSettings, guide_samples, train
from maskbatch.trainer.evaluate.figures import plots
from maskbatch.trainer.evaluate.measure import DatasetSettings
from maskbatch.trainer.evaluate.outputs import write_json
from maskbatch.trainer.model import load_model

# trains until the second step of the second epoch, then dies as a killed program does
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from trainer_makers import tiny_model
from maskbatch.trainer.classifier import train as module
from maskbatch.trainer.classifier.fit import FitSettings
from maskbatch.trainer.evaluate.measure import DatasetSettings
module.build_model = tiny_model
def progress(epoch, step, steps, loss):
    if (epoch, step) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
settings = module.TrainSettings(DatasetSettings((Path({root!r}),), val_fraction=0.34))
module.train(settings, FitSettings(Path({out!r}), 4, 2), module.Listener(progress=progress))
"""
OUTPUTS = (
    "model.keras", "history.csv", "curves.png", "confusion_matrix.png", "reliability.png", "report.json", "model_card.md",
)  # fmt: skip


def settings_for(root, **changes):
    return TrainSettings(DatasetSettings((root,), val_fraction=0.34), **changes)


@pytest.fixture
def tiny(monkeypatch):
    """The tiny network instead of a backbone."""
    monkeypatch.setattr(module, "build_model", tiny_model)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_run_resumes_to_where_it_would_have_come(tmp_path, tiny):
    """Killed in the second epoch and resumed, a run ends with the weights of one that nobody killed; it cannot be
    resumed as another run, nor be overwritten."""
    root, out = class_folders(tmp_path / "faces"), tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(root), out=str(out))
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -signal.SIGKILL
    assert len(json.loads((out / "state" / "rows.json").read_text())) == 1
    with pytest.raises(UsageError, match="--resume"):
        train(settings_for(root), FitSettings(out, 4, 2))
    with pytest.raises(UsageError, match="recipe"):
        train(settings_for(root, balance="none"), FitSettings(out, 4, 2, resume=True))
    resumed = train(settings_for(root), FitSettings(out, 4, 2, resume=True))
    whole = train(settings_for(root), FitSettings(tmp_path / "whole", 4, 2))
    assert [row["epoch"] for row in resumed["epochs"]] == [row["epoch"] for row in whole["epochs"]] == [0, 1, 2]
    weights = (load_model(folder / "model.keras").get_weights() for folder in (out, tmp_path / "whole"))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
    with pytest.raises(UsageError, match="exists"):
        train(settings_for(root), FitSettings(out, 4, 2))


def test_a_run_leaves_model_plots_report_and_card(tmp_path, tiny):
    """Everything that is promised is there and whole: strict JSON, a row for each epoch, a card with the figures."""
    said = []
    report = train(settings_for(class_folders(tmp_path / "faces"), recipe="reference", balance="weights"),
                   FitSettings(tmp_path / "out", 4, 1), Listener(say=said.append))  # fmt: skip
    assert all((tmp_path / "out" / name).stat().st_size > 0 for name in OUTPUTS)
    kept = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert kept["recipe"]["phases"][1]["learning_rate"] == 1e-5 and kept["recipe"]["balance"] == "weights"
    assert kept["seeds"] == {"split": 0, "training": 0} and kept["versions"]["keras"]
    assert kept["dataset"]["faces"]["train"]["with_mask"] == 4 and kept["calibration"]["temperature"] > 0
    assert kept["figures"]["all sources"]["0-16"]["accuracy"] is None
    with open(tmp_path / "out" / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(kept["epochs"]) == 8
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert report["model_sha256"] in card and "--recipe reference" in card and "| all sources | all |" in card
    assert said == ["12 pictures; 0 groups of 0 pictures by perceptual hash"]


def test_patience_and_balance_override_the_recipe(tmp_path, tiny):
    """What is asked for is done, and stands in the report and in the card's command."""
    root = class_folders(tmp_path / "faces")
    arguments = ["train", str(root), "--out", str(tmp_path / "out"), "--steps", "1", "--batch-size", "4", "--seed", "1"]
    result = CliRunner().invoke(main, [*arguments, "--balance", "none", "--patience", "2"])
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (kept["recipe"]["balance"], kept["recipe"]["patience"]) == ("none", 2)
    best = min(kept["epochs"], key=lambda row: row["val_loss"])
    assert kept["chosen_epoch"] == best["epoch"]
    assert "--balance none --patience 2" in (tmp_path / "out" / "model_card.md").read_text()


def test_missing_plot_packages_are_named_before_the_training(tmp_path, monkeypatch):
    """Nobody trains for an hour to learn that matplotlib is missing."""
    monkeypatch.setitem(sys.modules, "seaborn", None)
    with pytest.raises(MaskbatchError, match=r"seaborn is missing: pip install 'maskbatch\[train\]'"):
        train(settings_for(tmp_path), FitSettings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [scenes, coco_scenes])
def test_evaluate_chooses_thresholds_and_writes_them(tmp_path, make):
    """Class folders and scenes of both formats: --threshold auto prints an operating point and writes it with the
    figures and plots; incorrectly worn masks are counted."""
    tiny_model().save(tmp_path / "model.keras")
    arguments = [str(class_folders(tmp_path / "faces")), str(make(tmp_path / "scenes"))]
    options = ["--model", str(tmp_path / "model.keras"), "--threshold", "auto", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["evaluate", *arguments, *options])
    assert result.exit_code == 0, result.output
    assert "best for these faces: --threshold" in result.output
    assert "of 1 masks worn incorrectly 0 were found" in result.output
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert 0 < written["operating_point"]["faces"]["mask"] < 1
    assert written["operating_point"]["scenes of scenes"]["maximises"] == "macro-F1"
    assert written["scenes"]["scenes"]["worn_incorrectly"] == {"faces": 1, "found": 0, "with_mask": 0}
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 0
    wrong = CliRunner().invoke(main, ["evaluate", *arguments, "--threshold", "some"])
    assert wrong.exit_code == 2


def test_json_has_no_numbers_that_are_none(tmp_path):
    """NaN and infinity become null at any depth; arrays and numpy's numbers become JSON's."""
    write_json({"a": [float("nan"), np.float32(0.5)], "b": {"c": np.inf}, "d": np.arange(2)}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 0.5], "b": {"c": None}, "d": [0, 1]}


def test_calibration_prefers_annotated_scenes(tmp_path):
    """Faces of scenes are what a scan meets; where there are too few of them, all faces are taken."""
    samples = grey_samples(tmp_path)
    assert len(guide_samples(samples)) == len(samples)
    many = samples.take(np.tile(np.arange(len(samples)), 20))
    many.annotated[: len(many) // 2] = True
    assert len(guide_samples(many)) == len(many) // 2


def test_plots_take_any_probabilities(tmp_path):
    """Empty bins, one class and certain predictions are drawn without a warning or an error."""
    plots.draw_reliability(np.array([1, 1, 0]), np.array([1.0, 0.0, 0.52]), tmp_path / "reliability.png")
    plots.draw_confusion(((3, 0), (0, 0)), tmp_path / "confusion.png")
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())
