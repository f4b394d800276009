"""The types that flow through a scan: numpy only, checked when an object is made, and picklable."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

# numbers that describe a person's appearance (see `analyse/appearance.py`)
APPEARANCE_SIZE = 21


@dataclass(frozen=True, slots=True)
class Source:
    """One input file. A photo is a source of one frame.

    `id` is the source's number in the store. `name` is a POSIX path relative to the input root; reports show it, and the
    output tree mirrors it. `fps`, `time_base`, `num_frames`, `width`, `height` (upright, pixels) and `duration_s` are the
    container's claims or None. They are None for photos, and for videos before they are probed. `has_twin`:
    another source's name differs only in case or in the encoding of its accents. `recorded` holds a video's tags with the
    time and the camera of the recording.
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
        # a file written under such a name would lie outside the output folder
        if self.name.startswith("/") or ".." in self.name.split("/"):
            raise ValueError(f"a source's name must lead down from the input root: {self.name!r}")


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work and of distribution: many photos, or one video."""

    index: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a source, after its last frame.

    `error` is None when the whole source was read, else the reason. `is_transient`: the reason is outside the file, and
    the next scan reads the file again. `notes` name parts of the file that were not analysed, such as further pages.
    `pieces` are the corrections of the video's clock, which its sound needs too (see `FrameClock`). `end_s` is the time in
    seconds up to which the video was read. `recorded` are the tags of a photo's time.
    """

    source_id: int
    frames_decoded: int
    frames_analysed: int
    width: int | None = None
    height: int | None = None
    error: str | None = None
    is_transient: bool = False
    notes: tuple[str, ...] = ()
    pieces: tuple[tuple[int, int], ...] = ()
    end_s: float | None = None
    recorded: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> str:
        """The status in `files.csv`: "ok", "partial" (a part could be read) or "failed"."""
        return "ok" if self.error is None else "partial" if self.frames_decoded else "failed"


@dataclass(frozen=True, slots=True)
class ReaderState:
    """The state of a reader just before it yields the frame `index`.

    `pts` and `crc` are the time stamp of that frame and the CRC of its RGB image. `last_s` and `next_s` are the clock's
    last and next time, `read_until_s` is the time up to which the file was read (seconds, exact, as text). `pieces` are
    the clock's corrections, `num_due` is the sampler's count. `is_skipping`: unsampled frames are not decoded there.
    `is_findable`: the frame's `pts` is trustworthy, no damage came before, and a reader can seek to the frame. `width` and
    `height` are the size of all pictures in pixels. `fitted_from` is the number of the first frame with another size,
    which is scaled to this one, or None.
    """

    index: int
    pts: int | None
    crc: int
    last_s: str | None
    next_s: str
    pieces: tuple[tuple[int, int], ...]
    num_due: int
    read_until_s: str
    is_skipping: bool
    is_findable: bool
    width: int
    height: int
    fitted_from: int | None


