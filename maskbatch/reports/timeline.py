"""The timeline as a pandas table with fixed dtypes: the number of people in each state, minute by minute."""

from datetime import datetime

import numpy as np
import pandas as pd

from maskbatch.people.answer import Answer
from maskbatch.people.clock import later
from maskbatch.reports.minutes import MINUTE_S, split_at_minutes
from maskbatch.reports.people import STATE_SECONDS, counted_episodes, places_of

TIMELINE_COLUMNS = (
    "site", "camera", "source", "minute", "people", "masked", "bare", "incorrect", "unsure", "seen_s", "masked_s", "bare_s",
    "incorrect_s", "unsure_s",
)  # fmt: skip


def timeline_table(answer: Answer) -> pd.DataFrame:
    """Return a row for each minute of each camera in which somebody is seen, with TIMELINE_COLUMNS.

    `minute` is a clock time (ISO 8601), or the minute within the source named in `source` if the start is unknown.
    Minutes are in the order in which they passed, also where the clock goes back. People count in each state that they are
    in during the minute. Photos are not in the timeline.
    """
    pieces = _minutes(answer)
    keys = ["site", "camera", "source", "at", "minute"]
    if pieces.empty:
        return pd.DataFrame(columns=list(TIMELINE_COLUMNS))
    pieces = pieces.assign(who=pieces["source_id"].astype(str) + " " + pieces["person"].astype(str))
    rows = pieces.groupby(keys, sort=True).agg(people=("who", "nunique"), seen_s=("seconds", "sum"))
    for name, state in STATE_SECONDS.items():
        own = pieces[pieces["state"] == state].groupby(keys).agg(people=("who", "nunique"), seconds=("seconds", "sum"))
        rows[name.removesuffix("_s")], rows[name] = own["people"], own["seconds"]
    counts = dict.fromkeys(("people", *(name.removesuffix("_s") for name in STATE_SECONDS)), "int64")
    return rows.fillna(0).astype(counts).reset_index()[list(TIMELINE_COLUMNS)]


def _minutes(answer: Answer) -> pd.DataFrame:
    """Return the episodes of videos, split at full minutes of the clock, as rows with person, state, minute and seconds.

    `at` is the minute as a number: seconds since 1970, or the minute within the source if the start is unknown.
    """
    found = counted_episodes(answer)
    names = {source.id: source for source in answer.sources}
    source_id = answer.persons.source_id[found.group] if len(found) else np.empty(0, np.int64)
    is_video = np.array([names[one].kind == "video" for one in source_id.tolist()], bool)
    found, source_id = found.take(is_video), source_id[is_video]
    starts = {one: answer.where[one].start.at for one in set(source_id.tolist())}
    row, minute, _, seconds = split_at_minutes(found, [starts[one] for one in source_id.tolist()])
    named = places_of(answer, source_id[row])
    minutes = [_minute(starts[one], at) for one, at in zip(source_id[row].tolist(), minute.tolist(), strict=True)]
    has_clock = [starts[one] is not None for one in source_id[row].tolist()]
    return pd.DataFrame(
        {
            "source_id": source_id[row], "site": named["site"], "camera": named["camera"],
            "source": [
                "" if known and camera else name
                for name, camera, known in zip(named["source"], named["camera"], has_clock, strict=True)
            ],
            "person": answer.persons.person[found.group[row]], "state": found.state[row],
            "at": [at for at, _ in minutes], "minute": [text for _, text in minutes], "seconds": seconds,
        }
    )  # fmt: skip


def _minute(start: datetime | None, minute: int) -> tuple[float, str]:
    """Return a minute as a number to sort by, and as clock time in ISO 8601 or as h:mm within the source."""
    if start is None:
        return minute, f"{minute // 60}:{minute % 60:02d}"
    moment = later(start.replace(second=0, microsecond=0), minute * MINUTE_S)
    return moment.timestamp(), moment.isoformat(timespec="minutes")
