"""Annotated copies: every frame, with its faces drawn into it."""

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from maskbatch.drawing.annotate import draw_clock, draw_faces
from maskbatch.drawing.canvas import Canvas, PlanesCanvas, RgbCanvas
from maskbatch.errors import DecodeError
from maskbatch.media.names import annotated_name, inside
from maskbatch.media.photo.exif import recording_exif
from maskbatch.media.photo.reader import read_bytes
from maskbatch.media.write import Guard, Pieces, VideoWriter, join, write_image
from maskbatch.overlap import Behind, IsOver, never
from maskbatch.people.clock import later, start_of
from maskbatch.settings import OutputSettings, ScanSettings
from maskbatch.store.folder import segments_of
from maskbatch.types import Batch, Checkpoint, CopyState, Faces, Frames, Source

_log = logging.getLogger(__name__)

# OSErrors about the name, size or format of one file; any other error would also hit the next file
_OF_ONE_SOURCE = frozenset(
    {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EFBIG, errno.ERANGE, errno.EDOM}
    | {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # a file or folder of the user is in the way
)


# pictures of a video that are drawn and wait to be encoded: 50 MB of 4K
_ENCODED_BEHIND = 4


class Copy(NamedTuple):
    """State of the annotated copy of a source. `reason` says why a copy could not be written, "" otherwise."""

    source_id: int
    is_there: bool
    reason: str

    def __bool__(self) -> bool:
        return self.is_there


class AnnotatedSink:
    """Write the frames of a shard to `annotated/`, a folder tree like that of the input.

    A photo is written at once. A video is written in one part per segment; the parts are joined when the video has
    ended. The copy of a broken source has the frames that could be read. A copy that cannot be written, for example
    because a format does not allow its size, is logged and left out; the scan continues.
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

    def write(self, batch: Batch) -> None:
        """Draw and write the frames of a batch. Raises OSError when the disk fails."""
        for row, faces in by_frame(batch.frames, batch.drawn):
            copy = self._copies[int(batch.frames.source_id[row])]
            if not copy.broken:
                time_s, is_video = float(batch.frames.timestamp_s[row]), copy.source.kind == "video"
                picture, canvas = _canvas(batch.frames, row)
                draw_faces(canvas, faces, self._thresholds, with_numbers=is_video)
                if is_video and (start := self._start(copy.source)) is not None:
                    draw_clock(canvas, later(start, time_s).isoformat(" ", "seconds"))
                with _of_one(copy):
                    copy.write(picture, time_s)

    def _start(self, source: Source) -> datetime | None:
        """Return the start time of a source, None if unknown."""
        if source.id not in self._starts:
            start = start_of(source.name, source.recorded, source.duration_s, self._report)
            self._starts[source.id] = start.at
        return self._starts[source.id]

    def cut(self, source: Source) -> CopyState:
        """End the segment of a video, and return the state of its copy. Raises OSError when the disk fails."""
        copy = self._copies[source.id]
        with _of_one(copy):
            copy.cut()
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


class _PhotoCopy:
    """The copy of a photo: one file, synced to the disk before it gets its name."""

    is_to_join = False

    def __init__(self, source: Source, path: Path, settings: OutputSettings) -> None:
        self.source, self.broken, self.is_there = source, "", False
        self._path, self._settings = path, settings

    def write(self, rgb: np.ndarray, timestamp_s: float) -> None:
        """Write `rgb` (H, W, 3) uint8. Raises OSError."""
        write_image(self._path, rgb, _recording(self.source) if self._settings.keep_metadata else b"")
        self.is_there = True

    def drop(self) -> None:
        """Do nothing: no file is open."""


class _VideoCopy:
    """The copy of a video: one part per segment, joined at the end. `state` is that after the last segment.

    A thread encodes each picture while the caller draws the next ones. An error of the encoder is therefore raised with
    a later picture, or at the end of the segment.
    """

    def __init__(self, source: Source, path: Path, state: CopyState, settings: OutputSettings) -> None:
        self.source, self.state, self.broken, self.is_there = source, state, state.broken, False
        self._path, self._settings = path, settings
        self._folder = segments_of(settings.folder, source.id)
        self._part: VideoWriter | None = None
        self._encoding: Behind | None = None

    def write(self, picture: np.ndarray, timestamp_s: float) -> None:
        """Append a picture in a form that `VideoWriter` takes, shown from `timestamp_s`. Raises OSError."""
        if self._part is None:
            path = self._folder / f"{len(self.state.parts):06d}.mp4"
            self._part = VideoWriter(path, self.source, self._settings, self.state.writer).__enter__()
            self._encoding = Behind(_ENCODED_BEHIND)
        self._encoding.call(self._part.write, picture, timestamp_s)

    def cut(self) -> None:
        """Finish the open part and sync it to the disk. Raises OSError."""
        if self._part is None or self.broken:
            return
        self._encoding.finish()
        part, self._part = self._part, None
        part.__exit__(None, None, None)
        parts = (*self.state.parts, (part.path.name, part.first_pts))
        self.state = CopyState(part.written(), parts)

    @property
    def is_to_join(self) -> bool:
        """Return whether there are parts to join, and the copy is not broken."""
        return not self.broken and (self._part is not None or bool(self.state.parts))

    def join(self, pieces: Pieces, guard: Guard, is_over: IsOver) -> None:
        """Join all parts with the sound of the source, unless a part could not be written. Raises OSError."""
        if self.is_to_join:
            parts = [(self._folder / name, first) for name, first in self.state.parts]
            join(self._path, self.source, parts, pieces, guard, is_over)
            self.is_there = True

    def drop(self) -> None:
        """Drop the open part."""
        part, self._part = self._part, None
        if part is not None:
            self._encoding.drop()
            error = OSError("dropped")
            part.__exit__(type(error), error, None)


def _canvas(frames: Frames, row: int) -> tuple[np.ndarray, Canvas]:
    """Return the picture for the copy of a frame, and a canvas over it. Planes need no copy: nothing else uses them."""
    planes = frames.planes[row]
    if planes is not None:
        return planes, PlanesCanvas(planes)
    picture = np.ascontiguousarray(frames.images[row]).copy()
    return picture, RgbCanvas(picture)


def _copy(source: Source, state: CopyState, settings: OutputSettings) -> _PhotoCopy | _VideoCopy:
    path = inside(settings.folder / "annotated", annotated_name(source))
    if not settings.keep_metadata:
        source = replace(source, recorded=())
    return _VideoCopy(source, path, state, settings) if source.kind == "video" else _PhotoCopy(source, path, settings)


def _recording(source: Source) -> bytes:
    """Return the time and camera of a photo as EXIF data; b"" if unknown, or if the file is gone."""
    try:
        return recording_exif(read_bytes(source.path))
    except DecodeError:
        return b""


@contextmanager
def _of_one(copy: _PhotoCopy | _VideoCopy) -> Iterator[None]:
    """Log an error that concerns one source, and mark its copy as broken; raise errors that concern all sources."""
    try:
        yield
    except OSError as error:
        copy.drop()
        warn_or_raise(copy.source, error, "no annotated copy")
        copy.broken = error.strerror or str(error)


def by_frame(frames: Frames, faces: Faces) -> Iterator[tuple[int, Faces]]:
    """Yield (row, its faces) of all frames, including frames without faces."""
    bounds = np.searchsorted(faces.row, np.arange(len(frames) + 1))
    for row in range(len(frames)):
        yield row, faces.take(np.arange(bounds[row], bounds[row + 1]))


def warn_or_raise(source: Source, error: OSError, lost: str) -> None:
    """Log an error that concerns one source; raise errors of the disk, which would hit every source."""
    number = error.errno or getattr(error.__cause__, "errno", None)
    # error numbers that the system does not know come from FFmpeg
    if number in errno.errorcode and number not in _OF_ONE_SOURCE:
        raise error
    _log.warning("%s: %s: %s", source.name, lost, error)
