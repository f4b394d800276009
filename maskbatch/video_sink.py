"""Takes the batches of one video segment by segment, so that a run which ends inside a long video loses a minute."""

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from maskbatch.checkpoint import Checkpoint, folder_of, is_usable, made_with, read_checkpoint, write_checkpoint
from maskbatch.config import ScanSettings
from maskbatch.data import FACE_COLUMNS, FILE_COLUMNS, Batch, Ended, Faces, Frames, Shard, Source
from maskbatch.errors import Interrupted
from maskbatch.leftovers import remove_crops
from maskbatch.marks import ROWS, Mark, write_marks
from maskbatch.media.audio import Guard, unguarded
from maskbatch.media.fingerprint import fingerprint
from maskbatch.media.joiner import join
from maskbatch.media.names import annotated_name, inside, written_names
from maskbatch.media.segments import Segments
from maskbatch.media.video_writer import VideoWriter, WrittenSoFar
from maskbatch.media.writers import partial_file
from maskbatch.sinks import AnnotatedSink, CropSink, RowSink, Sink, warn_or_raise
from maskbatch.tracker import Tracker

_log = logging.getLogger(__name__)


class VideoSink(Sink):
    """Everything that is written of a video. `segments` says where reading begins and where it is cut; `guard` wraps what
    reads the sound.

    Each segment leaves its rows and its part of the annotated video in `.state/videos/`, then the checkpoint; when the
    source has ended they become one file each, then the mark that it is done. A batch holds frames of one segment.
    """

    def __init__(self, shard: Shard, out: Path, settings: ScanSettings, guard: Guard = unguarded) -> None:
        super().__init__()
        [source] = shard.sources
        self._source = source if settings.output.keep_metadata else replace(source, recorded=())
        self._out, self._unit, self._settings, self._guard = out, shard.index, settings, guard
        self._folder = folder_of(out, self._source.name)
        found, now = read_checkpoint(self._folder), fingerprint(self._source.path)
        if not is_usable(found, self._source):
            if found is not None:  # the file has changed since the run began
                remove_crops(out, found.names)
            if self._folder.exists():
                shutil.rmtree(self._folder)
            found = None
        self._is_away = found is not None and now is None
        self._at = found or Checkpoint(now, made_with(), written_names(self._source))
        self.segments = Segments(settings.output.segment_s, self._at.reader)
        self._tracks_at: dict[int, dict] = {}
        self._segment = ExitStack()
        self._ended: Ended | None = None

    def __enter__(self) -> "VideoSink":
        self._stack.push(self._end)
        self._open_segment()
        return self

    def tracking(self, tracker: Tracker) -> Callable[[Frames, Faces], Faces]:
        """The tracker as a stage that goes on where the checkpoint stands, and notes its state at each cut."""
        if self._at.tracks:
            tracker.restore(self._source.id, self._at.tracks)

        def track(frames: Frames, faces: Faces) -> Faces:
            if (cut := self._cut_before(frames)) is not None:
                self._tracks_at[cut] = tracker.state(self._source.id)
            return tracker(frames, faces)

        return track

    def write(self, batch: Batch) -> None:
        if (cut := self._cut_before(batch.frames)) is not None:
            self._close_segment(cut)
            self._open_segment()
        frames = batch.frames
        if len(frames):
            self._has_frames = True
            height, width = frames.images[0].shape[:2]
            self._at = replace(
                self._at, frames_analysed=self._at.frames_analysed + len(frames),
                width=self._at.width or width, height=self._at.height or height,
            )  # fmt: skip
        ended = tuple(self._whole(ended) for ended in frames.ended)
        self._ended = next(iter(ended), None)
        self._write(Batch(replace(frames, ended=ended), batch.faces))

    def stop(self) -> None:
        """The run stops here. Raises Interrupted, so that the open segment is dropped, unless the video has ended."""
        if self._ended is None:
            raise Interrupted(f"stopped inside {self._source.name}")

    def _write(self, batch: Batch) -> None:
        for sink in self._sinks:
            sink.write(batch)

    def _cut_before(self, frames: Frames) -> int | None:
        """The index of the batch's first frame if a segment begins with it, else None."""
        index = int(frames.index[0]) if len(frames) else -1
        return index if index in self.segments.cuts else None

    def _whole(self, ended: Ended) -> Ended:
        """With the frames of earlier sessions; they stay even where the file cannot be read any more."""
        before = 0 if self._at.reader is None else self._at.reader.index
        return replace(
            ended, frames_decoded=max(ended.frames_decoded, before), frames_analysed=self._at.frames_analysed,
            width=self._at.width, height=self._at.height,
        )  # fmt: skip

    def _open_segment(self) -> None:
        self._has_frames = False
        shard, sources = Shard(self._at.num_segments, (self._source,)), {self._source.id: self._source}
        path = self._folder / f"{shard.index:06d}.mp4"
        threshold, save = self._settings.classifier.threshold, self._settings.output.save
        self._part = _PartSink(path, self._source, self._settings, self._at.written)
        self._sinks: list[Sink] = [RowSink(self._folder, shard)]
        if "annotated" in save:
            self._sinks.append(self._part)
        if "crops" in save:
            self._sinks.append(CropSink(self._out, sources, threshold))
        for sink in self._sinks:
            self._segment.enter_context(sink)

    def _close_segment(self, cut: int) -> None:
        """Makes the open segment whole, and the frame `cut` the one to go on with."""
        reason = f"interrupted: only the first {cut} frames so far"
        at = self._at
        until_here = Ended(self._source.id, cut, at.frames_analysed, at.width, at.height, reason)
        self._write(Batch.of_ended(until_here))
        self._segment.close()
        self._add_part()
        self._at = replace(
            self._at, num_segments=at.num_segments + 1, reader=self.segments.cuts[cut], tracks=self._tracks_at.pop(cut)
        )
        write_checkpoint(self._folder, self._at)

    def _add_part(self) -> None:
        """Takes the part that was closed to those of the video; it is on the disk before the checkpoint is."""
        if self._part.first_pts is not None and self._part.path.is_file():
            with self._part.path.open("rb+") as file:
                os.fsync(file.fileno())
            parts = (*self._at.parts, (self._part.path.name, self._part.first_pts))
            self._at = replace(self._at, parts=parts, written=self._part.written())

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._segment.__exit__(kind, error, trace)
        if error is None and self._ended is not None:
            if self._is_away and self._ended.error is not None:
                _log.warning("%s cannot be read now: what was done of it is kept", self._source.name)
                return
            self._add_part()
            self._join()
            self._keep_rows()
            shutil.rmtree(self._folder)

    def _join(self) -> None:
        """The annotated video, from its parts. Where one could not be written there is none."""
        if self._at.parts and len(self._at.parts) == self._at.num_segments + self._has_frames:
            path = inside(self._out / "annotated", annotated_name(self._source))
            parts = [(self._folder / name, first) for name, first in self._at.parts]
            try:
                join(path, self._source, parts, self.segments.pieces, self._guard)
            except OSError as error:
                warn_or_raise(self._source, error, "no annotated copy")

    def _keep_rows(self) -> None:
        """The rows of all segments as those of the unit, then its mark."""
        segments = [self._folder / f"{number:06d}" for number in range(self._at.num_segments + 1)]
        unit = self._out / ROWS / f"{self._unit:06d}"
        faces = _concatenate(unit.with_suffix(".faces.csv"), FACE_COLUMNS, [_rows(path, "faces") for path in segments])
        files = _concatenate(unit.with_suffix(".files.csv"), FILE_COLUMNS, [_rows(segments[-1], "files")])
        known = None if self._ended.may_pass else self._at.fingerprint
        mark = Mark(self._source.name, known, faces, files, written_names(self._source))
        write_marks(self._out / ROWS, self._unit, [mark])


