"""The command line. The only file with click; it maps errors to exit codes and imports late, so that
`maskbatch --help` answers at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskbatch import __version__
from maskbatch.config import (
    CPU_BATCH,
    GPU_BATCH,
    PRECISIONS,
    ClassifierSettings,
    DetectorSettings,
    OutputSettings,
    SamplingSettings,
    ScanSettings,
)
from maskbatch.errors import Interrupted, MaskbatchError, UsageError
from maskbatch.progress import MODES, counted, printable
from maskbatch.runlog import Warnings, collected_warnings
from maskbatch.terminal import Terminal, open_terminal

if TYPE_CHECKING:  # numpy; --help needs none
    from maskbatch.media.sources import Found

BESIDE = "<beside the input>"
_BACKBONES = ("mobilenet_v2", "mobilenet_v3_large", "resnet50_v2", "efficientnet_v2_b0")
EXIT_COULD_NOT_RUN, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130


class _Group(click.Group):
    """Maps maskbatch's errors to messages and exit codes, for every command."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(_lines(error)) from error
        except Interrupted:
            click.echo("interrupted; the reports show what is done, and the same command goes on from there", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except MaskbatchError as error:
            raise click.ClickException(_lines(error)) from error
        except BrokenPipeError:  # whoever read our output has enough of it; click ends quietly
            raise
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(_lines(f"{name}{error.strerror or error}")) from error
        except KeyboardInterrupt:
            click.echo("interrupted; a scan goes on from there when the same command is given", err=True)
            ctx.exit(EXIT_INTERRUPTED)


def _lines(message: object) -> str:
    """Return the lines of a message without what a terminal would obey in the names of files."""
    return "\n".join(map(printable, str(message).split("\n")))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="maskbatch")
def main() -> None:
    """Who wore a mask, where and when, and how sure are we?

    Finds every face in photos and videos, tells masked from unmasked ones, and writes annotated media and CSV reports.
    """


def _options(*options: Callable) -> Callable:
    """Several click options as one decorator, in the order they are listed in."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class _Number(click.FloatRange):
    """A finite number in a range; nan lies in all of them, as no comparison says that it does not."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value!r} is not a finite number.", param, ctx)


class _AutoOrShare(click.ParamType):
    """A number from 0 to 1, or the word auto."""

    name = "FLOAT|auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        return "auto" if value == "auto" else _Number(0, 1).convert(value, param, ctx)


_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

