import csv

import pandas as pd
import pytest
from maskbatch.marks import Mark, read_order, write_marks, write_order

from maskbatch.errors import MaskbatchError
from maskbatch.media.write.files import RowWriter
from maskbatch.reports import tables as report
from maskbatch.reports.tables import FACES_COLUMNS, FILES_COLUMNS, SUMMARY_COLUMNS, Summary, escape, write_reports
from maskbatch.settings import ReportSettings
from maskbatch.types import FACE_COLUMNS, FILE_COLUMNS


def face(source, frame=0, track_id=0, p_mask="0.9000", face=0):
    return [source, frame, f"{frame / 30:.4f}", face, track_id, "1.0", "2.0", "3.0", "4.0", "0.9000", p_mask]


def photo(source, error="", decoded=1):
    return [source, "image", error, 640, 480, "", "", decoded, decoded, ""]


def video(source, analysed=300, decoded=300, error="", fps="30.000", duration_s="10.000"):
    return [source, "video", error, 640, 480, fps, duration_s, decoded, analysed, ""]


def write_shard(out, index, files, faces=()):
    folder = out / ".state" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    spans = {"faces": {}, "files": {}}
    for name, columns, rows in (("faces", FACE_COLUMNS, faces), ("files", FILE_COLUMNS, files)):
        with RowWriter(folder / f"{index:06d}.{name}.csv", columns) as writer:
            for row in rows:
                start = writer.position()
                writer.write(row)
                begin, _ = spans[name].get(row[0], (start, start))
                spans[name][row[0]] = begin, writer.position()
    names = [row[0] for row in files]
    write_marks(
        folder,
        index,
        [Mark(name, None, spans["faces"].get(name, (0, 0)), spans["files"][name], (name, name)) for name in names],
    )
    write_order(out, [*read_order(out), *names])


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def dicts_of(path):
    header, *rows = rows_of(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_reports_have_exactly_the_columns_users_are_promised(tmp_path):
    """The columns of section 4 of the design, in order."""
    write_shard(tmp_path, 0, [photo("a.jpg")], [face("a.jpg")])
    write_reports(tmp_path, ReportSettings())
    heads = [",".join(rows_of(tmp_path / name)[0]) for name in ("faces.csv", "files.csv", "summary.csv")]
    assert heads == [
        "source,frame,time_s,face,track_id,x_min,y_min,x_max,y_max,score,p_mask,label",
        "source,kind,status,error,width,height,fps,duration_s,frames_decoded,frames_analysed,faces,with_mask,"
        "without_mask,compliance_rate,notes",
        "folder,files,failed,faces,with_mask,without_mask,compliance_rate",
    ]
    assert heads == [",".join(columns) for columns in (FACES_COLUMNS, FILES_COLUMNS, SUMMARY_COLUMNS)]


def test_faces_are_the_rows_and_their_label(tmp_path):
    """Cells are copied as they are written, trailing zeros included; the threshold itself is with_mask."""
    write_shard(tmp_path, 0, [photo("a.jpg")], [face("a.jpg", p_mask=p) for p in ("0.5000", "0.4999")])
    write_reports(tmp_path, ReportSettings())
    assert (tmp_path / "faces.csv").read_bytes().split(b"\n")[1:] == [
        b"a.jpg,0,0.0000,0,0,1.0,2.0,3.0,4.0,0.9000,0.5000,with_mask",
        b"a.jpg,0,0.0000,0,0,1.0,2.0,3.0,4.0,0.9000,0.4999,without_mask",
        b"",
    ]


def test_a_new_threshold_needs_no_new_scan(tmp_path):
    """Reports can be written again from the same rows."""
    write_shard(tmp_path, 0, [photo("a.jpg")], [face("a.jpg", p_mask="0.6000")])
    assert write_reports(tmp_path, ReportSettings(threshold=0.5)).with_mask == 1
    assert write_reports(tmp_path, ReportSettings(threshold=0.7)).with_mask == 0


def test_people_are_counted_not_frames(tmp_path):
    """A track of a hundred frames is one person, labelled by its mean p_mask."""
    faces = [face("v.mp4", i, 0, "0.9000" if i % 3 else "0.1000") for i in range(100)]
    faces += [face("v.mp4", i, 1, "0.2000", face=1) for i in range(50)]
    write_shard(tmp_path, 0, [video("v.mp4")], faces)
    assert write_reports(tmp_path, ReportSettings()) == Summary(1, 2, 1, 1, 0.5)
    row = dicts_of(tmp_path / "files.csv")[0]
    assert [row[name] for name in ("faces", "with_mask", "without_mask", "compliance_rate")] == [
        "2",
        "1",
        "1",
        "0.5000",
    ]


@pytest.mark.parametrize(
    ("file", "seen", "counts"),
    [
        (video("v"), 5, 0),  # 30 analysed frames a second: 0.2 s are 6 frames
        (video("v"), 6, 1),
        (video("v", analysed=10), 1, 1),  # one frame a second
        (video("v", analysed=100), 1, 0),  # ten a second
        (video("v", analysed=100), 2, 1),
        (video("v", analysed=3, decoded=3, duration_s="0.100"), 2, 0),  # a clip shorter than 0.2 s
        (video("v", analysed=3, decoded=3, duration_s="0.100"), 3, 1),
        (video("v", analysed=30, decoded=30, error="ends early"), 5, 0),  # broke after one of its ten seconds
        (video("v", fps=""), 5, 0),
        (video("v", fps=""), 6, 1),
        (video("v", fps="", duration_s=""), 1, 1),
        (video("v", fps="", duration_s="0.000"), 299, 0),
        (photo("v"), 1, 1),
    ],
)
def test_flickers_do_not_count_but_sparse_sampling_does(tmp_path, file, seen, counts):
    """A person must be seen for 0.2 s, measured in analysed frames, at least one and at most all of them."""
    write_shard(tmp_path, 0, [file], [face("v", i) for i in range(seen)])
    assert write_reports(tmp_path, ReportSettings()).faces == counts


def test_tracks_of_different_sources_are_different_people(tmp_path):
    """Track 0 of one photo is not track 0 of another."""
    write_shard(tmp_path, 0, [photo("a"), photo("b")], [face("a"), face("b", p_mask="0.1000")])
    assert write_reports(tmp_path, ReportSettings()).faces == 2


def test_status_tells_failed_from_partial(tmp_path):
    """failed: no frame was read; partial: some were; both keep their reason."""
    files = [photo("a"), photo("b", "file is empty", 0), video("c", 9, 9, "ends early")]
    write_shard(tmp_path, 0, files)
    summary = write_reports(tmp_path, ReportSettings())
    rows = dicts_of(tmp_path / "files.csv")
    assert [(row["status"], row["error"]) for row in rows] == [
        ("ok", ""), ("failed", "file is empty"), ("partial", "ends early"),
    ]  # fmt: skip
    assert (summary.files, summary.failed, summary.partial, summary.compliance_rate) == (3, 1, 1, None)
    assert rows[0]["compliance_rate"] == ""


def test_the_summary_is_per_folder_with_a_total(tmp_path):
    """Each folder counts the files directly in it, folders are sorted, TOTAL is last."""
    write_shard(tmp_path, 0, [photo("b/x.jpg"), photo("z.jpg")], [face("b/x.jpg"), face("z.jpg", p_mask="0.1000")])
    write_shard(tmp_path, 1, [photo("b/c/y.jpg", "bad", 0), photo("b/w.jpg")], [face("b/w.jpg"), face("b/w.jpg", 0, 1)])
    write_reports(tmp_path, ReportSettings())
    assert rows_of(tmp_path / "summary.csv")[1:] == [
        [".", "1", "0", "1", "0", "1", "0.0000"],
        ["b", "2", "0", "3", "3", "0", "1.0000"],
        ["b/c", "1", "1", "0", "0", "0", ""],
        ["TOTAL", "4", "1", "4", "3", "1", "0.7500"],
    ]


def test_sources_come_in_the_order_of_the_run_and_only_when_done(tmp_path):
    """Whatever units they lie in; of two marks the later counts, and a unit without its marks is left out."""
    write_shard(tmp_path, 2, [photo("a"), photo("c"), photo("e")], [face("a"), face("c"), face("e")])
    write_shard(tmp_path, 10, [photo("d"), photo("b")], [face("d"), face("b"), face("b", p_mask="0.1000")])
    write_shard(tmp_path, 1000001, [photo("c", "changed")], [face("c", p_mask="0.2000")])
    write_shard(tmp_path, 5, [photo("unfinished")])
    (tmp_path / ".state/rows/000005.done.jsonl").rename(tmp_path / ".state/rows/.000005.done.part.jsonl")
    write_order(tmp_path, ["a", "b", "c", "unfinished", "d", "e"])
    write_reports(tmp_path, ReportSettings())
    files, faces = dicts_of(tmp_path / "files.csv"), dicts_of(tmp_path / "faces.csv")
    assert [(row["source"], row["error"]) for row in files] == [
        ("a", ""), ("b", ""), ("c", "changed"), ("d", ""), ("e", ""),
    ]  # fmt: skip
    assert [row["source"] for row in faces] == ["a", "b", "b", "c", "d", "e"] and faces[3]["p_mask"] == "0.2000"


def test_a_run_without_files_has_empty_reports(tmp_path):
    """No shard at all gives headers and a total of zeros."""
    assert write_reports(tmp_path, ReportSettings()) == Summary()
    assert rows_of(tmp_path / "summary.csv")[1:] == [["TOTAL", "0", "0", "0", "0", "0", ""]]


@pytest.mark.parametrize("start", list("=+-@\t\n'\uff1d\uff0b\uff0d\uff20"))
def test_no_cell_is_a_formula(tmp_path, start):
    """Names, folders and errors that a spreadsheet would compute get an apostrophe, in all reports."""
    name = f"{start}cmd/{start}1+1.jpg"
    write_shard(tmp_path, 0, [photo(name, f"{start}SUM(A1)")], [face(name)])
    write_reports(tmp_path, ReportSettings())
    file = dicts_of(tmp_path / "files.csv")[0]
    assert (file["source"], file["error"]) == ("'" + name, f"'{start}SUM(A1)")
    assert dicts_of(tmp_path / "faces.csv")[0]["source"] == "'" + name
    assert dicts_of(tmp_path / "summary.csv")[0]["folder"] == f"'{start}cmd"


@pytest.mark.parametrize("text", ["", "a", "=a", "'=a", "''a", "-1", "\ra", "a=b"])
def test_the_escape_can_be_undone(text):
    """One leading apostrophe less gives the text back, whatever it was."""
    escaped = escape(text)
    assert (escaped[1:] if escaped.startswith("'") else escaped) == text


@pytest.mark.parametrize("name", ['a,"b".jpg', "a\nb.jpg", "ü/面.jpg", "NA", "null", "1.0", " x ", "'", "TOTAL/x"])
def test_odd_names_survive(tmp_path, name):
    """Separators, quotes, line breaks, other scripts, and words that pandas would read as missing or as numbers."""
    write_shard(tmp_path, 0, [photo(name)], [face(name)])
    write_reports(tmp_path, ReportSettings())
    for report_name in ("files.csv", "faces.csv"):
        assert dicts_of(tmp_path / report_name)[0]["source"].removeprefix("'" if name == "'" else "") == name
    assert b"\r" not in (tmp_path / "files.csv").read_bytes()


def test_chunks_change_nothing(tmp_path, monkeypatch):
    """A shard read in chunks of three rows gives the same bytes as in one piece; tracks may span chunks."""
    faces = [
        face("v", i, track, f"0.{(i * 37 + track * 11) % 100:02d}00", track) for i in range(20) for track in (0, 1)
    ]
    write_shard(tmp_path, 0, [video("v")], faces)
    names = ("faces.csv", "files.csv", "summary.csv")
    write_reports(tmp_path, ReportSettings())
    whole = [(tmp_path / name).read_bytes() for name in names]
    monkeypatch.setattr(report, "_CHUNK_ROWS", 3)
    write_reports(tmp_path, ReportSettings())
    assert [(tmp_path / name).read_bytes() for name in names] == whole


def test_an_unclassified_face_is_nobody(tmp_path):
    """An empty p_mask has no label and is not counted."""
    write_shard(tmp_path, 0, [photo("a")], [face("a", p_mask="")])
    assert write_reports(tmp_path, ReportSettings()).faces == 0
    assert dicts_of(tmp_path / "faces.csv")[0]["label"] == ""


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "source,kind\n", b"\xff\xfe\n"])
def test_foreign_or_damaged_rows_are_a_clear_error(tmp_path, content):
    """A row file that is not ours names itself and what to do, and the earlier reports stay."""
    (tmp_path / "files.csv").write_text("earlier")
    write_shard(tmp_path, 0, [photo("a")])
    broken = tmp_path / ".state/rows/000000.files.csv"
    broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MaskbatchError, match=r"000000\.files\.csv.*scan again"):
        write_reports(tmp_path, ReportSettings())
    assert (tmp_path / "files.csv").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".state", "files.csv"]


