"""Input files, their division into shards, and the outcome of each file."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple


class YuvColours(NamedTuple):
    """The meaning of the YUV pictures of an annotated copy, in numbers of ITU-T H.273: that of its video, or BT.709.

    Attributes:
        matrix: 1 for BT.709, 5 for BT.601.
        is_full: luma and chroma use all values from 0 to 255.
        stated: matrix, primaries and transfer that the file states; 2 is unspecified.
    """

    matrix: int = 1
    is_full: bool = False
    stated: tuple[int, int, int] = (1, 1, 1)


BT709 = YuvColours()


@dataclass(frozen=True, slots=True)
class Source:
    """One input file. A photo is a source of one frame.

    The fields from `fps` to `duration_s` are claims of the container, or None. They are None for photos, and for videos
    before they are probed. Raises ValueError for a `name` that would lead out of the output folder.

    Attributes:
        id: number of the source in the store.
        path: path of the file.
        name: POSIX path relative to the input root. Reports show it, and the output tree mirrors it.
        kind: photo or video.
        fps: frames per second.
        time_base: seconds per tick.
        num_frames: number of frames.
        width, height: size in pixels, upright.
        duration_s: duration in seconds.
        has_twin: the name of another source differs only in case or in the encoding of accents.
        recorded: tags of a video with time and camera of the recording, as (name, text).
        colours: those of the annotated copy of a video: its own if a person sees its pictures as they are stored.
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
    colours: YuvColours = BT709

    def __post_init__(self) -> None:
        # a file with such a name would be written outside the output folder
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

    Attributes:
        source_id: number of the source in the store.
        frames_decoded, frames_analysed: numbers of frames.
        width, height: size of the frames in pixels, None without frames.
        error: the reason why the source was not read completely, or None.
        is_transient: the reason lies outside the file, and the next scan reads the file again.
        notes: parts of the file that were not analysed, such as further pages.
        pieces: corrections of a video's clock, which its sound needs too (see `FrameClock`).
        end_s: time in seconds up to which a video was read.
        recorded: tags with the time of a photo, as (name, text).
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
        """The status in `files.csv`: "ok", "partial" (only a part could be read) or "failed"."""
        return "ok" if self.error is None else "partial" if self.frames_decoded else "failed"
