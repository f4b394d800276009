import csv
import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import fake_faces, fake_frames

from maskbatch import sinks
from maskbatch.config import OutputSettings, ScanSettings
from maskbatch.data import FACE_COLUMNS, FILE_COLUMNS, Batch, Ended, Faces, Shard, Source
from maskbatch.marks import next_unit, read_marks
from maskbatch.media import writers
from maskbatch.sinks import AnnotatedSink, CropSink, RowSink, open_sinks

BOX = [8, 6, 20, 18]


def photo(source_id, name):
    return Source(source_id, Path("/in") / name, name, "image")


def video(source_id, name):
    return Source(source_id, Path("/in") / name, name, "video", fps=Fraction(30000, 1001), duration_s=2.002)


def batch_of(source_id, index, ended=(), faces=None, size=(32, 24)):
    frames = fake_frames(source_id, index, [i / 30 for i in index], ended, size)
    return Batch(frames, Faces.empty() if faces is None else faces)


def by_id(*sources):
    return {source.id: source for source in sources}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def frame_count(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def annotated(out, *sources):
    return AnnotatedSink(out, by_id(*sources), OutputSettings(), 0.5)


# rows


def test_rows_have_the_declared_columns_and_formats(tmp_path):
    """A face's row and a file's row, cell by cell."""
    shard = Shard(3, (video(7, "a/b.mp4"),))
    faces = fake_faces([1], [[1.26, -0.04, 30, 20.04]], [0.97654]).with_track_id(np.array([5]))
    with RowSink(tmp_path, shard) as sink:
        sink.write(batch_of([7, 7], [0, 4], [Ended(7, 60, 2, 32, 24, "cut", notes=("a", "b"))], faces))
    assert rows_of(tmp_path / "000003.faces.csv") == [
        list(FACE_COLUMNS),
        ["a/b.mp4", "4", "0.1333", "0", "5", "1.3", "0.0", "30.0", "20.0", "0.9000", "0.9765"],
    ]
    assert rows_of(tmp_path / "000003.files.csv") == [
        list(FILE_COLUMNS),
        ["a/b.mp4", "video", "cut", "32", "24", "29.970", "2.002", "60", "2", "a; b"],
    ]


def test_photos_have_neither_fps_nor_duration(tmp_path):
    """What is unknown is an empty cell."""
    with RowSink(tmp_path, Shard(0, (photo(0, "x.jpg"),))) as sink:
        sink.write(batch_of([], [], [Ended(0, 0, 0, error="file is empty")]))
    empty = [""] * 4
    assert rows_of(tmp_path / "000000.files.csv")[1] == ["x.jpg", "image", "file is empty", *empty, "0", "0", ""]
    assert len(rows_of(tmp_path / "000000.faces.csv")) == 1


def test_rows_are_in_order_however_frames_come(tmp_path):
    """Sources that are interleaved, and end in another order, leave the same bytes as one after the other."""
    shard = Shard(0, (photo(0, "a.jpg"), video(1, "b.mp4"), video(2, "c.mp4")))
    ends = [Ended(0, 1, 1), Ended(1, 2, 2), Ended(2, 2, 2)]
    with RowSink(tmp_path / "mixed", shard) as sink:
        sink.write(batch_of([2, 1], [0, 0], faces=fake_faces([0, 1, 1], [BOX] * 3, [0.1, 0.2, 0.3])))
        sink.write(batch_of([2, 0, 1], [1, 0, 1], ends[::-1], fake_faces([0, 1, 2], [BOX] * 3, [0.4, 0.5, 0.6])))
    with RowSink(tmp_path / "plain", shard) as sink:
        sink.write(batch_of([0], [0], ends[:1], fake_faces([0], [BOX], [0.5])))
        sink.write(batch_of([1, 1], [0, 1], ends[1:2], fake_faces([0, 0, 1], [BOX] * 3, [0.2, 0.3, 0.6])))
        sink.write(batch_of([2, 2], [0, 1], ends[2:], fake_faces([0, 1], [BOX] * 2, [0.1, 0.4])))
    for name in ("000000.faces.csv", "000000.files.csv"):
        assert (tmp_path / "mixed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert [row[3] for row in rows_of(tmp_path / "plain/000000.faces.csv")[1:]] == ["0", "0", "1", "0", "0", "0"]


def test_an_unfinished_shard_leaves_no_rows(tmp_path):
    """When the run breaks, neither rows nor temporary files remain."""
    with pytest.raises(KeyboardInterrupt), RowSink(tmp_path, Shard(0, (photo(0, "a.jpg"),))) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)]))
        raise KeyboardInterrupt
    assert tree(tmp_path) == []


def test_a_source_that_has_not_ended_is_an_error(tmp_path):
    """A shard is not marked as done while one of its sources is missing."""
    sink = RowSink(tmp_path, Shard(0, (photo(0, "a.jpg"), photo(1, "b.jpg"))))
    with pytest.raises(ValueError, match="1 sources of shard 0 have not ended"), sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)]))
    assert tree(tmp_path) == []


