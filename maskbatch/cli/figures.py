"""Print the figures of training and evaluation as tables."""

from maskbatch.cli.terminal import console, show, table
from maskbatch.run.progress import printable

# more columns would not fit into 80 characters
_SOURCES_A_TABLE = 4
_GROUP_COLUMNS = ("without", "called without"), ("with", "called with")
# minimum number of pictures of a class for a meaningful figure of a group
_FEW_PICTURES = 20
# a figure that is not known
_NONE = "-"
_SCENE_FIGURES = {
    "pictures": "pictures", "faces": "faces", "ap50": "face AP50", "ap40": "face AP40", "class_ap50": "class AP50",
    "class_ap40": "class AP40", "precision": "precision", "recall": "recall", "f1": "F1", "macro_f1": "macro F1",
    "false_faces": "false faces a picture", "rate_error": "rate error a picture", "total_rate_error": "rate error of all",
}  # fmt: skip


def print_faces(figures: dict) -> None:
    """Print the classifier's figures (see `face_report`): two states by source and face size, the third by source.

    "balanced" is the balanced accuracy, with its 95 % interval over pictures.
    """
    if not figures["two_class"]:
        _print_line("there is no face with a mask or without one, so p_mask is not measured")
    else:
        _print_two_states(figures["two_class"])
    _print_incorrect(figures["incorrect_mask"])


def _print_two_states(figures: dict) -> None:
    shown, rows = table("on", "px", "faces", "balanced", "95 %", "accuracy", "ROC area", "ECE"), []
    for name, by_size in figures.items():
        for size, item in by_size.items():
            if item["faces"]:
                balanced = item["balanced_accuracy"]
                rest = (_shown(item[key]) for key in ("accuracy", "roc_auc", "calibration_error"))
                rows.append((name, size, str(item["faces"]), _shown(balanced["value"], 4), _interval(balanced), *rest))
    for row in rows:
        shown.add_row(*row)
    show(shown)
    _print_line("px: size of the face, such as 16- for 16 px and more; ECE: expected calibration error")
    _print_line("95 %: bootstrap over pictures with all their faces; known near-duplicates count as one picture")
    _print_absent(figures, any(_NONE in row for row in rows))


def _print_absent(figures: dict, is_any_unknown: bool) -> None:
    """Say why figures of two states are unknown: a source, or the faces of a size, have one class only."""
    if not is_any_unknown:
        return
    _print_line(f"{_NONE}: not known, because both classes are needed, and there are too few faces of one of them")
    for words, has_none in (
        ("with a mask", lambda item: not item["with_mask"]),
        ("without a mask", lambda item: item["with_mask"] == item["faces"]),
    ):
        names = [name for name, by_size in figures.items() if has_none(by_size["all"])]
        if len(names) == len(figures):
            _print_line(f"there is no face {words} in the dataset")
        elif names:
            _print_line(f"no face {words}: {', '.join(map(printable, names))}")


def _print_incorrect(figures: dict) -> None:
    """Print the figures of p_incorrect at 0.5 by source; nothing for a model with two states."""
    if not figures:
        return
    shown = table("on", "faces", "incorrect", "precision", "recall", "AP", "with", "without")
    keys = ("precision", "recall", "average_precision", "flagged_with_mask", "flagged_without_mask")
    for name, item in figures.items():
        shown.add_row(name, str(item["faces"]), str(item["incorrect"]), *(_shown(item[key]) for key in keys))
    show(shown)
    if not any(item["incorrect"] for item in figures.values()):
        _print_line("there is no face with a mask worn incorrectly in the dataset: how many are found is not known")
    _print_line(
        "masks worn incorrectly, by p_incorrect from 0.5 on; with, without: the share of other faces that get it"
    )


def print_groups(figures: dict) -> None:
    """Print the figures of groups of faces (see `group_report`), one table per kind; nothing without groups."""
    if not figures or not any(figures["by"].values()):
        return
    for kind, by_group in figures["by"].items():
        labels = [label for label in (1, 0) if any(item["faces"][label] for item in by_group.values())]
        shown = table(kind, *(name for label in labels for name in _GROUP_COLUMNS[label]))
        for group, item in by_group.items():
            shown.add_row(group, *(cell for label in labels for cell in _group_cells(item, label)))
        show(shown)
    _print_line(
        "with, without a mask: faces/pictures, and the share that is called so with its 95 % interval over pictures; "
        f"*: fewer than {_FEW_PICTURES} pictures, which say little"
    )
    if "tone_roughness" in figures:
        _print_roughness(figures["tone_roughness"])


