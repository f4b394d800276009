"""The store: rows and their rounding, checkpoints, transactions, versions, and disks that fail."""

import errno
import os
import pickle
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_faces, fake_frames
from stores import Face, File, begun, checkpoint, end, fill, video

from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store import database
from maskbatch.store.checkpoint import decoded, encoded
from maskbatch.store.database import STORE, VERSION, check_version, is_store, open_store
from maskbatch.store.folder import prepared
from maskbatch.store.read import all_media, known_sources, last_checkpoint, left_open, sessions
from maskbatch.store.rows import face_rows
from maskbatch.store.write import (
    add_results,
    begin_session,
    close_sources,
    end_session,
    forget,
    open_sources,
)
from maskbatch.types import Batch, Ended, FaceRow, SegmentResult


@pytest.fixture
def store(tmp_path):
    """An empty store in `tmp_path`."""
    with open_store(tmp_path) as opened:
        yield opened


def table(store, name, columns="*"):
    """All rows of a table, sorted."""
    with store.transaction() as connection:
        return sorted(connection.execute(f"SELECT {columns} FROM {name}"), key=str)


# rows


def test_a_row_is_rounded_to_whole_units():
    """Times, scores and probabilities are ten thousandths, boxes tenths of a pixel; halves go to the even one."""
    frames = fake_frames([7, 7], [0, 4], [0, 4 / 30])
    faces = fake_faces([1], [[1.26, -0.04, 30, 20.04]], [0.97654]).with_track_id(np.array([5]))
    assert face_rows(Batch(frames, faces)) == [FaceRow(7, 4, 0, 1333, 5, 13, 0, 300, 200, 9000, 9765)]
    halves = fake_faces([0], [[0.25, 0.75, 1e5 + 0.5, 3]], [0.5])
    assert face_rows(Batch(frames, halves))[0][5:9] == (2, 8, 1_000_005, 30)


def test_the_last_bits_of_arithmetic_do_not_show():
    """The next float up or down gives the same row, so that tables are equal on every machine."""
    frames, box, p_mask = fake_frames([0], [0], [0.04]), np.float32([[1.3, 2.7, 30.1, 44.4]]), np.float32([0.7311])
    expected = face_rows(Batch(frames, fake_faces([0], box, p_mask)))
    for towards in (0, 100):
        near = fake_faces([0], np.nextafter(box, np.float32(towards)), np.nextafter(p_mask, np.float32(towards)))
        assert face_rows(Batch(frames, near)) == expected


def test_rows_come_by_frame_and_face():
    """Faces are numbered within their frame, in their order; frames without faces have no row."""
    frames = fake_frames([3, 3, 4], [8, 9, 0], [0.8, 0.9, 0])
    rows = face_rows(Batch(frames, fake_faces([0, 0, 2, 2, 2], [[0, 0, 1, 1]] * 5, [0.5] * 5)))
    assert [row[:3] for row in rows] == [(3, 8, 0), (3, 8, 1), (4, 0, 0), (4, 0, 1), (4, 0, 2)]


def test_an_unclassified_face_has_no_p_mask(store):
    """It is NULL in the store and counts for no person."""
    [row] = face_rows(Batch(fake_frames([0], [0], [0]), fake_faces([0], [[0, 0, 9, 9]])))
    assert row.p_mask_e4 is None
    fill(store, [File("a")], [Face("a", p_mask=None), Face("a", p_mask=0.5, face=1, track_id=1)])
    assert table(store, "face", "p_mask_e4") == [(5000,), (None,)]
    assert table(store, "track", "track_id, frames, p_sum_e4") == [(1, 1, 5000)]


def test_tracks_add_up_over_results(store):
    """Each track has its classified faces, first and last time, and the sum of p_mask, however results are cut."""
    sources = begun(store, [video("v")])
    for frames in (range(3), range(3, 10)):
        rows = tuple(Face("v", frame, 2, 0.1 * frame).row(sources["v"].id) for frame in frames)
        add_results(store, [SegmentResult(rows)])
    assert table(store, "track") == [(sources["v"].id, 2, 2, 10, 0, 3000, 45_000, None)]


def test_the_tracks_of_one_person_have_its_number(store):
    """A result names the tracks that continue an earlier one; all others are persons of their own."""
    sources = begun(store, [video("v")])
    rows = tuple(Face("v", frame, track).row(sources["v"].id) for frame, track in ((0, 0), (1, 1), (9, 2)))
    add_results(store, [SegmentResult(rows), SegmentResult(persons=((sources["v"].id, 2, 0),))])
    assert table(store, "track", "track_id, person_id") == [(0, 0), (1, 1), (2, 0)]