def test_the_marks_are_the_last_to_appear(tmp_path, monkeypatch):
    """What says that sources are done comes after their rows."""
    renamed, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (renamed.append(Path(new).name), replace(old, new)))
    with RowSink(tmp_path, Shard(0, (photo(0, "a.jpg"),))) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)]))
    assert renamed == ["000000.faces.csv", "000000.files.csv", "000000.done.jsonl"]


def test_marks_say_where_the_rows_of_each_source_are(tmp_path):
    """The bytes between a mark's numbers are the rows of its source and nothing else; those of a stopped shard as well,
    where sources that have not ended have none."""
    sink = RowSink(tmp_path, Shard(4, tuple(photo(i, f"ü{i}.jpg") for i in range(4))))
    with sink:
        ends = [Ended(i, 1, 1) for i in range(3)]
        sink.write(batch_of([0, 1, 2, 3], [0] * 4, ends, fake_faces([0, 0, 2, 3], [BOX] * 4, [0.5] * 4)))
        sink.stop()
    stored = read_marks(tmp_path)
    assert list(stored) == ["ü0.jpg", "ü1.jpg", "ü2.jpg"] and next_unit(tmp_path) == 5
    for number, rows in enumerate(stored.values()):
        ((path, start, end),) = rows.faces
        names = [line.split(",")[0] for line in path.read_bytes()[start:end].decode().splitlines()]
        assert names == [f"ü{number}.jpg"] * [2, 0, 1][number]
        path, start, end = rows.files
        assert path.read_bytes()[start:end].decode() == f"ü{number}.jpg,image,,,,,,1,1,\n"


@pytest.mark.parametrize(
    ("name", "cell"),
    [('a,"b"\n.jpg', r'a,"b"\n.jpg'), ("ü 面.jpg", "ü 面.jpg"), ("a\udcff.jpg", "a\\udcff.jpg"), ("a\rb", "a\\rb")],
)
def test_odd_names_survive(tmp_path, name, cell):
    """Commas, quotes and other scripts are kept; line breaks and what UTF-8 cannot hold are spelled out."""
    with RowSink(tmp_path, Shard(0, (photo(0, name),))) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)], fake_faces([0], [BOX], [0.5])))
    assert rows_of(tmp_path / "000000.faces.csv")[1][0] == cell
    assert rows_of(tmp_path / "000000.files.csv")[1][0] == cell


def test_an_unclassified_face_has_an_empty_p_mask(tmp_path):
    """NaN does not get into a CSV."""
    with RowSink(tmp_path, Shard(0, (photo(0, "a.jpg"),))) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)], fake_faces([0], [BOX])))
    assert rows_of(tmp_path / "000000.faces.csv")[1][-1] == ""


# annotated media


def test_photos_are_mirrored_with_and_without_faces(tmp_path):
    """Every photo that was read gets its copy, at the same relative path; one that was not read gets none."""
    sources = photo(0, "a.png"), photo(1, "sub/a.png"), photo(2, "broken.png")
    ends = [Ended(0, 1, 1), Ended(1, 1, 1), Ended(2, 0, 0, error="file is empty")]
    with annotated(tmp_path, *sources) as sink:
        sink.write(batch_of([0, 1], [0, 0], ends, fake_faces([1], [BOX], [0.9])))
    assert tree(tmp_path) == ["annotated/a.png", "annotated/sub/a.png"]
    assert (cv2.imread(str(tmp_path / "annotated/a.png")) == 40).all()
    assert (cv2.imread(str(tmp_path / "annotated/sub/a.png")) != 50).any()


def test_several_videos_are_written_at_once(tmp_path):
    """Frames of two videos that alternate end in two files; each is complete as soon as it has ended."""
    with annotated(tmp_path, video(0, "a.mp4"), video(1, "b.mp4")) as sink:
        sink.write(batch_of([0, 1, 0, 1], [0, 0, 1, 1], [Ended(0, 2, 2)]))
        assert tree(tmp_path / "annotated")[-1] == "a.mp4" and frame_count(tmp_path / "annotated/a.mp4") == 2
        sink.write(batch_of([1], [2], [Ended(1, 3, 3)]))
    assert tree(tmp_path) == ["annotated/a.mp4", "annotated/b.mp4"]
    assert frame_count(tmp_path / "annotated/b.mp4") == 3


def test_a_video_that_broke_keeps_what_was_read(tmp_path):
    """`Ended` with an error after two frames leaves a video of two frames."""
    with annotated(tmp_path, video(0, "a.mp4")) as sink:
        sink.write(batch_of([0, 0], [0, 1], [Ended(0, 2, 2, error="ends early")]))
    assert frame_count(tmp_path / "annotated/a.mp4") == 2


def test_a_broken_run_leaves_no_half_video(tmp_path):
    """An exception during the run removes the videos that were open."""
    with pytest.raises(RuntimeError, match="stop"), annotated(tmp_path, video(0, "a.mp4")) as sink:
        sink.write(batch_of([0], [0]))
        raise RuntimeError("stop")
    assert tree(tmp_path) == []


