"""States from which the scan of a video continues: of its reader, its writer, its annotated copy, and of all three."""

from dataclasses import dataclass, field
from typing import NamedTuple

from maskbatch.types.source import Ended, Source


@dataclass(frozen=True, slots=True)
class ReaderState:
    """The state of a reader just before it yields the frame `index`.

    `last_s`, `next_s` and `read_until_s` are exact seconds, as text.

    Attributes:
        index: number of the frame in the video.
        pts: time stamp of the frame.
        crc: CRC of the frame's RGB image.
        last_s, next_s: last and next time of the clock.
        pieces: corrections of the clock.
        num_due: count of the sampler.
        read_until_s: time up to which the file was read.
        is_skipping: the reader does not decode unsampled frames here.
        is_findable: a reader can seek to the frame: its `pts` is reliable, and no damage came before.
        width, height: size of all pictures in pixels.
        fitted_from: number of the first frame that was scaled to this size from another size, or None.
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


@dataclass(frozen=True, slots=True)
class WriterState:
    """The state of a video's writer after a part: the last frame's time and the longest gap between frames, in ticks."""

    last_pts: int = -1
    most_gap: int = 0


class Recorded(NamedTuple):
    """Frames that an annotated copy takes from its source as they are stored there.

    Attributes:
        first_pts, last_pts: time stamps of the first and the last frame, in ticks of the source's `time_base`.
        first_tick: time of the first frame in the copy, in the same ticks.
        num_frames: number of frames, one to a packet.
        delay: most ticks from one frame to a later one that is stored before it.
    """

    first_pts: int
    last_pts: int
    first_tick: int
    num_frames: int
    delay: int


@dataclass(frozen=True, slots=True)
class CopyState:
    """The state of a video's annotated copy after a segment.

    `parts` follow one another: (file name, first tick) of encoded pictures, or `Recorded`. `broken` is the reason why
    the video has no copy, or "".
    """

    writer: WriterState = WriterState()
    parts: tuple[tuple[str, int] | Recorded, ...] = ()
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a scan of a video after a finished segment, from which the next segment starts.

    Attributes:
        source: the video, as probed.
        made_with: the encoding libraries. Parts of other libraries would not fit.
        names: names of the annotated copy and of the crops. Parts with other names would not fit.
        num_segments: number of finished segments.
        frames_analysed: number of analysed frames in these segments.
        width, height: size of these frames in pixels.
        reader: state of the reader.
        tracks: states of tracker, hider and classifier, as plain values.
        copy: state of the annotated copy.
        ended: set when all frames are read; only the annotated copy is left to join.
        silenced: reason why the sound of the copy is left out, or "".
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
