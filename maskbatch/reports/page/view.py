"""Content of `report.html` without HTML, derived from the answer and the tables of a scan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import fsencode
from sqlite3 import Connection
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd

from maskbatch.media.names import from_name_text, one_line
from maskbatch.media.walk import NotLookedAt
from maskbatch.people.answer import Answer
from maskbatch.people.where import Known, place_name
from maskbatch.reports.corrected import Corrections, corrections_of
from maskbatch.reports.model_figures import ModelFigures, model_figures_of
from maskbatch.reports.page import words
from maskbatch.reports.page.charts import Bar, Cell, Histogram, bars, heat_map, histograms
from maskbatch.reports.people import coverage_table
from maskbatch.reports.rates import Rates
from maskbatch.settings import ReportSettings
from maskbatch.states import INCORRECT_MASK, UNSURE, WITH_MASK, WITHOUT_MASK
from maskbatch.store.read import sessions
from maskbatch.store.review import NOT_A_FACE

# limits on the people on one page of a list, and in one list: a browser opens forty thousand in a few seconds
PAGE_SIZE, MOST_IN_LIST = 60, 10_000
_MOST_NAMED_FILES = 200
_SECTIONS = (
    (WITHOUT_MASK, "without", "People without a mask", "Longest first."),
    (INCORRECT_MASK, "incorrect", "Masks possibly worn incorrectly", "Look at each: the model often errs here."),
    (UNSURE, "unsure", "People who could not be judged", "Each card gives the reason. These people count in no rate."),
    (WITH_MASK, "with", "People with a mask", "Least probable first."),
)  # fmt: skip
_SECONDS_OF = {WITHOUT_MASK: "bare_s", INCORRECT_MASK: "incorrect_s", UNSURE: "seen_s", WITH_MASK: "masked_s"}


class Facts(NamedTuple):
    """Record of the scan: the facts of its last session, its start and its end."""

    values: Mapping[str, object]
    started: str
    ended: str | None
    is_finished: bool
    num_pending: int
    num_warnings: int


class Tables(NamedTuple):
    """The rows of files.csv and people.csv, and the rates."""

    files: pd.DataFrame
    people: pd.DataFrame
    rates: Rates


@dataclass(frozen=True, slots=True)
class Person:
    """A person as a card, with texts to display. `link` and `picture` are addresses relative to the page, or ""."""

    number: int
    source: str
    place: str
    when: str
    lasted: str
    probability: str
    note: str
    picture: str
    link: str


@dataclass(frozen=True, slots=True)
class Section:
    """The people with one verdict, in pages; at most the first MOST_IN_LIST people."""

    id: str
    title: str
    note: str
    num_people: int
    pages: Sequence[Sequence[Person]]


@dataclass(frozen=True, slots=True)
class View:
    """The content of the page.

    `counts` are people by verdict. `not_assessed` are sentences about gaps in the answer. `by_place` and `by_hour` have
    the first places of all `num_places`, and of those with a clock. `failed` are files that could not be read completely,
    as (name, status, reason).
    """

    counts: Mapping[str, int]
    num_people: int
    num_files: int
    rates: Rates
    corrections: Corrections
    not_assessed: Sequence[str]
    by_place: Sequence[Bar]
    by_hour: Sequence[Sequence[Cell]]
    num_places: int
    num_places_by_hour: int
    sections: Sequence[Section]
    histograms: Sequence[Histogram]
    failed: Sequence[tuple[str, str, str]]
    num_failed: int
    settings: ReportSettings
    facts: Facts
    model_figures: ModelFigures | None


def facts_of(connection: Connection) -> Facts:
    """Return the record of the scan in a store."""
    found = sessions(connection)
    last = found[-1] if found else None
    pending = connection.execute(
        "SELECT count(*) FROM source WHERE position IS NOT NULL AND state IN ('pending', 'part')"
    )
    num_pending = int(pending.fetchone()[0])
    if last is None:
        return Facts({}, "", None, False, num_pending, 0)
    return Facts(last.facts, found[0].started, last.ended, last.how == "finished", num_pending, last.num_warnings)


def view_of(connection: Connection, answer: Answer, tables: Tables, settings: ReportSettings) -> View:
    """Return the content of the page.

    Args:
        connection: the connection of the transaction in which `answer` was derived.
        answer: the people of the scan.
        tables: files.csv, people.csv and the rates of that answer.
        settings: the rules of the report.
    """
    files, table, rates = tables
    is_listed = [
        NOT_A_FACE not in flags and (settings.count_static or "static" not in flags) for flags in table["flags"]
    ]
    people = table[np.array(is_listed, bool)]
    place = [place_name(*row) for row in zip(people["site"], people["camera"], people["source"], strict=True)]
    people = people.assign(place=place)
    facts = facts_of(connection)
    corrections = corrections_of(connection, answer, rates.people, facts.values)
    counts = {label: int((people["verdict"] == label).sum()) for label, *_ in _SECTIONS}
    broken = files[files["status"] != "ok"]
    sources = {source.name: source for source in answer.sources}
    return View(
        counts, len(people), len(files), rates, corrections,
        [*_not_assessed(answer, people, files, facts), *_missed(corrections)], bars(people), heat_map(people),
        people["place"].nunique(), people["place"][people["first_clock"] != ""].nunique(),
        [_section(answer, people, sources, *section) for section in _SECTIONS], histograms(connection, people),
        [(one_line(row.source), row.status, one_line(row.error)) for row in broken.head(_MOST_NAMED_FILES).itertuples()],
        len(broken), settings, facts, model_figures_of(facts.values),
    )  # fmt: skip


def _not_assessed(answer: Answer, people: pd.DataFrame, files: pd.DataFrame, facts: Facts) -> list[str]:
    """Return sentences about gaps in the answer, the most important first."""
    found = []
    if facts.num_pending:
        verb = "is" if facts.num_pending == 1 else "are"
        found.append(f"The scan is not finished: {words.files(facts.num_pending)} {verb} still to be read.")
    for status, what in (("failed", "could not be read at all"), ("partial", "could be read in part only")):
        number = int((files["status"] == status).sum())
        if number:
            found.append(f"{words.files(number).capitalize()} of {words.number(len(files))} {what}.")
    covered = coverage_table(answer, dict(zip(files["source"], files["status"] != "ok", strict=True)))
    recorded_s, read_s, seen_s = (3600 * covered[name].sum() for name in ("recorded_h", "read_h", "with_people_h"))
    if recorded_s > read_s + 1:
        found.append(
            f"{words.duration(recorded_s - read_s)} of {words.duration(recorded_s)} of video could not be read."
        )
    if recorded_s:
        found.append(f"Somebody was in view for {words.duration(seen_s)} of {words.duration(recorded_s)} of video; "
                     "faces that the detector missed are not counted.")  # fmt: skip
    unsure = people[people["verdict"] == UNSURE]
    for reason, number in unsure["reason"].value_counts().sort_index().items():
        why = words.REASON_WORDS.get(reason, reason or "no look is sure enough")
        found.append(f"{words.people(number).capitalize()} could not be judged: {why}.")
    doubts = Counter(answer.where[source.id].start.flag for source in answer.sources)
    for flag, number in sorted(doubts.items()):
        if flag:
            found.append(f"The time of {words.files(number)} is in doubt ({flag}).")
    not_looked_at = NotLookedAt(**facts.values.get("not_looked_at", {}))
    return found + [_sentence(one_line(remark)) for remark in not_looked_at.remarks()]


def _missed(corrections: Corrections) -> list[str]:
    """Return a sentence about the reviewed moments in which the scan found nobody."""
    sampled = corrections.sampled
    if sampled is None or not sampled.missed.denominator:
        return []
    missed = sampled.missed
    number = round(missed.value * missed.denominator)
    return [f"Reviewers saw somebody in {number} of {missed.denominator} moments in which the scan found nobody "
            f"({words.interval(missed)})."]  # fmt: skip


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _section(
    answer: Answer, people: pd.DataFrame, sources: Mapping[str, Known], label: str, *texts: str
) -> Section:  # fmt: skip
    """Return the people with the verdict `label`; `texts` are id, title and note of the section."""
    own = people[people["verdict"] == label]
    if label == WITH_MASK:
        own = own.sort_values(["p_mask", "source", "person"], kind="stable")
    else:
        seconds = _SECONDS_OF[label]
        own = own.sort_values(
            [seconds, "p_mask", "source", "person"], ascending=[False, True, True, True], kind="stable"
        )
    cards = []
    for row in own.head(MOST_IN_LIST).itertuples():
        source = sources[row.source]
        copy = answer.pictures.copy_of(source.id)
        cards.append(_person(row, copy, getattr(row, _SECONDS_OF[label]), source.kind == "image"))
    pages = [cards[start : start + PAGE_SIZE] for start in range(0, len(cards), PAGE_SIZE)]
    return Section(*texts, len(own), pages)


def _person(row: NamedTuple, copy: str, seconds: float, is_photo: bool) -> Person:
    """Return the card for a row of people.csv; `copy` is the annotated copy, `seconds` the time that it shows."""
    notes = [words.REASON_WORDS.get(row.reason, row.reason)] if row.reason else []
    notes += ["the state changed"] if "changed" in row.flags else []
    notes += [f"zone {one_line(row.zone)}"] if row.zone else []
    if row.reviewed:
        is_same = row.reviewed == row.model_verdict
        notes.append("reviewed" if is_same else f"reviewed; the model had said: {words.STATE_WORDS[row.model_verdict]}")
    when = "" if is_photo and not row.first_clock else words.moment(row.first_clock, row.first_s)
    return Person(
        row.person, one_line(row.source), row.place, when, "one look" if row.faces == 1 else words.duration(seconds),
        f"{100 * row.p_mask:.0f} %", "; ".join(notes), address(from_name_text(row.evidence)),
        address(copy, 0.0 if is_photo else max(row.best_time_s - 1, 0.0)),
    )  # fmt: skip


def address(path: str, at_s: float = 0.0) -> str:
    """Return a path in the output folder as an address relative to the page; a video starts at `at_s` seconds.

    Reserved characters, and bytes that are not UTF-8, are escaped. Example: `address("evidence/a#1.jpg")` is
    `evidence/a%231.jpg`.
    """
    if not path:
        return ""
    return quote(fsencode(path)) + (f"#t={at_s:.1f}" if at_s else "")