_scan_options = _options(
    click.option("--if-exists", type=click.Choice(["resume", "overwrite", "error"]), default="resume", show_default=True,
                 help="What to do when the output folder holds an earlier scan: go on with it (where the settings are the "
                 "same), replace it, or stop."),
    click.option("--dry-run", is_flag=True,
                 help="List what would be scanned, what is done already, time and disk; touch nothing."),
    click.option("--every", type=click.IntRange(1), default=1, show_default=True, metavar="N",
                 help="Analyse every N-th frame of a video."),
    click.option("--sample-fps", type=_Number(0, min_open=True), metavar="F",
                 help="Analyse about F frames per second of a video (instead of --every)."),
    click.option("--decode-all", is_flag=True,
                 help="Decode the frames between the analysed ones too: slower, but damage in them is found."),
    click.option("--hwaccel", default="none", show_default=True, metavar="none|auto|NAME",
                 help="Decode videos on a device: FFmpeg's name for its kind, such as cuda or videotoolbox. auto: the first "
                 "that works. What it cannot decode is decoded in software."),
    click.option("--save", default="annotated", show_default=True, metavar="WHAT",
                 help="Media to write: annotated, crops, annotated,crops or none."),
    click.option("--threshold", type=_Number(0, 1), default=ClassifierSettings().threshold, show_default=True,
                 help="A face counts as masked from this probability on."),
    click.option("--det-threshold", type=_Number(0, 1), default=DetectorSettings().threshold,
                 show_default=True, help="Faces that the detector scores lower are dropped."),
    click.option("--det-size", type=click.IntRange(64, 4096), default=DetectorSettings().size_px, show_default=True,
                 metavar="PX", help="Longest side given to the detector, a multiple of 32; larger finds smaller faces."),
    click.option("--model", default=ClassifierSettings().model, show_default=True, metavar="NAME|FILE",
                 help="The mask classifier: a shipped one, or a .keras file that maskbatch train made."),
    click.option("--runtime", type=click.Choice(["auto", "openvino", "tensorflow"]), default="auto", show_default=True,
                 help="auto: TensorFlow on a usable GPU, OpenVINO otherwise."),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|gpu|gpu:N",
                 help="Where the networks run; gpu: on all GPUs."),
    click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
                 help="What the networks compute in. auto: int8 on a CPU where the model has it, else fp32."),
    click.option("--require-gpu", is_flag=True, help="Stop with an error when no GPU is usable."),
    click.option("--batch-size", type=click.IntRange(1, 1024), show_default=f"{CPU_BATCH}, on a GPU {GPU_BATCH}",
                 help="Frames that go through the networks together."),
    click.option("--workers", type=click.IntRange(1, 64), default=ScanSettings().workers, show_default=True, metavar="N",
                 help="Videos, or groups of 256 photos, that are scanned at the same time."),
    click.option("--codec", default="auto", show_default=True, metavar="auto|NAME",
                 help="FFmpeg's name of the encoder of annotated videos. auto: NVENC, Quick Sync or VideoToolbox where one "
                 "works, else libx264."),
    click.option("--crf", type=click.IntRange(0, 51), default=OutputSettings().crf, show_default=True,
                 help="Quality of annotated videos (H.264); lower is better and larger."),
    click.option("--keep-metadata/--no-keep-metadata", default=OutputSettings().keep_metadata, show_default=True,
                 help="Annotated copies keep the recording time and camera of the source, but never its location."),
    click.option("--stall-limit", type=_Number(0, min_open=True), default=SamplingSettings().stall_s,
                 show_default=True, metavar="SECONDS", help="A video that gives no frame for so long is given up."),
    click.option("--log-file", type=_PATH, help="Write a log, a line per file, to this file."),
    click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True,
                 help="auto: a bar on a terminal, else plain lines; json: an object a line; none: warnings only."),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no table; errors only."),
)  # fmt: skip


@main.command()
@click.argument("paths", nargs=-1, type=_PATH, metavar="PATH...")
@click.option("--out", type=_PATH, default=Path("maskbatch_out"), show_default=True, help="Output folder.")
@click.option("--from-list", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
              help="Also scan the paths in FILE (- for standard input), one a line or with NUL bytes between.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Scan the first N files only.")
@click.option("--include-hidden", is_flag=True,
              help="Look at hidden entries too, and at thumbnail and bin folders (@eaDir, $RECYCLE.BIN).")  # fmt: skip
@_scan_options
def scan(paths: tuple[Path, ...], out: Path, from_list: Path | None, **options: object) -> None:
    """Scan photos and videos: folders (recursively) and files, in any mix."""
    from maskbatch.media.sources import read_list

    listed = read_list(from_list) if from_list else []
    if not paths and not from_list:
        raise UsageError("nothing to scan: name folders or files, or use --from-list")
    _scan([*paths, *listed], out, options)


@main.command()
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE...")
@click.option("--out", is_flag=False, flag_value=BESIDE, default="maskbatch_out", show_default=True, metavar="[DIR]",
              help="Output folder; --out without DIR: NAME_maskbatch beside the first input.")  # fmt: skip
@_scan_options
def video(files: tuple[Path, ...], out: str, **options: object) -> None:
    """Scan videos: annotated H.264 with the sound kept, and a CSV row for each face and frame."""
    folders = [path for path in files if path.is_dir()]
    if folders:
        raise UsageError(f"{folders[0]} is a folder: use maskbatch scan")
    beside = files[0].with_name(f"{files[0].stem}_maskbatch")
    _scan(list(files), beside if out == BESIDE else Path(out), options)


