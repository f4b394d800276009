"""How far a scan is, in figures: what a bar, a plain line and a line of JSON all show."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskbatch.settings import SamplingSettings

if TYPE_CHECKING:  # numpy; --help needs none
    from maskbatch.types import SegmentResult, Shard, Source

MODES = ("auto", "plain", "json", "none")


class Tally:
    """Counts files and analysed frames of a scan as they are done. `num_files` and `num_frames` are there to be done."""

    def __init__(self, sampling: SamplingSettings) -> None:
        self._sampling = sampling
        self._start = time.monotonic()
        self.num_files = self.num_frames = self.files_done = self.frames_done = 0
        self.file: str | None = None

    def expect(self, sources: Sequence[Source]) -> None:
        """These are to be done."""
        self.num_files = len(sources)
        self.num_frames = sum(num_analysed(source, self._sampling) for source in sources)

    def add(self, shard: Shard, result: SegmentResult) -> None:
        """Count a result of a shard that is done."""
        self.files_done += len(result.ended)
        self.frames_done += result.num_frames
        source = result.ended[-1][0] if result.ended else shard.sources[0]
        self.file = source.name

    def rate(self) -> float:
        """Frames per second since the start."""
        return self.frames_done / max(time.monotonic() - self._start, 1e-9)

    def eta_s(self) -> float | None:
        """Seconds that are left at this rate, None before the first frame. How many frames a video has is an estimate."""
        if not self.frames_done:
            return None
        return max(self.num_frames - self.frames_done, 0) / self.rate()

    def words(self) -> str:
        """A line for a person."""
        files, frames = counted(self.num_files, "file"), counted(self.num_frames, "frame")
        return f"{self.files_done} of {files}, {self.frames_done} of about {frames}"

    def figures(self) -> dict[str, object]:
        """The same for a program; `file` is the one that was worked on last."""
        eta_s = self.eta_s()
        return {
            "files_done": self.files_done, "files": self.num_files, "frames_done": self.frames_done,
            "frames": self.num_frames, "frames_per_s": round(self.rate(), 2),
            "eta_s": None if eta_s is None else round(eta_s, 1), "file": self.file,
        }  # fmt: skip


def json_line(event: str, **values: object) -> str:
    """One line of `--progress json`: ASCII only, line breaks in names escaped."""
    return json.dumps({"event": event, **values})


def counted(number: int, noun: str) -> str:
    """Such as "1 file" and "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """`text` on one line, without what a terminal would obey: control characters and bytes that are no letters are written
    as escapes, such as \\x1b."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def num_analysed(source: Source, sampling: SamplingSettings) -> int:
    """About how many frames of a source will be analysed."""
    if sampling.sample_fps and source.duration_s:
        return min(source.num_frames or sys.maxsize, math.ceil(source.duration_s * sampling.sample_fps))
    return math.ceil((source.num_frames or 1) / sampling.every)
