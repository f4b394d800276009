import csv
import errno
import tracemalloc

import pandas as pd
import pytest
from stores import Face, File, begun, checkpoint, end, fill, video

from maskbatch.reports import tables
from maskbatch.reports.cells import escape
from maskbatch.reports.faces import FACES_COLUMNS
from maskbatch.reports.frames import FILES_COLUMNS, read_files
from maskbatch.reports.summary import SUMMARY_COLUMNS, Summary, by_top_folder
from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store import faces as reading
from maskbatch.store.database import open_store
from maskbatch.store.write import add_results, begin_session, forget
from maskbatch.types import SegmentResult

REPORTS = ("faces.csv", "files.csv", "summary.csv")


@pytest.fixture
def store(tmp_path):
    """An empty store in `tmp_path`."""
    with open_store(tmp_path) as opened:
        yield opened


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def dicts_of(path):
    header, *rows = rows_of(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_reports_have_exactly_the_columns_users_are_promised(store, tmp_path):
    """The columns of docs/tables.md, in order."""
    fill(store, [File("a.jpg")], [Face("a.jpg")])
    write_reports(store, ReportSettings())
    heads = [",".join(rows_of(tmp_path / name)[0]) for name in ("faces.csv", "files.csv", "summary.csv")]
    assert heads == [
        "source,frame,time_s,face,track_id,person,x_min,y_min,x_max,y_max,score,p_mask,p_incorrect,label",
        "source,kind,status,error,width,height,fps,duration_s,frames_decoded,frames_analysed,faces,people,with_mask,"
        "incorrect_mask,without_mask,unsure,compliance_rate,site,camera,starts_at,clock,notes",
        "level,folder,files,failed,partial,faces,people,with_mask,incorrect_mask,without_mask,unsure,compliance_rate",
    ]
    assert heads == [",".join(columns) for columns in (FACES_COLUMNS, FILES_COLUMNS, SUMMARY_COLUMNS)]


def test_faces_are_the_rows_and_their_label(store, tmp_path):
    """Cells have the decimals of their column, trailing zeros included; the threshold itself is with_mask."""
    fill(store, [File("a.jpg")], [Face("a.jpg", p_mask=0.5), Face("a.jpg", p_mask=0.4999, face=1)])
    write_reports(store, ReportSettings())
    assert (tmp_path / "faces.csv").read_bytes().split(b"\n")[1:] == [
        b"a.jpg,0,0.0000,0,0,0,1.0,2.0,31.0,42.0,0.9000,0.5000,,with_mask",
        b"a.jpg,0,0.0000,1,0,0,1.0,2.0,31.0,42.0,0.9000,0.4999,,without_mask",
        b"",
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_faces_of_several_files_are_those_of_the_view(store, tmp_path, block, monkeypatch):
    """However many rows are formatted at once: the rows of files in their order, with unknown and negative values."""
    monkeypatch.setattr(reading, "_BLOCK", block)
    seen = [
        Face("v.mp4", 7, 12, 0.25, x_min=-3.5, p_incorrect=0.9),
        Face("v.mp4", 1000, 3, None),
        Face("=a", p_mask=0.0),
    ]
    fill(store, [video("v.mp4"), File("none.jpg"), File("=a")], seen)
    with store.transaction() as connection:
        connection.execute("UPDATE track SET person_id = 5 WHERE track_id = 12")
    write_reports(store, ReportSettings(incorrect_threshold=0.8))
    assert (tmp_path / "faces.csv").read_text().split("\n")[1:] == [
        "v.mp4,7,0.2333,0,12,5,-3.5,2.0,31.0,42.0,0.9000,0.2500,0.9000,incorrect_mask",
        "v.mp4,1000,33.3333,0,3,3,1.0,2.0,31.0,42.0,0.9000,,,",
        "'=a,0,0.0000,0,0,0,1.0,2.0,31.0,42.0,0.9000,0.0000,,without_mask",
        "",
    ]


def test_a_new_threshold_needs_no_new_scan(store, tmp_path):
    """Reports can be written again from the same rows; a probability close to the threshold is sure of nothing."""
    fill(store, [File("a.jpg")], [Face("a.jpg", p_mask=0.6)])
    found = [write_reports(store, ReportSettings(threshold=threshold)).summary for threshold in (0.3, 0.5, 0.85)]
    assert [(one.with_mask, one.unsure, one.without_mask) for one in found] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_people_are_counted_not_frames(store, tmp_path):
    """A track of a hundred frames is a hundred faces and one person, whom single looks do not change."""
    faces = [Face("v.mp4", i, 0, 0.95 if i % 12 else 0.1) for i in range(100)]
    faces += [Face("v.mp4", i, 1, 0.1, face=1) for i in range(50)]
    fill(store, [video("v.mp4")], faces)
    found = write_reports(store, ReportSettings(threshold=0.6)).summary
    assert found == Summary(
        files=1, faces=150, people=2, with_mask=1, without_mask=1, compliance_rate=0.5, threshold=0.6
    )
    row = dicts_of(tmp_path / "files.csv")[0]
    counts = {name: row[name] for name in FILES_COLUMNS[10:17]}
    assert counts == {
        "faces": "150", "people": "2", "with_mask": "1", "incorrect_mask": "0", "without_mask": "1",
        "unsure": "0", "compliance_rate": "0.5000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "seen", "counts"),
    [
        (video("v"), 5, 0),  # 30 analysed frames a second: 0.2 s are 6 frames
        (video("v"), 6, 1),
        (video("v", analysed=10), 1, 1),  # one frame a second
        (video("v", analysed=100), 1, 0),  # ten a second
        (video("v", analysed=100), 2, 1),
        (video("v", analysed=3, decoded=3, duration_s=0.1), 2, 0),  # a clip shorter than 0.2 s
        (video("v", analysed=3, decoded=3, duration_s=0.1), 3, 1),
        (video("v", analysed=30, decoded=30, error="ends early"), 5, 0),  # broke after one of its ten seconds
        (video("v", fps=None), 5, 0),
        (video("v", fps=None), 6, 1),
        (video("v", fps=None, duration_s=None), 1, 1),
        (video("v", fps=None, duration_s=0.0), 299, 0),
        (File("v"), 1, 1),
    ],
)
def test_flickers_do_not_count_but_sparse_sampling_does(store, tmp_path, file, seen, counts):
    """A person must be seen for 0.2 s, measured in analysed frames, at least one and at most all of them."""
    fill(store, [file], [Face("v", i) for i in range(seen)])
    summary = write_reports(store, ReportSettings()).summary
    assert (summary.people, summary.faces) == (counts, seen)


def test_tracks_of_different_sources_are_different_people(store, tmp_path):
    """Track 0 of one photo is not track 0 of another."""
    fill(store, [File("a"), File("b")], [Face("a"), Face("b", p_mask=0.1)])
    assert write_reports(store, ReportSettings()).summary.people == 2


def test_status_tells_failed_from_partial(store, tmp_path):
    """failed: no frame was read; partial: some were; both keep their reason."""
    files = [File("a"), File("b", error="file is empty", decoded=0, analysed=0), video("c", 9, 9, "ends early")]
    fill(store, files)
    summary = write_reports(store, ReportSettings()).summary
    rows = dicts_of(tmp_path / "files.csv")
    assert [(row["status"], row["error"]) for row in rows] == [
        ("ok", ""), ("failed", "file is empty"), ("partial", "ends early"),
    ]  # fmt: skip
    assert (summary.files, summary.failed, summary.partial, summary.compliance_rate) == (3, 1, 1, None)
    assert rows[0]["compliance_rate"] == ""


def test_folders_roll_up(store, tmp_path):
    """Each row counts all files below its folder; parents come before their subfolders; the whole scan is level 0."""
    files = [File("b/x.jpg"), File("z.jpg"), File("b/c/y.jpg", error="bad", decoded=0, analysed=0), File("b/w.jpg"),
             File("b-c/d/e/v.jpg", error="cut")]  # fmt: skip
    faces = [Face("b/x.jpg"), Face("z.jpg", p_mask=0.1), Face("b/w.jpg"), Face("b/w.jpg", track_id=1, face=1)]
    fill(store, files, faces)
    write_reports(store, ReportSettings())
    assert rows_of(tmp_path / "summary.csv")[1:] == [
        ["0", ".", "5", "1", "1", "4", "4", "3", "0", "1", "0", "0.7500"],
        ["1", "b", "3", "1", "0", "3", "3", "3", "0", "0", "0", "1.0000"],
        ["2", "b/c", "1", "1", "0", "0", "0", "0", "0", "0", "0", ""],
        ["1", "b-c", "1", "0", "1", "0", "0", "0", "0", "0", "0", ""],
        ["2", "b-c/d", "1", "0", "1", "0", "0", "0", "0", "0", "0", ""],
        ["3", "b-c/d/e", "1", "0", "1", "0", "0", "0", "0", "0", "0", ""],
    ]


def test_rows_of_one_level_can_be_added_up(store, tmp_path):
    """No file is counted twice within a level: each level adds up to the files that lie so deep or deeper."""
    names = ["a/1", "a/b/2", "a/b/c/3", "d/4", "d/e/5", "f/g/h/i/6", "7"]
    fill(store, [File(name) for name in names], [Face(name) for name in names])
    write_reports(store, ReportSettings())
    by_level = pd.read_csv(tmp_path / "summary.csv").groupby("level")[["files", "faces", "people"]].sum()
    deeper = {level: sum(name.count("/") >= level for name in names) for level in range(5)}
    assert by_level.to_dict("index") == {level: dict.fromkeys(by_level, number) for level, number in deeper.items()}


def test_sources_come_in_the_order_of_the_run_and_only_when_done(store, tmp_path):
    """In whatever order they ended, in whichever session; what vanished from the inputs, or has not ended, is left out."""
    first = [File(name) for name in ("e", "c", "a", "vanished")]
    fill(store, first, [Face(file.name) for file in first])
    names = ("a", "b", "c", "unfinished", "d", "e")
    sources = begun(store, [File(name) for name in names])
    end(store, sources, [File("d"), File("b")], [Face("d"), Face("b"), Face("b", p_mask=0.1, face=1)])
    forget(store, [sources["c"].id])
    end(store, sources, [File("c", error="changed")], [Face("c", p_mask=0.2)])
    assert write_reports(store, ReportSettings()).summary.files == 5
    files, faces = dicts_of(tmp_path / "files.csv"), dicts_of(tmp_path / "faces.csv")
    assert [(row["source"], row["error"]) for row in files] == [
        ("a", ""), ("b", ""), ("c", "changed"), ("d", ""), ("e", ""),
    ]  # fmt: skip
    assert [row["source"] for row in faces] == ["a", "b", "b", "c", "d", "e"] and faces[3]["p_mask"] == "0.2000"


def test_a_video_in_work_is_reported_as_far_as_it_goes(store, tmp_path):
    """Its whole segments have their faces and people, its row says how far they reach, and it counts as partial."""
    at = checkpoint(begun(store, [video("v")])["v"], index=35)
    rows = [Face("v", frame).row(at.source.id) for frame in range(35)]
    add_results(store, [SegmentResult(tuple(rows[:20])), SegmentResult(tuple(rows[20:])), SegmentResult(checkpoint=at)])
    found = write_reports(store, ReportSettings()).summary
    assert found == Summary(files=1, faces=35, people=1, with_mask=1, compliance_rate=1.0, partial=1, threshold=0.5)
    [row] = dicts_of(tmp_path / "files.csv")
    assert (row["status"], row["error"]) == ("partial", "interrupted: only the first 35 frames so far")
    assert (row["frames_decoded"], row["width"], row["height"]) == ("35", "96", "64")
    assert len(dicts_of(tmp_path / "faces.csv")) == 35


def test_a_run_without_files_has_empty_reports(store, tmp_path):
    """No source at all gives headers, and one row of zeros for the whole scan."""
    assert write_reports(store, ReportSettings()).summary == Summary(threshold=0.5)
    assert rows_of(tmp_path / "summary.csv")[1:] == [["0", ".", *["0"] * 9, ""]]
    assert rows_of(tmp_path / "files.csv") == [list(FILES_COLUMNS)]


@pytest.mark.parametrize("start", list("=+-@'\uff1d\uff0b\uff0d\uff20"))
def test_no_cell_is_a_formula(store, tmp_path, start):
    """Names, folders and errors that a spreadsheet would compute get an apostrophe, in all reports."""
    name = f"{start}cmd/{start}1+1.jpg"
    fill(store, [File(name, error=f"{start}SUM(A1)", notes=(f"{start}1 page",))], [Face(name)])
    write_reports(store, ReportSettings())
    file = dicts_of(tmp_path / "files.csv")[0]
    safe = "'" + start
    shown = f"{safe}cmd/{start}1+1.jpg"
    assert (file["source"], file["error"], file["notes"]) == (shown, f"{safe}SUM(A1)", f"{safe}1 page")
    assert dicts_of(tmp_path / "faces.csv")[0]["source"] == shown
    assert [row["folder"] for row in dicts_of(tmp_path / "summary.csv")] == [".", f"{safe}cmd"]


@pytest.mark.parametrize("text", ["", "a", "=a", "'=a", "''a", "-1", "\ra", "a=b"])
def test_the_escape_can_be_undone(text):
    """One leading apostrophe less gives the text back, whatever it was."""
    escaped = escape(text)
    assert (escaped[1:] if escaped.startswith("'") else escaped) == text


@pytest.mark.parametrize("name", ['a,"b".jpg', "ü/面.jpg", "NA", "null", "1.0", " x ", "'", 'a"/,b'])
def test_odd_names_survive(store, tmp_path, name):
    """Separators, quotes, other scripts, and words that pandas would read as missing or as numbers."""
    fill(store, [File(name)], [Face(name)])
    write_reports(store, ReportSettings())
    for report_name in ("files.csv", "faces.csv"):
        assert dicts_of(tmp_path / report_name)[0]["source"].removeprefix("'" if name == "'" else "") == name
    assert b"\r" not in (tmp_path / "files.csv").read_bytes()


def test_what_does_not_show_is_spelled_out(store, tmp_path):
    """A name is one line of UTF-8, and no two names look alike: line breaks, marks that turn writing round and bytes that
    are no letters are escapes, and backslashes are doubled."""
    shown = {
        "a\nb": r"a\nb",
        "a\\nb": r"a\\nb",
        "a\udcff": r"a\udcff",
        "\u202egpj": r"\u202egpj",
        "a\r": r"a\r",
        "é 面": "é 面",
    }
    fill(store, [File(name) for name in shown], [Face(name) for name in shown])
    write_reports(store, ReportSettings())
    for report_name in ("files.csv", "faces.csv"):
        assert [row["source"] for row in dicts_of(tmp_path / report_name)] == list(shown.values())


def test_how_results_are_cut_changes_nothing(store, tmp_path):
    """A video stored in many results has the tables, byte for byte, of one stored at once; tracks may span results."""
    faces = [Face("v", i, track, (i * 37 + track * 11) % 100 / 100, track) for i in range(20) for track in (0, 1)]
    fill(store, [video("v")], faces)
    write_reports(store, ReportSettings())
    whole = [(tmp_path / name).read_bytes() for name in REPORTS]
    (tmp_path / "parts").mkdir()
    with open_store(tmp_path / "parts") as parts:
        sources = begun(parts, [video("v")])
        rows = [face.row(sources["v"].id) for face in faces]
        for start in range(0, len(rows), 3):
            add_results(parts, [SegmentResult(tuple(rows[start : start + 3]))])
        end(parts, sources, [video("v")])
        write_reports(parts, ReportSettings())
    assert [(tmp_path / "parts" / name).read_bytes() for name in REPORTS] == whole


def test_a_report_takes_the_same_memory_for_any_number_of_files(store):
    """Rows go from the store to faces.csv one by one, and people are found in some files at a time."""
    peaks = []
    for number in (20, 50):
        files = [video(f"{at}.mp4", 600, 600) for at in range(number)]
        sources = begun(store, files)
        for file in files[0 if number == 20 else 20 :]:
            id_ = sources[file.name].id
            rows = tuple(Face(file.name, frame, face, face=face).row(id_) for frame in range(600) for face in range(5))
            add_results(store, [SegmentResult(rows)])
            end(store, sources, [file])
        if not peaks:
            write_reports(store, ReportSettings())  # imports and caches are not counted
        tracemalloc.start()
        try:
            write_reports(store, ReportSettings())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0]


def test_an_unclassified_face_is_nobody(store, tmp_path):
    """An empty p_mask has no label, and is a face but no person."""
    fill(store, [File("a")], [Face("a", p_mask=None)])
    summary = write_reports(store, ReportSettings()).summary
    assert (summary.faces, summary.people) == (1, 0)
    assert dicts_of(tmp_path / "faces.csv")[0]["label"] == ""


def test_a_report_that_cannot_be_written_leaves_the_earlier_ones(store, tmp_path, monkeypatch):
    """Tables get their names when all of them are whole; nothing is left behind."""
    fill(store, [File("a")])
    write_reports(store, ReportSettings())
    before = [(tmp_path / name).read_bytes() for name in REPORTS]
    end(store, begun(store, [File("a"), File("b")]), [File("b")])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "files_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_reports(store, ReportSettings())
    assert [(tmp_path / name).read_bytes() for name in REPORTS] == before and not list(tmp_path.glob(".*.part*"))


def test_the_table_on_the_terminal_adds_up(store):
    """Each top folder and the files beside them, then the total of all of these."""
    names = ["z.jpg", "a/1", "a/b/2", "c/3"]
    fill(store, [File(name) for name in names], [Face(name) for name in names[:3]])
    with store.transaction() as connection:
        found = by_top_folder(read_files(connection, ReportSettings()))
    assert found[["folder", "files", "people"]].to_numpy().tolist() == [
        [".", 1, 1], ["a", 2, 2], ["c", 1, 0], ["total", 4, 3],
    ]  # fmt: skip
    assert found["files"].dtype == "int64" and found["compliance_rate"].isna().tolist() == [False, False, True, False]
    assert by_top_folder(read_nothing()).values.tolist() == [
        ["total", *[0] * 9, pytest.approx(float("nan"), nan_ok=True)]
    ]


def read_nothing():
    """The table of no files."""
    return pd.DataFrame(columns=list(FILES_COLUMNS))


def test_a_gate_leaves_out_still_frames_and_not_people(store):
    """A video that was looked at rarely, because nothing moved, is judged by the rate at which movement is looked at."""
    begin_session(store, {}, {"settings": {"sampling": {"is_gated": True}}})
    faces = [Face("v", 0, 0), Face("v", 5, 1), Face("v", 10, 1)]
    fill(store, [video("v", analysed=12, decoded=300)], faces)
    assert write_reports(store, ReportSettings()).summary.people == 1


def test_coverage_counts_seconds_with_anybody_once(store, tmp_path):
    """Two people side by side are one time in sight; each video and the photos have their own."""
    faces = [Face("a", frame, track, face=track) for frame in range(0, 150, 5) for track in (0, 1)]
    faces += [Face("b", frame) for frame in range(0, 60, 5)] + [Face("p")]
    fill(store, [video("a"), video("b"), File("p")], faces)
    write_reports(store, ReportSettings())
    [row] = dicts_of(tmp_path / "coverage.csv")
    assert (row["files"], row["failed"], row["recorded_h"]) == ("3", "0", f"{20 / 3600:.4f}")
    assert float(row["with_people_h"]) * 3600 == pytest.approx(5.0 + 2.0, abs=0.4)


def test_nobody_is_in_view_for_longer_than_was_recorded(store, tmp_path):
    """Faces up to a last frame that outlasts the length in the container: the whole recording, and no more."""
    fill(store, [video("a", duration_s=1.5)], [Face("a", frame) for frame in range(0, 60, 5)])
    write_reports(store, ReportSettings())
    [row] = dicts_of(tmp_path / "coverage.csv")
    assert row["with_people_h"] == row["recorded_h"] == f"{1.5 / 3600:.4f}"


@pytest.mark.parametrize("claims", [{"decoded": 61}, {"decoded": 40}, {"duration_s": None}, {"fps": None}])
def test_nobody_is_in_view_for_longer_than_was_read(store, tmp_path, claims):
    """A cut video, and one whose duration or frame rate is unknown: no time in view is more than the time read."""
    fill(store, [video("a", analysed=13, **claims)], [Face("a", frame) for frame in range(0, 61, 5)])
    write_reports(store, ReportSettings())
    [row] = dicts_of(tmp_path / "coverage.csv")
    assert 0 < float(row["with_people_h"]) <= float(row["read_h"])
    [person] = dicts_of(tmp_path / "people.csv")
    assert claims.get("decoded") != 61 or person["seen_s"] == f"{61 / 30:.3f}"