def _scan(paths: list[Path], out: Path, options: dict) -> None:
    """The job of `scan` and `video`."""
    from maskbatch.options import scan_settings

    settings = scan_settings(options)
    opened = open_terminal(options["quiet"], options["log_file"], options["progress"])
    with opened as terminal, collected_warnings() as warnings:
        from maskbatch.forecast import dry_plan, forecast
        from maskbatch.media.names import named
        from maskbatch.media.sources import look_for
        from maskbatch.outputs import check_inputs, check_out

        check_out(out, options["if_exists"])
        terminal.say("looking for photos and videos")
        found = look_for(paths, out, options.get("limit"), options.get("include_hidden", False))
        remarks = found.not_looked_at.remarks()
        for remark in remarks:
            terminal.say(remark)
        if not found.sources:
            raise UsageError(f"no photo or video in {named([str(path) for path in paths]) or 'the list'}")
        check_inputs(out, (source.path for source in found.sources))
        if options["dry_run"]:
            plan = dry_plan(settings, found.sources, paths, out, options["if_exists"])
            terminal.dry_run([source.path for source in plan.pending], forecast(plan, settings))
            return
        summary = _run(settings, _Inputs(found, paths, out, options["if_exists"], warnings), terminal)
        terminal.table(summary, out, remarks)
    if summary.failed or summary.partial or found.not_looked_at.unreadable:
        click.get_current_context().exit(EXIT_SOME_FAILED)


@dataclass(frozen=True)
class _Inputs:
    """What is scanned, by what the user gave, into which folder."""

    found: Found
    paths: list[Path]
    out: Path
    if_exists: str
    warnings: Warnings


def _run(settings: ScanSettings, given: _Inputs, terminal: Terminal):
    """Opens the engine, then the output folder, and scans; returns the summary."""
    from maskbatch.engine import Engine
    from maskbatch.estimate import too_little_space
    from maskbatch.outputs import prepared
    from maskbatch.stopping import stop_on_signals

    engine = Engine(settings, given.warnings)
    with prepared(given.out, given.if_exists) as lock:
        plan = replace(
            engine.plan(given.found.sources, given.out, given.paths), not_looked_at=given.found.not_looked_at
        )
        done = f", {plan.num_done} of them done already" if plan.num_done else ""
        terminal.say(f"{counted(len(plan.sources), 'file')}{done}, {engine.device.description}")
        if warning := too_little_space(plan.pending, settings.output, given.out):
            terminal.warn(warning)
        with stop_on_signals(terminal.say) as stop, terminal.progress(settings.sampling) as progress:
            return engine.scan(plan, lock, stop, progress.add, progress.expect)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--threshold", type=_Number(0, 1), help="Another threshold; default: the one the folder has.")
def report(folder: Path, threshold: float | None) -> None:
    """Write the CSV reports of a scan again, maybe with another threshold; nothing is analysed again."""
    from maskbatch.engine import report_again
    from maskbatch.lock import at_work

    if not (folder / ".state").is_dir():
        raise UsageError(f"{folder} is not the output folder of a scan")
    summary, finished = report_again(folder, threshold)
    Terminal(sys.stderr, quiet=False).table(summary, folder)
    if not finished:
        run = at_work(folder)
        why = (
            f"the scan is still at work ({run}), and writes its own when it ends" if run else "the scan was interrupted"
        )
        click.echo(f"not all files are in these reports: {why}", err=True)
    if not finished or summary.failed or summary.partial:
        click.get_current_context().exit(EXIT_SOME_FAILED)


_label_options = _options(
    click.option("--labels", multiple=True, metavar="OLD=NEW",
                 help="A label of the dataset and its meaning: with_mask, without_mask or mask_worn_incorrectly. "
                 "May be given several times."),
    click.option("--ignore-label", multiple=True, metavar="NAME",
                 help="A label of the dataset whose boxes, or class folder, are left out. May be given several times."),
)  # fmt: skip


