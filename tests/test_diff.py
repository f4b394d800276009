from contextlib import ExitStack

import numpy as np
import pytest
from click.testing import CliRunner
from stores import Face, File, fill, video

import maskbatch as mb
from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.people.answer import find_answer
from maskbatch.reports.diff import Scanned, diff_table, rate_difference
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.write import begin_session


@pytest.fixture
def scanned(tmp_path):
    """A function that makes a scan in a folder, as `diff` takes it; all are closed after the test."""
    with ExitStack() as stack:

        def make(name, files, faces):
            (tmp_path / name).mkdir()
            with open_store(tmp_path / name) as store:
                fill(store, files, faces)
            store = stack.enter_context(open_store(tmp_path / name, reader=True))
            connection = stack.enter_context(store.transaction())
            return Scanned(connection, find_answer(connection, ReportSettings()))

        yield make


def changes(first, second):
    table = diff_table(first, second)
    return {(row.change, row.source, row.verdict, row.other_verdict) for row in table.itertuples()}


def test_files_that_came_and_went_are_named(scanned):
    """A file in one scan only is one row; its people are not listed."""
    first = scanned("a", [File("old.jpg"), File("x.jpg")], [Face("old.jpg"), Face("x.jpg")])
    second = scanned("b", [File("x.jpg"), File("new.jpg")], [Face("x.jpg"), Face("new.jpg")])
    assert changes(first, second) == {("file gone", "old.jpg", "", ""), ("file new", "new.jpg", "", "")}


def test_people_are_paired_by_their_faces_whatever_their_numbers(scanned):
    """The same faces under other numbers are no change; another verdict, a lost and a new person are."""
    where = {"left": 1.0, "middle": 11.0, "right": 21.0}

    def faces(people):
        return [Face("v", frame, number, p, face=face, x_min=where[place]) for face, (place, (number, p)) in
                enumerate(people.items()) for frame in range(30)]  # fmt: skip

    # boxes end at 31 px, so that the two outer ones overlap by less than half
    first = scanned("a", [video("v")], faces({"left": (0, 0.98), "right": (1, 0.02)}))
    second = scanned("b", [video("v")], faces({"left": (7, 0.03), "right": (4, 0.02)}))
    assert changes(first, second) == {("verdict", "v", "with_mask", "without_mask")}
    alone = scanned("c", [video("v")], faces({"right": (2, 0.02)}))
    assert changes(first, alone) == {("person gone", "v", "with_mask", "")}
    assert changes(alone, first) == {("person new", "v", "", "with_mask")}


def test_the_difference_has_newcombes_interval():
    """The published example of Newcombe (1998, Table II b): 9/10 less 3/10 is 0.6, 0.1705 to 0.8090."""
    from maskbatch.reports import diff, statistics

    rates = [statistics.clustered_rate(np.array([hits]), np.array([10])) for hits in (3, 9)]
    assert all(rate.design_effect == 1 for rate in rates)
    found = diff.difference_of(*rates)
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.high) == (pytest.approx(0.1705, abs=5e-4), pytest.approx(0.8090, abs=5e-4))


def test_scans_of_few_people_have_no_interval(scanned):
    """Below five people there is a difference without an interval; without people there is none."""
    few = scanned("a", [File("x.jpg")], [Face("x.jpg")])
    none = scanned("b", [File("x.jpg")], [])
    assert rate_difference(few.answer, few.answer).value == 0.0
    assert rate_difference(few.answer, few.answer).low is None
    assert rate_difference(few.answer, none.answer).value is None


def test_a_folder_without_a_scan_is_a_usage_error(tmp_path):
    """Both folders must hold scans."""
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError):
        mb.open(tmp_path / "a").diff(tmp_path / "b")


@pytest.mark.parametrize(
    ("p_masks", "least", "code"),
    [([0.98] * 60, "0.8", 0), ([0.98] * 60, "0.99", 4), ([0.98] * 30 + [0.02] * 30, "0.8", 4), ([0.98] * 3, "0.5", 4)],
)
def test_fail_under_looks_at_the_lower_end(tmp_path, p_masks, least, code):
    """The whole interval must lie above the rate that is asked for; without an interval nothing is shown."""
    names = [f"{number}.jpg" for number in range(len(p_masks))]
    with open_store(tmp_path) as store:
        begin_session(store, {}, {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}})
        fill(store, list(map(File, names)), [Face(name, p_mask=p) for name, p in zip(names, p_masks, strict=True)])
        with store.transaction() as connection:
            connection.execute("UPDATE session SET how = 'finished'")
    assert CliRunner().invoke(main, ["report", str(tmp_path), "-q", "--fail-under", least]).exit_code == code


def test_the_command_writes_the_changes_once(tmp_path):
    """`diff --csv` writes a table, and leaves one that is there alone."""
    for name, p_mask in (("a", 0.98), ("b", 0.02)):
        (tmp_path / name).mkdir()
        with open_store(tmp_path / name) as store:
            begin_session(store, {}, {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}})
            fill(store, [File("=x.jpg")], [Face("=x.jpg", p_mask=p_mask)])
    command = ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--csv", str(tmp_path / "changes.csv")]
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 0 and "verdict: 1" in found.output
    assert (tmp_path / "changes.csv").read_text().splitlines()[1] == "verdict,'=x.jpg,0,0,with_mask,without_mask,0.000"
    assert CliRunner().invoke(main, command).exit_code == 2
