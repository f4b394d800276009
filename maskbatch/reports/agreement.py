"""Agreement of two reviewers: Cohen's kappa, and the people on whom they differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from maskbatch.store.review import Verdict

_Z = float(ndtri(0.975))


class Agreement(NamedTuple):
    """Agreement of two reviewers on `num_both` people: the share `observed` of equal verdicts, and kappa.

    Kappa and its 95 % interval are None if undefined: both gave the same single verdict to all, or share no people.
    """

    first: str
    second: str
    num_both: int
    observed: float | None
    kappa: float | None
    low: float | None
    high: float | None
    differ: Sequence[tuple[int, int]]


def agreement(verdicts: Sequence[Verdict]) -> list[Agreement]:
    """Return the agreement of each pair of reviewers, by the last verdict of each on each person.

    `differ` holds (source id, person id) in the order of the second reviewer's verdicts.
    """
    said: dict[str, dict[tuple[int, int], str]] = {}
    for one in verdicts:
        if one.person_id is not None:
            said.setdefault(one.reviewer, {})[one.source_id, one.person_id] = one.verdict
    names = sorted(said)
    return [_of_pair(a, b, said[a], said[b]) for position, a in enumerate(names) for b in names[position + 1 :]]


def _of_pair(first: str, second: str, a: dict, b: dict) -> Agreement:
    both = [key for key in b if key in a]
    labels = sorted({*a.values(), *b.values()})
    counts = np.zeros((len(labels), len(labels)))
    for key in both:
        counts[labels.index(a[key]), labels.index(b[key])] += 1
    differ = tuple(key for key in both if a[key] != b[key])
    observed = float(np.trace(counts) / len(both)) if both else None
    return Agreement(first, second, len(both), observed, *cohens_kappa(counts), differ)


def cohens_kappa(counts: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Return Cohen's kappa (1960) and its 95 % interval, by the large-sample variance of Fleiss, Cohen and Everitt (1969).

    Args:
        counts: items by the verdict of the first reviewer and of the second, (K, K).

    Returns:
        Kappa and the ends of its interval, all None if kappa is undefined.

    Example:
        >>> [round(value, 3) for value in cohens_kappa(np.array([[20, 5], [10, 15]]))]
        [0.4, 0.155, 0.645]
    """
    total = counts.sum()
    if not total:
        return None, None, None
    p = counts / total
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float(np.trace(p)), float(rows @ columns)
    if chance >= 1:
        return None, None, None
    kappa = (observed - chance) / (1 - chance)
    own = np.diag(p) * ((1 - chance) - (rows + columns) * (1 - observed)) ** 2
    others = p * (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(others, 0.0)
    spread = own.sum() + (1 - observed) ** 2 * others.sum() - (observed * chance - 2 * chance + observed) ** 2
    error = np.sqrt(max(spread, 0.0) / total) / (1 - chance) ** 2
    return float(kappa), float(kappa - _Z * error), float(min(kappa + _Z * error, 1.0))
