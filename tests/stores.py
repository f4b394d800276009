"""Fills stores as scans do, with results that are made up."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from maskbatch.store.database import Store
from maskbatch.store.plan import make_plan
from maskbatch.store.resume import begin
from maskbatch.store.write import add_results
from maskbatch.types import Checkpoint, CopyState, Ended, FaceRow, ReaderState, SegmentResult, Source, WriterState


@dataclass(frozen=True)
class File:
    """An input and how it ended. `fps` and `duration_s` are those of a video."""

    name: str
    kind: str = "image"
    error: str | None = None
    decoded: int = 1
    analysed: int = 1
    fps: Fraction | None = None
    duration_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Face:
    """A face in a frame of the source `name`, at 30 frames a second; `p_mask` None: not classified,
    `p_incorrect` None: by a model without that state."""

    name: str
    frame: int = 0
    track_id: int = 0
    p_mask: float | None = 0.9
    face: int = 0
    x_min: float = 1.0
    p_incorrect: float | None = None

    def row(self, source_id: int) -> FaceRow:
        """The row of the face in the store."""
        states = [None if p is None else round(p * 10_000) for p in (self.p_mask, self.p_incorrect)]
        time_e4 = round(self.frame / 30 * 10_000)
        return FaceRow(
            source_id,
            self.frame,
            self.face,
            time_e4,
            self.track_id,
            round(10 * self.x_min),
            20,
            310,
            420,
            9000,
            *states,
        )


def video(name: str, analysed: int = 300, decoded: int = 300, error: str | None = None, **claims: object) -> File:
    """A video of ten seconds at 30 frames a second, unless `claims` say something else."""
    return File(name, "video", error, decoded, analysed, **{"fps": Fraction(30), "duration_s": 10.0, **claims})


def sources_for(files: Sequence[File]) -> list[Source]:
    """The files as sources, which lie nowhere."""
    return [
        Source(position, Path("/nowhere", file.name), file.name, file.kind, fps=file.fps, duration_s=file.duration_s)
        for position, file in enumerate(files)
    ]


def begun(store: Store, files: Sequence[File]) -> dict[str, Source]:
    """A session over the files has begun; its sources by name."""
    return {source.name: source for source in begin(store, make_plan(store, sources_for(files))).sources}


def end(store: Store, sources: dict[str, Source], files: Sequence[File], faces: Sequence[Face] = ()) -> None:
    """Store, as one result, that the files ended, with their faces."""
    rows = tuple(face.row(sources[face.name].id) for face in faces)
    ended = []
    for file in files:
        source = sources[file.name]
        size = (640, 480) if file.decoded else (None, None)
        ended.append((source, Ended(source.id, file.decoded, file.analysed, *size, file.error, notes=file.notes)))
    add_results(store, [SegmentResult(rows, tuple(ended), num_frames=sum(file.analysed for file in files))])


def fill(store: Store, files: Sequence[File], faces: Sequence[Face] = ()) -> None:
    """A session over the files, all of which it ended."""
    end(store, begun(store, files), files, faces)


def checkpoint(source: Source, num_segments: int = 1, index: int = 35) -> Checkpoint:
    """A checkpoint of a video after so many segments, with a value in every field."""
    reader = ReaderState(
        index, index * 512, 7, "34/25", "7/5", ((0, 3), (512, -3)), index, "7/5", True, True, 96, 64, 20
    )
    copy = CopyState(WriterState(17_408, 512), (("000000.mp4", 0),))
    tracks = {"track_id": [0, 2], "previous_s": 1.36}
    return Checkpoint(source, "av 1", (source.name, source.name), num_segments, index, 96, 64, reader, tracks, copy)
