"""Another threshold for a scan that is there: nothing is analysed again."""

from maskbatch.settings import ScanSettings
from maskbatch.sinks.relabel import sort_crops
from maskbatch.store.database import Store
from maskbatch.store.read import sessions


def words_about_threshold(store: Store, settings: ScanSettings) -> str | None:
    """Say what follows from a threshold that is not that of the last session, None when it is the same."""
    with store.transaction() as connection:
        has_results = connection.execute("SELECT 1 FROM source WHERE state != 'pending' LIMIT 1").fetchone()
        before = [_threshold(session.facts) for session in sessions(connection)[-1:]]
    now = settings.classifier.threshold
    if not has_results or before[0] in (None, now):
        return None
    save = settings.output.save
    words = [f"threshold {now:g} in place of {before[0]:g}: the tables are written anew, and no file is analysed again"]
    if "crops" in save:
        words.append("crops move to the folder of their new label")
    if "annotated" in save:
        words.append("annotated copies keep the labels they were drawn with (--if-exists overwrite draws them anew)")
    return "; ".join(words)


def follow_threshold(store: Store, settings: ScanSettings) -> None:
    """Sort crops that are there by the threshold of `settings`, that of the session which has just begun. Raises OSError.

    A session that was killed may have sorted them only in part: all thresholds since the last one that ended count.
    """
    with store.transaction() as connection:
        earlier = sessions(connection)[:-1]
    thresholds = set()
    for session in reversed(earlier):
        thresholds.add(_threshold(session.facts))
        if session.how is not None:
            break
    if "crops" in settings.output.save and thresholds - {settings.classifier.threshold}:
        sort_crops(store, settings.classifier.threshold)


def _threshold(facts: dict) -> float | None:
    return facts.get("settings", {}).get("classifier", {}).get("threshold")
