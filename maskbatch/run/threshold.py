"""Change the thresholds and rules of an existing scan, without another analysis."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from sqlite3 import Connection

from maskbatch.errors import UsageError
from maskbatch.reports.run_json import last_report
from maskbatch.run.options import check_incorrect_threshold, checked, checked_report
from maskbatch.run.stages import NetworkFacts
from maskbatch.settings import INCORRECT_THRESHOLD, ReportSettings, ScanSettings, Thresholds
from maskbatch.sinks.relabel import sort_crops
from maskbatch.store.database import Store
from maskbatch.store.read import has_third_state, last_session, sessions

_TWO_STATES = "knows two states, with_mask and without_mask, but no mask worn incorrectly"


# options of a report, and the settings that they change
RULES = {
    "min_bare": "min_bare_s", "max_gap": "max_gap_s",
    **{name: name for name in ("count_static", "clock", "start", "timezone", "path_template", "places")},
}  # fmt: skip
_OPTIONS = RULES | {"csv_bom": "bom", "inline": "is_inline"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The rules that a user requests for a report, by name of option; None: the rule that held before.

    With `third_state` False, there are only two labels.
    """

    threshold: float | None = None
    third_state: bool | None = None
    incorrect_threshold: float | None = None
    csv_bom: bool | None = None
    inline: bool | None = None
    min_bare: float | None = None
    max_gap: float | None = None
    count_static: bool | None = None
    clock: str | None = None
    start: str | None = None
    timezone: str | None = None
    path_template: str | None = None
    places: str | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "incorrect_threshold", "third_state", *RULES):
            if getattr(self, name) is not None:
                checked(name, getattr(self, name))


def report_settings(connection: Connection, asked: Asked, folder: Path | None = None) -> ReportSettings:
    """Return the settings of a report: the requested rules, else those of the last report in `folder`.

    Without `folder`, or without a report in it, they are those of the scan, and tables have a byte order mark and inline
    pictures only if requested. Raises UsageError for a third state that the scan's model does not support, and for rules
    that cannot be read.
    """
    facts, known = last_session(connection).facts, {item.name for item in fields(ReportSettings)}
    scanned = _thresholds(facts)
    start = {
        **facts["settings"].get("report", {}),
        "threshold": scanned.mask, "incorrect_threshold": scanned.incorrect, "bom": False, "is_inline": False,
        **({} if folder is None else last_report(folder)),
    }  # fmt: skip
    before = ReportSettings(**{name: value for name, value in start.items() if name in known})
    used = _report_thresholds(connection, before.thresholds, asked)
    wanted = {name: getattr(asked, option) for option, name in _OPTIONS.items() if getattr(asked, option) is not None}
    return checked_report(replace(before, threshold=used.mask, incorrect_threshold=used.incorrect, **wanted))


def _report_thresholds(connection: Connection, own: Thresholds, asked: Asked) -> Thresholds:
    """Return the thresholds of a report: the requested ones, else its `own`.

    Raises UsageError for a third state that the scan's model does not support.
    """
    mask = own.mask if asked.threshold is None else asked.threshold
    is_on = own.incorrect is not None if asked.third_state is None else asked.third_state
    check_incorrect_threshold(is_on, asked.incorrect_threshold is not None)
    if not is_on:
        return Thresholds(mask)
    if own.incorrect is None and not has_third_state(connection):
        raise UsageError(f"the model of this scan {_TWO_STATES}: report it without --third-state")
    incorrect = own.incorrect if asked.incorrect_threshold is None else asked.incorrect_threshold
    return Thresholds(mask, INCORRECT_THRESHOLD if incorrect is None else incorrect)


def with_known_states(settings: ScanSettings, networks: NetworkFacts, asked: bool | None) -> ScanSettings:
    """Return the settings, without the third state if that is only on by default and the model does not support it.

    Raises UsageError when the user requested the third state (`asked`) or set its threshold.
    """
    incorrect = settings.classifier.incorrect_threshold
    if incorrect is None or networks.has_third_state:
        return settings
    if asked or incorrect != INCORRECT_THRESHOLD:
        raise UsageError(f"the model {settings.classifier.model!r} {_TWO_STATES}: scan without --third-state and "
                         "--incorrect-threshold, or choose another --model")  # fmt: skip
    return replace(settings, classifier=replace(settings.classifier, incorrect_threshold=None))


def words_about_threshold(store: Store, settings: ScanSettings) -> str | None:
    """Return a sentence about changed thresholds since the last session, None when they are the same."""
    with store.transaction() as connection:
        has_results = connection.execute("SELECT 1 FROM source WHERE state != 'pending' LIMIT 1").fetchone()
        before = [_thresholds(session.facts) for session in sessions(connection)[-1:]]
    now = settings.classifier.thresholds
    if not has_results or before[0] in (None, now):
        return None
    save, changes = settings.output.save, ", ".join(_changes(before[0], now))
    words = [f"{changes}: the tables are written again, and no file is analysed again"]
    if "crops" in save:
        words.append("crops move to the folder of their new label")
    if "annotated" in save:
        words.append("annotated copies keep the labels they were drawn with (--if-exists overwrite redraws them)")
    return "; ".join(words)


def _changes(before: Thresholds, now: Thresholds) -> list[str]:
    changes = [] if now.mask == before.mask else [f"threshold {now.mask:g} in place of {before.mask:g}"]
    if now.incorrect == before.incorrect:
        return changes
    if now.incorrect is None:
        return [*changes, "no third state any more"]
    place = "" if before.incorrect is None else f" in place of {before.incorrect:g}"
    return [*changes, f"third state from {now.incorrect:g} on{place}"]


def follow_threshold(store: Store, settings: ScanSettings) -> None:
    """Sort existing crops by the thresholds in `settings`, those of the session that has just begun. Raises OSError.

    A killed session may have sorted only some crops, so all thresholds since the last session that ended count.
    """
    with store.transaction() as connection:
        earlier = sessions(connection)[:-1]
    found = set()
    for session in reversed(earlier):
        found.add(_thresholds(session.facts))
        if session.how is not None:
            break
    if "crops" in settings.output.save and found - {settings.classifier.thresholds}:
        sort_crops(store, settings.classifier.thresholds)


def _thresholds(facts: dict) -> Thresholds | None:
    classifier = facts.get("settings", {}).get("classifier")
    return classifier and Thresholds(classifier["threshold"], classifier["incorrect_threshold"])
