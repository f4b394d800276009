"""The model card of a trained classifier, made from its report alone."""

_TEMPLATE = """# Mask classifier {name}

The model takes RGB crops of {size} x {size} px, as `maskbatch scan` cuts them, and gives `p_mask`, the probability of a
mask{third}.
Backbone {backbone}; normalisation is part of the model. SHA-256 `{model_sha256}`.

## Intended use and limits

The model serves statistics over many people in recorded pictures, and sorting pictures for a person to look at. It must
not be used for decisions about one person or for identification. {limits}
Expect more errors on faces under 16 px, in profile, in blur, and behind hands and scarves.

## Data

{data}

## Recipe

`{command}`

{recipe}

## Figures on the validation split, at a threshold of {threshold}

Intervals are 95 % bootstrap intervals over pictures with all their faces; near-duplicates count as one picture. ECE:
expected calibration error.

{figures}

Calibration: {calibration}
{incorrect}
Operating point: balanced accuracy on the validation split is highest, {best}, at a threshold of {best_threshold}.

## Failures

To be written after a look at them, picture by picture.
"""
_COLUMNS = ("on", "face px", "faces", "balanced accuracy", "95 %", "F1 without / with", "ROC area", "ECE")


def model_card(report: dict) -> str:
    """Return Markdown for the content of report.json."""
    recipe, point = report["recipe"], report["operating_point"]
    return _TEMPLATE.format(
        name=f"{recipe['name']}, {report['backbone']}",
        backbone=report["backbone"],
        size=recipe["size_px"],
        third=", and `p_incorrect`, the probability that a mask is worn incorrectly" if recipe["third_state"] else "",
        limits=_limits(recipe["third_state"]),
        model_sha256=report["model_sha256"],
        data=_data(report["dataset"]),
        command=_command(report),
        recipe=_recipe(report),
        threshold=_number(report["threshold"], 2),
        figures=_figures(report["figures"]["two_class"]),
        calibration=_calibration(report["calibration"]),
        incorrect=_incorrect(report),
        best=_number(point["value"], 4),
        best_threshold=_number(point["mask"], 2),
    )


def _limits(third_state: bool) -> str:
    if third_state:
        return (
            "`p_mask` was not\ntrained on masks worn incorrectly, and may say either. `p_incorrect` asks for a look by a "
            "person: its figures\ncome from few faces of few sources."
        )
    return "Masks worn under the\nnose were not a class in training: they get the label that they resemble."


def _data(dataset: dict) -> str:
    faces = [
        f"{split}: {c['with_mask']} with, {c['without_mask']} without, {c['incorrect_mask']} worn incorrectly"
        for split, c in dataset["faces"].items()
    ]
    groups = dataset["groups"]
    cut = f" The given split cuts {groups['cut']} of them." if groups["cut"] else " No group is cut by the split."
    return (
        f"Faces by split: {'; '.join(faces)}. From the folders {', '.join(dataset['roots'])}; fingerprint "
        f"`{dataset['fingerprint'][:16]}`.\n{groups['groups']} groups of together {groups['pictures']} near-duplicates "
        f"or otherwise related pictures, by {groups['by']}.{cut}"
    )


def _command(report: dict) -> str:
    options = {
        **{name: file for name, file in report["dataset"]["files"].items() if file},
        "recipe": report["recipe"]["name"],
        "backbone": report["backbone"],
        "base-weights": report["base_weights"],
        "size": report["recipe"]["size_px"],
        "balance": report["recipe"]["balance"],
        **({"patience": report["recipe"]["patience"]} if report["recipe"]["patience"] else {}),
        "batch-size": report["batch_size"],
        "seed": report["seeds"]["training"],
    }
    words = " ".join(f"--{name} {value}" for name, value in options.items())
    labels = report["dataset"]["labels"]
    words += "".join(f" --labels '{old}={new}'" for old, new in labels["renamed"])
    words += "".join(f" --ignore-label '{name}'" for name in labels["ignored"])
    return f"maskbatch train {' '.join(report['dataset']['roots'])} {words}"


def _recipe(report: dict) -> str:
    lines = ["| phase | epochs | learning rate | trains |", "|---|---|---|---|"]
    for i, phase in enumerate(report["recipe"]["phases"], start=1):
        rate = f"{phase['learning_rate']:g}{', cosine' if phase['cosine'] else ''}"
        first = phase["first_layer"]
        lines.append(f"| {i} | {phase['epochs']} | {rate} | {'head' if first is None else f'layers from {first} on'} |")
    lines += [
        "",
        f"{len(report['epochs'])} epochs ran, the model is that of epoch {report['chosen_epoch'] + 1}. Augmentation "
        f"`{report['recipe']['augment']}`.",
    ]
    return "\n".join(lines)


def _figures(figures: dict) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for name, by_size in figures.items():
        for size, item in by_size.items():
            if item["faces"]:
                b = item["balanced_accuracy"]
                cells = (
                    name, size, str(item["faces"]), _number(b["value"], 4),
                    _interval(b), " / ".join(_number(one) for one in item["f1"]),
                    _number(item["roc_auc"], 4), _number(item["calibration_error"]),
                )  # fmt: skip
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _incorrect(report: dict) -> str:
    """Return the section on the third state, "" without a third state."""
    found = report["incorrect_calibration"]
    if not found:
        return ""
    lines = [
        "",
        "## Masks worn incorrectly: `p_incorrect` at 0.5",
        "",
        "Flagged: the share of faces with and without a mask that get 0.5 or more.",
        "",
        "| on | faces | incorrect | precision | recall | average precision | flagged with / without |",
        "|" + "---|" * 7,
    ]
    for name, item in report["figures"]["incorrect_mask"].items():
        cells = [_number(item[key]) for key in ("precision", "recall", "average_precision")]
        flagged = f"{_number(item['flagged_with_mask'])} / {_number(item['flagged_without_mask'])}"
        lines.append(f"| {' | '.join([name, str(item['faces']), str(item['incorrect']), *cells, flagged])} |")
    lines += [
        "",
        f"Platt scaling and an operating point chosen on {found['faces']} validation faces, {found['incorrect']} of them "
        "worn incorrectly, for a precision of at least 0.90. Where each fifth is judged by the point chosen on the others,\n"
        f"precision is {_number(found['precision_held_out'])} and recall {_number(found['recall_held_out'])}. The precision "
        "holds for this share of masks worn incorrectly only.",
        "",
    ]
    return "\n".join(lines)


def _calibration(found: dict) -> str:
    return (
        f"{found['method']} scaling fitted on {found['faces']} validation faces, folded into the last layer "
        f"(temperature {_number(found['temperature'])}, shift {_number(found['shift'])}): ECE "
        f"{_number(found['error_before'])} before, {_number(found['error_after'])} after, "
        f"{_number(found['error_held_out'])} where each half is judged by the fit on the other half."
    )


def _interval(figure: dict) -> str:
    return "-" if figure["low"] is None else f"{_number(figure['low'])}-{_number(figure['high'])}"


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
