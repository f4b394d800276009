"""Load sources as batches of frames, decoded in parallel and ahead."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskbatch.errors import DecodeError, Interrupted, TransientError
from maskbatch.media.decode import Reader, open_source
from maskbatch.media.photo.headers import image_size
from maskbatch.media.read_ahead import ReadAhead, by_threads
from maskbatch.media.storage import Remote
from maskbatch.settings import CPU_BATCH, LoaderSettings, SamplingSettings
from maskbatch.types import Decoded, Ended, Frames, Source

# assumed number of pixels of a photo whose header does not give its size
_USUAL_PIXELS = 12_000_000
_HEADER_BYTES = 1 << 16
# photos that are fetched at the same time
_REMOTE_LANES = 8
# finished frames that a lane holds beside the one being decoded: in tf.data's interleave, or in its thread and its reader
_FRAMES_PER_LANE = 3
Opener = Callable[[Source, SamplingSettings], Reader]

# a decoded frame:
# (position in sources, its frame or None, the source's end or None)
_Element = tuple[int, Decoded | None, "_End | None"]


class _End(NamedTuple):
    """The end of reading a source: number of decoded frames, the error, and the reader's notes, pieces, end and tags."""

    num_decoded: int
    error: DecodeError | None
    notes: tuple[str, ...]
    pieces: tuple[tuple[int, int], ...]
    end_s: float | None
    recorded: tuple[tuple[str, str], ...]


def load(
    sources: Sequence[Source],
    sampling: SamplingSettings,
    settings: LoaderSettings,
    opener: Opener | None = None,
    read_ahead: ReadAhead = by_threads,
) -> Iterator[Frames]:
    """Yield batches of the sources' sampled frames, in the order of the sources, loaded ahead by `read_ahead`.

    `opener` opens the sources (default: `open_source`). A frame with a `cut` begins a batch. Each source ends with one
    `Ended`, in the batch of its last frame, or in a later batch when it has no frame. A file that cannot be read raises
    nothing: its `Ended` has the reason.
    """
    batch = _Batch(sources, settings)

    def opened(source: Source) -> Reader:
        return (opener or open_source)(source, sampling)

    num_lanes, num_waiting = _depth(sources, settings)
    with closing(read_ahead(_lanes(sources, opened, num_lanes), num_waiting)) as elements:
        for element in elements:
            if batch.is_full_for(element):
                yield batch.take()
            batch.add(element)
    if not batch.is_empty():
        yield batch.take()


def _lanes(
    sources: Sequence[Source], opened: Callable[[Source], Reader], num_lanes: int
) -> list[Generator[_Element, None, None]]:
    """Return iterators (lanes) that share the sources. Every photo is one element, so taking turns keeps the order."""

    def elements(lane: int) -> Generator[_Element, None, None]:
        for position in range(lane, len(sources), num_lanes):
            yield from _decode(position, sources[position], opened)

    return [elements(lane) for lane in range(num_lanes)]


def _decode(position: int, source: Source, opened: Callable[[Source], Reader]) -> Iterator[_Element]:
    """Yield all elements of one source, at least one. Decodes one frame ahead, to know the last frame."""
    previous = None
    num_decoded, error, notes, pieces, end_s, recorded = 0, None, (), (), None, ()
    try:
        with opened(source) as reader:
            try:
                for frame in reader:
                    if previous is not None:
                        yield position, previous, None
                    previous = frame
            finally:
                num_decoded, notes = reader.frames_decoded, reader.notes
                pieces, end_s, recorded = reader.pieces, reader.end_s, reader.recorded
    except Interrupted:  # the scan was stopped: the source has not ended
        raise
    except DecodeError as reason:
        error = reason.with_traceback(None)  # a traceback would keep this stack frame, and its image, alive
    except Exception as unexpected:  # one file must never end a scan of thousands
        error = TransientError(f"{type(unexpected).__name__}: {unexpected}")
    yield position, previous, _End(num_decoded, error, notes, pieces, end_s, recorded)