def test_pandas_reads_the_reports_back(tmp_path):
    """What an analyst does first works: numbers are numbers."""
    write_shard(tmp_path, 0, [photo("a"), video("v")], [face("a"), face("v", 3)])
    write_reports(tmp_path, ReportSettings())
    faces = pd.read_csv(tmp_path / "faces.csv")
    assert faces["p_mask"].mean() == pytest.approx(0.9) and faces["frame"].tolist() == [0, 3]


def test_pandas_gives_every_name_back(tmp_path):
    """Any name comes back from all reports as it was, one leading apostrophe taken away; numbers are never changed."""
    names = [
        "=1+1",
        "+a/b,c",
        "-x",
        "@sum",
        "'=a",
        '"q"',
        'a,"b"\nc',
        "\tt",
        "\uff1dwide",
        "NA",
        "1e5",
        " s ",
        "#x",
        ";",
        "a\\",
    ]
    write_shard(tmp_path, 0, [photo(f"{name}/{name}.jpg") for name in names],
                [[*face(f"{name}/{name}.jpg")[:5], "-1.5", *face(name)[6:]] for name in names])  # fmt: skip
    write_reports(tmp_path, ReportSettings())
    for report_name, column in (("files.csv", "source"), ("faces.csv", "source"), ("summary.csv", "folder")):
        read = pd.read_csv(tmp_path / report_name, keep_default_na=False, dtype={column: str})
        texts = read[column].str.replace("^'", "", regex=True)
        if report_name == "summary.csv":
            assert set(texts) - {"TOTAL"} >= {name for name in names if "/" not in name}
        else:
            assert texts.tolist() == [f"{name}/{name}.jpg" for name in names]
    assert (pd.read_csv(tmp_path / "faces.csv")["x_min"] == -1.5).all()
