"""Tables as other programs read them: the recipe of docs/tables.md, spreadsheets, the API."""

import csv
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from stores import Face, File, fill, video

from maskbatch.reports.faces import FACES_COLUMNS
from maskbatch.reports.frames import FILES_COLUMNS, read_faces, read_files
from maskbatch.reports.people import (
    COVERAGE_COLUMNS,
    EPISODES_COLUMNS,
    PEOPLE_COLUMNS,
    PLACES_COLUMNS,
)
from maskbatch.reports.summary import SUMMARY_COLUMNS
from maskbatch.reports.tables import write_reports
from maskbatch.reports.timeline import TIMELINE_COLUMNS
from maskbatch.settings import ReportSettings, Thresholds
from maskbatch.store.database import open_store

COLUMNS = {
    "faces.csv": FACES_COLUMNS, "files.csv": FILES_COLUMNS, "summary.csv": SUMMARY_COLUMNS, "people.csv": PEOPLE_COLUMNS,
    "episodes.csv": EPISODES_COLUMNS, "timeline.csv": TIMELINE_COLUMNS, "places.csv": PLACES_COLUMNS,
    "coverage.csv": COVERAGE_COLUMNS,
}  # fmt: skip
TABLES_PAGE, STORE_PAGE = (Path(__file__).parents[1] / "docs" / name for name in ("tables.md", "store.md"))
PHOTOS = [File("a/1.jpg"), File("2.jpg"), File("a/b/3.png")]
VIDEOS = [video("a/1.mp4"), video("2.mp4", duration_s=None), video("a/b/3.mp4", fps=None)]
EVERYTHING = [*PHOTOS, *VIDEOS, File("a/broken.jpg", error="file is empty", decoded=0, analysed=0, notes=("2 pages",))]


# empty without a clock or a place
WHERE = ("site", "camera", "starts_at", "clock")


def tables(folder, files, settings=None):
    """The tables of a scan of these files, a face in each that could be read, in `folder`."""
    folder.mkdir()
    with open_store(folder) as store:
        fill(store, files, [Face(file.name, frame) for file in files for frame in range(min(file.analysed, 9))])
        write_reports(store, settings or ReportSettings())
    return {name: folder / name for name in COLUMNS}


