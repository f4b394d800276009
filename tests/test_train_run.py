"""`maskbatch train` and `evaluate` from end to end, on tiny networks: a kill, a resume, and all that is left behind."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from trainer_makers import class_folders, coco_scenes, grey_samples, scenes, tiny_model, write_picture

from maskbatch.cli.figures import print_scenes
from maskbatch.cli.main import main
from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.trainer.classifier import train as module
from maskbatch.trainer.classifier.fit import FitSettings
from maskbatch.trainer.classifier.train import Listener, TrainSettings, guide_samples, train
from maskbatch.trainer.data.scenes import Scene
from maskbatch.trainer.evaluate import measure, plots
from maskbatch.trainer.evaluate.measure import DatasetSettings
from maskbatch.trainer.evaluate.scene_figures import scene_figures
from maskbatch.trainer.json_files import write_json
from maskbatch.trainer.model import load_model

# trains until the second step of the second epoch, then dies as a killed program does
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import tensorflow as tf
tf.config.run_functions_eagerly(True)
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
def tiny(monkeypatch, eagerly):
    """Put the tiny network in place of a backbone."""
    monkeypatch.setattr(module, "build_model", tiny_model)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_run_resumes_to_where_it_would_have_come(tmp_path, tiny):
    """A run that is killed in the second epoch and resumed ends with the weights of an undisturbed run.

    Another run can neither resume nor overwrite it.
    """
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
    assert [row["epoch"] for row in resumed["epochs"]] == [row["epoch"] for row in whole["epochs"]] == [0, 1, 2, 3, 4]
    weights = (load_model(folder / "model.keras").get_weights() for folder in (out, tmp_path / "whole"))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(UsageError, match="exists"):
        train(settings_for(root), FitSettings(out, 4, 2))


def test_a_run_leaves_model_plots_report_and_card(tmp_path, tiny):
    """A run leaves every promised file: strict JSON, a row for each epoch, a card with the figures."""
    said = []
    report = train(settings_for(class_folders(tmp_path / "faces"), recipe="reference", balance="weights"),
                   FitSettings(tmp_path / "out", 4, 1), Listener(say=said.append))  # fmt: skip
    assert all((tmp_path / "out" / name).stat().st_size > 0 for name in OUTPUTS)
    kept = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert kept["recipe"]["phases"][1]["learning_rate"] == 1e-5 and kept["recipe"]["balance"] == "weights"
    assert kept["seeds"] == {"split": 0, "training": 0} and kept["versions"]["keras"]
    assert kept["dataset"]["faces"]["train"]["with_mask"] == 4 and kept["calibration"]["temperature"] > 0
    assert kept["figures"]["two_class"]["all sources"]["0-16"]["accuracy"] is None
    assert kept["figures"]["incorrect_mask"] == {} and kept["incorrect_calibration"] is None
    with open(tmp_path / "out" / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(kept["epochs"]) == 8
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert report["model_sha256"] in card and "--recipe reference" in card and "| all sources | all |" in card
    assert said == ["12 pictures; 0 groups of 0 pictures by perceptual hash"]


def test_a_run_with_a_third_state(tmp_path, tiny):
    """Recipe and --size decide the model's shape; calibration, figures and card have a part on masks worn incorrectly."""
    root = class_folders(tmp_path / "faces")
    for i in range(8):
        write_picture(root / "mask_worn_incorrectly" / f"{i}.png", 120 + i)
    arguments = ["train", str(root), "--out", str(tmp_path / "out"), "--steps", "1", "--batch-size", "4"]
    result = CliRunner().invoke(main, [*arguments, "--size", "96"])
    assert result.exit_code == 0, result.output
    assert "worn incorrectly" in result.output
    kept = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert (kept["recipe"]["size_px"], kept["recipe"]["third_state"]) == (96, True)
    third = kept["dataset"]["faces"]["val"]["incorrect_mask"]
    assert kept["figures"]["incorrect_mask"]["all sources"]["incorrect"] == third > 0
    assert kept["incorrect_calibration"]["incorrect"] == third
    assert kept["calibration"]["faces"] == kept["figures"]["two_class"]["all sources"]["all"]["faces"]
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "## Masks worn incorrectly" in card and "--size 96" in card and "96 x 96" in card
    model = load_model(tmp_path / "out" / "model.keras")
    assert (model.input_shape, model.output_shape) == ((None, 96, 96, 3), (None, 2))
    assert CliRunner().invoke(main, [*arguments, "--size", "100"]).exit_code == 2
    evaluated = ["evaluate", str(root), "--model", str(tmp_path / "out" / "model.keras"), "--json", str(tmp_path / "x")]
    result = CliRunner().invoke(main, evaluated)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "x").read_text())["faces"]["incorrect_mask"]["faces"]
    assert (figures["faces"], figures["incorrect"]) == (20, 8)