def size_of(image: np.ndarray | None, planes: np.ndarray | None) -> tuple[int, int]:
    """Return width and height of a picture (H, W, 3), or of its planes (H + H / 2, W) where there is none."""
    height, width = (planes.shape[0] * 2 // 3, planes.shape[1]) if image is None else image.shape[:2]
    return width, height


class Decoded(NamedTuple):
    """A frame from a reader: number in the source, seconds from the source's start, image (H, W, 3) uint8 RGB upright.

    `cut` is the reader's state before the frame when a segment begins with it, else None. With `is_looked_at` the frame is
    analysed; the others are for the annotated copy, as are `planes` (see `Frames`), and one with `planes` has no image.
    """

    index: int
    timestamp_s: float
    image: np.ndarray | None
    cut: ReaderState | None = None
    is_looked_at: bool = True
    planes: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return size_of(self.image, self.planes)


@dataclass(frozen=True, slots=True)
class Frames:
    """B frames, in order within each source, and the sources that end with them.

    `images`: B arrays (H, W, 3) uint8 RGB upright, sizes may differ; `source_id` (B,) int64; `index` (B,) int64, the
    frame's number in its source; `timestamp_s` (B,) float64, seconds from the start of its source.
    When a segment of a video begins with the first frame, `cut` is the reader's state before that frame, else None.
    `is_looked_at` (B,) bool, all True by default: the frames that are analysed. B = 0 is possible (a batch of files
    that all failed).
    `planes`: for each frame None, or (H + H / 2, W) uint8: the same picture in I420 (all of luma, then two planes of chroma;
    BT.709, limited range; H and W are even), near to how the video stores it. It is for the annotated copy, which may draw
    into it. The image of a frame that has planes and is not analysed is None.
    """

    images: tuple[np.ndarray | None, ...]
    source_id: np.ndarray
    index: np.ndarray
    timestamp_s: np.ndarray
    ended: tuple[Ended, ...] = ()
    cut: ReaderState | None = None
    is_looked_at: np.ndarray | None = None
    planes: tuple[np.ndarray | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.is_looked_at is None:
            object.__setattr__(self, "is_looked_at", np.ones(len(self.images), bool))
        if self.planes is None:
            object.__setattr__(self, "planes", (None,) * len(self.images))
        for image, planes, is_looked_at in zip(self.images, self.planes, self.is_looked_at.tolist(), strict=True):
            if image is None and (planes is None or is_looked_at):
                raise ValueError("a frame that is analysed, or has no planes, needs an image")
            if image is not None and (image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8):
                raise ValueError(f"images must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        for name in ("source_id", "index", "timestamp_s", "is_looked_at"):
            _check_shape(name, getattr(self, name), (len(self.images),))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_looked_at(self) -> int:
        """Number of frames that are analysed."""
        return int(self.is_looked_at.sum())

    def size(self, row: int) -> tuple[int, int]:
        """Return width and height of a frame in pixels."""
        return size_of(self.images[row], self.planes[row])


@dataclass(frozen=True, slots=True)
class Faces:
    """N faces, flat over a batch of frames. N = 0 needs no special case.

    `row` (N,) int64: position in `Frames`, ascending; `xyxy` (N, 4) float32: pixels of the upright original frame;
    `score` (N,) float32; `landmarks` (N, 5, 2) float32: x, y of both eyes, nose tip and both mouth corners, the person's
    right side first; `p_mask` (N,) float32, NaN until classified; `p_incorrect` (N,) float32, the probability that a mask
    is worn incorrectly (nose or mouth bare), NaN also where the classifier does not know that state; in a video, both may
    be those of the look before (see `analyse/sparing.py`); `track_id` (N,) int64, -1 until tracked. How well a face can
    be seen, (N,) float32 each, NaN until described: `sharpness` from 0 to 1, `brightness` from 0 to 255, `turn` from 0
    (frontal) to 1 (profile). `appearance` (N, APPEARANCE_SIZE) float32 describes the person's colours for the tracker,
    NaN where a part is not in the picture.
    """

    row: np.ndarray
    xyxy: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray
    p_mask: np.ndarray | None = None
    p_incorrect: np.ndarray | None = None
    track_id: np.ndarray | None = None
    sharpness: np.ndarray | None = None
    brightness: np.ndarray | None = None
    turn: np.ndarray | None = None
    appearance: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_faces = len(self.row)
        tails = {"xyxy": (4,), "landmarks": (5, 2), "appearance": (APPEARANCE_SIZE,)}
        for name in ("p_mask", "p_incorrect", "sharpness", "brightness", "turn", "appearance"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full((num_faces, *tails.get(name, ())), np.nan, np.float32))
        if self.track_id is None:
            object.__setattr__(self, "track_id", np.full(num_faces, -1, np.int64))
        for item in fields(self):
            _check_shape(item.name, getattr(self, item.name), (num_faces, *tails.get(item.name, ())))

    def __len__(self) -> int:
        return len(self.row)

    def take(self, keep: np.ndarray) -> "Faces":
        """Return the faces at `keep`: a boolean mask (N,) or an index array, applied to every field."""
        return Faces(*(getattr(self, item.name)[keep] for item in fields(self)))

    def with_state(self, p_mask: np.ndarray, p_incorrect: np.ndarray | None = None) -> "Faces":
        """Return the same faces with `p_mask` and `p_incorrect`, both (N,) float32; None: that state is unknown."""
        return replace(self, p_mask=p_mask, p_incorrect=p_incorrect)

    def with_track_id(self, track_id: np.ndarray) -> "Faces":
        """Return the same faces with `track_id` (N,) int64."""
        return replace(self, track_id=track_id)

    @staticmethod
    def joined(parts: Sequence["Faces"]) -> "Faces":
        """Return the faces of all parts, in their order."""
        if not parts:
            return Faces.empty()
        return Faces(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Faces)))

    @staticmethod
    def empty() -> "Faces":
        """Return an object without faces."""
        return Faces(
            np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32),
            np.empty((0, 5, 2), np.float32),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of sinks: frames, the faces found in those that were analysed, and the faces to draw on all of them.

    When a segment begins with the batch, `tracks` is the tracker's state before it, as plain values, else None. `persons`
    has (track, person) pairs for the id of each source that ends with it: the tracks that continue an earlier one.
    `hidden` has boxes (N, 4) float32 for each frame, which no medium may show; None when nobody is to be hidden. Planes
    show everybody: a frame with planes is a ValueError then.
    """

    frames: Frames
    faces: Faces
    tracks: dict[str, object] | None = None
    persons: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    drawn: Faces | None = None
    hidden: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        if self.drawn is None:
            object.__setattr__(self, "drawn", self.faces)
        if self.hidden is not None and any(planes is not None for planes in self.frames.planes):
            raise ValueError("frames with planes cannot hide anybody: read them without planes")


@dataclass(frozen=True, slots=True)
class WriterState:
    """The state of a video's writer after a part: the last frame's time and the longest gap between frames, in ticks."""

    last_pts: int = -1
    most_gap: int = 0


@dataclass(frozen=True, slots=True)
class CopyState:
    """The state of a video's annotated copy after a segment.

    `parts` are (file name, first tick). `broken` says why the copy could not be written; the
    video has none then.
    """

    writer: WriterState = WriterState()
    parts: tuple[tuple[str, int], ...] = ()
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a scan of a video after a finished segment, from which the next segment starts.

    `num_segments` are finished. `reader`, `tracks` and `copy` are the states of reader, tracker and writer.
    `frames_analysed`, `width` and `height` (pixels) cover the finished segments. `made_with` names the encoding libraries;
    `names` are those of the annotated copy and the crops. Parts made with other libraries or names would not fit.
    When `ended` is set, all frames are read and only the annotated copy is left to join. `silenced` is the reason why its
    sound is left out, or "".
    """

    source: Source
    made_with: str
    names: tuple[str, str]
    num_segments: int = 0
    frames_analysed: int = 0
    width: int | None = None
    height: int | None = None
    reader: ReaderState | None = None
    tracks: dict[str, object] = field(default_factory=dict)
    copy: CopyState = CopyState()
    ended: Ended | None = None
    silenced: str = ""


class FaceRow(NamedTuple):
    """A row of the store's table `face`, in whole ten thousandths (`_e4`), hundredths (`_e2`) or tenths (`_e1`).

    `p_mask_e4` is None when the face was not classified, `p_incorrect_e4` also when the classifier has no third state. The
    last three say how well the face can be seen (see `Faces`).
    """

    source_id: int
    frame: int
    face: int
    time_e4: int
    track_id: int
    x_min_e1: int
    y_min_e1: int
    x_max_e1: int
    y_max_e1: int
    score_e4: int
    p_mask_e4: int | None
    p_incorrect_e4: int | None = None
    sharpness_e2: int | None = None
    brightness: int | None = None
    turn_e2: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """A part of a shard's results: faces, sources that ended, and whether these have an annotated copy (source id, bool).

    `persons` are (source id, track, person) for tracks that continue an earlier one. `evidence` are (source id, frame, face)
    of looks whose picture was written. A `checkpoint` ends a segment.
    `seconds` is the working time of each stage for this part.
    """

    faces: tuple[FaceRow, ...] = ()
    ended: tuple[tuple[Source, Ended], ...] = ()
    copies: tuple[tuple[int, bool], ...] = ()
    persons: tuple[tuple[int, int, int], ...] = ()
    evidence: tuple[tuple[int, int, int], ...] = ()
    checkpoint: Checkpoint | None = None
    num_frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """True when this result ends a segment or a source, so that it is stored now together with those before it."""
        return bool(self.ended) or self.checkpoint is not None


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