def recipe():
    """The function `read_table` that docs/tables.md shows."""
    [block] = re.findall(r"```python\n(import pandas.*?)```", TABLES_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(block[: block.index("files = ")], names)
    return names["read_table"]


def test_photos_and_videos_have_the_same_types(tmp_path):
    """Both as pandas guesses them and with the recipe: a program that was written for one reads the other."""
    photos, videos = tables(tmp_path / "photos", PHOTOS), tables(tmp_path / "videos", VIDEOS)
    for read in (pd.read_csv, recipe()):
        for name in COLUMNS.keys() - {"timeline.csv"}:  # photos are in no timeline
            assert read(photos[name]).dtypes.to_dict() == read(videos[name]).dtypes.to_dict(), name


@pytest.mark.parametrize("files", [[], PHOTOS, VIDEOS, EVERYTHING])
def test_the_recipe_gives_the_same_types_whatever_was_found(tmp_path, files):
    """Also for tables without rows, files that failed, and columns that are all empty."""
    expected = tables(tmp_path / "expected", EVERYTHING)
    found, read = tables(tmp_path / "found", files), recipe()
    for name, columns in COLUMNS.items():
        table = read(found[name])
        assert table.dtypes.to_dict() == read(expected[name]).dtypes.to_dict(), name
        assert tuple(table.columns) == columns
    whole = {name for name in FILES_COLUMNS if read(found["files.csv"])[name].dtype == "int64"}
    assert whole == {
        "frames_decoded", "frames_analysed", "faces", "people", "with_mask", "incorrect_mask", "without_mask",
        "unsure",
    }  # fmt: skip


def test_what_is_unknown_is_an_empty_cell(tmp_path):
    """The size of a file that could not be read, the frame rate and length of a photo, the rate where nobody was seen; whole
    numbers beside them stay whole."""
    found = tables(tmp_path / "out", EVERYTHING)["files.csv"]
    rows = {row["source"]: row for row in csv.DictReader(found.open(encoding="utf-8", newline=""))}
    unknown = {
        name: {column for column, cell in row.items() if cell == ""} - {"error", "notes", *WHERE}
        for name, row in rows.items()
    }
    assert unknown["a/broken.jpg"] == {"width", "height", "fps", "duration_s", "compliance_rate"}
    assert unknown["2.jpg"] == {"fps", "duration_s"} and unknown["a/b/3.mp4"] == {"fps"}
    assert (rows["2.jpg"]["width"], rows["a/1.mp4"]["fps"]) == ("640", "30.000")


def test_the_api_gives_what_the_tables_say(tmp_path):
    """The same columns, types and values, whether read from the store or from the table."""
    found, read = tables(tmp_path / "out", EVERYTHING), recipe()
    with open_store(tmp_path / "out", reader=True) as store, store.transaction() as connection:
        pd.testing.assert_frame_equal(read_files(connection, ReportSettings()), read(found["files.csv"]))
        pd.testing.assert_frame_equal(read_faces(connection, Thresholds()), read(found["faces.csv"]))


def test_the_terminal_shows_what_the_tables_say(tmp_path):
    """The rows that a report hands on are those of files.csv, so that nobody derives them again."""
    with open_store(tmp_path) as store:
        fill(store, EVERYTHING, [Face("a/1.jpg"), Face("2.mp4"), Face("2.mp4", 1)])
        written = write_reports(store, ReportSettings())
    assert written.files["people"].sum() == written.summary.people == 1
    pd.testing.assert_frame_equal(written.files, recipe()(tmp_path / "files.csv"))


def test_the_page_of_the_tables_names_each_column():
    """In the order of the table, with nothing missing and nothing made up."""
    text = TABLES_PAGE.read_text(encoding="utf-8")
    for name, columns in COLUMNS.items():
        section = text[text.index(f"## `{name}`") :].split("\n## ")[0]
        cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert tuple(column for cell in cells for column in re.findall("`(.+?)`", cell)) == columns


def test_excel_learns_that_the_tables_are_utf_8_when_asked(tmp_path):
    """Each table begins with one byte order mark, and is the same behind it; pandas reads both alike."""
    plain = tables(tmp_path / "plain", EVERYTHING)
    marked = tables(tmp_path / "marked", EVERYTHING, ReportSettings(bom=True))
    for name in COLUMNS:
        assert marked[name].read_bytes() == b"\xef\xbb\xbf" + plain[name].read_bytes()
        pd.testing.assert_frame_equal(pd.read_csv(marked[name]), pd.read_csv(plain[name]))
        assert next(csv.reader(marked[name].open(encoding="utf-8-sig", newline=""))) == list(COLUMNS[name])


def test_the_mark_is_of_one_report(tmp_path):
    """The next report has none unless it is asked for again."""
    tables(tmp_path / "out", PHOTOS, ReportSettings(bom=True))
    with open_store(tmp_path / "out") as store:
        write_reports(store, ReportSettings())
    assert (tmp_path / "out/files.csv").read_bytes().startswith(b"source,")


def test_every_name_comes_back(tmp_path):
    """From all tables as it was, and names that look like numbers or missing values stay names; numbers are unchanged."""
    names = ["=1+1", "+a", "-x", "@sum", "'=a", '"q"', 'a,"b"c', "\uff1dwide", "NA", "1e5", "01", " s ", "#x", ";"]
    found, read = tables(tmp_path / "out", [File(f"{name}/{name}.jpg") for name in names]), recipe()
    for name in ("files.csv", "faces.csv"):
        assert read(found[name])["source"].tolist() == [f"{name}/{name}.jpg" for name in names]
    assert set(read(found["summary.csv"])["folder"]) == {".", *names}
    assert (read(found["faces.csv"])["x_min"] == 1).all()


def test_the_queries_of_the_page_of_the_store_work(tmp_path, monkeypatch):
    """The SQL and the pandas example of docs/store.md, word for word."""
    found = tables(tmp_path / "audit", [File("a.jpg"), *VIDEOS])
    monkeypatch.chdir(tmp_path)
    text = STORE_PAGE.read_text(encoding="utf-8")
    query, worn = re.findall(r"```sql\n(SELECT.*?)```", text, re.DOTALL)
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with closing(sqlite3.connect("file:audit/scan.db?mode=ro", uri=True)) as connection:
        assert connection.execute(query.replace("p_mask < 0.5", "p_mask > 0.5")).fetchall()[0] == ("a.jpg", 1)
        described = re.findall(r"^\| `(faces|tracks)` \| (.*)\|$", text, re.MULTILINE)
        for view, words in described:
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({view})")]
            assert set(columns) <= set(re.findall("`(.+?)`", words))
        assert connection.execute(worn).fetchall() == []  # of a model that does not know
        known = connection.execute(worn.replace("p_incorrect >= 0.3", "p_mask >= 0.3")).fetchall()
        assert known[0] == ("a.jpg", 0, 0.0, 0, None) and len(known) > 9
    names: dict = {}
    exec(example.replace("0.7", "0.9"), names)
    assert len(names["unsure"]) == len(pd.read_csv(found["faces.csv"])) and len(described) == 2
