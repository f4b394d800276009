"""Standard input, output and error: closed ones, full disks, readers that are gone, and the output of C++ libraries."""

import faulthandler
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from maskbatch.networks.cache import keep_libraries_out_of_home

# as media.photo.reader.MAX_PIXELS; OpenCV reads it when it is loaded
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "250000000",
}  # fmt: skip


class _Lenient(io.FileIO):
    """Ignores errors of writing: messages that nobody can read must not end a scan."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Output(io.FileIO):
    """Names standard output in its first error of writing; later output is discarded."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except OSError as error:
            away = os.open(os.devnull, os.O_WRONLY)
            os.dup2(away, self.fileno())
            os.close(away)
            raise OSError(error.errno, error.strerror, "standard output") from None


def open_standard_streams() -> None:
    """Open those streams that the caller closed: otherwise the next file, a table perhaps, would get the stream's number.

    Reading a closed standard input finds nothing. Writing to a closed standard output is an error, as with other programs.
    Writing to a closed standard error is not.
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


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Discard the lines that TensorFlow, OpenCV and FFmpeg print to standard error; ours still reach `sys.stderr`.

    The libraries write to file descriptor 2 from C++. That descriptor leads nowhere inside the block, and `sys.stderr`
    has another one. Settings of the libraries that must be made before they are loaded are made here, too.
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
    """Return whether a text stream writes to that file descriptor (test runners replace `sys.stderr` by one that does not)."""
    try:
        return stream.fileno() == number
    except (AttributeError, OSError, ValueError):
        return False


def _text(raw: io.FileIO, like: TextIO | None) -> TextIO:
    """Return a stream of lines over `raw`, in the encoding of another stream."""
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)