def test_deleted_appearances_are_overwritten(store):
    """What a checkpoint knew of a person is not in the file any more when the source has ended."""
    sources = begun(store, [video("v")])
    at = replace(checkpoint(sources["v"]), tracks={"appearance": [[12345.67891]]})
    add_results(store, [SegmentResult(checkpoint=at)])
    end(store, sources, [video("v")])
    with store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM segment").fetchone() == (0,)
    files = [path.read_bytes() for path in store.folder.glob("scan.db*") if not path.name.endswith("-wal")]
    assert not any(b"12345.67891" in content for content in files)


def test_views_show_plain_numbers(store):
    """What people query has names and decimals, and leaves out what is no longer among the inputs."""
    fill(store, [File("gone"), File("a")], [Face("gone"), Face("a", p_mask=0.25)])
    begun(store, [File("a")])
    assert table(store, "faces") == [("a", 0, 0.0, 0, 0, 0, 1.0, 2.0, 31.0, 42.0, 0.9, 0.25, None, None, None, None, 0)]
    assert table(store, "tracks", "source, frames, p_mask") == [("a", 1, 0.25)]


# sources, media, sessions


def test_a_forgotten_source_leaves_nothing(store):
    """No face, track or checkpoint, and its state is pending; its names stay reserved, and others keep theirs."""
    sources = begun(store, [File("a"), File("b"), video("v")])
    end(store, sources, [File("a", error="damaged", notes=("1 page",)), File("b")], [Face("a"), Face("b")])
    add_results(store, [SegmentResult((Face("v").row(sources["v"].id),), checkpoint=checkpoint(sources["v"]))])
    forget(store, [sources["a"].id, sources["v"].id])
    for name in ("face", "track"):
        assert [row[0] for row in table(store, name)] == [sources["b"].id]
    assert table(store, "segment") == []
    cells = "name, state, error, notes, decoded, analysed"
    assert table(store, "source", cells)[0] == ("a", "pending", None, "", 0, 0)
    with store.transaction() as connection:
        assert [one.state for one in known_sources(connection).values()] == ["pending", "done", "pending"]
        assert len(list(all_media(connection))) == 6


def test_media_are_planned_then_written_or_missing(store):
    """Names are reserved before a file is written; the end of a source says if its copy is there."""
    sources = begun(store, [File("a.png"), File("b.png"), File("c.png")])
    assert {state for (state,) in table(store, "media", "state")} == {"planned"}
    end(store, sources, [File("a.png"), File("b.png")])
    copies = ((sources["a.png"].id, True), (sources["b.png"].id, False))
    add_results(store, [SegmentResult(copies=copies)])
    with store.transaction() as connection:
        states = [one.copy_state for one in known_sources(connection).values()]
    assert states == ["written", "missing", "planned"]
    forget(store, [sources["a.png"].id])
    assert table(store, "media", "name, kind, state")[0] == ("a.png", "annotated", "planned")


def test_who_was_open_when_a_session_died_is_known(store, tmp_path):
    """What ended, was closed, or was open in a session that ended by itself is no suspect."""
    for name in "abcd":
        (tmp_path / name).write_text(name)
    sources = begun(store, [File(name) for name in "abcd"])
    first = begin_session(store, {}, {})
    open_sources(store, first, list(sources.values()))
    end(store, sources, [File("a")])
    close_sources(store, [sources["b"]])
    with store.transaction() as connection:
        assert left_open(connection) == ["c", "d"]
    end_session(store, first, "interrupted", {})
    with store.transaction() as connection:
        assert left_open(connection) == []
        assert [(one.how, one.ended is not None) for one in sessions(connection)] == [("interrupted", True)]


def test_how_a_session_ended_is_one_line(store):
    """Whatever an error's message holds; a session that died has no end."""
    first, second = begin_session(store, {"a": 1}, {"b": [2]}), begin_session(store, {}, {})
    end_session(store, first, "two\nlines\udcff", {"seconds": 1.5, "frames": 3})
    with store.transaction() as connection:
        [one, two] = sessions(connection)
    assert (one.how, one.identity, one.facts, one.seconds, one.frames) == (
        r"two\nlines\udcff",
        {"a": 1},
        {"b": [2]},
        1.5,
        3,
    )
    assert (two.id, two.how, two.ended) == (second, None, None)


# checkpoints


