"""The commands for training: `train`, `train-detector` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskbatch.cli.parameters import FILE, FOLDER, PATH, Number, Several, WordOr, options
from maskbatch.cli.standard_streams import quiet_libraries
from maskbatch.cli.terminal import open_terminal
from maskbatch.settings import PRECISIONS, ClassifierSettings, DetectorSettings

if TYPE_CHECKING:
    from maskbatch.trainer.evaluate.measure import DatasetSettings

_BACKBONES = ("mobilenet_v2", "mobilenet_v3_large", "resnet50_v2", "efficientnet_v2_b0")
_SIZES = tuple(str(size) for size in range(96, 225, 32))
_GROUPS = ("tone", "colour", "pose", "blur", "size")
_SPLITS = ("CSV file with the columns path and split (optional: cluster, set). Default: folders named train, val and "
           "test, otherwise a random split.")  # fmt: skip

_datasets = click.argument("datasets", cls=Several, nargs=-1, required=True, metavar="DATASET...", type=FOLDER)
_labels = options(
    click.option("--labels", multiple=True, metavar="OLD=NEW",
                 help="Map a label of the dataset to with_mask, without_mask or incorrect_mask. Can be given "
                 "several times."),
    click.option("--ignore-label", multiple=True, metavar="NAME",
                 help="Ignore the boxes or the class folder of this label. Can be given several times."),
)  # fmt: skip
_ignore = click.option(
    "--ignore", type=FILE, metavar="FILE",
    help="CSV file of marks: places in which a finding is neither right nor wrong, and boxes with a wrong label. Columns: "
    "path, x_min, y_min, x_max, y_max, mark."
)  # fmt: skip
_seed = click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed for the split and for training."
)
_resume = click.option("--resume", is_flag=True, help="Continue a stopped training after its last finished epoch.")


@click.command()
@_datasets
@click.option(
    "--out", type=PATH, required=True, metavar="DIR", help="Folder for the model, its history and its report."
)
@click.option("--recipe", type=click.Choice(["best", "reference"]), default="best", show_default=True,
              help="best: for recorded material. reference: the head for 5 epochs at 1e-4, then the layers after the 100th "
              "for 3 epochs at 1e-5.")  # fmt: skip
@click.option("--size", type=click.Choice(_SIZES), metavar="N",
              help="Side of the model's crops in pixels: 96, 128, 160, 192 or 224. Default: the recipe's; 128 for best, 224 "
              "for reference.")  # fmt: skip
@click.option("--backbone", type=click.Choice(_BACKBONES), default="mobilenet_v2", show_default=True,
              help="Pretrained network below the head.")  # fmt: skip
@click.option("--base-weights", default="imagenet", show_default=True, metavar="imagenet|FILE",
              help="Weights of the backbone: imagenet, which Keras downloads, or a file.")  # fmt: skip
@click.option("--splits", type=FILE, help=_SPLITS)
@click.option("--groups", type=FILE, help="CSV file with the columns path and group; the split keeps each group whole. "
              "Default: groups of near-duplicates, found by perceptual hash.")  # fmt: skip
@_labels
@click.option("--balance", type=click.Choice(["weights", "oversample", "none"]),
              help="Give faces of rarer classes more weight in the loss, or draw them more often. Default: the "
              "recipe's.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), metavar="N",
              help="Stop after N epochs without a better validation loss in the last phase, and keep the best epoch. "
              "Default: the recipe's; both recipes run all epochs and keep the last.")  # fmt: skip
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N", help="Faces per batch."
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Batches per epoch. Default: each face once.")
@_seed
@click.option(
    "--cache", type=PATH, metavar="DIR", help="Folder that keeps cut faces for later runs. Default: OUT/cache."
)
@_resume
@click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only: no progress and no table.")
def train(datasets: tuple[Path, ...], **options: object) -> None:
    """Train a mask classifier on class folders, or on scenes with Pascal VOC or COCO boxes."""
    with quiet_libraries(), open_terminal(options["quiet"], None) as terminal:
        from maskbatch.cli.figures import print_faces
        from maskbatch.trainer.classifier.fit import FitSettings
        from maskbatch.trainer.classifier.train import Listener, TrainSettings
        from maskbatch.trainer.classifier.train import train as run

        dataset = _dataset_settings(datasets, options)
        settings = TrainSettings(dataset, options["recipe"], options["backbone"], options["base_weights"],
                                 options["balance"], options["patience"],
                                 options["size"] and int(options["size"]))  # fmt: skip
        fitting = FitSettings(options["out"], options["batch_size"], options["steps"], options["seed"],
                              resume=options["resume"])  # fmt: skip
        with terminal.epochs() as progress:
            result = run(settings, fitting, Listener(terminal.say, progress))
        if not options["quiet"]:
            print_faces(result["figures"])


@click.command("train-detector")
@_datasets
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder for the weights, history and report.")
@click.option("--splits", type=FILE, help=_SPLITS)
@_labels
@_ignore
@click.option("--loose-boxes-of", multiple=True, metavar="SOURCE",
              help="Source with loose boxes: learn the places of its faces, but not their sizes.")  # fmt: skip
@click.option("--base-weights", type=FILE, help="YuNet weights to start from. Default: the shipped weights.")
@click.option("--alpha", type=Number(0, 1), metavar="A",
              help="Share of the fine-tuning in the result; 0 is the original detector. Default: the share with the "
              "best precision on the validation scenes.")  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(1), default=12, show_default=True, metavar="N", help="Epochs of training."
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Batches per epoch. Default: each scene once.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=16, show_default=True, metavar="N", help="Scenes per batch."
)
@click.option("--learning-rate", type=Number(0, min_open=True), default=1e-3, show_default=True, metavar="RATE",
              help="Highest learning rate.")  # fmt: skip
@_seed
@_resume
@click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only: no progress and no table.")
def train_detector(datasets: tuple[Path, ...], **options: object) -> None:
    """Fine-tune the face detector on scenes with boxes, and measure it before and after."""
    with quiet_libraries(), open_terminal(options["quiet"], None) as terminal:
        from maskbatch.cli.figures import print_detector
        from maskbatch.trainer.detector.fit import DetectorFitSettings
        from maskbatch.trainer.detector.train import DetectorTrainSettings
        from maskbatch.trainer.detector.train import train_detector as run

        dataset = _dataset_settings(datasets, options)
        settings = DetectorTrainSettings(dataset, options["loose_boxes_of"], options["base_weights"],
                                         options["alpha"])  # fmt: skip
        names = ("out", "epochs", "steps", "batch_size", "learning_rate", "seed", "resume")
        fitting = DetectorFitSettings(**{name: options[name] for name in names})
        with terminal.epochs() as progress:
            result = run(settings, fitting, progress)
        if not options["quiet"]:
            print_detector(result["figures_by_alpha"], result["alpha"])


@click.command()
@_datasets
@click.option("--model", default=ClassifierSettings().model, show_default=True, metavar="NAME|FILE",
              help="Mask classifier: a shipped one, or a .keras file that maskbatch train wrote.")  # fmt: skip
@click.option("--splits", type=FILE, help="CSV file with the columns path and split (optional: cluster, set).")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="all", show_default=True,
              help="Part of the dataset to measure on.")  # fmt: skip
@click.option("--groups", type=FILE, help="CSV file with the columns path and group, as given to train.")
@_labels
@_ignore
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed for the split, as given to train.")
@click.option("--threshold", type=WordOr(("auto",), Number(0, 1)), default=ClassifierSettings().threshold, show_default=True,
              help="Minimum probability for a face to count as masked. auto: the best one for this dataset, by the "
              "balanced accuracy of faces, and by the macro F1 of scenes, which also sets --det-threshold.")  # fmt: skip
@click.option("--det-threshold", type=Number(0, 1), default=DetectorSettings().threshold, show_default=True, metavar="P",
              help="Minimum detector score for a face to be kept.")  # fmt: skip
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
              help="Number format of the networks, as in scan.")  # fmt: skip
@click.option("--by", multiple=True, type=click.Choice(_GROUPS),
              help="Also measure groups of faces by estimated skin tone, mask colour, pose, blur or size. Can be "
              "given several times.")  # fmt: skip
@click.option("--cache", type=PATH, metavar="DIR", help="Folder that keeps cut faces for later runs. Default: none.")
@click.option(
    "--out", type=PATH, metavar="DIR", help="Folder for evaluation.json, confusion matrix and reliability plot."
)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write all figures to this file.")
def evaluate(datasets: tuple[Path, ...], model: str, json_file: Path | None, **options: object) -> None:
    """Measure on labelled pictures: the classifier by face size; with boxes, detector and classifier together."""
    with quiet_libraries(), open_terminal(False, None):
        from maskbatch.cli.figures import print_faces, print_groups, print_operating_point, print_scenes
        from maskbatch.run.stages import classifier_path
        from maskbatch.trainer.checks import check_file
        from maskbatch.trainer.evaluate.measure import EvaluationSettings, Thresholds, evaluate_dataset
        from maskbatch.trainer.json_files import write_json

        dataset = _dataset_settings(datasets, options)
        check_file(json_file, "--json")
        split = None if options["split"] == "all" else options["split"]
        choose = options["threshold"] == "auto"
        mask = ClassifierSettings().threshold if choose else options["threshold"]
        thresholds = Thresholds(options["det_threshold"], mask)
        by = tuple(dict.fromkeys(options["by"]))
        evaluation = EvaluationSettings(split, thresholds, choose, options["out"], options["precision"], by)
        figures = evaluate_dataset(classifier_path(model), dataset, evaluation)
        if json_file:
            write_json(figures, json_file)
        print_faces(figures["faces"])
        print_groups(figures.get("groups", {}))
        print_scenes(figures["scenes"])
        print_operating_point(figures.get("operating_point", {}))


def _dataset_settings(datasets: tuple[Path, ...], options: dict) -> DatasetSettings:
    """Turn the options of a dataset into settings. Raises UsageError."""
    from maskbatch.trainer.data.labels import parse_rules
    from maskbatch.trainer.evaluate.measure import DatasetSettings

    rules = parse_rules(options["labels"], options["ignore_label"])
    return DatasetSettings(datasets, options["splits"], options.get("groups"), seed=options["seed"],
                           cache=options.get("cache"), labels=rules, ignore=options.get("ignore"))  # fmt: skip
