"""The only tf.data file of the scan path: sources are decoded in parallel, grouped to batches, and read ahead."""

import importlib
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import count

import numpy as np

from maskbatch.config import LoaderSettings, SamplingSettings
from maskbatch.data import Ended, Frames, Source
from maskbatch.errors import DecodeError, PassingError
from maskbatch.media.decode import Reader, open_source
from maskbatch.media.headers import image_size

# what a photo is taken for whose header says nothing
_USUAL_PIXELS = 12_000_000
_HEADER_BYTES = 1 << 16
# interleave holds two finished elements of each lane beside the one being decoded
_FRAMES_PER_LANE = 3
Opener = Callable[[Source, SamplingSettings], Reader]
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)

# one decoded frame:
# (position in sources, index, timestamp_s, image, is the source's last, frames decoded so far, what went wrong)
_Element = tuple[int, int, float, np.ndarray, bool, int, DecodeError | None]


def import_ahead() -> None:
    """Begins to import TensorFlow in the background, which takes seconds; `load` waits until that is done."""
    threading.Thread(target=importlib.import_module, args=("tensorflow",), daemon=True).start()


def load(
    sources: Sequence[Source],
    sampling: SamplingSettings,
    settings: LoaderSettings,
    opener: Opener | None = None,
    cuts: Container[int] = (),
) -> Iterator[Frames]:
    """Batches of the sources' sampled frames, sources in their order, ahead of the consumer.

    `opener` opens the sources (default: `open_source`). A frame whose index is in `cuts` begins a batch; `cuts` may grow
    while frames are read.
    Each source ends with one `Ended`, in the batch of its last frame (or after it, when it has none). A file that
    cannot be read ends with its reason; nothing is raised for it.
    """
    batch = _Batch(sources, settings)

    def opened(source: Source) -> Reader:
        return (opener or open_source)(source, sampling)

    for element in _elements(sources, opened, settings):
        if batch.is_full_for(element) or (element[1] in cuts and not batch.is_empty()):
            yield batch.take()
        batch.add(element)
    if not batch.is_empty():
        yield batch.take()


def _elements(
    sources: Sequence[Source], opened: Callable[[Source], Reader], settings: LoaderSettings
) -> Iterator[_Element]:
    """The elements of all sources, sources in order; decoding runs in tf.data's threads."""
    import tensorflow as tf  # slow to import

    # tf.data passes on the tickets only: a frame that went through it would be copied, which halves the rate of HD video
    waiting: dict[int, _Element] = {}
    tickets = count()
    num_lanes, num_waiting = _depth(sources, settings)

    def decode(lane: int) -> Iterator[int]:
        for position in range(int(lane), len(sources), num_lanes):
            for element in _decode(position, sources[position], opened):
                ticket = next(tickets)
                waiting[ticket] = element
                yield ticket

    # every photo is one element, so that lanes which take turns keep the order; a video has a single lane to itself
    dataset = tf.data.Dataset.range(num_lanes).interleave(
        lambda lane: tf.data.Dataset.from_generator(decode, output_signature=tf.TensorSpec((), tf.int64), args=(lane,)),
        cycle_length=num_lanes,
        block_length=1,
        num_parallel_calls=num_lanes,
        deterministic=True,
    )
    options = tf.data.Options()
    options.autotune.enabled = False  # it would lengthen the queues, and with them the memory
    for ticket in dataset.prefetch(num_waiting).with_options(options).as_numpy_iterator():
        yield waiting.pop(int(ticket))


def _decode(position: int, source: Source, opened: Callable[[Source], Reader]) -> Iterator[_Element]:
    """All elements of one source, at least one. Runs one frame ahead, to know which is the last."""
    previous = (position, -1, 0.0, _NO_IMAGE)
    num_decoded, error = 0, None
    try:
        with opened(source) as reader:
            try:
                for index, timestamp_s, image in reader:
                    if previous[1] >= 0:
                        yield *previous, False, reader.frames_decoded, None
                    previous = (position, index, timestamp_s, image)
            finally:
                num_decoded = reader.frames_decoded
    except DecodeError as reason:
        error = reason.with_traceback(None)  # which would keep this frame, and its image, alive
    except Exception as unexpected:  # one file must never end a run over thousands
        error = PassingError(f"{type(unexpected).__name__}: {unexpected}")
    yield *previous, True, num_decoded, error


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
        if max(len(self._frames), len(self._ended)) >= self._settings.batch_size:
            return True
        num_pixels = self._num_pixels + image.shape[0] * image.shape[1]
        return bool(self._frames) and num_pixels > self._settings.max_batch_pixels

    def add(self, element: _Element) -> None:
        """Take an element in; sources come one after the other, the frames of each in order."""
        position, index, timestamp_s, image, is_last, num_decoded, error = element
        source_id = self._sources[position].id
        if image.size:
            self._frames.append((source_id, index, timestamp_s, image))
            self._num_pixels += image.shape[0] * image.shape[1]
            self._num_analysed += 1
            self._size = self._size or image.shape[1::-1]
        if is_last:
            size, reason = self._size or (None, None), None if error is None else str(error)
            may_pass = isinstance(error, PassingError)
            self._ended.append(Ended(source_id, int(num_decoded), self._num_analysed, *size, reason, may_pass))
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
