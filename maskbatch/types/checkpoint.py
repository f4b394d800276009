"""The states from which a scan of a video continues: of its reader, its writer and its annotated copy, and all together."""

from dataclasses import dataclass, field

from maskbatch.types.source import Ended, Source


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
