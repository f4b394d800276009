"""Print the figures of training and evaluation as tables."""

from maskbatch.cli.terminal import console, table
from maskbatch.run.progress import printable

# more columns than these would be cut at 80 characters
_SOURCES_A_TABLE = 4
_SCENE_FIGURES = {
    "pictures": "pictures", "faces": "faces", "ap50": "face AP50", "ap40": "face AP40", "class_ap50": "class AP50",
    "class_ap40": "class AP40", "precision": "precision", "recall": "recall", "f1": "F1", "macro_f1": "macro F1",
    "false_faces": "false faces a picture", "rate_error": "rate error a picture", "total_rate_error": "rate error of all",
}  # fmt: skip


def print_faces(figures: dict) -> None:
    """Print the classifier's figures (see `face_report`): two states by source and face size, the third one by source.

    Balanced is the balanced accuracy, with its 95 % interval over pictures.
    """
    shown = table("on", "px", "faces", "balanced", "95 %", "accuracy", "ROC area", "ECE")
    for name, by_size in figures["two_class"].items():
        for size, item in by_size.items():
            if item["faces"]:
                balanced = item["balanced_accuracy"]
                interval = f"{balanced['low']:.3f}-{balanced['high']:.3f}"
                rest = (f"{item[key]:.3f}" for key in ("accuracy", "roc_auc", "calibration_error"))
                shown.add_row(name, size, str(item["faces"]), f"{balanced['value']:.4f}", interval, *rest)
    console().print(shown)
    _print_line("95 %: bootstrap over pictures with all their faces; known near-duplicates count as one picture")
    _print_incorrect(figures["incorrect_mask"])


def _print_incorrect(figures: dict) -> None:
    """Print the figures of p_incorrect by source, at 0.5; nothing for a model of two states."""
    if not figures:
        return
    shown = table("on", "faces", "incorrect", "precision", "recall", "AP", "with", "without")
    keys = ("precision", "recall", "average_precision", "flagged_with_mask", "flagged_without_mask")
    for name, item in figures.items():
        shown.add_row(name, str(item["faces"]), str(item["incorrect"]), *(f"{item[key]:.3f}" for key in keys))
    console().print(shown)
    _print_line(
        "masks worn incorrectly, by p_incorrect from 0.5 on; with, without: the share of other faces that get it"
    )


def print_scenes(figures: dict) -> None:
    """Print the figures of detector and classifier together, a column for each source; pairs are without and with a mask."""
    if not figures:
        return
    sources = list(figures)
    for start in range(0, len(sources), _SOURCES_A_TABLE):
        some = sources[start : start + _SOURCES_A_TABLE]
        shown = table("whole chain", *map(printable, some))
        for key, name in _SCENE_FIGURES.items():
            shown.add_row(name, *(_shown(figures[source][key]) for source in some))
        console().print(shown)
    for source, item in figures.items():
        if (third := item["worn_incorrectly"])["faces"]:
            found = f"{third['found']} were found, {third['with_mask']} of them labelled with_mask"
            _print_line(f"{printable(source)}: of {third['faces']} masks worn incorrectly {found}")


def print_detector(figures: dict, chosen: float) -> None:
    """Print the detector's figures by source for each share (alpha) of the fine-tuning: 0 is the original detector.

    A star marks the chosen share. Recall is by face size in pixels.
    """
    sizes = list(next(iter(figures[0.0].values()))["recall_by_size"])
    shown = table("alpha", "scenes", "AP50", "AP40", "false", *sizes)
    for alpha, by_source in figures.items():
        for source, item in by_source.items():
            values = [item[key] for key in ("ap50", "ap40", "false_faces")]
            name = f"{alpha:.2f}{' *' if alpha == chosen else ''}"
            shown.add_row(name, source, *map(_shown, [*values, *item["recall_by_size"].values()]))
    console().print(shown)


def print_operating_point(chosen: dict) -> None:
    """Print the thresholds that were chosen, and the figure that they maximise."""
    for on, point in chosen.items():
        detector = "" if point["detector"] is None else f" --det-threshold {point['detector']:.2f}"
        _print_line(f"best for these {on}: --threshold {point['mask']:.2f}{detector} ({point['maximises']} "
                    f"{point['value']:.4f}; a little too good on the pictures it was chosen on)")  # fmt: skip


def _print_line(words: str) -> None:
    console().print(words, highlight=False, soft_wrap=True)


def _shown(value: object) -> str:
    """Return a figure or a pair of figures with three decimals, and counts as they are."""
    values = value if isinstance(value, (tuple, list)) else [value]
    return " ".join(f"{one:.3f}" if isinstance(one, float) else str(one) for one in values)
