"""Annotated copies: every frame, with its faces drawn into it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import NamedTuple

import numpy as np

from maskbatch.drawing.annotate import draw_clock, draw_faces
from maskbatch.drawing.canvas import Canvas, PlanesCanvas, RgbCanvas
from maskbatch.media.names import annotated_name, inside
from maskbatch.media.write import Guard, Pieces, Unnamed
from maskbatch.overlap import IsOver, never
from maskbatch.people.clock import later, start_of
from maskbatch.settings import OutputSettings, ScanSettings
from maskbatch.sinks.copies import PhotoCopy, VideoCopy
from maskbatch.sinks.stretch import Shown
from maskbatch.types import Batch, Checkpoint, CopyState, Faces, Frames, Source, YuvColours


class Copy(NamedTuple):
    """State of the annotated copy of a source. `reason` says why a copy could not be written, "" otherwise."""

    source_id: int
    is_there: bool
    reason: str

    def __bool__(self) -> bool:
        return self.is_there


class AnnotatedSink:
    """Write the frames of a shard to `annotated/`, a folder tree like that of the input.

    A photo is written at once; it has its name when its batch is settled. A video is written in parts, which are joined
    when it has ended. Stretches without faces are taken from the recording as they are, if it allows that (see
    `media/video/stored.py`). The copy of a broken source has the frames that could be read. A copy that cannot be
    written, for example because a format does not allow its size, is logged and left out; the scan continues.
    """

    def __init__(self, sources: Sequence[Source], at: Checkpoint, settings: ScanSettings) -> None:
        self._thresholds = settings.classifier.thresholds
        self._report = settings.report
        self._starts: dict[int, datetime | None] = {}
        self._copies = {source.id: _copy(source, at.copy, settings.output) for source in sources}

    def __enter__(self) -> "AnnotatedSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop files that are still open."""
        for copy in self._copies.values():
            copy.drop()

    def write(self, batch: Batch, files: Unnamed) -> None:
        """Draw and write the frames of a batch, photos into `files`. Raises OSError when the disk fails."""
        for row, faces in by_frame(batch.frames, batch.drawn):
            copy = self._copies[int(batch.frames.source_id[row])]
            if not copy.broken:
                draw = partial(self._drawn, batch.frames, row, faces, copy)
                time_s, stored = float(batch.frames.timestamp_s[row]), batch.frames.stored[row]
                with _of_one(copy):
                    copy.write(Shown(time_s, stored, len(faces) > 0, draw), files)

    def _drawn(self, frames: Frames, row: int, faces: Faces, copy: PhotoCopy | VideoCopy) -> np.ndarray:
        """Return the picture of a frame with faces and clock, in a form that `VideoWriter` takes."""
        image, planes = frames.images[row], frames.planes[row]
        if image is None and planes is None:
            planes = copy.planes_of(frames.stored[row])
        picture, canvas = _canvas(image, planes, copy.source.colours)
        is_video = copy.source.kind == "video"
        draw_faces(canvas, faces, self._thresholds, with_numbers=is_video)
        if is_video and (start := self._start(copy.source)) is not None:
            draw_clock(canvas, later(start, float(frames.timestamp_s[row])).isoformat(" ", "seconds"))
        return picture

    def _start(self, source: Source) -> datetime | None:
        """Return the start time of a source, None if unknown."""
        if source.id not in self._starts:
            start = start_of(source.name, source.recorded, source.duration_s, self._report)
            self._starts[source.id] = start.at
        return self._starts[source.id]

    def cut(self, source: Source, is_clean: bool = True) -> CopyState:
        """End the segment of a video, and return the state of its copy. Raises OSError when the disk fails.

        With `is_clean`, no frame so far needs a later packet of the recording.
        """
        copy = self._copies[source.id]
        with _of_one(copy):
            copy.cut(is_clean)
        return replace(copy.state, broken=copy.broken)

    def end(self, source: Source) -> Copy:
        """Close a source that needs no joining, and return the state of its copy."""
        copy = self._copies.pop(source.id)
        return Copy(source.id, copy.is_there, copy.broken)

    def is_to_join(self, source: Source) -> bool:
        """Return whether the copy of a source has parts to join."""
        return self._copies[source.id].is_to_join

    def join(self, source: Source, pieces: Pieces, guard: Guard, is_over: IsOver = never) -> Copy:
        """Join the copy of a video with its sound, and return the state of the copy.

        Raises OSError when the disk fails, and Interrupted once `is_over()` returns true.
        """
        copy = self._copies[source.id]
        with _of_one(copy):
            copy.join(pieces, guard, is_over)
        return self.end(source)


def _canvas(
    image: np.ndarray | None, planes: np.ndarray | None, colours: YuvColours
) -> tuple[np.ndarray, Canvas]:  # fmt: skip
    """Return the picture for the copy of a frame, and a canvas over it. Planes need no copy: nothing else uses them."""
    if planes is not None:
        return planes, PlanesCanvas(planes, colours)
    picture = np.ascontiguousarray(image).copy()
    return picture, RgbCanvas(picture)


def _copy(source: Source, state: CopyState, settings: OutputSettings) -> PhotoCopy | VideoCopy:
    path = inside(settings.folder / "annotated", annotated_name(source))
    if not settings.keep_metadata:
        source = replace(source, recorded=())
    return VideoCopy(source, path, state, settings) if source.kind == "video" else PhotoCopy(source, path, settings)


@contextmanager
def _of_one(copy: PhotoCopy | VideoCopy) -> Iterator[None]:
    """Log an error that concerns one source, and mark its copy as broken; raise errors that concern all sources."""
    try:
        yield
    except OSError as error:
        copy.give_up(error)


def by_frame(frames: Frames, faces: Faces) -> Iterator[tuple[int, Faces]]:
    """Yield (row, its faces) of all frames, including frames without faces."""
    bounds = np.searchsorted(faces.row, np.arange(len(frames) + 1))
    for row in range(len(frames)):
        yield row, faces.take(np.arange(bounds[row], bounds[row + 1]))
