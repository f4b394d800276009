"""The annotated copy of one source: a photo at once; a video in parts, which are joined when it has ended."""

import math
from pathlib import Path

import numpy as np

from maskbatch.errors import DecodeError
from maskbatch.media.photo.exif import recording_exif
from maskbatch.media.photo.reader import read_bytes
from maskbatch.media.video.left_out import LeftOut
from maskbatch.media.write import Guard, Pieces, Unnamed, VideoWriter, encode_image, following, join
from maskbatch.overlap import Behind, IsOver
from maskbatch.settings import OutputSettings
from maskbatch.sinks.stretch import Shown, Stretch, may_begin
from maskbatch.sinks.trouble import warn_or_raise
from maskbatch.store.folder import segments_of
from maskbatch.types import CopyState, Recorded, Source, Stored

# pictures of a video that are drawn and wait to be encoded: 50 MB of 4K
_ENCODED_BEHIND = 4
# seconds without a face before a stretch begins: every change between recording and encoder costs a new encoder
_CALM_S = 1.0
# the encoder whose pictures may stand beside those of a recording in one file: others cannot choose their ids
_MIXED_BY = "libx264"


class SourceCopy:
    """The copy of a source. `broken` says why it could not be written, "" otherwise."""

    def __init__(self, source: Source, broken: str = "") -> None:
        self.source, self.broken, self.is_there = source, broken, False

    def drop(self) -> None:
        """Close and delete what is open."""

    def give_up(self, error: OSError) -> None:
        """Go on without this copy. Raises errors that concern all copies."""
        self.drop()
        self.is_there = False
        warn_or_raise(self.source, "no annotated copy", error)
        self.broken = error.strerror or str(error)


class PhotoCopy(SourceCopy):
    """The copy of a photo: one file."""

    is_to_join = False

    def __init__(self, source: Source, path: Path, settings: OutputSettings) -> None:
        super().__init__(source)
        self._path, self._settings = path, settings

    def write(self, frame: Shown, files: Unnamed) -> None:
        """Draw the photo, and write it into `files`. Raises OSError."""
        exif = _recording(self.source) if self._settings.keep_metadata else b""
        files.write(self._path, encode_image(self._path, frame.draw(), exif), self.give_up)
        self.is_there = True


class VideoCopy(SourceCopy):
    """The copy of a video: parts, joined at the end. `state` is that after the last segment.

    A segment is one part or several: encoded pictures, and stretches of the recording in which nothing is drawn. Those
    are taken from the source when the parts are joined. A thread encodes each picture while the caller draws the next
    ones. An error of the encoder is therefore raised with a later picture, or at the end of the part.
    """

    def __init__(self, source: Source, path: Path, state: CopyState, settings: OutputSettings) -> None:
        super().__init__(source, state.broken)
        self.state = state
        self._path, self._settings = path, settings
        self._folder = segments_of(settings.folder, source.id)
        self._parts, self._writer = list(state.parts), state.writer
        self._part: VideoWriter | None = None
        self._encoding: Behind | None = None
        self._left_out = LeftOut(source.path, source.colours)
        self._may_copy = settings.codec == _MIXED_BY
        self._stretch: Stretch | None = None
        self._face_s = -math.inf  # the time of the last face in this segment

    def write(self, frame: Shown, _files: Unnamed) -> None:
        """Append a frame; its part is complete when the segment ends. Raises OSError."""
        if frame.has_faces:
            self._face_s = frame.time_s
        if self._stretch is None and self._may_copy:
            if may_begin(frame) and frame.time_s - self._face_s >= _CALM_S:
                self._stretch = Stretch(self.source, self._writer)
            elif self._part is None and self._parts and isinstance(self._parts[-1], Recorded):
                self._stretch = Stretch(self.source, self._writer, self._parts.pop())
        if self._stretch is not None:
            if self._stretch.takes(frame):
                if self._stretch.recorded is not None:
                    self._end_part()
                return
            self._end_stretch()
        self._encode(frame)

    def cut(self, is_clean: bool = True) -> None:
        """Finish the segment, and sync it to the disk. Raises OSError.

        With `is_clean`, no frame so far needs a later packet of the recording.
        """
        if self.broken:
            return
        if self._stretch is not None:
            if is_clean:
                self._stretch.confirm()
            self._end_stretch()
        self._end_part()
        # a scan that goes on from here knows neither
        self._face_s = -math.inf
        self._left_out.close()
        self.state = CopyState(self._writer, tuple(self._parts))

    @property
    def is_to_join(self) -> bool:
        """Return whether there are parts to join, and the copy is not broken."""
        return not self.broken and bool(self._part or self._stretch or self._parts)

    def join(self, pieces: Pieces, guard: Guard, is_over: IsOver) -> None:
        """Join all parts with the sound of the source, unless a part could not be written. Raises OSError."""
        if self.is_to_join:
            parts = [part if isinstance(part, Recorded) else (self._folder / part[0], part[1]) for part in self._parts]
            join(self._path, self.source, parts, pieces, guard, is_over)
            self.is_there = True

    def planes_of(self, stored: Stored) -> np.ndarray:
        """Return the planes of a frame that was not decoded. Raises OSError."""
        try:
            return self._left_out.planes(stored.pts)
        except DecodeError as error:
            raise OSError(f"{self.source.name}: {error}") from error

    def drop(self) -> None:
        """Drop the open part."""
        self._left_out.close()
        part, self._part, self._stretch = self._part, None, None
        if part is not None:
            self._encoding.drop()
            error = OSError("dropped")
            part.__exit__(type(error), error, None)

    def _encode(self, frame: Shown) -> None:
        if self._part is None:
            path = self._folder / f"{len(self._parts):06d}.mp4"
            self._part = VideoWriter(path, self.source, self._settings, self._writer).__enter__()
            self._encoding = Behind(_ENCODED_BEHIND)
        self._writer = following(self._writer, frame.time_s, self.source)
        self._encoding.call(self._part.write, frame.draw(), frame.time_s)

    def _end_part(self) -> None:
        if self._part is not None:
            self._encoding.finish()
            part, self._part = self._part, None
            part.__exit__(None, None, None)
            self._parts.append((part.path.name, part.first_pts))

    def _end_stretch(self) -> None:
        """Keep what is recorded of the stretch, and encode its other frames."""
        stretch, self._stretch = self._stretch, None
        if stretch.recorded is not None:
            self._end_part()
            self._parts.append(stretch.recorded)
            self._writer = stretch.writer
        for frame in stretch.held:
            self._encode(frame)


def _recording(source: Source) -> bytes:
    """Return the time and camera of a photo as EXIF data; b"" if unknown, or if the file is gone."""
    try:
        return recording_exif(read_bytes(source.path))
    except DecodeError:
        return b""
