"""Open sources: one small reader interface for photos and videos."""

import math
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from maskbatch.media.photo.reader import PhotoReader
from maskbatch.media.video.reader import Gate, VideoReader
from maskbatch.settings import SamplingSettings
from maskbatch.types import Decoded, ReaderState, Source


class Reader(Protocol):
    """A reader of one source, which yields the frames once, as `Decoded`.

    Entering and iterating raise DecodeError with a reason; frames yielded earlier stay valid. `progress` rises while
    the reader works, even between frames that are far apart. `notes` name the parts of the file that were not analysed,
    and are complete when the iteration ends. `pieces` are the corrections of a video's clock. `end_s` is the time in
    seconds up to which a video was read; None for a photo. `recorded` are a photo's tags of its time.
    """

    frames_decoded: int
    progress: int
    notes: tuple[str, ...]
    pieces: tuple[tuple[int, int], ...]
    end_s: float | None
    recorded: tuple[tuple[str, str], ...]

    def __enter__(self) -> "Reader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Decoded]: ...


class ReaderAround:
    """Base of readers that run another reader and report its values."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def frames_decoded(self) -> int:
        return self._reader.frames_decoded

    @property
    def progress(self) -> int:
        return self._reader.progress

    @property
    def notes(self) -> tuple[str, ...]:
        return self._reader.notes

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        return self._reader.pieces

    @property
    def end_s(self) -> float | None:
        return self._reader.end_s

    @property
    def recorded(self) -> tuple[tuple[str, str], ...]:
        return self._reader.recorded


def open_source(
    source: Source, sampling: SamplingSettings, segment_s: float = math.inf, start: ReaderState | None = None,
    gate: Gate | None = None,
) -> Reader:  # fmt: skip
    """Return a reader of the source's frames, for use in a `with` statement. A photo has one frame, at 0 seconds.

    A video is read from `start`. Each segment of `segment_s` seconds begins with a frame that has a `cut`.
    `gate` chooses among the sampled frames.
    """
    if source.kind == "image":
        return PhotoReader(source.path)
    return VideoReader(source, sampling, segment_s, start, gate)