def test_a_checkpoint_comes_back_as_it_was(store):
    """The last of a video's segments is its checkpoint, also after others; it is gone when the video has ended."""
    sources = begun(store, [video("v"), video("w")])
    first = checkpoint(sources["v"])
    ended = Ended(sources["v"].id, 70, 70, 96, 64, "ends early", True, ("2 streams",), ((0, 1),))
    second = replace(checkpoint(sources["v"], 2, 70), ended=ended, silenced="crashed the decoder")
    add_results(store, [SegmentResult(checkpoint=first)])
    add_results(store, [SegmentResult(checkpoint=second)])
    assert [decoded(encoded(at), sources["v"]) for at in (first, second)] == [first, second]
    assert pickle.loads(pickle.dumps(second)) == second
    with store.transaction() as connection:
        assert last_checkpoint(connection, sources["v"]) == second
        assert last_checkpoint(connection, sources["w"]) is None
    end(store, sources, [video("v")])
    with store.transaction() as connection:
        assert last_checkpoint(connection, sources["v"]) is None


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[1]", "null", '{"reader": {"index": 3}}', '{"reader": null, "copy": 7}']
)
def test_a_checkpoint_of_another_program_is_none(store, text):
    """The video then begins anew."""
    source = begun(store, [video("v")])["v"]
    with store.transaction() as connection:
        connection.execute("INSERT INTO segment VALUES (?, 0, ?)", [source.id, text])
    with store.transaction() as connection:
        assert last_checkpoint(connection, source) is None


# transactions


def test_a_transaction_that_raises_changes_nothing(store):
    """Neither the rows of that block nor those of a function that meets a row twice."""
    sources = begun(store, [File("a")])
    with pytest.raises(KeyError), store.transaction() as connection:
        connection.execute("UPDATE source SET state = 'done'")
        raise KeyError
    twice = (Face("a").row(sources["a"].id),) * 2
    with pytest.raises(MaskbatchError, match="damaged"):
        add_results(store, [SegmentResult(twice)])
    assert table(store, "face") == [] and table(store, "source", "state") == [("pending",)]
    end(store, sources, [File("a")])  # and the store is as usable as before


def test_a_reader_sees_one_state_while_others_write(tmp_path, store):
    """All queries of a reader's transaction agree, whatever is committed meanwhile; the next transaction sees it."""
    sources = begun(store, [File("a"), File("b")])
    end(store, sources, [File("a")], [Face("a")])
    with open_store(tmp_path, reader=True) as reader:
        with reader.transaction() as connection:
            count = "SELECT (SELECT count(*) FROM source WHERE state = 'done'), (SELECT count(*) FROM face)"
            before = connection.execute(count).fetchone()
            end(store, sources, [File("b")], [Face("b")])
            assert connection.execute(count).fetchone() == before == (1, 1)
        with reader.transaction() as connection:
            assert connection.execute(count).fetchone() == (2, 2)


def test_nobody_waits_for_a_program_that_has_the_store_open(tmp_path):
    """A browser of databases may stay open for hours; the scan that is shown there begins and ends all the same."""
    with open_store(tmp_path) as store:
        fill(store, [File("a")])
    start = time.monotonic()
    with closing(sqlite3.connect(tmp_path / STORE)) as browser:
        for number in (1, 2):
            with open_store(tmp_path) as store:
                fill(store, [File("a"), File(f"{number}")])
                assert browser.execute("SELECT count(*) FROM source").fetchone() == (1 + number,)
    assert time.monotonic() - start < 20


def test_a_scan_that_has_ended_leaves_one_file(tmp_path):
    """It can be copied or sent as it is."""
    with open_store(tmp_path) as store:
        fill(store, [File("a")])
    assert [path.name for path in tmp_path.iterdir()] == [STORE]


def test_a_reader_cannot_write(tmp_path, store):
    """It has no right to, and says so as the system does."""
    with (
        open_store(tmp_path, reader=True) as reader,
        pytest.raises(OSError) as found,
        reader.transaction() as connection,
    ):
        connection.execute("DELETE FROM source")
    assert found.value.errno == errno.EROFS


def test_threads_take_turns(store):
    """Twenty threads that each add results lose none."""
    sources = begun(store, [File(f"{number}") for number in range(20)])
    threads = [threading.Thread(target=end, args=(store, sources, [File(name)], [Face(name)])) for name in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table(store, "face")) == 20 and {state for (state,) in table(store, "source", "state")} == {"done"}


