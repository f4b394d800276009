import errno
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import fake_faces, fake_frames, written
from makers import corners

from maskbatch.media.names import written_names
from maskbatch.media.write import made_with
from maskbatch.media.write.sound import unguarded
from maskbatch.settings import OutputSettings, ReportSettings, ScanSettings
from maskbatch.sinks import copies as module
from maskbatch.sinks import open_sinks
from maskbatch.sinks.annotated import AnnotatedSink
from maskbatch.sinks.crops import CropSink
from maskbatch.types import Batch, Checkpoint, CopyState, Faces, Frames, Source, YuvColours

BOX = [8, 6, 20, 18]


def photo(source_id, name):
    return Source(source_id, Path("/in") / name, name, "image")


def video(source_id, name):
    return Source(source_id, Path("/in") / name, name, "video", fps=Fraction(30000, 1001), duration_s=2.002)


def batch_of(source_id, index, faces=None, size=(32, 24)):
    frames = fake_frames(source_id, index, [i / 30 for i in index], size=size)
    return Batch(frames, Faces.empty() if faces is None else faces)


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def frame_count(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def settings_for(out, *save):
    return ScanSettings(output=OutputSettings(folder=out, save=frozenset(save)))


def beginning(source, copy=None):
    return Checkpoint(source, made_with(), written_names(source), copy=copy or CopyState())


def annotated(out, *sources, copy=None):
    return AnnotatedSink(sources, beginning(sources[0], copy), settings_for(out, "annotated"))


# annotated media


def test_photos_are_mirrored_with_and_without_faces(tmp_path):
    """Every photo that was read gets its copy, at the same relative path; one that was not read gets none."""
    sources = photo(0, "a.png"), photo(1, "sub/a.png"), photo(2, "broken.png")
    with annotated(tmp_path, *sources) as sink:
        written(sink, batch_of([0, 1], [0, 0], fake_faces([1], [BOX], [0.9])))
        assert [sink.end(source).is_there for source in sources] == [True, True, False]
    assert tree(tmp_path) == ["annotated/a.png", "annotated/sub/a.png"]
    assert (cv2.imread(str(tmp_path / "annotated/a.png")) == 40).all()
    assert (cv2.imread(str(tmp_path / "annotated/sub/a.png")) != 50).any()


def test_a_video_is_written_in_parts_and_joined_at_its_end(tmp_path):
    """One part a segment, whole on the disk at its cut; the joined copy is there when the source has ended."""
    source = video(3, "sub/a.mp4")
    with annotated(tmp_path, source) as sink:
        written(sink, batch_of([3, 3], [0, 1]))
        state = sink.cut(source)
        assert state.parts == (("000000.mp4", 0),) and state.writer.last_pts > 0 and not state.broken
        assert tree(tmp_path) == [".segments/3/000000.mp4"]
        written(sink, batch_of([3, 3, 3], [2, 3, 4]))
        assert sink.is_to_join(source) and tree(tmp_path / "annotated") == []
        sink.cut(source)
        assert sink.join(source, (), unguarded)
    assert tree(tmp_path / "annotated") == ["sub/a.mp4"] and frame_count(tmp_path / "annotated/sub/a.mp4") == 5


def test_the_clock_in_a_video_is_that_of_the_tables(tmp_path, monkeypatch):
    """A path template tells the start that is drawn, too."""
    drawn = []
    monkeypatch.setattr("maskbatch.sinks.annotated.draw_clock", lambda _, text: drawn.append(text))
    source, report = video(0, "door 5.11.26 2200.mp4"), ReportSettings(
        timezone="Europe/Berlin", path_template="{camera} {start:%d.%m.%y %H%M}"
    )  # fmt: skip
    settings = replace(settings_for(tmp_path, "annotated"), report=report)
    with AnnotatedSink([source], beginning(source), settings) as sink:
        written(sink, batch_of([0], [30]))
    assert drawn == ["2026-11-05 22:00:01+01:00"]


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("is_full", [False, True])
def test_frames_with_planes_and_without_them_look_alike(tmp_path, matrix, is_full):
    """In one copy, planes are written as they are, and RGB is converted; the box is in both. Nothing jumps."""
    image = corners()
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    planes = frame.reformat(
        format="yuv420p", src_color_range=2, dst_colorspace=matrix, dst_color_range=2 if is_full else 1
    ).to_ndarray()
    is_looked_at = np.array([True, False, False, True, False])
    frames = Frames(
        tuple(image if one else None for one in is_looked_at), np.zeros(5, np.int64), np.arange(5), np.arange(5) / 30,
        is_looked_at=is_looked_at, planes=(None, *(planes.copy() for _ in range(4))),
    )  # fmt: skip
    faces = fake_faces(range(5), [[30, 20, 60, 50]] * 5, [0.9] * 5)
    source = replace(video(0, "a.mp4"), colours=YuvColours(matrix, is_full, (matrix, matrix, matrix)))
    with annotated(tmp_path, source) as sink:
        written(sink, Batch(frames, faces.take(is_looked_at), drawn=faces))
        sink.cut(source)
        sink.join(source, (), unguarded)
    with av.open(str(tmp_path / "annotated/a.mp4")) as container:
        shown = np.stack([one.to_ndarray() for one in container.decode(video=0)]).astype(int)
    assert len(shown) == 5 and np.abs(shown - shown[0]).mean() < 2 and (image == corners()).all()
    box = np.abs(shown[:, :64] - planes[:64]).mean((1, 2))
    assert (box > 5).all() and np.ptp(box) < 2


def test_planes_never_reach_a_copy_that_hides_somebody():
    """A copy would be made of the planes, in which nobody is hidden: such a batch cannot be."""
    frames = replace(fake_frames([0], [1], [0.0]), planes=(np.zeros((36, 32), np.uint8),))
    with pytest.raises(ValueError, match="cannot hide anybody"):
        Batch(frames, Faces.empty(), hidden=(np.array([BOX], np.float32),))
    assert Batch(frames, Faces.empty()).hidden is None


def test_a_video_is_continued_after_its_last_part(tmp_path):
    """The part that was open is dropped; from the state at the last cut, another sink comes to the same bytes."""
    source = video(0, "a.mp4")
    with annotated(tmp_path / "whole", source) as sink:
        written(sink, batch_of([0, 0], [0, 1]))
        sink.cut(source)
        written(sink, batch_of([0, 0], [2, 3]))
        sink.cut(source)
        sink.join(source, (), unguarded)
    with pytest.raises(RuntimeError), annotated(tmp_path / "out", source) as sink:
        written(sink, batch_of([0, 0], [0, 1]))
        state = sink.cut(source)
        written(sink, batch_of([0], [2]))
        raise RuntimeError
    assert tree(tmp_path / "out") == [".segments/0/000000.mp4"]
    with annotated(tmp_path / "out", source, copy=state) as sink:
        written(sink, batch_of([0, 0], [2, 3]))
        sink.cut(source)
        sink.join(source, (), unguarded)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert (tmp_path / "out/annotated/a.mp4").read_bytes() == (tmp_path / "whole/annotated/a.mp4").read_bytes()


def test_a_video_that_broke_keeps_what_was_read(tmp_path):
    """One that ends after two frames leaves a video of two frames; one without any leaves none."""
    with annotated(tmp_path, video(0, "a.mp4"), video(1, "b.mp4")) as sink:
        written(sink, batch_of([0, 0], [0, 1]))
        broken, empty = video(0, "a.mp4"), video(1, "b.mp4")
        assert sink.is_to_join(broken) and not sink.is_to_join(empty) and not sink.end(empty)
        sink.cut(broken)
        assert sink.join(broken, (), unguarded)
    assert tree(tmp_path / "annotated") == ["a.mp4"] and frame_count(tmp_path / "annotated/a.mp4") == 2


def test_a_broken_run_leaves_no_half_video(tmp_path):
    """The part that was open when the block ends, by an exception or before the video ended, is removed."""
    with pytest.raises(RuntimeError, match="stop"), annotated(tmp_path, video(0, "a.mp4")) as sink:
        written(sink, batch_of([0], [0]))
        raise RuntimeError("stop")
    assert tree(tmp_path) == []
    with annotated(tmp_path, video(0, "a.mp4")) as sink:
        written(sink, batch_of([0], [0]))
    assert tree(tmp_path) == []


@pytest.mark.parametrize("number", [None, errno.ENAMETOOLONG, errno.EINVAL, 542398533])
def test_a_refused_source_does_not_stop_the_run(tmp_path, monkeypatch, caplog, number):
    """A name too long for the disk, or a size the encoder refuses, is logged once, and the next source is written."""

    def refuse(*_):
        raise OSError(number, "refused") if number else OSError("refused")

    monkeypatch.setattr(module.VideoWriter, "write", refuse)
    refused, taken = video(0, "a.mp4"), photo(1, "b.png")
    with annotated(tmp_path, refused, taken) as sink:
        written(sink, batch_of([0, 0, 1], [0, 1, 0]))
        assert sink.cut(refused).broken and not sink.is_to_join(refused)
        ends = sink.end(refused), sink.end(taken)
        assert [end.is_there for end in ends] == [False, True] and ends[0].reason and not ends[1].reason
    assert tree(tmp_path) == ["annotated/b.png"]
    assert [record.message for record in caplog.records if "a.mp4: no annotated copy" in record.message] == [
        caplog.records[0].message
    ]


def test_a_copy_that_was_refused_stays_so_when_the_video_is_continued(tmp_path, monkeypatch):
    """There is no second half of a video."""
    with annotated(tmp_path, video(0, "a.mp4"), copy=CopyState(broken="refused")) as sink:
        written(sink, batch_of([0, 0], [30, 31]))
        assert not sink.is_to_join(video(0, "a.mp4")) and not sink.end(video(0, "a.mp4"))
    assert tree(tmp_path) == []


def test_a_size_that_the_encoder_refuses_is_only_logged(tmp_path, caplog):
    """A video wider than H.264 goes leaves a warning and no file, for real."""
    with annotated(tmp_path, video(0, "wide.mp4")) as sink:
        written(sink, batch_of([0], [0], size=(17000, 2)))
        assert sink.cut(video(0, "wide.mp4")).broken
        assert not sink.end(video(0, "wide.mp4"))
    assert tree(tmp_path) == [] and "wide.mp4: no annotated copy" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_disk_errors_end_the_run(tmp_path, monkeypatch, number):
    """A full or read-only disk is not a matter of one source: it is raised."""

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "encode_image", full)
    with pytest.raises(OSError, match=os.strerror(number)), annotated(tmp_path, photo(0, "a.png")) as sink:
        written(sink, batch_of([0], [0]))