@main.command()
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...",
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@click.option("--out", type=_PATH, required=True, help="Folder for the model, its history and its report.")
@click.option("--recipe", type=click.Choice(["best", "reference"]), default="best", show_default=True,
              help="best: ours. reference: head 5 epochs at 1e-4, then layers after 100, 3 epochs at 1e-5.")  # fmt: skip
@click.option("--backbone", type=click.Choice(_BACKBONES), default="mobilenet_v2", show_default=True,
              help="The pretrained network below the head.")  # fmt: skip
@click.option("--base-weights", default="imagenet", show_default=True, metavar="imagenet|FILE",
              help="The backbone's weights: downloaded by Keras, or a file.")  # fmt: skip
@click.option(
    "--splits", type=_FILE, help="CSV with columns path and split (and cluster, set); else folders or a draw."
)
@click.option("--groups", type=_FILE, help="CSV with columns path and group; no group is cut by the split. Default: "
              "near-duplicates, found by perceptual hash.")  # fmt: skip
@_label_options
@click.option("--balance", type=click.Choice(["weights", "oversample", "none"]),
              help="Rarer faces count more in the loss, or are drawn more often; default: the recipe's.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), metavar="N",
              help="Stop after N epochs of the last phase without a better validation loss, and keep the best epoch. "
              "Default: the recipe's; both run all epochs and keep the last.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Batches an epoch; default: as many as the faces fill.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the split and of everything random in training."
)
@click.option("--cache", type=_PATH, help="Where cut faces are kept between runs; default: OUT/cache.")
@click.option("--resume", is_flag=True, help="Go on after the last finished epoch of a killed run.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no table.")
def train(datasets: tuple[Path, ...], **options: object) -> None:
    """Train a mask classifier on class folders or scenes with Pascal VOC or COCO boxes."""
    with open_terminal(options["quiet"], None) as terminal:
        from maskbatch.trainer.fit import FitSettings
        from maskbatch.trainer.train import Listener, TrainSettings
        from maskbatch.trainer.train import train as run

        dataset = _dataset_settings(datasets, options)
        settings = TrainSettings(dataset, options["recipe"], options["backbone"], options["base_weights"],
                                 options["balance"], options["patience"])  # fmt: skip
        fitting = FitSettings(options["out"], options["batch_size"], options["steps"], options["seed"],
                              resume=options["resume"])  # fmt: skip
        with terminal.epochs() as progress:
            result = run(settings, fitting, Listener(terminal.say, progress))
        terminal.figures(result["figures"])


def _dataset_settings(datasets: tuple[Path, ...], options: dict):
    """The options that say what is learnt or measured, as settings. Raises UsageError."""
    from maskbatch.trainer.labels import parse_rules
    from maskbatch.trainer.measure import DatasetSettings

    rules = parse_rules(options["labels"], options["ignore_label"])
    return DatasetSettings(datasets, options["splits"], options.get("groups"), seed=options["seed"],
                           cache=options.get("cache"), labels=rules)  # fmt: skip


@main.command("train-detector")
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...",
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@click.option("--out", type=_PATH, required=True, help="Folder for the weights, their history and their report.")
@click.option(
    "--splits", type=_FILE, help="CSV with columns path and split (and cluster, set); else folders or a draw."
)
@_label_options
@click.option("--ignore-boxes-of", multiple=True, metavar="SOURCE",
              help="A source whose boxes do not go around the face: the original detector's are learnt.")  # fmt: skip
@click.option("--base-weights", type=_FILE, help="CenterFace's weights to begin with; default: the shipped ones.")
@click.option("--distil", multiple=True, metavar="SOURCE",
              help="A source where the original detector is good: its findings are learnt, not the boxes.")  # fmt: skip