class _PartSink(AnnotatedSink):
    """Writes the part of an annotated video that belongs to one segment."""

    def __init__(self, path: Path, source: Source, settings: ScanSettings, before: WrittenSoFar) -> None:
        super().__init__(path.parent, {source.id: source}, settings.output, settings.classifier.threshold)
        self.path = path
        self._writer = VideoWriter(path, source, settings.output, before)

    @property
    def first_pts(self) -> int | None:
        """The time of the part's first frame in ticks, None when it has none."""
        return self._writer.first_pts

    def written(self) -> WrittenSoFar:
        """What the next part must know."""
        return self._writer.written()

    def _open(self, source: Source) -> VideoWriter:
        return self._writer


def _rows(segment: Path, kind: str) -> Path:
    return segment.with_suffix(f".{kind}.csv")


def _concatenate(path: Path, columns: tuple[str, ...], parts: list[Path]) -> tuple[int, int]:
    """One row file of several; returns where its rows begin and end."""
    with partial_file(path) as partial, partial.open("wb") as file:
        file.write((",".join(columns) + "\n").encode())
        start = file.tell()
        for part in parts:
            with part.open("rb") as rows:
                rows.seek(start)  # all begin with the same header
                shutil.copyfileobj(rows, file)
        file.flush()
        os.fsync(file.fileno())
        return start, file.tell()
