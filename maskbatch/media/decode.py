"""Opens a source: one small reader interface over photos and videos."""

import math
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from maskbatch.media.photo.reader import PhotoReader
from maskbatch.media.video.reader import VideoReader
from maskbatch.settings import SamplingSettings
from maskbatch.types import Decoded, ReaderState, Source


class Reader(Protocol):
    """An open source. Iterates its frames once, as `Decoded`.

    Entering and iterating raise DecodeError with a reason; what was yielded before stays valid. `progress` rises while it is
    at work, also between two frames that are far apart. `notes`, complete when iterating ends, name what of the file was not
    looked at, in a few words each; `pieces` are those of a video's clock.
    """

    frames_decoded: int
    progress: int
    notes: tuple[str, ...]
    pieces: tuple[tuple[int, int], ...]

    def __enter__(self) -> "Reader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Decoded]: ...


def open_source(
    source: Source, sampling: SamplingSettings, segment_s: float = math.inf, start: ReaderState | None = None
) -> Reader:
    """Give a reader of the source's frames, to be used in a `with` statement; a photo has one frame, at 0 seconds.

    A video is read from `start` on, and each of its segments of `segment_s` seconds begins with a frame that has a `cut`.
    """
    if source.kind == "image":
        return PhotoReader(source.path)
    return VideoReader(source.path, sampling, segment_s, start)
