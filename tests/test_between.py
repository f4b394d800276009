from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_faces, fake_frames

from maskbatch.analyse import between as module
from maskbatch.analyse.between import between
from maskbatch.types import Batch, Ended, Faces


def batch_of(start, looked_at, boxes, ended=False, cut=None):
    """Frames from the number `start` on at 25 a second, `boxes` {frame: {track: x}} on those that are analysed."""
    index = list(range(start, start + len(looked_at)))
    frames = replace(
        fake_frames([0] * len(index), index, [at / 25 for at in index], [Ended(0, 9, 9)] if ended else []),
        is_looked_at=np.array(looked_at, bool), cut=cut,
    )  # fmt: skip
    rows, xyxy, tracks, p_mask = [], [], [], []
    for row, number in enumerate(index):
        for track, x in boxes.get(number, {}).items():
            rows.append(row)
            xyxy.append([x, 0, x + 10, 10])
            tracks.append(track)
            p_mask.append(0.9 if number < 5 else 0.1)
    faces = fake_faces(rows, xyxy, p_mask).with_track_id(np.array(tracks, np.int64))
    return Batch(frames, faces)


def drawn(batches):
    """{frame: {track: (x, p_mask)}} of what is drawn, and the frames in order."""
    found, order = {}, []
    for batch in between(batches):
        order += batch.frames.index.tolist()
        for row, track, box, p in zip(
            batch.drawn.row, batch.drawn.track_id, batch.drawn.xyxy, batch.drawn.p_mask, strict=True
        ):
            found.setdefault(int(batch.frames.index[row]), {})[int(track)] = (
                round(float(box[0]), 2),
                round(float(p), 1),
            )
    return found, order


LOOKED = [True, False, False, False, True, False, False, False, True]
BOXES = {0: {0: 0.0, 1: 50.0}, 4: {0: 40.0}, 8: {0: 40.0, 2: 90.0}}
EXPECTED = {
    0: {0: (0, 0.9), 1: (50, 0.9)}, 1: {0: (10, 0.9)}, 2: {0: (20, 0.9)}, 3: {0: (30, 0.9)}, 4: {0: (40, 0.9)},
    5: {0: (40, 0.9)}, 6: {0: (40, 0.9)}, 7: {0: (40, 0.1)}, 8: {0: (40, 0.1), 2: (90, 0.1)},
}  # fmt: skip


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 5], [2, 3, 4], [5, 1, 3]])
def test_boxes_move_evenly_however_frames_are_grouped(sizes):
    """A box is where it would be at that time, and the nearer analysed frame says what it shows. Track 1 ends with its last
    analysed frame, track 2 begins with its first: neither is drawn between."""
    batches, start = [], 0
    for size in sizes:
        own = LOOKED[start : start + size]
        batches.append(batch_of(start, own, BOXES, ended=start + size == 9))
        start += size
    assert drawn(batches) == (EXPECTED, list(range(9)))


def test_frames_without_anybody_before_them_are_passed_on_at_once():
    """Nothing can be drawn there, so nothing waits."""
    batches = [batch_of(0, [True, False, False], {}), batch_of(3, [False, False], {})]
    out = [batch.frames.index.tolist() for batch in between(batches)]
    assert out == [[0, 1, 2], [3, 4]]


def test_frames_behind_the_last_analysed_one_have_no_boxes():
    """Nobody knows where a face is after it was seen for the last time."""
    found, order = drawn([batch_of(0, [True, False, False], {0: {0: 0.0}}, ended=True)])
    assert list(found) == [0] and order == [0, 1, 2]


def test_held_frames_belong_to_the_segment_before_the_cut():
    """They come out before the batch that begins the next segment, with boxes up to its first frame, which is analysed."""
    first, second = (
        batch_of(0, [True, False, False, False], BOXES),
        batch_of(4, [True, False], BOXES, ended=True, cut="cut"),
    )
    out = list(between([first, second]))
    assert [(batch.frames.index.tolist(), batch.frames.cut) for batch in out] == [
        ([0], None), ([1, 2, 3], None), ([4, 5], "cut"),
    ]  # fmt: skip
    assert [round(float(x)) for x in out[1].drawn.xyxy[:, 0]] == [10, 20, 30] and len(out[1].faces) == 0


