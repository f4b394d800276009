"""Batches of frames from many sources: order, ends, sizes, and files that fail."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from makers import corners, number_of, numbered, write_cut, write_photo, write_video

from maskbatch.media import loader
from maskbatch.media.read_ahead import by_tf_data, by_threads
from maskbatch.media.sources import find_sources
from maskbatch.settings import LoaderSettings, SamplingSettings
from maskbatch.types import Decoded, Ended, Frames, ReaderState, Source

ALL = SamplingSettings()


@pytest.fixture(params=[by_threads, by_tf_data], ids=["threads", "tf.data"])
def load(request):
    """`load` by each way to read ahead."""
    return partial(loader.load, read_ahead=request.param)


def _load(load: Callable, sources: Sequence[Source], **settings: int) -> list[Frames]:
    return list(load(sources, ALL, LoaderSettings(**settings)))


class _Noting:
    """A reader of one frame that says afterwards what it did not look at."""

    frames_decoded = progress = 1
    notes: tuple[str, ...] = ()
    pieces: tuple[tuple[int, int], ...] = ()
    end_s = None
    recorded = ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        yield Decoded(0, 0.0, corners())
        self.notes = ("2 further pages",)


def test_what_a_reader_did_not_look_at_comes_with_the_end_of_its_source(load, tmp_path):
    """Notes that are known only when reading ends are in `Ended`."""
    source = Source(0, tmp_path / "a.tif", "a.tif", "image")
    [frames] = load([source], SamplingSettings(), LoaderSettings(), lambda *_: _Noting())
    assert frames.ended == (Ended(0, 1, 1, 96, 64, notes=("2 further pages",)),)


def _ended(batches: Sequence[Frames]) -> list[Ended]:
    return [ended for batch in batches for ended in batch.ended]


def _photos(folder: Path, count: int) -> list[Source]:
    for number, image in enumerate(numbered(count)):
        write_photo(folder / f"{number}.png", image)
    return find_sources([folder], None)


def test_photos_keep_their_order(load, tmp_path):
    """Photos decoded in parallel come in source order, each with its end in the same batch."""
    batches = _load(load, _photos(tmp_path, 21), batch_size=8, num_parallel=4)
    assert [len(batch) for batch in batches] == [8, 8, 5]
    assert [number_of(image) for batch in batches for image in batch.images] == list(range(21))
    for batch in batches:
        assert [ended.source_id for ended in batch.ended] == batch.source_id.tolist()
    assert _ended(batches)[3] == Ended(3, 1, 1, 96, 64, None)
    assert batches[0].index.tolist() == [0] * 8 and batches[0].timestamp_s.dtype == np.float64


def test_failing_photos_do_not_disturb(load, tmp_path):
    """Files that fail end with their reason, in order, and the others come through."""
    sources = _photos(tmp_path, 12)
    for number in (0, 4, 5, 11):
        sources[number].path.write_bytes(b"" if number == 4 else b"junk" * 9)
    batches = _load(load, sources, batch_size=3, num_parallel=3)
    kept = [1, 2, 3, 6, 7, 8, 9, 10]
    assert [number_of(image) for batch in batches for image in batch.images] == kept
    ended = _ended(batches)
    assert [end.source_id for end in ended] == list(range(12))
    assert [end.source_id for end in ended if end.error is None] == kept
    assert ended[4] == Ended(4, 0, 0, None, None, "file is empty")


def test_only_failing_files(load, tmp_path):
    """A batch without frames is possible, and carries the ends."""
    sources = _photos(tmp_path, 5)
    for source in sources:
        source.path.unlink()
    batches = _load(load, sources, batch_size=2)
    assert [len(batch) for batch in batches] == [0, 0, 0]
    assert len(_ended(batches)) == 5 and "does not exist" in _ended(batches)[0].error


def test_video_and_its_end(load, tmp_path):
    """A video's frames come in order over several batches; its end comes once, with the last, and counts."""
    write_video(tmp_path / "x.mp4", numbered(20))
    [source] = find_sources([tmp_path], None)
    batches = list(load([source], SamplingSettings(every=2), LoaderSettings(batch_size=4)))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [index for batch in batches for index in batch.index] == list(range(0, 20, 2))
    assert [len(batch.ended) for batch in batches] == [0, 0, 1]
    assert batches[-1].ended == (Ended(0, 20, 10, 96, 64, pieces=((0, 0),), end_s=0.8),)