def test_a_full_disk_is_an_oserror(store):
    """With the number of a full disk; the results are not there, and with room they are."""
    sources = begun(store, [video("v")])
    rows = tuple(Face("v", frame).row(sources["v"].id) for frame in range(20_000))
    with store.transaction() as connection:
        [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(OSError) as found:
        add_results(store, [SegmentResult(rows)])
    assert found.value.errno == errno.ENOSPC and found.value.filename.endswith(STORE)
    assert table(store, "face") == []
    with store.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    add_results(store, [SegmentResult(rows)])
    assert len(table(store, "face")) == 20_000


# files


def test_a_new_store_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    """A kill while it is made leaves no file of that name; what is left is made again."""

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(os, "replace", killed)
        with open_store(tmp_path):
            pass
    assert not (tmp_path / STORE).exists()
    with open_store(tmp_path) as store:
        fill(store, [File("a")])
    assert is_store(tmp_path / STORE)


def test_a_folder_of_the_first_version_is_refused(tmp_path):
    """With what to do; --if-exists overwrite does not remove what it does not know."""
    (tmp_path / ".state/rows").mkdir(parents=True)
    for opened in (lambda: check_version(tmp_path), lambda: open_store(tmp_path).__enter__()):
        with pytest.raises(UsageError, match=r"maskbatch 0\.1.*another folder with --out"):
            opened()
    assert [path.name for path in tmp_path.iterdir()] == [".state"]


@pytest.mark.parametrize("version", [1, 7])
@pytest.mark.parametrize("reader", [False, True])
def test_another_version_of_the_store_is_refused(tmp_path, reader, version):
    """Its number is said, and nothing in it changes."""
    with open_store(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / STORE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / STORE).read_bytes()
    with (
        pytest.raises(UsageError, match=rf"store {version}, this one writes {VERSION}.*--out"),
        open_store(tmp_path, reader),
    ):
        pass
    assert (tmp_path / STORE).read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0" + bytes(200), b"my notes\n" * 50])
def test_what_is_not_ours_is_not_touched(tmp_path, content):
    """A file of that name which maskbatch did not write is refused, by scans that continue and that overwrite."""
    (tmp_path / STORE).write_bytes(content)
    for if_exists in ("resume", "overwrite", "error"):
        with pytest.raises(UsageError, match="not from maskbatch"), prepared(tmp_path, if_exists):
            pass
    with pytest.raises(UsageError), open_store(tmp_path, reader=True):
        pass
    assert (tmp_path / STORE).read_bytes() == content


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_store_is_a_clear_error(tmp_path, share):
    """It names the file and what to do, and the earlier tables stay."""
    with open_store(tmp_path) as store:
        fill(store, [File(f"{number}.png") for number in range(500)], [Face(f"{number}.png") for number in range(500)])
        write_reports(store, ReportSettings())
    before = (tmp_path / "faces.csv").read_bytes()
    size = (tmp_path / STORE).stat().st_size
    with (tmp_path / STORE).open("r+b") as file:
        file.seek(max(int(size * share), 100))
        file.write(b"\xa5" * (size // 3))
    with (
        pytest.raises(MaskbatchError, match=r"scan\.db is damaged .*delete this one"),
        open_store(tmp_path) as store,
    ):
        write_reports(store, ReportSettings())
        with store.transaction() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (tmp_path / "faces.csv").read_bytes() == before and not list(tmp_path.glob(".*.part*"))


@pytest.mark.parametrize("name", ["face", "track", "source"])
def test_damage_in_any_table_is_named(tmp_path, name):
    """Whichever library reads the table."""
    with open_store(tmp_path) as store:
        fill(store, [File("a")], [Face("a")])
    with closing(sqlite3.connect(tmp_path / STORE)) as connection:
        [page], [size] = (
            connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchone(),
            connection.execute("PRAGMA page_size").fetchone(),
        )
    with (tmp_path / STORE).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    with pytest.raises(MaskbatchError, match=r"scan\.db is damaged"), open_store(tmp_path) as store:
        write_reports(store, ReportSettings())


def test_a_read_only_folder_can_be_read(tmp_path, monkeypatch):
    """`report` of a folder on a DVD: where SQLite cannot write beside the file, the store is opened without that."""
    with open_store(tmp_path) as store:
        fill(store, [File("a")], [Face("a")])
    real, tried = sqlite3.connect, []

    class ReadOnlyDisk(sqlite3.Connection):
        def execute(self, sql, *rest):
            if len(tried) == 1:
                raise sqlite3.OperationalError("unable to open database file")
            return super().execute(sql, *rest)

    def connect(*given, **options):
        tried.append(given)
        return real(*given, factory=ReadOnlyDisk, **options)

    monkeypatch.setattr(database.sqlite3, "connect", connect)
    with open_store(tmp_path, reader=True) as reader:
        assert len(table(reader, "face")) == 1 and len(tried) == 2


def test_a_folder_without_a_scan_has_no_reader(tmp_path):
    """It is a usage error, and no store is made."""
    with pytest.raises(UsageError, match="not the output folder"), open_store(tmp_path, reader=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_shared_memory_has_another_journal(tmp_path, monkeypatch):
    """Where there is no write-ahead log (network drives) results are stored all the same, and readers wait their turn."""
    real = sqlite3.connect

    class NoWal(sqlite3.Connection):
        def execute(self, sql, *rest):
            return super().execute("PRAGMA journal_mode" if sql == "PRAGMA journal_mode = WAL" else sql, *rest)

    monkeypatch.setattr(database.sqlite3, "connect", lambda *given, **options: real(*given, factory=NoWal, **options))
    with open_store(tmp_path) as store:
        fill(store, [File("a")], [Face("a")])
        assert not (tmp_path / (STORE + "-wal")).exists()
        with open_store(tmp_path, reader=True) as reader:
            assert len(table(reader, "face")) == 1