def test_whoever_continues_at_the_cut_draws_the_same():
    """The batch of a cut gives the same boxes whether or not frames were held before it."""
    second = batch_of(4, [True, False, False, False, True], BOXES, ended=True, cut="cut")
    alone, _ = drawn([second])
    both, _ = drawn([batch_of(0, LOOKED[:4], BOXES), second])
    assert {frame: both[frame] for frame in range(4, 9)} == alone


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 5], [2, 3, 4], [5, 1, 3], [7, 2]])
def test_few_pixels_wait(monkeypatch, sizes):
    """Between analysed frames that are so far apart that the frames would fill the memory, no box is drawn, however frames
    are grouped; a shorter gap later has its boxes."""
    monkeypatch.setattr(module, "_MOST_HELD_PIXELS", 2 * 32 * 24)
    looked = [True, False, False, False, True, False, False, True, True]
    boxes, batches, start = {number: {0: 10.0 * number} for number in (0, 4, 7, 8)}, [], 0
    for size in sizes:
        batches.append(batch_of(start, looked[start : start + size], boxes, ended=start + size == 9))
        start += size
    found, order = drawn(batches)
    assert order == list(range(9)) and set(found) == {0, 4, 5, 6, 7, 8}


def test_few_frames_wait_in_memory(monkeypatch):
    """However long nothing is analysed, frames come out as soon as the limit is passed."""
    monkeypatch.setattr(module, "_MOST_HELD_PIXELS", 3 * 32 * 24)
    came, gone = 0, 0

    def frames():
        nonlocal came
        for number in range(40):
            came += 1
            yield batch_of(number, [number == 0], {0: {0: 0.0}})

    for batch in between(frames()):
        gone += len(batch.frames)
        assert came - gone <= 4
    assert gone == came == 40


def two_videos(groups):
    """Two videos of three frames each, whose tracks have the same number; `groups` are the rows of each batch."""
    source, index, x = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, None, None, 100, None, 120]
    for rows in groups:
        ended = [Ended(source[row], 3, 2) for row in rows if index[row] == 2]
        frames = fake_frames(
            [source[row] for row in rows], [index[row] for row in rows], [index[row] / 25 for row in rows], ended
        )
        looked = [at for at, row in enumerate(rows) if x[row] is not None]
        boxes = [[x[rows[at]], 0, x[rows[at]] + 10, 10] for at in looked]
        is_looked_at = np.array([x[row] is not None for row in rows])
        faces = fake_faces(looked, boxes, [0.9] * len(looked)).with_track_id(np.zeros(len(looked), np.int64))
        yield Batch(replace(frames, is_looked_at=is_looked_at), faces)


@pytest.mark.parametrize(
    "groups", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 3, 4, 5]], [[0, 1, 2, 3], [4, 5]], [[0], [1, 2, 3, 4], [5]]]
)
def test_videos_in_one_batch_know_nothing_of_each_other(groups):
    """The end of a video gets no boxes from the start of the next one, which holds its own frames back."""
    found = {}
    for batch in between(two_videos(groups)):
        for row, box in zip(batch.drawn.row, batch.drawn.xyxy, strict=True):
            found[int(batch.frames.source_id[row]), int(batch.frames.index[row])] = round(float(box[0]))
    assert found == {(0, 0): 0, (1, 0): 100, (1, 1): 110, (1, 2): 120}


def test_the_faces_of_rows_stay_those_that_were_analysed():
    """Drawn faces are for pictures; tables get real ones only, in the same rows."""
    out = list(between([batch_of(0, LOOKED, BOXES, ended=True)]))
    kept = [
        (int(one.frames.index[row]), int(track))
        for one in out
        for row, track in zip(one.faces.row, one.faces.track_id, strict=True)
    ]
    assert kept == [(0, 0), (0, 1), (4, 0), (8, 0), (8, 2)]


def test_photos_pass_through():
    """Sources of one frame, each with its end."""
    frames = fake_frames([1, 2], [0, 0], [0, 0], [Ended(1, 1, 1), Ended(2, 1, 1)])
    faces = fake_faces([0, 1], [[0, 0, 9, 9]] * 2, [0.5, 0.5])
    [out] = between([Batch(frames, faces)])
    assert out.frames is frames and out.drawn.row.tolist() == [0, 1]
    assert len(list(between([Batch(fake_frames([], [], []), Faces.empty())]))) == 1