def _depth(sources: Sequence[Source], settings: LoaderSettings) -> tuple[int, int]:
    """Return the number of lanes that decode at once, and of frames that may wait, by the size of the largest source."""
    is_remote = any(isinstance(source.path, Remote) for source in sources)
    most_pixels = max(_pixels_of_remote(sources) if is_remote else map(_num_pixels, sources), default=1)
    num_frames = max(1, 2 * settings.max_batch_pixels // most_pixels)
    has_video = any(source.kind == "video" for source in sources)
    at_once = settings.num_parallel
    if is_remote:  # the network takes most of the time
        at_once = max(at_once, _REMOTE_LANES)
    num_lanes = 1 if has_video else min(at_once, max(1, num_frames // _FRAMES_PER_LANE), len(sources) or 1)
    return num_lanes, min(settings.prefetch, max(1, num_frames - num_lanes * _FRAMES_PER_LANE))


def _pixels_of_remote(sources: Sequence[Source]) -> list[int]:
    with ThreadPoolExecutor(_REMOTE_LANES) as pool:
        return list(pool.map(_num_pixels, sources))


def _num_pixels(source: Source) -> int:
    if source.kind == "video":
        return max(1, (source.width or 1920) * (source.height or 1080))
    try:
        width, height = image_size(_beginning(source.path)) or (_USUAL_PIXELS, 1)
    except OSError:
        return 1  # an unreadable photo takes no memory
    return max(1, width * height)


def _beginning(path: Path | Remote) -> bytes:
    if isinstance(path, Remote):
        return path.beginning(_HEADER_BYTES)
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


class _Batch:
    """A collector of elements for one `Frames`."""

    def __init__(self, sources: Sequence[Source], settings: LoaderSettings) -> None:
        self._sources = sources
        self._settings = settings
        self._batch_size = settings.batch_size or CPU_BATCH
        self._num_analysed = 0
        self._size: tuple[int, int] | None = None
        self._frames: list[tuple[int, Decoded]] = []
        self._ended: list[Ended] = []
        self._num_pixels = 0

    def is_empty(self) -> bool:
        return not self._frames and not self._ended

    def is_full_for(self, element: _Element) -> bool:
        """Return True when the batch must be taken before `element` is added."""
        frame = element[1]
        if max(len(self._frames), len(self._ended)) >= self._batch_size:
            return True
        if frame is None:
            return False
        if frame.cut is not None:
            return not self.is_empty()
        num_pixels = self._num_pixels + prod(frame.size)
        return bool(self._frames) and num_pixels > self._settings.max_batch_pixels

    def add(self, element: _Element) -> None:
        """Add an element. Sources follow one another, the frames of each in order."""
        position, frame, end = element
        source_id = self._sources[position].id
        if frame is not None:
            self._frames.append((source_id, frame))
            self._num_pixels += prod(frame.size)
            self._num_analysed += frame.is_looked_at
            self._size = self._size or frame.size
        if end is not None:
            size, reason = self._size or (None, None), None if end.error is None else str(end.error)
            is_transient = isinstance(end.error, TransientError)
            self._ended.append(
                Ended(source_id, end.num_decoded, self._num_analysed, *size, reason, is_transient, end.notes, end.pieces,
                      end.end_s, end.recorded)
            )  # fmt: skip
            self._num_analysed, self._size = 0, None

    def take(self) -> Frames:
        """Return the collected batch and begin a new one."""
        source_id, decoded = zip(*self._frames, strict=True) if self._frames else ((), ())
        columns = zip(*decoded, strict=True) if decoded else ((),) * len(Decoded._fields)
        index, timestamp_s, images, cuts, looked_at, planes, stored = columns
        frames = Frames(
            images, np.array(source_id, np.int64), np.array(index, np.int64), np.array(timestamp_s, np.float64),
            tuple(self._ended), next(iter(cuts), None), np.array(looked_at, bool), planes, stored,
        )  # fmt: skip
        self._frames, self._ended, self._num_pixels = [], [], 0
        return frames
