from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import fake_faces, fake_frames
from stores import Face, begun, end, video

from maskbatch.media.write import Unnamed
from maskbatch.people.answer import find_answer
from maskbatch.settings import OutputSettings, ReportSettings, ScanSettings
from maskbatch.sinks.evidence import EvidenceSink
from maskbatch.store.database import open_store
from maskbatch.store.write import add_results
from maskbatch.types import Batch, SegmentResult, Source


@pytest.fixture
def sink(tmp_path):
    source = Source(3, Path("/in/day/v.mp4"), "day/v.mp4", "video")
    settings = ScanSettings(output=OutputSettings(folder=tmp_path))
    return EvidenceSink([source, Source(4, Path("/in/p.jpg"), "p.jpg", "image")], settings), source


def taken(evidence, source):
    """The pictures of a segment that ends here, on the disk."""
    files = Unnamed()
    evidence.end(source, files)
    files.settle()
    return evidence.take(source)


def batch(numbers, faces, source_id=3):
    """Frames with these numbers, and faces (row, track, left, side, p_mask)."""
    frames = fake_frames([source_id] * len(numbers), numbers, [number / 6 for number in numbers], size=(200, 150))
    rows, tracks, lefts, sides, p_mask = zip(*faces, strict=True)
    boxes = [[left, 40, left + side, 40 + side] for left, side in zip(lefts, sides, strict=True)]
    return Batch(frames, fake_faces(rows, boxes, p_mask).with_track_id(np.array(tracks)))


def test_the_best_look_of_each_track_with_and_without_mask_is_kept(sink, tmp_path):
    """The larger face wins; a mask taken off gives a second picture; each is head and shoulders of one face."""
    evidence, source = sink
    evidence.write(batch([5, 6], [(0, 0, 20, 20, 0.9), (1, 0, 20, 40, 0.9), (1, 1, 120, 30, 0.1)]))
    evidence.write(batch([7], [(0, 0, 20, 30, 0.2)]))
    assert taken(evidence, source) == ((3, 6, 0), (3, 6, 1), (3, 7, 0))
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert names == [f"evidence/day/v.mp4_f{place}.jpg" for place in ("000006_0", "000006_1", "000007_0")]
    height, width = cv2.imread(str(tmp_path / names[1])).shape[:2]
    assert 30 * 2.2 - 2 <= width <= 30 * 2.2 + 2 and height == width


def test_each_segment_has_pictures_of_its_own(sink):
    """What was written with one segment is not written with the next."""
    evidence, source = sink
    evidence.write(batch([5], [(0, 0, 20, 20, 0.9)]))
    assert taken(evidence, source) == ((3, 5, 0),)
    assert taken(evidence, source) == ()
    evidence.write(batch([9], [(0, 0, 20, 10, 0.9)]))
    assert taken(evidence, source) == ((3, 9, 0),)


def test_a_face_outside_the_picture_gives_no_evidence(sink, tmp_path):
    """A box that lies outside shows nothing."""
    evidence, source = sink
    evidence.write(batch([1], [(0, 0, 900, 20, 0.9)]))
    assert taken(evidence, source) == () and not list(tmp_path.rglob("*.jpg"))


def test_every_face_of_a_photo_is_evidence(sink, tmp_path):
    """Each face of a photo has a picture, whatever its state; no side is longer than 480 pixels."""
    evidence, _ = sink
    photo = Source(4, Path("/in/p.jpg"), "p.jpg", "image")
    frames = fake_frames([4], [0], [0.0], size=(1600, 1200))
    boxes = [[20, 40, 60, 80], [400, 100, 1000, 900]]
    evidence.write(Batch(frames, fake_faces([0, 0], boxes, [0.9, 0.8]).with_track_id(np.arange(2))))
    assert taken(evidence, photo) == ((4, 0, 0), (4, 0, 1))
    sides = [max(cv2.imread(str(path)).shape) for path in sorted((tmp_path / "evidence").iterdir())]
    assert sides[0] < 100 and sides[1] == 480


def test_tables_name_the_picture_of_the_episode(tmp_path):
    """A person who takes the mask off has one picture for each episode, and that of the verdict."""
    with open_store(tmp_path) as store:
        sources = begun(store, [video("v")])
        rows = [Face("v", frame, 0, 0.97 if frame < 60 else 0.03).row(sources["v"].id) for frame in range(0, 150, 5)]
        written = tuple((sources["v"].id, frame, 0) for frame in (20, 100))
        add_results(store, [SegmentResult(tuple(rows), evidence=written)])
        end(store, sources, [replace(video("v"), analysed=30)])
        with store.transaction() as connection:
            answer = find_answer(connection, ReportSettings())
    nearest = answer.pictures.nearest
    found = answer.episodes
    paths = [
        nearest(sources["v"].id, 0, (begin, stop, best), p)
        for begin, stop, best, p in zip(found.from_s, found.to_s, found.best_time_s, found.p_mask, strict=True)
    ]
    assert paths == ["evidence/v_f000020_0.jpg", "evidence/v_f000100_0.jpg"]
    assert nearest(sources["v"].id, 9, (0, 9, 1), 0.5) == ""
