"""Estimate rates of the whole scan from a reviewed sample."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskbatch.people.answer import Answer
from maskbatch.people.evidence import NOT_SURE
from maskbatch.reports.corrections import CorrectedRate, Labelled, sampled_rate
from maskbatch.reports.statistics import Rate, clustered_rate
from maskbatch.states import INCORRECT_MASK, WITH_MASK, WITHOUT_MASK
from maskbatch.store.review import NO_FACE, SOMEBODY, Sample, Verdict

_JUDGED = (WITH_MASK, WITHOUT_MASK, INCORRECT_MASK)


class Sampled(NamedTuple):
    """Estimates from a sample.

    `rate` is the corrected rate of people, None as long as too few are reviewed. `missed` is the share of moments
    without a detection in which a reviewer saw somebody.
    """

    rate: CorrectedRate | None
    missed: Rate

    def is_narrow(self, precision: float | None) -> bool:
        """Return whether the half width of the interval is at most `precision`."""
        return precision is not None and self.rate is not None and (self.rate.high - self.rate.low) / 2 <= precision


def sampled_answer(answer: Answer, sample: Sample, verdicts: Sequence[Verdict]) -> Sampled:
    """Estimate the rates of all people in a scan from the reviewed part of a sample.

    The last verdict on each person counts, regardless of the reviewer.

    Args:
        answer: the people of the scan; only the model's verdicts are used.
        sample: the sample.
        verdicts: all valid verdicts, in order.
    """
    said = {one.subject: one.verdict for one in verdicts}
    persons = answer.persons
    at = {
        key: number for number, key in enumerate(zip(persons.source_id.tolist(), persons.person.tolist(), strict=True))
    }
    rows, seen = [], []
    for item in sample.items:
        is_moment = item.person_id is None
        verdict = said.get(item.subject)
        if verdict is not None and is_moment:
            seen.append(verdict == SOMEBODY)
        elif verdict is not None and (item.source_id, item.person_id) in at:
            who = at[item.source_id, item.person_id]
            rows.append((item.stratum, verdict == WITH_MASK, verdict in _JUDGED, persons.p_mask[who],
                         answer.model_verdict[who] != NOT_SURE))  # fmt: skip
    of_people = [number for number, (name, _) in enumerate(sample.strata) if not name.endswith(NO_FACE)]
    sizes = np.array([sample.strata[number][1] for number in of_people], np.float64)
    everybody = answer.counts | (answer.reviewed != "")
    rate = None
    if rows:
        columns = np.array(rows, np.float64)
        labelled = Labelled(columns[:, 0].astype(np.int64), *columns[:, 1:].T)
        rate = sampled_rate(sizes, labelled, persons.p_mask[everybody],
                            (answer.model_verdict[everybody] != NOT_SURE).astype(np.float64))  # fmt: skip
    missed = clustered_rate(np.array(seen, np.float64), np.ones(len(seen)), unit="moments")
    return Sampled(rate, missed)
