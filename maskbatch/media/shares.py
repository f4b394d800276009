"""The share of the inputs that one machine scans: `--shard 3/20`.

The name of a source determines its share. Files that are added later therefore do not move other files.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from maskbatch.errors import UsageError
from maskbatch.types import Source

_FORM = re.compile(r"(\d{1,5})/(\d{1,5})", re.ASCII)
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Share:
    """The share `number` of `count`, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, name: str) -> bool:
        """Return whether a source with this name belongs to the share.

        Args:
            name: name of the source, as in `Source`.

        Example:
            >>> [Share(number, 2).has("a.jpg") for number in (1, 2)]
            [True, False]
        """
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class Dealt:
    """A share that a session scanned, with `files`, the number of inputs of all shares, and `listing`, their checksum.

    Sessions with the same listing saw the same names of files in the same order.
    """

    number: int
    count: int
    files: int
    listing: str


def read_share(text: str) -> Share:
    """Parse a share such as "3/20".

    Raises:
        UsageError: the text has another form, or there is no such share.

    Example:
        >>> read_share("3/20")
        Share(number=3, count=20)
    """
    found = _FORM.fullmatch(text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count <= _MOST:
        raise UsageError(
            f"--shard takes a number and a count, such as 3/20 (from 1/20 to 20/20; at most {_MOST}), not {text!r}"
        )
    return Share(number, count)


def deal(sources: Sequence[Source], share: Share) -> tuple[tuple[Source, ...], Dealt]:
    """Return the sources of one share, in order and with unchanged `id`, and the record of the share.

    Args:
        sources: all sources of the inputs, from `look_for`.
        share: the wanted share, which may be empty.

    Example:
        >>> deal([], Share(1, 2))[0]
        ()
    """
    names = hashlib.sha256(b"\0".join(os.fsencode(source.name) for source in sources)).hexdigest()
    own = tuple(source for source in sources if share.has(source.name))
    return own, Dealt(share.number, share.count, len(sources), names[:16])
