"""`run.json`: what an auditor needs to know to get these numbers again, over all sessions of a scan."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from maskbatch.media.write import partial_file
from maskbatch.settings import ReportSettings
from maskbatch.store.database import Store
from maskbatch.store.read import Session, sessions


def write_run_json(
    store: Store, out: Path, report: ReportSettings | None = None, summary: Mapping[str, object] | None = None
) -> None:
    """Write `run.json` from the sessions in the store; `report` and `summary` are those of the reports beside it.

    `finished` is null while a scan is at work, and after it was interrupted. Raises OSError.
    """
    with store.transaction() as connection:
        found = sessions(connection)
    last = found[-1]
    values = {
        **last.facts,
        "report": None if report is None else asdict(report),
        "started": found[0].started,
        "finished": last.ended if last.how == "finished" else None,
        "seconds": last.seconds,
        "sessions": [_as_json(session) for session in found],
        "summary": summary,
        "num_warnings": last.num_warnings,
        "warnings": last.warnings,
    }
    with partial_file(out / "run.json") as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_json(session: Session) -> dict[str, object]:
    names = ("files_done_before", "files_changed", "files_vanished", "maskbatch")
    return {
        "started": session.started, "finished": session.ended, "ended": session.how, "seconds": session.seconds,
        "frames": session.frames, "host": session.host, "pid": session.pid,
        **{name: session.facts.get(name) for name in names},
        "stages_s": session.stages, "num_warnings": session.num_warnings, "warnings": session.warnings,
    }  # fmt: skip
