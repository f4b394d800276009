"""What is scanned: input files, the shards that they are handed out in, and how a file ended."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal


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
