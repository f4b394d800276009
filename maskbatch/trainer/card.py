"""The model card of a trained classifier, made from its report, so that it says nothing the report does not know."""

_TEMPLATE = """# Mask classifier {name}

Tells whether a face wears a mask: RGB crops of 224 x 224 px, as `maskbatch scan` cuts them, to `p_mask`, the probability
of a mask. Backbone {backbone}; normalisation is part of the model. SHA-256 `{model_sha256}`.

## Intended use and limits

Statistics over many people in recorded pictures, and sorting pictures for a person to look at. Not for decisions about
one person, not for identification. Masks worn under the nose were not a class in training: they get whichever label they
resemble. Expect more errors on faces under 16 px, in profile, in blur, and behind hands and scarves.

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

Operating point: balanced accuracy on the validation split is highest, {best}, at a threshold of {best_threshold}.

## Failures

To be written by whoever looked at them, picture by picture.
"""
_COLUMNS = ("on", "face px", "faces", "balanced accuracy", "95 %", "F1 without / with", "ROC area", "ECE")


def model_card(report: dict) -> str:
    """Markdown, from the content of report.json."""
    recipe, point = report["recipe"], report["operating_point"]
    return _TEMPLATE.format(
        name=f"{recipe['name']}, {report['backbone']}",
        backbone=report["backbone"],
        model_sha256=report["model_sha256"],
        data=_data(report["dataset"]),
        command=_command(report),
        recipe=_recipe(report),
        threshold=_number(report["threshold"], 2),
        figures=_figures(report["figures"]),
        calibration=_calibration(report["calibration"]),
        best=_number(point["value"], 4),
        best_threshold=_number(point["mask"], 2),
    )


def _data(dataset: dict) -> str:
    faces = [f"{split}: {c['with_mask']} with, {c['without_mask']} without" for split, c in dataset["faces"].items()]
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
    covers = report["recipe"]["covers"]
    lines += [
        "",
        f"{len(report['epochs'])} epochs ran, the model is that of epoch {report['chosen_epoch'] + 1}. Augmentation "
        f"`{report['recipe']['augment']}`; {covers['mask']:.0%} of bare faces got a drawn mask, {covers['other']:.0%} a "
        f"hand, scarf, mug or beard.",
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
                    f"{_number(b['low'])}-{_number(b['high'])}", " / ".join(_number(one) for one in item["f1"]),
                    _number(item["roc_auc"], 4), _number(item["calibration_error"]),
                )  # fmt: skip
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _calibration(found: dict) -> str:
    return (
        f"{found['method']} scaling fitted on {found['faces']} validation faces, folded into the last layer "
        f"(temperature {_number(found['temperature'])}, shift {_number(found['shift'])}): ECE "
        f"{_number(found['error_before'])} before, {_number(found['error_after'])} after, "
        f"{_number(found['error_held_out'])} where each half is judged by what was fitted on the other."
    )


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