def test_without_a_mask_worn_incorrectly_the_model_has_two_states(tmp_path, tiny):
    """A p_incorrect that saw no such mask would never find one, and a scan would report that there are none."""
    root, said = class_folders(tmp_path / "faces"), []
    report = train(settings_for(root), FitSettings(tmp_path / "out", 4, 1), Listener(say=said.append))
    assert report["recipe"]["third_state"] is False and report["incorrect_calibration"] is None
    assert load_model(tmp_path / "out" / "model.keras").output_shape == (None, 1)
    assert "no third state" in said[1] and "p_incorrect" not in (tmp_path / "out" / "model_card.md").read_text()


def test_a_recipe_of_two_states_leaves_the_third_out(tmp_path, tiny):
    """The reference recipe does not see masks worn incorrectly."""
    root = class_folders(tmp_path / "faces")
    write_picture(root / "incorrect_mask" / "0.png", 120)
    report = train(settings_for(root, recipe="reference"), FitSettings(tmp_path / "out", 4, 1))
    assert sum(count["incorrect_mask"] for count in report["dataset"]["faces"].values()) == 0
    assert sum(count["with_mask"] for count in report["dataset"]["faces"].values()) == 6


def test_patience_and_balance_override_the_recipe(tmp_path, tiny):
    """The options take effect, and the report and the card's command name them."""
    root = class_folders(tmp_path / "faces")
    arguments = ["train", str(root), "--out", str(tmp_path / "out"), "--steps", "1", "--batch-size", "4", "--seed", "1"]
    result = CliRunner().invoke(main, [*arguments, "--balance", "none", "--patience", "2"])
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (kept["recipe"]["balance"], kept["recipe"]["patience"]) == ("none", 2)
    best = min(kept["epochs"], key=lambda row: row["val_loss"])
    assert kept["chosen_epoch"] == best["epoch"]
    assert "--balance none --patience 2" in (tmp_path / "out" / "model_card.md").read_text()


@pytest.fixture
def unseen(monkeypatch):
    """Fail when the pictures are read: errors must come before."""
    for where in (module, measure):
        monkeypatch.setattr(where, "load_samples", lambda *_: pytest.fail("the pictures were looked at"))


@pytest.mark.parametrize("missing", ["matplotlib", "sklearn"])
def test_missing_packages_are_named_before_the_work(tmp_path, monkeypatch, unseen, missing):
    """A missing package is named before the pictures are read."""
    monkeypatch.setitem(sys.modules, missing, None)
    words = rf"{missing} is missing: pip install 'maskbatch\[train\]'"
    with pytest.raises(MaskbatchError, match=words):
        train(settings_for(tmp_path), FitSettings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(MaskbatchError, match=words):
        measure.evaluate_dataset(tmp_path, DatasetSettings((tmp_path,)), measure.EvaluationSettings())


@pytest.mark.parametrize("command", [["train"], ["evaluate"], ["train-detector"]])
def test_what_cannot_be_written_is_told_before_the_work(tmp_path, unseen, command):
    """An --out, --cache or --json below a file, or a --json that is a folder, is refused and leaves nothing behind."""
    root = class_folders(tmp_path / "faces", 2)
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "x")
    given = {
        "train": [["--out", below], ["--out", str(tmp_path / "out"), "--cache", below]],
        "evaluate": [["--out", below], ["--cache", below], ["--json", below], ["--json", str(tmp_path)]],
        "train-detector": [["--out", below]],
    }
    for options in given[command[0]]:
        result = CliRunner().invoke(main, [*command, str(root), *options])
        assert result.exit_code == 2 and options[-2] in result.output, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "file"]


