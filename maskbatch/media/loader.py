"""Sources become batches of frames: decoded in parallel, read ahead, grouped."""

from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from maskbatch.config import CPU_BATCH, LoaderSettings, SamplingSettings
from maskbatch.data import Ended, Frames, Source
from maskbatch.errors import DecodeError, Interrupted, PassingError
from maskbatch.media.decode import Reader, open_source
from maskbatch.media.headers import image_size
from maskbatch.media.read_ahead import ReadAhead, by_threads

# what a photo is taken for whose header says nothing
_USUAL_PIXELS = 12_000_000
_HEADER_BYTES = 1 << 16
# beside the one being decoded, a lane holds two finished ones: tf.data's interleave, or its thread and its reader
_FRAMES_PER_LANE = 3
Opener = Callable[[Source, SamplingSettings], Reader]
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)

# one decoded frame:
# (position in sources, index, timestamp_s, image, and None, or how the source ended with it)
_Element = tuple[int, int, float, np.ndarray, "_End | None"]


class _End(NamedTuple):
    """How reading a source ended: frames decoded, what went wrong, and the reader's notes."""

    num_decoded: int
    error: DecodeError | None
    notes: tuple[str, ...]


def load(
    sources: Sequence[Source],
    sampling: SamplingSettings,
    settings: LoaderSettings,
    opener: Opener | None = None,
    cuts: Container[int] = (),
    read_ahead: ReadAhead = by_threads,
) -> Iterator[Frames]:
    """Batches of the sources' sampled frames, sources in their order, ahead of the consumer by `read_ahead`.

    `opener` opens the sources (default: `open_source`). A frame whose index is in `cuts` begins a batch; `cuts` may grow
    while frames are read.
    Each source ends with one `Ended`, in the batch of its last frame (or after it, when it has none). A file that
    cannot be read ends with its reason; nothing is raised for it.
    """
    batch = _Batch(sources, settings)

    def opened(source: Source) -> Reader:
        return (opener or open_source)(source, sampling)

    num_lanes, num_waiting = _depth(sources, settings)
    with closing(read_ahead(_lanes(sources, opened, num_lanes), num_waiting)) as elements:
        for element in elements:
            if batch.is_full_for(element) or (element[1] in cuts and not batch.is_empty()):
                yield batch.take()
            batch.add(element)
    if not batch.is_empty():
        yield batch.take()


def _lanes(
    sources: Sequence[Source], opened: Callable[[Source], Reader], num_lanes: int
) -> list[Generator[_Element, None, None]]:
    """Iterators that share the sources: every photo is one element, so that lanes which take turns keep the order."""

    def elements(lane: int) -> Generator[_Element, None, None]:
        for position in range(lane, len(sources), num_lanes):
            yield from _decode(position, sources[position], opened)

    return [elements(lane) for lane in range(num_lanes)]


def _decode(position: int, source: Source, opened: Callable[[Source], Reader]) -> Iterator[_Element]:
    """All elements of one source, at least one. Runs one frame ahead, to know which is the last."""
    previous = (position, -1, 0.0, _NO_IMAGE)
    num_decoded, error, notes = 0, None, ()
    try:
        with opened(source) as reader:
            try:
                for index, timestamp_s, image in reader:
                    if previous[1] >= 0:
                        yield *previous, None
                    previous = (position, index, timestamp_s, image)
            finally:
                num_decoded, notes = reader.frames_decoded, reader.notes
    except Interrupted:  # the run is over, and nothing is said of the source
        raise
    except DecodeError as reason:
        error = reason.with_traceback(None)  # which would keep this frame, and its image, alive
    except Exception as unexpected:  # one file must never end a run over thousands
        error = PassingError(f"{type(unexpected).__name__}: {unexpected}")
    yield *previous, _End(num_decoded, error, notes)


def _depth(sources: Sequence[Source], settings: LoaderSettings) -> tuple[int, int]:
    """How many lanes decode at once, and how many frames may wait behind them, by the size of the largest source."""
    most_pixels = max((_num_pixels(source) for source in sources), default=1)
    num_frames = max(1, 2 * settings.max_batch_pixels // most_pixels)
    has_video = any(source.kind == "video" for source in sources)
    num_lanes = (
        1 if has_video else min(settings.num_parallel, max(1, num_frames // _FRAMES_PER_LANE), len(sources) or 1)
    )
    return num_lanes, min(settings.prefetch, max(1, num_frames - num_lanes * _FRAMES_PER_LANE))


def _num_pixels(source: Source) -> int:
    if source.kind == "video":
        return max(1, (source.width or 1920) * (source.height or 1080))
    try:
        with source.path.open("rb") as file:
            width, height = image_size(file.read(_HEADER_BYTES)) or (_USUAL_PIXELS, 1)
    except OSError:
        return 1  # it cannot be read and takes no memory
    return max(1, width * height)


class _Batch:
    """Collects elements to one `Frames`."""

    def __init__(self, sources: Sequence[Source], settings: LoaderSettings) -> None:
        self._sources = sources
        self._settings = settings
        self._batch_size = settings.batch_size or CPU_BATCH
        self._num_analysed = 0
        self._size: tuple[int, int] | None = None
        self._frames: list[tuple[int, int, float, np.ndarray]] = []
        self._ended: list[Ended] = []
        self._num_pixels = 0

    def is_empty(self) -> bool:
        return not self._frames and not self._ended

    def is_full_for(self, element: _Element) -> bool:
        """Whether what is here should go out before `element` comes in."""
        image = element[3]
        if max(len(self._frames), len(self._ended)) >= self._batch_size:
            return True
        num_pixels = self._num_pixels + image.shape[0] * image.shape[1]
        return bool(self._frames) and num_pixels > self._settings.max_batch_pixels

    def add(self, element: _Element) -> None:
        """Take an element in; sources come one after the other, the frames of each in order."""
        position, index, timestamp_s, image, end = element
        source_id = self._sources[position].id
        if image.size:
            self._frames.append((source_id, index, timestamp_s, image))
            self._num_pixels += image.shape[0] * image.shape[1]
            self._num_analysed += 1
            self._size = self._size or image.shape[1::-1]
        if end is not None:
            size, reason = self._size or (None, None), None if end.error is None else str(end.error)
            may_pass = isinstance(end.error, PassingError)
            self._ended.append(
                Ended(source_id, end.num_decoded, self._num_analysed, *size, reason, may_pass, end.notes)
            )
            self._num_analysed, self._size = 0, None

    def take(self) -> Frames:
        """The batch collected so far; a new one begins."""
        source_id, index, timestamp_s, images = zip(*self._frames, strict=True) if self._frames else ((),) * 4
        frames = Frames(
            images, np.array(source_id, np.int64), np.array(index, np.int64), np.array(timestamp_s, np.float64),
            tuple(self._ended),
        )  # fmt: skip
        self._frames, self._ended, self._num_pixels = [], [], 0
        return frames
