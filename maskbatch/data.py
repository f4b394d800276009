"""The types that flow through a scan. numpy only; each checks its own shapes when it is made."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

# Rows that a scan leaves for its reports: a line per face per analysed frame, and a line per source.
FACE_COLUMNS = (
    "source", "frame", "time_s", "face", "track_id", "x_min", "y_min", "x_max", "y_max", "score", "p_mask",
)  # fmt: skip
FILE_COLUMNS = (
    "source", "kind", "error", "width", "height", "fps", "duration_s", "frames_decoded", "frames_analysed", "notes",
)  # fmt: skip
P_MASK_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Source:
    """One input file. A photo is a source of one frame.

    `id` is its position in the run; `name` is what reports show and the output tree mirrors: a POSIX path relative to the
    input root. `fps`, `time_base`, `num_frames`, `width`, `height` (upright, pixels) and `duration_s` are what the
    container claims, or None where it says nothing (always for photos, and for videos before they are probed).
    `has_twin`: another source's name is the same but for case or the way its accents are written. `recorded` are the tags
    of a video that say when and with which camera it was recorded.
    """

    id: int
    path: Path
    name: str
    kind: Literal["image", "video"]
    fps: Fraction | None = None
    time_base: Fraction | None = None
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    has_twin: bool = False
    recorded: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.name.startswith("/") or ".." in self.name.split(
            "/"
        ):  # what is written for it would leave the output folder
            raise ValueError(f"a source's name must lead down from the input root: {self.name!r}")


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work, of resume and of distribution: many photos, or one video."""

    index: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A source has given its last frame. `error` is None when it was read whole, else the reason it was not; that `may_pass`
    when it is not in the file, which is then read again the next time. `notes` name parts of the file that were not looked
    at, such as further pages."""

    source_id: int
    frames_decoded: int
    frames_analysed: int
    width: int | None = None
    height: int | None = None
    error: str | None = None
    may_pass: bool = False
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """As in `files.csv`: "ok", "partial" (a part could be read) or "failed"."""
        return "ok" if self.error is None else "partial" if self.frames_decoded else "failed"


@dataclass(frozen=True, slots=True)
class Frames:
    """B frames, in order within each source, and the sources that end with them.

    `images`: B arrays (H, W, 3) uint8 RGB upright, sizes may differ; `source_id` (B,) int64; `index` (B,) int64, the
    frame's number in its source; `timestamp_s` (B,) float64, seconds from the start of its source.
    B = 0 is possible (a batch of files that all failed).
    """

    images: tuple[np.ndarray, ...]
    source_id: np.ndarray
    index: np.ndarray
    timestamp_s: np.ndarray
    ended: tuple[Ended, ...] = ()

    def __post_init__(self) -> None:
        for image in self.images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"images must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        for name in ("source_id", "index", "timestamp_s"):
            _check_shape(name, getattr(self, name), (len(self.images),))

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Faces:
    """N faces, flat over a batch of frames. N = 0 needs no special case.

    `row` (N,) int64: position in `Frames`, ascending; `xyxy` (N, 4) float32: pixels of the upright original frame;
    `score` (N,) float32; `landmarks` (N, 5, 2) float32: x, y of both eyes, nose tip and both mouth corners, the person's
    right side first; `p_mask` (N,) float32, NaN until classified; `track_id` (N,) int64, -1 until tracked.
    """

    row: np.ndarray
    xyxy: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray
    p_mask: np.ndarray | None = None
    track_id: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_faces = len(self.row)
        if self.p_mask is None:
            object.__setattr__(self, "p_mask", np.full(num_faces, np.nan, np.float32))
        if self.track_id is None:
            object.__setattr__(self, "track_id", np.full(num_faces, -1, np.int64))
        shapes = {"row": (), "xyxy": (4,), "score": (), "landmarks": (5, 2), "p_mask": (), "track_id": ()}
        for name, tail in shapes.items():
            _check_shape(name, getattr(self, name), (num_faces, *tail))

    def __len__(self) -> int:
        return len(self.row)

    def take(self, keep: np.ndarray) -> "Faces":
        """The faces at `keep`: a boolean mask (N,) or an index array, applied to every field."""
        return Faces(
            self.row[keep], self.xyxy[keep], self.score[keep], self.landmarks[keep], self.p_mask[keep],
            self.track_id[keep],
        )  # fmt: skip

    def with_p_mask(self, p_mask: np.ndarray) -> "Faces":
        """The same faces, classified."""
        return replace(self, p_mask=p_mask)

    def with_track_id(self, track_id: np.ndarray) -> "Faces":
        """The same faces, tracked."""
        return replace(self, track_id=track_id)

    @staticmethod
    def empty() -> "Faces":
        """No faces."""
        return Faces(
            np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32),
            np.empty((0, 5, 2), np.float32),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """What sinks receive: frames, and the faces found in them."""

    frames: Frames
    faces: Faces

    @staticmethod
    def of_ended(*ended: Ended) -> "Batch":
        """No frames; sources that end."""
        none = np.empty(0, np.int64)
        return Batch(Frames((), none, none, np.empty(0), ended), Faces.empty())


def wears_mask(p_mask: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) bool: with_mask, from `p_mask` (N,). It is rounded first, as in the rows, so that pictures and reports agree."""
    return np.round(np.asarray(p_mask, np.float64), P_MASK_DECIMALS) >= threshold


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