@pytest.mark.parametrize("step", ["write", "cut", "join"])
def test_the_cause_tells_a_full_disk_from_a_refusal(tmp_path, monkeypatch, step):
    """A full disk is recognised behind the message of the video writer as well, while a part is written or finished, and
    while parts are joined."""

    def full(*_):
        raise OSError("cannot write a.mp4") from OSError(errno.ENOSPC, "No space left on device")

    source = video(0, "a.mp4")
    patched = {"write": (module.VideoWriter, "write"), "cut": (module.VideoWriter, "_finish"), "join": (module, "join")}
    monkeypatch.setattr(*patched[step], full)
    with pytest.raises(OSError, match="cannot write"), annotated(tmp_path, source) as sink:
        written(sink, batch_of([0], [0]))
        sink.cut(source)
        sink.join(source, (), unguarded)


# crops


def test_crops_are_named_by_label_source_frame_and_face(tmp_path):
    """Faces of sources that differ in their extension only do not overwrite each other."""
    sources = photo(0, "sub/a.jpg"), photo(1, "sub/a.png")
    faces = fake_faces([0, 0, 1], [BOX] * 3, [0.9, 0.2, 0.5])
    written(CropSink(sources, settings_for(tmp_path)), batch_of([0, 1], [0, 0], faces))
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
    written(CropSink([photo(0, "a.png")], settings_for(tmp_path)), batch_of([0], [0], fake_faces([0], [xyxy], [0.9])))
    assert cv2.imread(str(tmp_path / "crops/with_mask/a.png_f000000_0.jpg")).shape == shape


