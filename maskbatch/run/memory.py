"""Gives memory that nobody uses back to the system."""

import ctypes
import functools
from collections.abc import Callable


def trim() -> None:
    """Returns freed memory that the C library keeps; nothing where that is not glibc.

    glibc keeps, for each of many threads, what lies between blocks still in use: after thousands of photos, decoded,
    analysed and encoded in a dozen threads, hundreds of megabytes. Takes milliseconds. See malloc_trim(3).
    """
    _malloc_trim()(0)


@functools.cache
def _malloc_trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return lambda _: None
