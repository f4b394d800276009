"""Standard input, output and error: handle closed streams, write errors, and the output of C++ libraries."""

import faulthandler
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from maskbatch.networks.cache import keep_libraries_out_of_home

# same limit as media.photo.reader.MAX_PIXELS; OpenCV reads it when it is loaded
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "250000000",
}  # fmt: skip


class _Lenient(io.FileIO):
    """A file that ignores write errors: messages that nobody can read must not end a scan."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Output(io.FileIO):
    """A file that names standard output in its first write error, and discards later output."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError as error:
            away = os.open(os.devnull, os.O_WRONLY)
            os.dup2(away, self.fileno())
            os.close(away)
            raise OSError(error.errno, error.strerror, "standard output") from None


def open_standard_streams() -> None:
    """Open standard streams that the caller closed. Otherwise the next opened file would get the number of the stream.

    Reading a closed standard input gives nothing. Writing to a closed standard output is an error, as with other
    programs; writing to a closed standard error is not.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # os.open takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    # the Windows console takes no bytes, but Python's own streams can write to it
    if sys.stdout is None or sys.platform != "win32":
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is None or sys.platform != "win32":
        sys.stderr = _text(_Lenient(2, "w", closefd=False), sys.stderr)


def open_lenient(descriptor: int) -> TextIO:
    """Return a text stream onto `descriptor` whose writes never fail. Closing the stream closes the descriptor."""
    return _text(_Lenient(descriptor, "w"), None)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Discard the lines that TensorFlow, OpenCV and FFmpeg print to standard error, but keep those of `sys.stderr`.

    The libraries write to file descriptor 2 from C++. Inside the block, that descriptor discards everything, and
    `sys.stderr` has another one. Settings that must precede the loading of libraries are also made here.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_libraries_out_of_home()
    if hasattr(sys.stdout, "reconfigure"):  # an ASCII terminal must not end a scan because of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    own = os.dup(2)
    away = os.open(os.devnull, os.O_WRONLY)
    stderr, attached = sys.stderr, _is_descriptor(sys.stderr, 2)
    try:
        os.dup2(away, 2)
        if attached:
            sys.stderr = open_lenient(os.dup(own))
            faulthandler.enable(sys.stderr)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(away)
        if attached:
            faulthandler.disable()
            sys.stderr.close()
            sys.stderr = stderr


def _is_descriptor(stream: TextIO, number: int) -> bool:
    """Return whether a text stream writes to a file descriptor; those of test runners do not."""
    try:
        return stream.fileno() == number
    except (AttributeError, OSError, ValueError):
        return False


def _text(raw: io.FileIO, like: TextIO | None) -> TextIO:
    """Return a line-buffered text stream over `raw`, in the encoding of another stream."""
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)
