"""Remove personal data from the results of a scan, and keep the numbers."""

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.names import crop_stem
from maskbatch.people.answer import Answer, find_answer
from maskbatch.run.report import report_again
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.store.database import Store, open_store
from maskbatch.store.lock import at_work
from maskbatch.store.purge import forget_pictures, log_purge, looks_of

_AGE = re.compile(r"(\d{1,5})d")

# a source, and a person in it; None: everybody
Target = tuple[int, int | None]


class Purged(NamedTuple):
    """Counts of a purge: sources whose pictures are removed, and removed files."""

    num_sources: int
    num_files: int


def purge(folder: Path, older_than: str | None, person: str | None, is_trial: bool = False) -> Purged:
    """Remove evidence, annotated copies and crops of recordings that are too old, or of one person.

    Numbers stay: people, episodes, times and verdicts. The names of the reviewers of these people are removed too. The
    annotated copy of a recording shows everybody in it, and is removed as a whole. The table `purge` logs the removal,
    and `VACUUM` rewrites the store, so that nothing is left in its free pages.

    Args:
        folder: the output folder of a scan.
        older_than: an age in days, such as "30d", by the start of the recording, or else by the time of its file.
        person: "SOURCE:NUMBER", as in people.csv, in place of an age.
        is_trial: only count what would be removed.

    Raises:
        UsageError: age or person is not valid, a scan is running, or the folder holds no scan.
        OSError: a file cannot be removed.

    Example:
        >>> purge(Path("audit"), "36500d", None)
        Purged(num_sources=0, num_files=0)
    """
    if (session := at_work(folder)) is not None:
        raise UsageError(f"a scan is at work in {folder} ({session}): wait for its end")
    with open_store(folder, reader=True) as store, store.transaction() as connection:
        answer = find_answer(connection, report_settings(connection, Asked()))
        targets = [_person(answer, person)] if person is not None else _older(connection, answer, older_than)
        doomed = [path for target in targets for path in _pictures(connection, folder, target)]
    found = Purged(len({source_id for source_id, _ in targets}), len(doomed))
    if targets and not is_trial:
        for path in doomed:
            path.unlink(missing_ok=True)
        with open_store(folder) as store:
            _forget(store, targets, found, older_than or "one person")
        report_again(folder, renew_media=True)
    return found


def _forget(store: Store, targets: list[Target], found: Purged, what: str) -> None:
    with store.transaction() as connection:
        for target in targets:
            forget_pictures(connection, *target)
        log_purge(connection, what, *found)
    store.vacuum()


def _person(answer: Answer, text: str) -> Target:
    name, _, number = text.rpartition(":")
    ids = {source.name: source.id for source in answer.sources}
    if name not in ids or not number.isdecimal():
        raise UsageError(f"--person takes SOURCE:NUMBER, as in people.csv, not {text!r}")
    persons = answer.persons
    if not ((persons.source_id == ids[name]) & (persons.person == int(number))).any():
        raise UsageError(f"{name} has no person {number}")
    return ids[name], int(number)


def _older(connection: Connection, answer: Answer, age: str | None) -> list[Target]:
    days = _AGE.fullmatch(age or "")
    if days is None:
        raise UsageError(f"--older-than takes days, such as 30d, not {age!r}")
    edge = datetime.now(timezone.utc) - timedelta(days=int(days[1]))
    times = dict(connection.execute("SELECT id, mtime_ns FROM source"))
    return [(source.id, None) for source in answer.sources
            if _moment(answer.where[source.id].start.at, times[source.id]) < edge]  # fmt: skip


def _moment(start: datetime | None, mtime_ns: int | None) -> datetime:
    """Return the time of recording: its start, else the time of its file, else 1970."""
    return datetime.fromtimestamp((mtime_ns or 0) / 1e9, timezone.utc) if start is None else start


def _pictures(connection: Connection, folder: Path, target: Target) -> list[Path]:
    """Return the files that show a person, or anybody in a source: annotated copy, evidence and crops."""
    names, looks = looks_of(connection, *target)
    found = [folder / "annotated" / names["annotated"]] if "annotated" in names else []
    stem = PurePosixPath(crop_stem(names["crops"])) if "crops" in names else None
    pattern = re.compile(re.escape(stem.name) + r"_f(\d{6,})_(\d+)\.jpg") if stem else None
    for place in (folder / "evidence", *sorted((folder / "crops").glob("*"))) if stem else ():
        inside = place / stem.parent
        for path in sorted(inside.iterdir()) if inside.is_dir() else ():
            shown = pattern.fullmatch(path.name)
            if shown and (int(shown[1]), int(shown[2])) in looks:
                found.append(path)
    return [path for path in found if path.is_file()]