def test_what_does_not_fit_is_told_before_the_work(tmp_path, unseen):
    """A wrong model, weights, split, splits file or run folder is refused before the pictures are read."""
    root, out = class_folders(tmp_path / "faces"), tmp_path / "out"
    (tmp_path / "none.keras").write_bytes(b"none")
    (tmp_path / "splits.csv").write_text("path,split\nelsewhere.png,val\n")
    train_it, evaluate_it = ["train", str(root), "--out", str(out)], ["evaluate", str(root)]
    begun = tmp_path / "begun" / "state"
    begun.mkdir(parents=True)
    (begun / "rows.json").write_text("[]")
    one_class = class_folders(tmp_path / "set" / "train", 1)
    write_picture(tmp_path / "set" / "val" / "with_mask" / "0.png", 200)
    for command, words in (
        ([*evaluate_it, "--model", str(tmp_path / "none.keras")], "not a .keras model"),
        ([*evaluate_it, "--splits", str(tmp_path / "splits.csv")], "has no row for 12"),
        ([*train_it, "--splits", str(tmp_path / "splits.csv")], "has no row for 12"),
        ([*train_it, "--base-weights", str(tmp_path / "none.keras")], "does not hold weights"),
        ([*train_it, "--resume"], "nothing to resume"),
        (["train", str(root), "--out", str(begun.parent)], "--resume"),
        (["train", str(one_class.parent), "--out", str(out)], "the val split needs faces of both classes"),
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code in (1, 2) and words in " ".join(result.output.split()), result.output


@pytest.mark.parametrize("command", ["train", "evaluate", "train-detector"])
def test_unknown_labels_are_a_wrong_use(tmp_path, unseen, command):
    """Exit code 2 comes with all unknown labels, their numbers and the option to use."""
    root = scenes(tmp_path / "set", labels=("Mask", "None", "None"))
    given = [command, str(root), *([] if command == "evaluate" else ["--out", str(tmp_path / "out")])]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "'Mask' (1), 'None' (2)" in said and "--labels 'Mask=with_mask'" in said and "--ignore-label" in said
    renamed = CliRunner().invoke(
        main, [*given, "--labels", "Mask=with_mask", "--ignore-label", "None", "--labels", "x"]
    )
    assert renamed.exit_code == 2 and "OLD=NEW" in renamed.output


@pytest.mark.parametrize("make", [scenes, coco_scenes])
def test_evaluate_takes_the_labels_of_others(tmp_path, make):
    """A dataset with foreign labels is measured like ours when their meaning is given."""
    tiny_model().save(tmp_path / "model.keras")
    root = make(tmp_path / "scenes", labels=("Mask", "None", "hat"))
    options = ["--model", str(tmp_path / "model.keras"), "--json", str(tmp_path / "new" / "figures.json")]
    meanings = ["--labels", "Mask=with_mask", "--labels", "None=without_mask", "--ignore-label", "hat"]
    result = CliRunner().invoke(main, ["evaluate", str(root), *options, *meanings])
    assert result.exit_code == 0, result.output
    assert "bootstrap over pictures" in result.output
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())
    of_scenes = figures["faces"]["two_class"]["scenes"]["all"]
    assert (of_scenes["faces"], of_scenes["groups"]) == (2, 2) and figures["faces"]["incorrect_mask"] == {}
    assert figures["scenes"]["scenes"]["faces"] == 2


@pytest.mark.parametrize("make", [scenes, coco_scenes])
def test_evaluate_chooses_thresholds_and_writes_them(tmp_path, make):
    """--threshold auto prints and writes an operating point for class folders and scenes of both formats, with figures and
    plots; masks worn incorrectly are counted.
    """
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


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("with_mask", "there is no face without a mask in the dataset"),
        ("without_mask", "there is no face with a mask in the dataset"),
        ("incorrect_mask", "there is no face with a mask or without one, so p_mask is not measured"),
    ],
)
def test_evaluate_says_in_words_that_a_class_is_absent(tmp_path, kept, said):
    """Datasets of one class are measured; no table has a "nan", a sentence names the class, and JSON is strict."""
    tiny_model(third_state=True).save(tmp_path / "model.keras")
    for i in range(3):
        write_picture(tmp_path / "faces" / kept / f"{i}.png", 100 + i)
    whole = scenes(tmp_path / "scenes", labels=(kept, kept))
    options = ["--model", str(tmp_path / "model.keras"), "--threshold", "auto", "--out", str(tmp_path / "out")]
    groups = [f"--by={kind}" for kind in ("tone", "colour", "pose", "blur", "size")]
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path / "faces"), str(whole), *options, *groups])
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output and said in result.output
    assert "no best threshold for these faces: both classes are needed" in result.output
    assert ("no face with a mask worn incorrectly" in result.output) == (kept != "incorrect_mask")
    json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert (tmp_path / "out" / "reliability.png").exists() == (kept != "incorrect_mask")


