"""Tell errors that concern one source from errors that would hit every source."""

import errno
import logging

from maskbatch.types import Source

_log = logging.getLogger(__name__)

# OSErrors about the name, size or format of one file; any other error would also hit the next file
_OF_ONE_SOURCE = frozenset(
    {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EFBIG, errno.ERANGE, errno.EDOM}
    | {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # a file or folder of the user is in the way
)


def warn_or_raise(source: Source, lost: str, error: OSError) -> None:
    """Log an error that concerns one source; raise errors of the disk, which would hit every source."""
    number = error.errno or getattr(error.__cause__, "errno", None)
    # error numbers that the system does not know come from FFmpeg
    if number in errno.errorcode and number not in _OF_ONE_SOURCE:
        raise error
    _log.warning("%s: %s: %s", source.name, lost, error)
