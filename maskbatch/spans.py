"""Row files are read in pieces: spans of several CSV files as one CSV file."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from maskbatch.errors import MaskbatchError
from maskbatch.marks import Span


class Spans(io.RawIOBase):
    """A readable file of a header and the bytes of all spans, one file open at a time. Reading raises MaskbatchError when
    a file does not begin with that header, or is shorter than a span says."""

    def __init__(self, spans: Sequence[Span], columns: Sequence[str]) -> None:
        super().__init__()
        self._header = (",".join(columns) + "\n").encode()
        self._blocks = self._read_blocks(spans)
        self._left = self._header

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = block
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _read_blocks(self, spans: Sequence[Span]) -> Iterator[bytes]:
        for path, start, end in _merged(spans):
            with path.open("rb") as file:
                if file.readline(len(self._header)) != self._header:
                    raise MaskbatchError(f"{path} was not written by this version of maskbatch: scan again")
                file.seek(start)
                while start < end:
                    block = file.read(min(end - start, 1 << 20))
                    if not block:
                        raise MaskbatchError(f"{path} is damaged: scan again (it is shorter than it was)")
                    start += len(block)
                    yield block


def are_there(spans: Sequence[Span]) -> bool:
    """Whether the files of the spans are long enough."""
    try:
        return all(path.stat().st_size >= end for path, _, end in spans)
    except OSError:
        return False


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Neighbours in one file, made one; empty ones left out."""
    merged: list[tuple[Path, int, int]] = []
    for path, start, end in spans:
        if merged and merged[-1][0] == path and merged[-1][2] == start:
            merged[-1] = (path, merged[-1][1], end)
        elif end > start:
            merged.append((path, start, end))
    return merged
