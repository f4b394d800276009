"""Standard input, output and error, which the caller may have closed, or led to a full disk or a reader that is gone."""

import io
import os
import sys
from typing import TextIO


class _Lenient(io.FileIO):
    """Takes for written what cannot be written: messages that nobody can read must not end a scan."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Output(io.FileIO):
    """Says in its error that standard output is what cannot be written. There is one: what comes later goes nowhere."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError as error:
            away = os.open(os.devnull, os.O_WRONLY)
            os.dup2(away, self.fileno())
            os.close(away)
            raise OSError(error.errno, error.strerror, "standard output") from None


def open_standard_streams() -> None:
    """Open those streams that the caller closed: else the next file that is opened, a table, would be taken for one.

    Reading a closed standard input finds nothing. Writing to a closed standard output is an error, as with other programs.
    Standard error is never one.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # it gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    # the console of Windows takes no bytes; Python's own streams know how to write to it
    if sys.stdout is None or sys.platform != "win32":
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is None or sys.platform != "win32":
        sys.stderr = _text(_Lenient(2, "w", closefd=False), sys.stderr)


def open_lenient(descriptor: int) -> TextIO:
    """Return a text stream onto `descriptor`, which it closes, whose writes never fail."""
    return _text(_Lenient(descriptor, "w"), None)


def _text(raw: io.FileIO, like: TextIO | None) -> TextIO:
    """A stream of lines over `raw`, in the encoding of another stream."""
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)