@pytest.mark.parametrize("number", [None, errno.ENAMETOOLONG, errno.EINVAL, 542398533])
def test_a_refused_source_does_not_stop_the_run(tmp_path, monkeypatch, caplog, number):
    """A name too long for the disk, or a size the encoder refuses, is logged once, and the next source is written."""

    class Refusing:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, *_):
            raise OSError(number, "refused") if number else OSError("refused")

    monkeypatch.setattr(sinks, "VideoWriter", Refusing)
    with annotated(tmp_path, video(0, "a.mp4"), photo(1, "b.png")) as sink:
        sink.write(batch_of([0, 0, 1], [0, 1, 0], [Ended(0, 2, 2), Ended(1, 1, 1)]))
    assert tree(tmp_path) == ["annotated/b.png"]
    assert [record.message for record in caplog.records if "a.mp4: no annotated copy" in record.message] == [
        caplog.records[0].message
    ]


def test_a_size_that_the_encoder_refuses_is_only_logged(tmp_path, caplog):
    """A video wider than H.264 goes leaves a warning and no file, for real."""
    frames = batch_of([0], [0], [Ended(0, 1, 1)], size=(17000, 2))
    with annotated(tmp_path, video(0, "wide.mp4")) as sink:
        sink.write(frames)
    assert tree(tmp_path) == [] and "wide.mp4: no annotated copy" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_disk_errors_end_the_run(tmp_path, monkeypatch, number):
    """A full or read-only disk is not a matter of one source: it is raised."""

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writers, "write_image", full)
    with pytest.raises(OSError, match=os.strerror(number)), annotated(tmp_path, photo(0, "a.png")) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)]))


def test_the_cause_tells_a_full_disk_from_a_refusal(tmp_path, monkeypatch):
    """A full disk is recognised behind the message of the video writer as well."""

    def full(*_):
        raise OSError("cannot write a.mp4") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sinks.VideoWriter, "write", full)
    with pytest.raises(OSError, match="cannot write"), annotated(tmp_path, video(0, "a.mp4")) as sink:
        sink.write(batch_of([0], [0], [Ended(0, 1, 1)]))


def test_closing_finishes_what_is_open_and_may_be_repeated(tmp_path):
    """`close` does what the end of the `with` block does."""
    sink = annotated(tmp_path, video(0, "a.mp4"))
    sink.write(batch_of([0], [0]))
    sink.close()
    sink.close()
    assert frame_count(tmp_path / "annotated/a.mp4") == 1


# crops


def test_crops_are_named_by_label_source_frame_and_face(tmp_path):
    """Faces of sources that differ in their extension only do not overwrite each other."""
    sources = by_id(photo(0, "sub/a.jpg"), photo(1, "sub/a.png"))
    faces = fake_faces([0, 0, 1], [BOX] * 3, [0.9, 0.2, 0.5])
    with CropSink(tmp_path, sources, 0.5) as sink:
        sink.write(batch_of([0, 1], [0, 0], faces=faces))
    assert tree(tmp_path) == [
        "crops/with_mask/sub/a.jpg_f000000_0.jpg",
        "crops/with_mask/sub/a.png_f000000_0.jpg",
        "crops/without_mask/sub/a.jpg_f000000_1.jpg",
    ]


@pytest.mark.parametrize(
    ("xyxy", "shape"), [(BOX, (18, 18, 3)), ([-5, -5, 7, 7], (10, 10, 3)), ([20, 12, 32, 24], (15, 15, 3))]
)
def test_a_crop_is_the_box_and_a_quarter_more(tmp_path, xyxy, shape):
    """25 % on each side, cut off at the image's borders."""
    with CropSink(tmp_path, by_id(photo(0, "a.png")), 0.5) as sink:
        sink.write(batch_of([0], [0], faces=fake_faces([0], [xyxy], [0.9])))
    assert cv2.imread(str(tmp_path / "crops/with_mask/a.png_f000000_0.jpg")).shape == shape


def test_a_face_outside_the_image_has_no_crop(tmp_path):
    """An empty crop is left out."""
    with CropSink(tmp_path, by_id(photo(0, "a.png")), 0.5) as sink:
        sink.write(batch_of([0], [0], faces=fake_faces([0], [[100, 100, 120, 120]], [0.9])))
    assert tree(tmp_path) == []


# all together


@pytest.mark.parametrize(("save", "num"), [((), 1), (("annotated",), 2), (("annotated", "crops"), 3)])
def test_settings_choose_the_sinks(tmp_path, save, num):
    """Rows are always written, media as asked for; the rows are entered first, so that they are closed last."""
    settings = ScanSettings(output=OutputSettings(save=frozenset(save)))
    opened = open_sinks(Shard(0, (photo(0, "a.jpg"),)), tmp_path, settings)
    assert len(opened) == num and isinstance(opened[0], RowSink)
