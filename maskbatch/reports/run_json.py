"""`run.json`: the record of all sessions of a scan, with which an auditor can reproduce its numbers.

docs/tables.md explains each key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from maskbatch.media.write import partial_file
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store
from maskbatch.store.read import Session, sessions
from maskbatch.store.write import now

# facts in this order; new facts of later versions follow
_FACTS = (
    "maskbatch", "python", "platform", "packages", "device", "precision", "weights", "settings", "inputs", "not_looked_at",
    "files", "files_done_before", "files_changed", "files_vanished",
)  # fmt: skip
# facts that may differ between the sessions of one scan
_SESSION_FACTS = (
    "maskbatch", "python", "platform", "packages", "device", "inputs", "files", "files_done_before", "files_changed",
    "files_vanished",
)  # fmt: skip


def write_run_json(
    store: Store, out: Path, report: ReportSettings | None = None, summary: Mapping[str, object] | None = None
) -> None:
    """Write `run.json` from the sessions in the store, with the settings and the summary of the reports beside it.

    Without `report` and `summary`, those of the present `run.json` stay, because the tables of an earlier session are
    still there. `finished` is null while a scan is running, and after an interrupted scan. Raises OSError.
    """
    with store.transaction() as connection:
        found = sessions(connection)
    last = found[-1]
    before = _before(out) if report is None else {}
    values = {
        **{name: last.facts.get(name) for name in _FACTS},
        **last.facts,
        "report": before.get("report") if report is None else {**asdict(report), "written": now()},
        "summary": before.get("summary") if summary is None else summary,
        "started": found[0].started,
        "finished": last.ended if last.how == "finished" else None,
        "seconds": last.seconds,
        "num_warnings": last.num_warnings,
        "warnings": last.warnings,
        "sessions": [_as_json(session) for session in found],
    }
    with partial_file(out / "run.json") as partial:
        # bytes of a path that are not UTF-8 become \\udce9 and the like, which is JSON
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def last_report(out: Path) -> Mapping[str, object]:
    """Return the settings of the tables beside `run.json`, by their names in ReportSettings; empty without a report."""
    found = _before(out).get("report")
    return found if isinstance(found, dict) else {}


def _before(out: Path) -> Mapping[str, object]:
    """Return the content of the present `run.json`, empty if it cannot be read."""
    try:
        values = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _as_json(session: Session) -> dict[str, object]:
    return {
        "started": session.started, "ended": session.ended, "how": session.how, "seconds": session.seconds,
        "frames": session.frames, "host": session.host, "pid": session.pid,
        **{name: session.facts.get(name) for name in _SESSION_FACTS},
        "stages_s": session.stages, "num_warnings": session.num_warnings, "warnings": session.warnings,
    }  # fmt: skip