def test_evaluate_names_the_source_without_a_class(tmp_path):
    """Where only one of two datasets lacks a class, the sentence names that one."""
    tiny_model().save(tmp_path / "model.keras")
    class_folders(tmp_path / "both", 2)
    write_picture(tmp_path / "one" / "with_mask" / "0.png", 99)
    paths = [str(tmp_path / name) for name in ("both", "one")]
    result = CliRunner().invoke(main, ["evaluate", *paths, "--model", str(tmp_path / "model.keras")])
    assert "no face without a mask: one\n" in result.output and "in the dataset" not in result.output


def test_datasets_with_the_names_of_totals_are_kept_apart(tmp_path):
    """Folders called `scenes` and `all sources` replace neither the rows of all scenes nor those of all sources."""
    tiny_model().save(tmp_path / "model.keras")
    paths = [str(scenes(tmp_path / "scenes")), str(scenes(tmp_path / "more"))]
    paths += [str(scenes(tmp_path / "all sources", labels=("with_mask",))), str(class_folders(tmp_path / "faces", 2))]
    options = ["--model", str(tmp_path / "model.keras"), "--json", str(tmp_path / "x.json")]
    result = CliRunner().invoke(main, ["evaluate", *paths, *options])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "x.json").read_text())
    assert {name: by_size["all"]["faces"] for name, by_size in found["faces"]["two_class"].items()} == {
        "all sources": 9, "all sources (folder)": 1, "faces": 4, "more": 2, "scenes (folder)": 2, "scenes": 5
    }  # fmt: skip
    pictures = {name: item["pictures"] for name, item in found["scenes"].items()}
    assert pictures == {"all sources (folder)": 1, "more": 3, "scenes": 3, "all sources": 7}


def test_a_dataset_whose_labels_are_all_ignored_is_an_error_in_words(tmp_path):
    """The message does not speak of a split that nobody gave."""
    root = class_folders(tmp_path / "faces", 2)
    ignored = ["--ignore-label", "with_mask", "--ignore-label", "without_mask"]
    result = CliRunner().invoke(main, ["evaluate", str(root), *ignored])
    assert result.exit_code == 1 and "None" not in result.output and "no picture with a label" in result.output


def test_json_has_no_numbers_that_are_none(tmp_path):
    """NaN and infinity become null at any depth; arrays and numpy's numbers become JSON's."""
    write_json({"a": [float("nan"), np.float32(0.5)], "b": {"c": np.inf}, "d": np.arange(2)}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 0.5], "b": {"c": None}, "d": [0, 1]}


def test_calibration_prefers_annotated_scenes(tmp_path):
    """The calibration takes faces of scenes, which resemble a scan's input, or all faces where those are too few."""
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


def test_plots_show_all_of_their_labels(tmp_path):
    """No label touches the edge of a plot, and the epochs of a long training have room on their axis."""
    plots.draw_confusion(((25, 0), (0, 44)), tmp_path / "confusion.png")
    rows = [{"epoch": epoch, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5} for epoch in range(83)]
    plots.draw_curves(rows, tmp_path / "curves.png")
    for path in tmp_path.iterdir():
        image = cv2.imread(str(path))
        edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edges == 255).all(), path.name
    curves = cv2.imread(str(tmp_path / "curves.png"), cv2.IMREAD_GRAYSCALE)
    below = curves[int(0.88 * len(curves)) : int(0.93 * len(curves)), 60:500]  # the numbers below the left axis
    assert (below.min(axis=0) == 255).mean() > 0.5


def test_figures_of_many_sources_are_shown_whole(capsys, monkeypatch):
    """At 80 characters a line, no figure of a dozen sources is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    box = np.array([[0, 0, 10, 10]], np.float32)
    scene = Scene(box, np.array([1]), box, np.array([0.9]), np.array([0.9]))
    figures = scene_figures([scene], 0.5, 0.5).as_dict() | {"macro_f1": 0.123456}
    figures |= {"worn_incorrectly": {"faces": 0, "found": 0, "with_mask": 0}}
    print_scenes({f"a source {i}": figures for i in range(12)})
    shown = capsys.readouterr().out
    assert "pairs are without and with a mask" in shown
    assert shown.count("0.123") == 12 and all(f"a source {i}" in shown for i in range(12))