@click.option("--alpha", type=_Number(0, 1), help="How much of the fine-tuning to take: 0 is the original. "
              "Default: what is best on the validation scenes without loss to any source.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Batches an epoch; default: each scene once.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=_Number(0, min_open=True), default=1e-4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split and of everything random.")
@click.option("--resume", is_flag=True, help="Go on after the last finished epoch of a killed run.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def train_detector(datasets: tuple[Path, ...], **options: object) -> None:
    """Fine-tune the face detector on scenes with boxes, and measure it before and after."""
    with open_terminal(options["quiet"], None) as terminal:
        from maskbatch.trainer.detector_fit import DetectorFitSettings
        from maskbatch.trainer.detector_train import DetectorTrainSettings
        from maskbatch.trainer.detector_train import train_detector as run

        dataset = _dataset_settings(datasets, options)
        settings = DetectorTrainSettings(dataset, options["ignore_boxes_of"], options["distil"],
                                         options["base_weights"], options["alpha"])  # fmt: skip
        names = ("out", "epochs", "steps", "batch_size", "learning_rate", "seed", "resume")
        fitting = DetectorFitSettings(**{name: options[name] for name in names})
        with terminal.epochs() as progress:
            result = run(settings, fitting, progress)
        terminal.detector(result["figures_by_alpha"], result["alpha"])


@main.command()
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...",
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@click.option("--model", default=ClassifierSettings().model, show_default=True, metavar="NAME|FILE")
@click.option("--splits", type=_FILE, help="CSV with columns path and split (and cluster, set).")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="all", show_default=True,
              help="The part of the dataset to measure on.")  # fmt: skip
@click.option("--groups", type=_FILE, help="CSV with columns path and group, as given to train.")
@_label_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split, as given to train.")
@click.option("--threshold", type=_AutoOrShare(), default=ClassifierSettings().threshold, show_default=True,
              help="Of p_mask; auto: the best for this dataset (balanced accuracy of faces; macro-F1 of scenes over this "
              "and --det-threshold).")  # fmt: skip
@click.option("--det-threshold", type=_Number(0, 1), default=DetectorSettings().threshold, show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
              help="What the networks compute in, as in scan.")  # fmt: skip
@click.option("--cache", type=_PATH, help="Where cut faces are kept between runs; default: not kept.")
@click.option("--out", type=_PATH, help="Folder for evaluation.json, the confusion matrix and the reliability plot.")
@click.option("--json", "json_file", type=_PATH, help="Write all figures to this file.")
def evaluate(datasets: tuple[Path, ...], model: str, json_file: Path | None, **options: object) -> None:
    """Measure on labelled pictures: the classifier by face size, and the whole chain where scenes have boxes."""
    with open_terminal(False, None) as terminal:
        from maskbatch.engine import classifier_path
        from maskbatch.trainer.checks import check_file
        from maskbatch.trainer.measure import EvaluationSettings, Thresholds, evaluate_dataset
        from maskbatch.trainer.outputs import write_json

        dataset = _dataset_settings(datasets, options)
        check_file(json_file, "--json")
        split = None if options["split"] == "all" else options["split"]
        choose = options["threshold"] == "auto"
        mask = ClassifierSettings().threshold if choose else options["threshold"]
        thresholds = Thresholds(options["det_threshold"], mask)
        evaluation = EvaluationSettings(split, thresholds, choose, options["out"], options["precision"])
        figures = evaluate_dataset(classifier_path(model), dataset, evaluation)
        if json_file:
            write_json(figures, json_file)
        terminal.figures(figures["faces"])
        terminal.scenes(figures["scenes"])
        terminal.operating_point(figures.get("operating_point", {}))


@main.command()
def doctor() -> None:
    """Check devices, codecs, versions and weights, and say what to do about each problem."""
    with open_terminal(False, None):
        from maskbatch.doctor import examine

        findings = examine()
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject}: {finding.message}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(EXIT_COULD_NOT_RUN)
