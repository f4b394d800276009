"""Opens a source: one small reader interface over photos and videos."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

import numpy as np

from maskbatch.media.photo.reader import PhotoReader
from maskbatch.media.video.reader import VideoReader
from maskbatch.media.video.segments import Segments
from maskbatch.settings import SamplingSettings
from maskbatch.types import Source


class Reader(Protocol):
    """An open source. Iterates `(index, timestamp_s, image)` once: image (H, W, 3) uint8 RGB, upright.

    Entering and iterating raise DecodeError with a reason; what was yielded before stays valid. `progress` rises while it is
    at work, also between two frames that are far apart. `notes`, complete when iterating ends, name what of the file was not
    looked at, in a few words each.
    """

    frames_decoded: int
    progress: int
    notes: tuple[str, ...]

    def __enter__(self) -> "Reader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]: ...


def open_source(source: Source, sampling: SamplingSettings, segments: Segments | None = None) -> Reader:
    """A reader of the source's frames, to be used in a `with` statement; a photo has one frame, at 0 seconds. With
    `segments`, a video is read from their start on."""
    if source.kind == "image":
        return PhotoReader(source.path)
    return VideoReader(source.path, sampling, segments)
