"""Progress of a scan in figures, and the interface of its listeners."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskbatch.run.stop import Stop
from maskbatch.settings import SamplingSettings

if TYPE_CHECKING:  # numpy; --help needs none
    from maskbatch.types import SegmentResult, Shard, Source

MODES = ("auto", "plain", "json", "none")


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a scan at a moment.

    Attributes:
        files_done, files: files done, and all files of this session.
        frames_done, frames: frames analysed, and the estimated number of all frames to analyse.
        frames_per_s: rate since the start of this session.
        eta_s: estimated seconds left, None before the first frame.
        file: name of the file of the last result, None before the first.
    """

    files_done: int
    files: int
    frames_done: int
    frames: int
    frames_per_s: float
    eta_s: float | None
    file: str | None

    def __str__(self) -> str:
        files, frames = counted(self.files, "file"), counted(self.frames, "frame")
        return f"{self.files_done} of {files}, {self.frames_done} of about {frames}"


class Listener:
    """A listener to a scan. The methods of this class do nothing; override those of interest."""

    def say(self, message: str) -> None:
        """Receive a line of text for the user."""

    @contextmanager
    def at_work(self, sampling: SamplingSettings) -> Iterator[Stop]:
        """Enclose the time in which files are scanned; the scan ends early once the `Stop` is requested."""
        yield Stop()

    def expect(self, sources: Sequence[Source]) -> None:
        """Receive the sources to scan, once, before the first result."""

    def add(self, shard: Shard, result: SegmentResult) -> None:
        """Receive a result. One that ends a segment or a source is stored by then."""


class Tally:
    """Counts of finished files and analysed frames of a scan. `num_files` and `num_frames` are the totals."""

    def __init__(self, sampling: SamplingSettings) -> None:
        self._sampling = sampling
        self._start = time.monotonic()
        self.num_files = self.num_frames = self.files_done = self.frames_done = 0
        self.file: str | None = None
        self._expected: dict[int, int] = {}

    def expect(self, sources: Sequence[Source]) -> None:
        """Set the totals from the sources to scan."""
        self.num_files = len(sources)
        self._expected = {source.id: num_analysed(source, self._sampling) for source in sources}
        self.num_frames = sum(self._expected.values())

    def add(self, shard: Shard, result: SegmentResult) -> None:
        """Count a result of a shard."""
        self.files_done += len(result.ended)
        self.frames_done += result.num_frames
        for source, ended in result.ended:  # a gate analyses fewer frames of a quiet video than expected
            self.num_frames += min(0, ended.frames_analysed - self._expected.pop(source.id, 0))
        source = result.ended[-1][0] if result.ended else shard.sources[0]
        self.file = source.name

    def rate(self) -> float:
        """Return the frames per second since the start."""
        return self.frames_done / max(time.monotonic() - self._start, 1e-9)

    def eta_s(self) -> float | None:
        """Return the seconds left at this rate, None before the first frame."""
        if not self.frames_done:
            return None
        return max(self.num_frames - self.frames_done, 0) / self.rate()

    def progress(self) -> Progress:
        """Return the present progress."""
        eta_s = self.eta_s()
        return Progress(
            self.files_done, self.num_files, self.frames_done, self.num_frames, round(self.rate(), 2),
            None if eta_s is None else round(eta_s, 1), self.file,
        )  # fmt: skip


def json_line(event: str, **values: object) -> str:
    """Return one line of `--progress json`: ASCII only, with line breaks in names escaped."""
    return json.dumps({"event": event, **values})


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 file" or "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return `text` on one line that is safe in a terminal: characters that are not printable become escapes, as \\x1b."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def num_analysed(source: Source, sampling: SamplingSettings) -> int:
    """Estimate the number of frames of a source that will be analysed."""
    if sampling.sample_fps and source.duration_s:
        return min(source.num_frames or sys.maxsize, math.ceil(source.duration_s * sampling.sample_fps))
    return math.ceil((source.num_frames or 1) / sampling.every)
