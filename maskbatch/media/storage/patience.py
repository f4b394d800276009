"""Repeat requests to a storage that does not answer, after pauses."""

import errno
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

# seconds between tries, each multiplied by a random number from 0.5 to 1.5
PAUSES_S = (0.5, 1, 2, 4, 8, 16, 30)
# errors that another try would not solve
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError)
# errors of boto3, Google and Azure on a machine without credentials, which would not appear during the pauses
_NO_CREDENTIALS = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError",
    "CredentialUnavailableError",
})  # fmt: skip
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


def patiently(do: Callable[[], Result], pauses_s: Sequence[float] | None = None) -> Result:
    """Return the result of `do`, tried again after each pause.

    Raises OSError: lasting errors at once, others after all tries. The message is not that of the storage, which may
    contain an address with its signature.
    """
    for pause_s in (*(PAUSES_S if pauses_s is None else pauses_s), None):
        try:
            return do()
        except _LASTING as error:
            raise _plain(error) from None
        except Exception as error:  # every storage has its own errors
            if getattr(error, "errno", None) == errno.EINVAL:  # such as a range of an empty object
                raise _plain(error) from None
            if type(error).__name__ in _NO_CREDENTIALS:
                raise PermissionError(0, "this machine has no credentials for it") from None
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