def test_broken_video_is_partial(load, tmp_path):
    """A truncated video gives its frames, and its end carries the reason and the counts."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(50)]
    write_cut(tmp_path / "x.mkv", write_video(tmp_path / ".w.mkv", noise), 0.5)
    batches = _load(load, find_sources([tmp_path], None))
    [ended] = _ended(batches)
    assert ended.error.startswith("ends early: ")
    assert ended.frames_decoded == ended.frames_analysed == sum(map(len, batches)) > 5


def test_photos_and_videos_mixed(load, tmp_path):
    """Any mix of sources comes in source order."""
    write_photo(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", numbered(5))
    write_photo(tmp_path / "c.png")
    batches = _load(load, find_sources([tmp_path], None))
    assert [source_id for batch in batches for source_id in batch.source_id] == [0, 1, 1, 1, 1, 1, 2]
    assert [ended.source_id for ended in _ended(batches)] == [0, 1, 2]


def test_batches_are_bounded_by_pixels(load, tmp_path):
    """A batch stays under max_batch_pixels, but a larger photo still passes, alone."""
    sources = _photos(tmp_path, 5)
    write_photo(sources[2].path, corners(400, 400))
    batches = _load(load, sources, max_batch_pixels=2 * 96 * 64)
    assert [len(batch) for batch in batches] == [2, 1, 2]


def test_nothing_to_load(load):
    """No sources give no batches."""
    assert _load(load, []) == []


def test_unexpected_errors_end_the_source_only(load, tmp_path, monkeypatch):
    """An error that nobody foresaw becomes the source's reason, with its type."""
    sources = _photos(tmp_path, 3)
    real_open = loader.open_source

    def fail(source, sampling):
        if source.id == 1:
            raise RuntimeError("odd")
        return real_open(source, sampling)

    monkeypatch.setattr(loader, "open_source", fail)
    assert [ended.error for ended in _ended(_load(load, sources))] == [None, "RuntimeError: odd", None]


class _Endless:
    """A reader of a million frames that counts itself."""

    opened = closed = given = most_open = 0
    notes: tuple[str, ...] = ()
    pieces: tuple[tuple[int, int], ...] = ()
    end_s = None
    recorded = ()
    lock = threading.Lock()

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self.frames_decoded, self.notes = 0, ()

    def __enter__(self) -> "_Endless":
        with self.lock:
            _Endless.opened += 1
            _Endless.most_open = max(_Endless.most_open, _Endless.opened - _Endless.closed)
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            _Endless.closed += 1

    def __iter__(self):
        for index in range(self._num_frames):
            time.sleep(0.005)
            with self.lock:
                _Endless.given += 1
            self.frames_decoded += 1
            yield Decoded(index, index / 25, np.zeros((10, 10, 3), np.uint8))


@pytest.fixture
def endless(monkeypatch):
    """Readers that count, in place of files."""
    for name in ("opened", "closed", "given", "most_open"):
        monkeypatch.setattr(_Endless, name, 0)
    monkeypatch.setattr(
        loader, "open_source", lambda source, _: _Endless(1 if source.kind == "image" else 1_000_000)
    )  # fmt: skip
    return _Endless


def test_a_frame_with_a_cut_begins_a_batch(load):
    """The batch before it goes out, however full; `Frames.cut` is the reader's state at its first frame, and of no other."""
    cut = ReaderState(3, 3, 0, "0", "0", (), 0, "0", False, True, 96, 64, None)
    source = Source(0, Path("x"), "x", "video", width=96, height=64)

    class Cutting(_Noting):
        def __iter__(self):
            for index in range(5):
                yield Decoded(index, index / 25, corners(), cut if index == 3 else None)

    batches = list(load([source], ALL, LoaderSettings(batch_size=4), lambda *_: Cutting()))
    assert [(frames.index.tolist(), frames.cut) for frames in batches] == [([0, 1, 2], None), ([3, 4], cut)]
    assert [len(frames.ended) for frames in batches] == [0, 1]


@pytest.mark.parametrize(("kind", "count"), [("video", 1), ("image", 1000)])
def test_early_end_stops_decoding_and_closes(load, endless, kind, count):
    """Leaving the iteration early does not hang, stops decoding, closes the files; little was read ahead."""
    sources = [Source(i, Path("x"), "x", kind, width=10, height=10) for i in range(count)]
    batches = load(sources, ALL, LoaderSettings(batch_size=4, num_parallel=2, prefetch=4))
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while endless.closed < endless.opened and time.monotonic() < deadline:
        time.sleep(0.02)
    assert endless.opened == endless.closed > 0
    assert endless.given < 40


def test_photos_are_decoded_in_parallel(load, endless):
    """Several photos are open at once, but never more than asked for."""
    sources = [Source(i, Path("x"), "x", "image") for i in range(60)]
    assert len(_ended(_load(load, sources, num_parallel=3))) == 60
    assert 1 < endless.most_open <= 3


def test_large_photos_are_read_ahead_less(tmp_path):
    """The depth follows from the largest header, so that memory stays bounded."""
    small, large = write_photo(tmp_path / "a.png"), write_photo(tmp_path / "b.png", corners(1000, 800))
    sources = [Source(0, small, "a.png", "image")] * 50
    settings = LoaderSettings(num_parallel=8, prefetch=16, max_batch_pixels=1_000_000)
    assert loader._depth(sources, settings) == (8, 16)
    assert loader._depth([*sources, Source(1, large, "b.png", "image")], settings) == (1, 1)
    video = Source(0, Path("v"), "v", "video", width=400, height=400)
    assert loader._depth([video], settings) == (1, 9)
