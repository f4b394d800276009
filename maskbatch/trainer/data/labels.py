"""The labels of faces, and the user's rules for datasets with other labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskbatch.errors import UsageError

_log = logging.getLogger(__name__)

LABELS = ("without_mask", "with_mask")  # the two classes of p_mask; the index is the class
STATES = (*LABELS, "incorrect_mask")  # with the third state, which only p_incorrect recognises
WORN_INCORRECTLY = 2
_CLASSES = {name: label for label, name in enumerate(STATES)}
# labels in other datasets; one is a misspelling in a dataset that was often copied
_KNOWN = {**_CLASSES, "mask_worn_incorrectly": WORN_INCORRECTLY, "mask_weared_incorrect": WORN_INCORRECTLY}


@dataclass(frozen=True, slots=True)
class LabelRules:
    """Rules for the labels of datasets.

    `renamed` are pairs of a dataset's label and one of ours. `ignored` are labels whose boxes are left out. Raises
    UsageError when the rules contradict each other, or a new label is not one of ours.
    """

    renamed: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for old, new in self.renamed:
            if new not in _KNOWN:
                raise UsageError(f"--labels {old}={new}: {new!r} is not one of {', '.join(_CLASSES)}")
        meanings = {*self.renamed, *((name, "") for name in self.ignored)}
        olds = [old for old, _ in meanings]
        for old in olds:
            if olds.count(old) > 1:
                raise UsageError(f"--labels and --ignore-label give the label {old!r} more than one meaning")

    def knows(self, name: str) -> bool:
        """Return True for a label that has a class or is ignored."""
        return name in self.ignored or self.class_of(name) is not None

    def class_of(self, name: str) -> int | None:
        """Return 0 (without_mask), 1 (with_mask) or 2 (incorrect_mask); None for a label that is ignored or unknown."""
        if name in self.ignored:
            return None
        return _KNOWN.get(dict(self.renamed).get(name, name))


def parse_rules(renamed: Sequence[str], ignored: Sequence[str]) -> LabelRules:
    """Return the rules for values of `--labels` (each OLD=NEW) and `--ignore-label`. Raises UsageError."""
    for text in renamed:
        if "=" not in text:
            raise UsageError(f"--labels takes OLD=NEW, such as --labels Mask=with_mask, not {text!r}")
    pairs = [text.rpartition("=")[::2] for text in renamed]  # our labels have no equals sign
    return LabelRules(tuple((old.strip(), new.strip()) for old, new in pairs), tuple(name.strip() for name in ignored))


def check_labels(counts: Mapping[str, int], rules: LabelRules) -> None:
    """Raise UsageError when the rules do not cover all labels; `counts` has the number of each label.

    Log a warning about rules for labels that do not occur, which may be misspelled.
    """
    unknown = {name: count for name, count in counts.items() if not rules.knows(name)}
    if unknown:
        found = ", ".join(f"{name!r} ({count})" for name, count in sorted(unknown.items()))
        first = min(unknown)
        raise UsageError(
            f"the dataset has labels that are unknown here: {found}. Known are {', '.join(_CLASSES)}. Give each its "
            f"meaning, as in --labels '{first}=with_mask', or leave it out with --ignore-label '{first}'"
        )
    unused = sorted({*(old for old, _ in rules.renamed), *rules.ignored} - counts.keys())
    if unused:
        _log.warning("--labels and --ignore-label name labels that the dataset does not have: %s. Check the spelling; it "
                     "has %s", ", ".join(map(repr, unused)), ", ".join(map(repr, sorted(counts))))  # fmt: skip
