"""People, episodes and places as pandas tables with fixed dtypes."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from maskbatch.media.names import name_text
from maskbatch.people.answer import Answer
from maskbatch.people.clock import clock_text, later
from maskbatch.people.episodes import Episodes
from maskbatch.people.evidence import BARE, INCORRECT, MASKED, NOT_SURE, STATES
from maskbatch.people.places import Places
from maskbatch.reports.minutes import split_at_minutes
from maskbatch.store.review import NOT_A_FACE

PEOPLE_COLUMNS = (
    "source", "site", "camera", "zone", "person", "verdict", "model_verdict", "reviewed",
    "first_s", "last_s", "first_clock", "last_clock", "seen_s",
    "masked_s", "bare_s", "incorrect_s", "unsure_s", "flags", "reason", "crossed", "p_mask", "faces", "best_frame",
    "best_time_s", "best_face", "evidence",
)  # fmt: skip
EPISODES_COLUMNS = (
    "source", "site", "camera", "zone", "person", "state", "from_s", "to_s", "from_clock", "to_clock", "duration_s",
    "reason", "p_mask", "faces", "best_frame", "best_time_s", "best_face", "evidence",
)  # fmt: skip
PLACES_COLUMNS = (
    "site", "camera", "zone", "shift", "hour", "people", "with_mask", "incorrect_mask", "without_mask", "unsure",
    "bare_episodes", "seen_s", "masked_s", "bare_s", "incorrect_s", "unsure_s",
)  # fmt: skip
COVERAGE_COLUMNS = ("site", "camera", "files", "failed", "recorded_h", "read_h", "with_people_h")
STATE_SECONDS = {"masked_s": MASKED, "bare_s": BARE, "incorrect_s": INCORRECT, "unsure_s": NOT_SURE}
_NAMES = np.array(STATES, object)


def people_table(answer: Answer) -> pd.DataFrame:
    """Return a row for each person, with PEOPLE_COLUMNS. Pictures of people have rows flagged as static.

    People who are not seen for long enough have no row. Rows that a reviewer judged to be no face are flagged, and do
    not count.
    """
    persons = answer.persons
    is_mistake = answer.reviewed == NOT_A_FACE
    listed = np.flatnonzero(answer.counts | answer.is_static | is_mistake)
    seconds = persons.seconds[listed]
    flags = [
        " ".join(word for word, holds in zip(("changed", "static", NOT_A_FACE), row, strict=True) if holds)
        for row in zip(persons.changed[listed], answer.is_static[listed], is_mistake[listed], strict=True)
    ]
    source_id, times = (
        persons.source_id[listed],
        (persons.first_s[listed], persons.last_s[listed], persons.best_time_s[listed]),
    )
    return pd.DataFrame(
        {
            **places_of(answer, source_id), "zone": answer.zone[listed].astype(object), "person": persons.person[listed],
            "verdict": _NAMES[persons.verdict[listed]], "model_verdict": _NAMES[answer.model_verdict[listed]],
            "reviewed": answer.reviewed[listed], "first_s": persons.first_s[listed], "last_s": persons.last_s[listed],
            "first_clock": _clocks(answer, source_id, persons.first_s[listed]),
            "last_clock": _clocks(answer, source_id, persons.last_s[listed]),
            "seen_s": seconds.sum(axis=1), **{name: seconds[:, state] for name, state in STATE_SECONDS.items()},
            "flags": flags, "reason": persons.reason[listed].astype(object),
            "crossed": answer.crossed[listed].astype(object), "p_mask": persons.p_mask[listed],
            "faces": persons.num_faces[listed], "best_frame": persons.best_frame[listed],
            "best_time_s": persons.best_time_s[listed], "best_face": persons.best_face[listed],
            "evidence": _evidence(answer, listed, times, persons.p_mask[listed]),
        },
        columns=list(PEOPLE_COLUMNS),
    )  # fmt: skip


def episodes_table(answer: Answer) -> pd.DataFrame:
    """Return a row for each stretch of one state of each person who counts, with EPISODES_COLUMNS."""
    found = counted_episodes(answer)
    source_id = answer.persons.source_id[found.group]
    return pd.DataFrame(
        {
            **places_of(answer, source_id), "zone": answer.zone[found.group].astype(object),
            "person": answer.persons.person[found.group], "state": _NAMES[found.state],
            "from_s": found.from_s, "to_s": found.to_s, "from_clock": _clocks(answer, source_id, found.from_s),
            "to_clock": _clocks(answer, source_id, found.to_s), "duration_s": found.duration_s,
            "reason": found.reason.astype(object), "p_mask": found.p_mask, "faces": found.num_faces,
            "best_frame": found.best_frame, "best_time_s": found.best_time_s,
            "best_face": found.best_face,
            "evidence": _evidence(answer, found.group, (found.from_s, found.to_s, found.best_time_s), found.p_mask),
        },
        columns=list(EPISODES_COLUMNS),
    )  # fmt: skip


def places_table(answer: Answer, places: Places) -> pd.DataFrame:
    """Return a row for each site, camera, zone, shift and hour of the day, with PLACES_COLUMNS.

    A person counts in the place and hour of the first look, and an episode in the hour in which it begins. The seconds
    of an episode count in the hours and shifts in which they pass.
    """
    persons, found = answer.persons, counted_episodes(answer)
    keys = ["site", "camera", "zone", "shift", "hour"]
    counted = np.flatnonzero(answer.counts)
    people = _keyed(answer, places, counted, persons.first_s[counted])
    verdicts = [
        people.assign(verdict=_NAMES[persons.verdict[counted]]).groupby([*keys, "verdict"]).size().unstack(fill_value=0)
    ]
    bare = found.take(found.state == BARE)
    episodes = _keyed(answer, places, bare.group, bare.from_s).groupby(keys).size().rename("bare_episodes")
    starts = [answer.where[one].start.at for one in persons.source_id[found.group].tolist()]
    part, _, at_s, passed_s = split_at_minutes(found, starts)
    seconds = _keyed(answer, places, found.group[part], at_s).assign(
        **{name: np.where(found.state[part] == state, passed_s, 0.0) for name, state in STATE_SECONDS.items()}
    )
    sums = seconds.groupby(keys)[list(STATE_SECONDS)].sum()
    rows = (
        pd.concat([*verdicts, episodes, sums], axis=1)
        .reindex(columns=[*STATES, "bare_episodes", *STATE_SECONDS])
        .fillna(0)
    )
    rows["people"] = rows[list(STATES)].sum(axis=1)
    rows["seen_s"] = rows[list(STATE_SECONDS)].sum(axis=1)
    rows = rows.sort_index().reset_index()
    counts = ["people", *STATES, "bare_episodes"]
    return rows.astype(dict.fromkeys(counts, "int64"))[list(PLACES_COLUMNS)]


def coverage_table(answer: Answer, failed: Mapping[str, bool]) -> pd.DataFrame:
    """Return a row for each camera, with COVERAGE_COLUMNS: hours of video recorded, read, and with somebody in view.

    `failed` is true for each source that could not be read completely.
    """
    seen, rows = _seconds_in_view(answer), []
    for source in answer.sources:
        where, is_video = answer.where[source.id], source.kind == "video"
        recorded = (source.duration_s or 0.0) if is_video else 0.0
        # nobody is in view for longer than was read; without a frame rate, only the time in view is known
        in_view = min(seen.get(source.id, 0.0), recorded or math.inf) if is_video else 0.0
        read = in_view if source.read_s is None else source.read_s
        rows.append(
            (where.site, where.camera, 1, int(failed.get(source.name, False)), recorded, read, min(in_view, read))
        )
    table = pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))
    table = table.groupby(["site", "camera"], as_index=False).sum()
    for name in ("recorded_h", "read_h", "with_people_h"):
        table[name] = table[name].astype("float64") / 3600
    return table


def _seconds_in_view(answer: Answer) -> dict[int, float]:
    """Return the seconds of each video in which at least one person is in a state: the union of all episodes."""
    found = counted_episodes(answer)
    source_id = answer.persons.source_id[found.group]
    videos = {source.id for source in answer.sources if source.kind == "video"}
    order = np.lexsort((found.from_s, source_id))
    order = order[np.isin(source_id[order], list(videos))]
    firsts = np.flatnonzero(np.diff(source_id[order], prepend=-1))
    seen = {}
    for own in np.split(order, firsts[1:]) if len(order) else ():
        end_s = np.maximum.accumulate(found.to_s[own])
        covered_s = np.maximum(found.from_s[own], np.append(-np.inf, end_s[:-1]))
        seen[int(source_id[own[0]])] = float(np.maximum(found.to_s[own] - covered_s, 0).sum())
    return seen


def counted_episodes(answer: Answer) -> Episodes:
    """Return the episodes of the people who count."""
    return answer.episodes.take(answer.counts[answer.episodes.group]) if len(answer.episodes) else answer.episodes


def places_of(answer: Answer, source_id: np.ndarray) -> dict[str, list[str]]:
    """Return the columns source, site and camera for the ids of sources (n,)."""
    names = {source.id: source.name for source in answer.sources}
    where = [answer.where[one] for one in source_id.tolist()]
    return {
        "source": [names[one] for one in source_id.tolist()],
        "site": [one.site for one in where], "camera": [one.camera for one in where],
    }  # fmt: skip


def _evidence(answer: Answer, group: np.ndarray, times: tuple[np.ndarray, ...], p_mask: np.ndarray) -> list[str]:
    """Return the picture, as text, for each person at positions `group` (n,).

    `times` are start, end and best look, each (n,).
    """
    source_id, person = answer.persons.source_id[group], answer.persons.person[group]
    return [
        name_text(answer.pictures.nearest(*who, when, p))
        for *who, when, p in zip(
            source_id.tolist(), person.tolist(), zip(*times, strict=True), p_mask.tolist(), strict=True
        )
    ]


def _clocks(answer: Answer, source_id: np.ndarray, seconds: np.ndarray) -> list[str]:
    return [
        clock_text(answer.where[one].start.at, at) for one, at in zip(source_id.tolist(), seconds.tolist(), strict=True)
    ]


def _keyed(answer: Answer, places: Places, group: np.ndarray, at_s: np.ndarray) -> pd.DataFrame:
    """Return site, camera, zone, shift and hour for persons at positions `group` (n,) at times `at_s` (n,) in seconds."""
    source_id = answer.persons.source_id[group]
    moments = [
        None if (start := answer.where[one].start.at) is None else later(start, at)
        for one, at in zip(source_id.tolist(), at_s.tolist(), strict=True)
    ]
    named = places_of(answer, source_id)
    return pd.DataFrame(
        {
            "site": named["site"], "camera": named["camera"], "zone": answer.zone[group].astype(object),
            "shift": ["" if moment is None else places.shift_of(moment) for moment in moments],
            "hour": ["" if moment is None else moment.strftime("%H:00") for moment in moments],
        }
    )  # fmt: skip
