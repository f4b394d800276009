"""Return unused memory to the system, and refuse to start with too little address space."""

import ctypes
import functools
import sys
from collections.abc import Callable

from maskbatch.errors import DeviceError

# a scan takes 2.4 GB of address space on two cores; with less, OpenVINO may crash or hang instead of raising an error
_LEAST_ADDRESSES = 3_000_000_000


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
    """Return the freed memory that glibc holds to the system. Do nothing with another C library.

    For each thread, glibc keeps the gaps between blocks in use. After thousands of photos in a dozen threads, the gaps
    amount to hundreds of megabytes. A call takes milliseconds. See malloc_trim(3).
    """
    _malloc_trim()(0)


@functools.cache
def _malloc_trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return lambda _: None