def _group_cells(item: dict, label: int) -> tuple[str, str]:
    """Return the counts of a class in a group, and its recall with the interval; "-" without any face."""
    faces, pictures, recall = (item[key][label] for key in ("faces", "pictures", "recall"))
    if not faces:
        return "0", "-"
    interval = "no interval" if pictures < 2 else f"{recall['low']:.3f}-{recall['high']:.3f}"
    return f"{faces}/{pictures}", f"{recall['value']:.3f} ({interval}){'*' if pictures < _FEW_PICTURES else ''}"


def _print_roughness(found: dict) -> None:
    more, less = found["kept_when_relit"]
    if any(value != value for value in (found["apart_degrees"], found["same_tone"], more, less)):
        _print_line("tone is that of the picture, and rough: too few faces have a tone to say how rough")
        return
    _print_line(
        "tone is that of the picture, and rough: forehead and cheeks alone, where both can be seen, give the same tone in "
        f"{found['same_tone']:.0%} of {found['faces']} faces, and are {found['apart_degrees']:.0f} degrees apart in the "
        f"median; with half a stop more light {more:.0%} of the faces with a tone would keep it, with half a stop less "
        f"{less:.0%}"
    )


def print_scenes(figures: dict) -> None:
    """Print the figures of detector and classifier together, by source; pairs are without and with a mask."""
    if not figures:
        return
    sources = list(figures)
    for start in range(0, len(sources), _SOURCES_A_TABLE):
        some = sources[start : start + _SOURCES_A_TABLE]
        shown = table("whole chain", *map(printable, some))
        for key, name in _SCENE_FIGURES.items():
            shown.add_row(name, *(_shown(figures[source][key]) for source in some))
        show(shown)
    _print_line("pairs are without and with a mask")
    if any(_NONE in _shown(item[key]).split() for item in figures.values() for key in _SCENE_FIGURES):
        _print_line(f"{_NONE}: not known, because no such face is annotated, or none is found")
    for source, item in figures.items():
        if (third := item["worn_incorrectly"])["faces"]:
            found = f"{third['found']} were found, {third['with_mask']} of them labelled with_mask"
            _print_line(f"{printable(source)}: of {third['faces']} masks worn incorrectly {found}")


def print_detector(figures: dict, chosen: float) -> None:
    """Print the detector's figures by source for each share (alpha) of the fine-tuning; 0 is the original detector.

    A star marks the chosen share. Recall is by face size in pixels.
    """
    sizes = list(next(iter(figures[0.0].values()))["recall_by_size"])
    shown = table("alpha", "scenes", "AP50", "AP40", "false", *sizes)
    for alpha, by_source in figures.items():
        for source, item in by_source.items():
            values = [item[key] for key in ("ap50", "ap40", "false_faces")]
            name = f"{alpha:.2f}{' *' if alpha == chosen else ''}"
            shown.add_row(name, source, *map(_shown, [*values, *item["recall_by_size"].values()]))
    show(shown)


def print_operating_point(chosen: dict) -> None:
    """Print the chosen thresholds, and the figure that they maximise."""
    for on, point in chosen.items():
        if point["value"] != point["value"]:
            _print_line(f"no best threshold for these {on}: both classes are needed; the default is kept")
            continue
        detector = "" if point["detector"] is None else f" --det-threshold {point['detector']:.2f}"
        _print_line(f"best for these {on}: --threshold {point['mask']:.2f}{detector} ({point['maximises']} "
                    f"{point['value']:.4f}; a little too good on the pictures it was chosen on)")  # fmt: skip


def _print_line(words: str) -> None:
    console().print(words, highlight=False, soft_wrap=True)


def _interval(figure: dict) -> str:
    """Return the interval of a figure, "-" if it is not known."""
    return _NONE if figure["low"] != figure["low"] else f"{figure['low']:.3f}-{figure['high']:.3f}"


def _shown(value: object, decimals: int = 3) -> str:
    """Return a figure, or a pair of figures, with decimals; counts without decimals; "-" for NaN (not known)."""
    values = value if isinstance(value, (tuple, list)) else [value]
    return " ".join(
        _NONE if one != one else f"{one:.{decimals}f}" if isinstance(one, float) else str(one) for one in values
    )
