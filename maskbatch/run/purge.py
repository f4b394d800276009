"""Remove personal data from the results of a scan, and keep the numbers."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from sqlite3 import Connection
from typing import NamedTuple

from maskbatch.errors import UsageError
from maskbatch.media.names import crop_stem
from maskbatch.people.where import Known, where_of
from maskbatch.run.report import report_again
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store, open_store
from maskbatch.store.folder import remove_temporary_media, segments_of
from maskbatch.store.lock import locked
from maskbatch.store.purge import forget_pictures, log_purge, looks_of

_AGE = re.compile(r"(\d{1,5})d")
_SOURCES = """
    SELECT id, name, kind, fps, duration_s, width, height, decoded, analysed, recorded, mtime_ns FROM source
    WHERE (state != 'pending' OR size IS NOT NULL) AND id IN (SELECT source_id FROM media) ORDER BY id
"""
# a source, and a person in it; None: everybody
Target = tuple[int, int | None]


class Purged(NamedTuple):
    """Counts of a purge: sources whose pictures are removed, and removed files."""

    num_sources: int
    num_files: int


def purge(folder: Path, older_than: str | None, person: str | None, is_trial: bool = False) -> Purged:
    """Remove evidence, annotated copies and crops of recordings that are too old, or of one person.

    Numbers stay: people, episodes, times and verdicts. The names of the reviewers of these people are removed too. The
    annotated copy of a recording shows everybody in it, and is removed as a whole; an unfinished video is scanned from
    its start again. Recordings that are no longer among the inputs are purged as well. The table `purge` logs the removal,
    and `VACUUM` rewrites the store, so that nothing is left in its free pages.

    Args:
        folder: the output folder of a scan.
        older_than: an age in days, such as "30d", by the start of the recording, or else by the time of its file.
        person: "SOURCE:NUMBER", as in people.csv, in place of an age.
        is_trial: only count what would be removed.

    Raises:
        UsageError: age or person is not valid, or the folder holds no scan.
        MaskbatchError: a scan is running.
        OSError: a file cannot be removed.

    Example:
        >>> purge(Path("audit"), "36500d", None)
        Purged(num_sources=0, num_files=0)
    """
    with open_store(folder, reader=True):  # a folder without a scan gets no lock file
        pass
    with locked(folder):
        with open_store(folder, reader=True) as store, store.transaction() as connection:
            settings = report_settings(connection, Asked(), folder)
            targets = _person(connection, person) if person is not None else _older(connection, settings, older_than)
            doomed = [path for target in targets for path in _pictures(connection, folder, target)]
        found = Purged(len(targets), len(doomed))
        if targets and not is_trial:
            remove_temporary_media(folder)  # left by a scan that was killed
            for path in doomed:
                path.unlink(missing_ok=True)
            with open_store(folder) as store:
                _forget(store, targets, found, older_than or "one person")
            report_again(folder, is_update=True, renew_media=True)
        return found


def _forget(store: Store, targets: list[Target], found: Purged, what: str) -> None:
    with store.transaction() as connection:
        for target in targets:
            forget_pictures(connection, *target)
        log_purge(connection, what, *found)
    store.vacuum()


def _person(connection: Connection, text: str) -> list[Target]:
    name, _, number = text.rpartition(":")
    row = connection.execute("SELECT id FROM source WHERE name = ?", [name]).fetchone()
    if row is None or not number.isdecimal():
        raise UsageError(f"--person takes SOURCE:NUMBER, as in people.csv, not {text!r}")
    if not looks_of(connection, row[0], int(number))[1]:
        raise UsageError(f"{name} has no person {number}")
    return [(row[0], int(number))]


def _older(connection: Connection, settings: ReportSettings, age: str | None) -> list[Target]:
    """Return all sources that are older and may have media, also those that are no longer among the inputs."""
    days = _AGE.fullmatch(age or "")
    if days is None:
        raise UsageError(f"--older-than takes days, such as 30d, not {age!r}")
    edge = datetime.now(timezone.utc) - timedelta(days=int(days[1]))
    found = []
    for *row, recorded, mtime_ns in connection.execute(_SOURCES):
        source = Known(*row, tuple((name, value) for name, value in json.loads(recorded)))
        if _moment(where_of(source, settings).start.at, mtime_ns) < edge:
            found.append((source.id, None))
    return found


def _moment(start: datetime | None, mtime_ns: int | None) -> datetime:
    """Return the time of recording: its start, else the time of its file, else 1970."""
    return datetime.fromtimestamp((mtime_ns or 0) / 1e9, timezone.utc) if start is None else start


def _pictures(connection: Connection, folder: Path, target: Target) -> list[Path]:
    """Return the files that show a person, or anybody in a source: annotated copy or its parts, evidence and crops."""
    names, looks = looks_of(connection, *target)
    found = [folder / "annotated" / names["annotated"]] if "annotated" in names else []
    found += sorted(segments_of(folder, target[0]).glob("*"))
    stem = PurePosixPath(crop_stem(names["crops"])) if "crops" in names else None
    pattern = re.compile(re.escape(stem.name) + r"_f(\d{6,})_(\d+)\.jpg") if stem else None
    for place in (folder / "evidence", *sorted((folder / "crops").glob("*"))) if stem else ():
        inside = place / stem.parent
        for path in sorted(inside.iterdir()) if inside.is_dir() else ():
            shown = pattern.fullmatch(path.name)
            if shown and (target[1] is None or (int(shown[1]), int(shown[2])) in looks):
                found.append(path)
    return [path for path in found if path.is_file()]
