"""Patience with a storage that does not answer: requests are tried again after pauses."""

import errno
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

# seconds between tries, half as much to once and a half as much each
PAUSES_S = (0.5, 1, 2, 4, 8, 16, 30)
# what no patience mends
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError)
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


def patiently(do: Callable[[], Result], pauses_s: Sequence[float] | None = None) -> Result:
    """Return what `do` returns, tried again after each pause. Raises OSError: one that lasts at once, another after all
    tries. Its words are not those of the storage, which may have an address with its signature in them."""
    for pause_s in (*(PAUSES_S if pauses_s is None else pauses_s), None):
        try:
            return do()
        except _LASTING as error:
            raise _plain(error) from None
        except Exception as error:  # each storage has errors of its own
            if getattr(error, "errno", None) == errno.EINVAL:  # such as a range of an empty object
                raise _plain(error) from None
            if pause_s is None:
                raise TimeoutError(0, f"the storage does not answer ({type(error).__name__})") from None
            _log.debug("the storage does not answer (%s): tried again", type(error).__name__)
            time.sleep(pause_s * random.uniform(0.5, 1.5))
    raise AssertionError


def _plain(error: Exception) -> OSError:
    words = {FileNotFoundError: "does not exist", PermissionError: "is not allowed"}
    if type(error) in words:
        return type(error)(error.errno or 0, words[type(error)])
    return OSError(0, f"the storage refuses it ({type(error).__name__})")
