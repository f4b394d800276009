"""`run.json`: what an auditor reads, over all sessions of a scan."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from stores import File, begun, fill

from maskbatch.reports.run_json import write_run_json
from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.write import begin_session, end_session

KEYS = [
    "maskbatch", "python", "platform", "packages", "device", "precision", "weights", "settings", "inputs", "not_looked_at",
    "files", "files_done_before", "files_changed", "files_vanished", "report", "summary", "started", "finished", "seconds",
    "num_warnings", "warnings", "sessions",
]  # fmt: skip
TABLES_PAGE = Path(__file__).parents[1] / "docs/tables.md"
FIGURES = {"seconds": 1.5, "frames": 2, "num_warnings": 1, "warnings": '["odd"]', "stages": '{"detect": 1.0}'}


@pytest.fixture
def store(tmp_path):
    """An empty store in `tmp_path`."""
    with open_store(tmp_path) as opened:
        yield opened


def facts(**others):
    """Facts of a session, in an order that is not that of run.json."""
    return {"device": "CPU", "files": 1, "inputs": ["/in"], "maskbatch": "2.0", **others}


def report(store, threshold):
    """Write the tables and run.json at a threshold."""
    settings = ReportSettings(threshold=threshold)
    write_run_json(store, store.folder, settings, asdict(write_reports(store, settings).summary))


def written(store):
    """The present run.json."""
    return json.loads((store.folder / "run.json").read_text(encoding="utf-8"))


def test_keys_have_a_fixed_order_and_the_page_explains_each(store):
    """Whatever order the facts were stored in; one that is not known comes behind them."""
    begin_session(store, {}, facts(new=1))
    report(store, 0.5)
    assert [key for key in written(store) if key != "new"] == KEYS
    section = TABLES_PAGE.read_text(encoding="utf-8").split("## `run.json`")[1]
    explained = {key for line in section.splitlines() if line.startswith("| `")
                 for key in re.findall("`(.+?)`", line.split("|")[1])}  # fmt: skip
    assert explained == set(KEYS)


def test_each_table_has_its_threshold_there(store):
    """The last report's settings, its summary, and when it was written."""
    begin_session(store, {}, facts())
    fill(store, [File("a.jpg")])
    report(store, 0.7)
    values = written(store)
    assert {"threshold": 0.7, "min_seen_s": 0.2, "bom": False}.items() <= values["report"].items()
    assert values["report"]["written"] >= values["started"] and values["summary"]["threshold"] == 0.7
    assert values["summary"]["files"] == 1


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_the_tables_of_an_earlier_session_keep_their_threshold(store, damage):
    """A session that begins, and has written no report, leaves what run.json says about the tables that are there; when it
    cannot be read, nothing is claimed."""
    begin_session(store, {}, facts())
    report(store, 0.7)
    begin_session(store, {}, facts())
    write_run_json(store, store.folder)
    values = written(store)
    assert values["report"]["threshold"] == values["summary"]["threshold"] == 0.7 and values["finished"] is None
    (store.folder / "run.json").write_text(damage)
    write_run_json(store, store.folder)
    assert written(store)["report"] is written(store)["summary"] is None


def test_each_session_says_where_and_how_it_ran(store):
    """Its device and inputs may be others than those of the last one; a killed session has no end."""
    begin_session(store, {}, facts(device="GPU 0"))
    begun(store, [File("a.jpg")])
    second = begin_session(store, {}, facts())
    end_session(store, second, "interrupted", FIGURES)
    third = begin_session(store, {}, facts())
    end_session(store, third, "finished", FIGURES)
    report(store, 0.5)
    values = written(store)
    sessions = values["sessions"]
    assert [(session["device"], session["how"], session["ended"] is None) for session in sessions] == [
        ("GPU 0", None, True), ("CPU", "interrupted", False), ("CPU", "finished", False),
    ]  # fmt: skip
    assert values["started"] == sessions[0]["started"] and values["finished"] == sessions[2]["ended"]
    assert (sessions[1]["warnings"], sessions[1]["stages_s"], values["warnings"]) == (["odd"], {"detect": 1.0}, ["odd"])