def test_a_face_outside_the_image_has_no_crop(tmp_path):
    """An empty crop is left out."""
    written(
        CropSink([photo(0, "a.png")], settings_for(tmp_path)),
        batch_of([0], [0], fake_faces([0], [[100, 100, 120, 120]], [0.9])),
    )
    assert tree(tmp_path) == []


def test_a_crop_that_is_refused_costs_nothing_else(tmp_path, monkeypatch, caplog):
    """It is logged; a full disk is raised."""
    (tmp_path / "crops/with_mask").mkdir(parents=True)
    (tmp_path / "crops/with_mask/sub").write_text("mine")
    sink = CropSink([photo(0, "sub/a.png"), photo(1, "b.png")], settings_for(tmp_path))
    written(sink, batch_of([0, 1], [0, 0], fake_faces([0, 1], [BOX] * 2, [0.9, 0.9])))
    assert "sub/a.png: a face without its crop" in caplog.text
    assert tree(tmp_path) == ["crops/with_mask/b.png_f000000_0.jpg", "crops/with_mask/sub"]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("maskbatch.sinks.crops.encode_image", full)
    with pytest.raises(OSError, match="No space left"):
        written(sink, batch_of([1], [0], fake_faces([0], [BOX], [0.9])))


# all together


@pytest.mark.parametrize("save", [(), ("annotated",), ("crops",), ("annotated", "crops")])
def test_settings_choose_what_is_written(tmp_path, save):
    """Annotated copies and crops are written as asked for, and the end of a source says if it has a copy."""
    source = photo(0, "a.jpg")
    with open_sinks([source], beginning(source), settings_for(tmp_path, *save)) as sinks:
        sinks.write(batch_of([0], [0], fake_faces([0], [BOX], [0.9])), [source]).settle()
        assert sinks.end(source).is_there == ("annotated" in save)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(save)


def test_a_video_without_a_copy_has_cuts_all_the_same(tmp_path):
    """Its state is that of a copy of which nothing is written."""
    source = video(0, "a.mp4")
    with open_sinks([source], beginning(source), settings_for(tmp_path, "crops")) as sinks:
        sinks.write(batch_of([0], [0]), []).settle()
        assert sinks.cut(source) == CopyState() and not sinks.end(source)
