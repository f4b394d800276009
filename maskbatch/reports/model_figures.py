"""Error rates of the shipped classifiers, measured on other pictures, for the page and to correct rates."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple


class SizeFigures(NamedTuple):
    """Counts of faces of one size: masked and bare faces, and the recognised faces among each."""

    name: str
    masked: int
    masked_right: int
    bare: int
    bare_right: int


class ModelFigures(NamedTuple):
    """Figures of a classifier: `measured_on` is a sentence; the last entry of `by_size` is for all sizes together."""

    measured_on: str
    by_size: tuple[SizeFigures, ...]


def model_figures_of(facts: Mapping[str, object]) -> ModelFigures | None:
    """Return the figures of the classifier that a scan used, None for a model that is not shipped.

    `models/figures.json` holds figures by the checksum of the weights, which must match the scan's.

    Args:
        facts: the facts of a session, with "weights".
    """
    weights = facts.get("weights")
    used = weights.get("classifier") if isinstance(weights, Mapping) else None
    if not isinstance(used, Mapping):
        return None
    stored = resources.files("maskbatch.models").joinpath("figures.json")
    if not stored.is_file():
        return None
    for model in json.loads(stored.read_text(encoding="utf-8")):
        if model["sha256"] == used.get("sha256"):
            sizes = tuple(SizeFigures(**size) for size in model["by_size"])
            return ModelFigures(model["measured_on"], sizes)
    return None
