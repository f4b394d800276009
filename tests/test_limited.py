"""A decoder that never returns costs its file, and not the run."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from makers import Clip, moving, write_video

from maskbatch.errors import DecodeError, TransientError
from maskbatch.media.decode import open_source
from maskbatch.media.guard.limits import TimeLimitedReader
from maskbatch.settings import SamplingSettings
from maskbatch.types import Decoded, Source

IMAGE = np.zeros((2, 3, 3), np.uint8)


class Fake:
    """A reader of three frames that waits for `free` where `hangs` says, and notes what happens to it."""

    def __init__(self, hangs: str = "", error: Exception | None = None) -> None:
        self.hangs, self.error, self.free = hangs, error, threading.Event()
        self.happened: list[str] = []
        self.closed = threading.Event()
        self.frames_decoded = self.progress = 0

    def _at(self, where: str) -> None:
        self.happened.append(where)
        if where == self.hangs:
            self.free.wait(60)

    def __enter__(self) -> "Fake":
        self._at("open")
        return self

    def __exit__(self, *_: object) -> None:
        self._at("close")
        self.closed.set()

    def __iter__(self):
        for index in range(3):
            self._at(f"frame {index}")
            self.frames_decoded += 1
            yield Decoded(index, index / 25, IMAGE)
        if self.error is not None:
            raise self.error


def read(reader: Fake, limit_s: float = 0.2) -> list[int]:
    """The numbers of the frames; they are there also when reading raises."""
    numbers = []
    with TimeLimitedReader(reader, limit_s) as frames:
        for frame in frames:
            numbers.append(frame.index)
            reader.happened.append(f"used {frame.index}")
    return numbers


def test_frames_come_as_they_are_asked_for():
    """In order, each made after the one before was used, then the reader is closed; the count is the reader's."""
    fake = Fake()
    with TimeLimitedReader(fake, 10) as frames:
        assert [frame.index for frame in frames if frame.image is IMAGE] == [0, 1, 2]
        assert frames.frames_decoded == 3
    fake = Fake()
    assert read(fake) == [0, 1, 2]
    assert fake.happened == ["open", "frame 0", "used 0", "frame 1", "used 1", "frame 2", "used 2", "close"]


def test_errors_come_through():
    """What the reader raises is raised, after its frames, and it is closed."""
    fake = Fake(error=DecodeError("damaged"))
    with pytest.raises(DecodeError, match="damaged"):
        read(fake)
    assert fake.happened[-2:] == ["used 2", "close"]


@pytest.mark.parametrize(("hangs", "num_frames"), [("open", 0), ("frame 0", 0), ("frame 2", 2), ("close", 3)])
def test_a_call_that_does_not_return_is_left_behind(hangs, num_frames):
    """The frames before it are kept; should it return after all, the reader is closed."""
    fake = Fake(hangs)
    with pytest.raises(TransientError, match=r"given up: its decoder has not returned for 0\.2 s"):
        read(fake)
    assert [what for what in fake.happened if what.startswith("used")] == [f"used {i}" for i in range(num_frames)]
    assert not fake.closed.is_set()
    fake.free.set()
    assert fake.closed.wait(10)


def test_what_makes_progress_is_waited_for():
    """Frames may be far apart: only what stands still is given up."""

    class Slow(Fake):
        def __iter__(self):
            for _ in range(12):
                self.progress += 1
                time.sleep(0.05)
            yield Decoded(0, 0.0, IMAGE)

    assert read(Slow()) == [0]


@pytest.mark.parametrize("sampling", [SamplingSettings(every=1000), SamplingSettings(every=1000, decode_all=True)])
def test_a_video_makes_progress_between_frames(tmp_path, sampling):
    """With each packet, whether it is decoded or not."""
    path = write_video(tmp_path / "x.mp4", moving(60), Clip(options={"g": "20"}))
    with open_source(Source(0, path, "x", "video"), sampling) as reader:
        assert [frame.index for frame in reader] == [0]
        assert reader.progress >= 60


def test_closing_a_generator_is_not_replaced():
    """A reader that does not close in time, in a generator that is closed early."""
    fake = Fake("close")

    def frames():
        try:
            with TimeLimitedReader(fake, 0.2) as reader:
                yield from reader
        except TransientError:
            yield None

    running = frames()
    next(running)
    running.close()  # RuntimeError where the generator yields once more
    assert fake.happened[-1] == "close" and not fake.closed.is_set()
    fake.free.set()


def test_leaving_early_closes_the_reader():
    """Nothing more is read."""
    fake = Fake()
    with TimeLimitedReader(fake, 10) as frames:
        assert next(iter(frames))[0] == 0
    assert fake.closed.is_set() and "frame 1" not in fake.happened


def test_threads_are_used_again():
    """However many files are read one after the other; one that was left behind is not."""
    read(Fake())
    before = threading.active_count()
    for _ in range(20):
        read(Fake())
        with pytest.raises(DecodeError):
            read(Fake(error=DecodeError("damaged")))
    assert threading.active_count() <= before
    fake = Fake("frame 1")
    with pytest.raises(TransientError):
        read(fake)
    assert read(Fake()) == [0, 1, 2]
    fake.free.set()


def test_a_used_frame_is_let_go():
    """No thread that waits for work keeps the last frame in memory."""
    images = [np.zeros((2, 3, 3), np.uint8) for _ in range(1)]

    class One(Fake):
        def __iter__(self):
            yield Decoded(0, 0.0, images.pop())

    with TimeLimitedReader(One(), 10) as frames:
        [frame] = frames
        gone = weakref.ref(frame.image)
        del frame
    del frames
    gc.collect()
    assert gone() is None
