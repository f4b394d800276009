"""Memory of the process: gives back what nobody uses, and refuses to begin where there is too little by far."""

import ctypes
import functools
import sys
from collections.abc import Callable

from maskbatch.errors import DeviceError

# a scan takes 2.4 GB of addresses on two cores; with half of that, libraries crash where they should raise
_LEAST_ADDRESSES = 2_000_000_000


def check_address_space() -> None:
    """Raise DeviceError when the shell's limit of the address space (`ulimit -v`) is too low for any scan."""
    if sys.platform == "win32":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESSES:
        raise DeviceError(
            f"this shell allows {limit / 1e9:.1f} GB of address space, a scan needs 3 GB: raise its limit (ulimit -v)"
        )


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
