"""Where batches go: annotated media, crops, and the rows that reports are made of."""

import errno
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from maskbatch.annotate import annotate
from maskbatch.config import OutputSettings, ScanSettings
from maskbatch.data import (
    FACE_COLUMNS,
    FILE_COLUMNS,
    Batch,
    Ended,
    Faces,
    Shard,
    Source,
    wears_mask,
)
from maskbatch.errors import DecodeError
from maskbatch.marks import ROWS, Mark, write_marks
from maskbatch.media.exif import recording_exif
from maskbatch.media.fingerprint import fingerprints
from maskbatch.media.names import annotated_name, crop_name, inside, written_names
from maskbatch.media.photos import read_bytes
from maskbatch.media.video_writer import VideoWriter
from maskbatch.media.writers import PhotoWriter, RowWriter, write_image
from maskbatch.rows import face_cells, file_cells

log = logging.getLogger(__name__)

_CROP_MARGIN = 0.25
# OSErrors that say something about one file's name, size or format; all others would meet the next file as well
_OF_ONE_SOURCE = frozenset(
    {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EFBIG, errno.ERANGE, errno.EDOM}
    | {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # something of the user's has its place
)


class Sink(ABC):
    """Takes the batches of one shard. What it wrote is kept when its `with` block ends well, or when it is closed."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> "Sink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Take one batch. Raises OSError when the disk fails."""

    def close(self) -> None:
        """Finish what is open. Nothing happens the second time."""
        self._stack.close()


def open_sinks(shard: Shard, out: Path, settings: ScanSettings) -> list[Sink]:
    """The sinks of a shard for the folder `out`, in the order to enter them: rows first, so that they are closed last,
    when all media are in place."""
    sources = {source.id: source for source in shard.sources}
    threshold = settings.classifier.threshold
    sinks: list[Sink] = [RowSink(out / ROWS, shard)]
    if "annotated" in settings.output.save:
        sinks.append(AnnotatedSink(out, sources, settings.output, threshold))
    if "crops" in settings.output.save:
        sinks.append(CropSink(out, sources, threshold))
    return sinks


class AnnotatedSink(Sink):
    """Writes every analysed frame, with its faces drawn, to `out_dir/annotated/`, a tree like the input's.

    A source of which frames were read before it broke keeps those. One that cannot be written (a format may refuse its
    size) is logged and left out; the run goes on.
    """

    def __init__(
        self, out_dir: Path, sources: Mapping[int, Source], settings: OutputSettings, threshold: float
    ) -> None:
        super().__init__()
        self._folder, self._sources = out_dir / "annotated", sources
        self._settings, self._threshold = settings, threshold
        self._writers: dict[int, VideoWriter | PhotoWriter] = {}
        self._given_up: set[int] = set()
        self._stack.push(self._end_all)

    def write(self, batch: Batch) -> None:
        frames = batch.frames
        for row, faces in _by_frame(batch):
            source = self._sources[int(frames.source_id[row])]
            if source.id not in self._given_up:
                drawn = annotate(frames.images[row], faces, self._threshold)
                self._write_frame(source, drawn, float(frames.timestamp_s[row]))
        for ended in frames.ended:
            self._end(ended.source_id)
            self._given_up.discard(ended.source_id)

    def _write_frame(self, source: Source, drawn: np.ndarray, timestamp_s: float) -> None:
        try:
            if source.id not in self._writers:
                self._writers[source.id] = self._open(source).__enter__()
            self._writers[source.id].write(drawn, timestamp_s)
        except OSError as error:
            warn_or_raise(source, error, "no annotated copy")
            self._given_up.add(source.id)
            self._end(source.id, error)

    def _open(self, source: Source) -> "VideoWriter | PhotoWriter":
        path = inside(self._folder, annotated_name(source))
        if source.kind == "video":
            return VideoWriter(path, source, self._settings)
        return PhotoWriter(path, _recording(source) if self._settings.keep_metadata else b"")

    def _end(self, source_id: int, error: BaseException | None = None) -> None:
        """Closes a source's writer, if it is open; with an `error`, what it wrote is dropped."""
        writer = self._writers.pop(source_id, None)
        try:
            if writer is not None:
                writer.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except OSError as failure:
            warn_or_raise(self._sources[source_id], failure, "no annotated copy")

    def _end_all(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source_id in list(self._writers):
            self._end(source_id, error)


def _recording(source: Source) -> bytes:
    """When and with which camera a photo was taken, as EXIF data; b"" when nothing says, or the file is gone."""
    try:
        return recording_exif(read_bytes(source.path))
    except DecodeError:
        return b""


class CropSink(Sink):
    """Writes every face as a JPEG, `out_dir/crops/<label>/<source>_f<frame>_<face>.jpg`: its box and a quarter more on
    each side, as far as the image goes."""

    def __init__(self, out_dir: Path, sources: Mapping[int, Source], threshold: float) -> None:
        super().__init__()
        self._folder, self._sources, self._threshold = out_dir / "crops", sources, threshold

    def write(self, batch: Batch) -> None:
        frames = batch.frames
        for row, faces in _by_frame(batch):
            source, frame = self._sources[int(frames.source_id[row])], int(frames.index[row])
            is_masked = wears_mask(faces.p_mask, self._threshold)
            for face, xyxy in enumerate(faces.xyxy):
                crop = _cut(frames.images[row], xyxy)
                label = "with_mask" if is_masked[face] else "without_mask"
                path = inside(self._folder / label, crop_name(source, frame, face))
                try:
                    if crop.size:
                        write_image(path, crop)
                except OSError as error:
                    warn_or_raise(source, error, "a face without its crop")


class RowSink(Sink):
    """Writes the rows of a shard: `<shard>.faces.csv`, `<shard>.files.csv`, then the marks that its sources are done.

    Rows stand in the order of the shard's sources, then frame, then face; those of a source that comes before its turn
    wait in memory. Raises ValueError on closing when a source has not ended.
    """

    def __init__(self, rows_dir: Path, shard: Shard) -> None:
        super().__init__()
        self._rows_dir, self._shard = rows_dir, shard
        self._sources = {source.id: source for source in shard.sources}
        self._order = [source.id for source in shard.sources]
        self._waiting: dict[int, list[list[str]]] = defaultdict(list)
        self._ended: dict[int, Ended] = {}
        self._marks: list[Mark] = []

    def __enter__(self) -> "RowSink":
        def open_rows(name: str, columns: tuple[str, ...]) -> RowWriter:
            return self._stack.enter_context(RowWriter(self._rows_dir / f"{self._shard.index:06d}.{name}.csv", columns))

        # before they are decoded: a file that changes meanwhile is one to scan again
        paths = [source.path for source in self._shard.sources]
        self._fingerprints = dict(zip(self._order, fingerprints(paths), strict=True))
        # closed in reverse: first the check, then faces, then files, then marks
        self._stack.push(self._mark)
        self._file_rows = open_rows("files", FILE_COLUMNS)
        self._face_rows = open_rows("faces", FACE_COLUMNS)
        self._stack.push(self._check_whole)
        self._position = self._face_rows.position(), self._file_rows.position()
        return self

    def stop(self) -> None:
        """The run stops here, in the middle of the shard: what has ended is kept on closing, the rest let go."""
        self._order.clear()

    def write(self, batch: Batch) -> None:
        frames = batch.frames
        for row, faces in _by_frame(batch):
            source = self._sources[int(frames.source_id[row])]
            cells = face_cells(source, int(frames.index[row]), float(frames.timestamp_s[row]), faces)
            self._waiting[source.id] += cells
        self._ended |= {ended.source_id: ended for ended in frames.ended}
        self._flush()

    def _flush(self) -> None:
        """Writes what is next in order: the rows of the first source that has not ended, and of all before it."""
        while self._order:
            source_id = self._order[0]
            for row in self._waiting.pop(source_id, ()):
                self._face_rows.write(row)
            if source_id not in self._ended:
                return
            source = self._sources[source_id]
            ended = self._ended.pop(source_id)
            self._file_rows.write(file_cells(source, ended))
            start, self._position = self._position, (self._face_rows.position(), self._file_rows.position())
            faces, files = zip(start, self._position, strict=True)
            known = None if ended.may_pass else self._fingerprints[source_id]
            self._marks.append(Mark(source.name, known, faces, files, written_names(source)))
            self._order.pop(0)

    def _check_whole(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._order:
            raise ValueError(f"{len(self._order)} sources of shard {self._shard.index} have not ended")

    def _mark(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            write_marks(self._rows_dir, self._shard.index, self._marks)


def _by_frame(batch: Batch) -> Iterator[tuple[int, Faces]]:
    """(row, its faces) of all frames, also of those without faces."""
    bounds = np.searchsorted(batch.faces.row, np.arange(len(batch.frames) + 1))
    for row in range(len(batch.frames)):
        yield row, batch.faces.take(np.arange(bounds[row], bounds[row + 1]))


def _cut(image: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """The box (4,) and a quarter of its sides around it, out of `image` (H, W, 3); empty when it lies outside."""
    margin = _CROP_MARGIN * np.tile(xyxy[2:] - xyxy[:2], 2) * (-1, -1, 1, 1)
    left, top, right, bottom = np.clip(xyxy + margin, 0, np.tile(image.shape[1::-1], 2))
    return image[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]


def warn_or_raise(source: Source, error: OSError, lost: str) -> None:
    """Logs an error that concerns one source; raises those of the disk, which would meet every source."""
    number = error.errno or getattr(error.__cause__, "errno", None)
    # numbers outside the system's own come from FFmpeg
    if number in errno.errorcode and number not in _OF_ONE_SOURCE:
        raise error
    log.warning("%s: %s: %s", source.name, lost, error)
