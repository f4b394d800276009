"""The rate of people after corrections, as rows beside the plain rate."""

from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.people.answer import Answer
from maskbatch.reports.corrections import Errors, corrected_by_errors
from maskbatch.reports.model_figures import model_figures_of
from maskbatch.reports.rates import model_rate
from maskbatch.reports.sampled import Sampled, sampled_answer
from maskbatch.reports.statistics import Rate
from maskbatch.store.review import last_sample, verdicts


class Row(NamedTuple):
    """A rate of `number` people, with its interval."""

    name: str
    value: float
    low: float | None
    high: float | None
    number: int


class Corrections(NamedTuple):
    """Rows of corrected rates, the number of reviewed people, and the result of a sample, None without one."""

    rows: Sequence[Row]
    num_reviewed: int
    sampled: Sampled | None


def corrections_of(connection: Connection, answer: Answer, people: Rate, facts: Mapping[str, object]) -> Corrections:
    """Return the corrected rates of a scan.

    After a review, the rows have the rate of the model alone, and the rate from the sample if there is one. Without a
    review, the rate is corrected by error rates of the model that were measured on other pictures.

    Args:
        connection: the connection of the transaction in which `answer` was derived.
        answer: the people of the scan.
        people: the rate of people after the review.
        facts: the facts of the last session.
    """
    rows, num_reviewed = [], int((answer.reviewed != "").sum())
    if num_reviewed:
        before = model_rate(answer)
        if before.value is not None:
            rows.append(Row("people, by the model alone", before.value, before.low, before.high, before.denominator))
    sample, sampled = last_sample(connection), None
    if sample is not None:
        sampled = sampled_answer(answer, sample, verdicts(connection))
        if sampled.rate is not None:
            found = sampled.rate
            name = f"people, from a sample of {found.num_reviewed} reviewed"
            rows.append(Row(name, found.value, found.low, found.high, people.denominator))
    figures = model_figures_of(facts)
    if not num_reviewed and figures is not None and people.denominator >= 5:
        errors = Errors(*figures.by_size[-1][1:])
        counted = people.denominator / people.design_effect
        found = corrected_by_errors(people.value * counted, counted, errors)
        if found is not None:
            rows.append(Row("people, corrected by error rates from elsewhere", found.value, found.low, found.high,
                            people.denominator))  # fmt: skip
    return Corrections(rows, num_reviewed, sampled)
