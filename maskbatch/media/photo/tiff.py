"""The directories of TIFF structures, in TIFF files and in the EXIF data of other photos."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from maskbatch.media.photo.chunks import TIFF

# bytes per value by type: byte, text, short, long, rational, signed byte, undefined, ...
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_VALUE_BYTES = 1 << 22

_SUBFILE_TYPE = 254
# a reduced copy of another picture, and a mask
_NOT_A_PAGE = 0b101
_MOST_PAGES = 10_000


class Field(NamedTuple):
    """An entry of a directory: its type, and the place of its value."""

    kind: int
    start: int
    num_bytes: int


class Tiff:
    """A TIFF structure of any byte order, classic or BigTIFF.

    Methods raise ValueError or struct.error when it is damaged.
    """

    def __init__(self, data: bytes) -> None:
        if data[:4] not in TIFF:
            raise ValueError("not a TIFF structure")
        self.data = data
        self.order = "<" if data[:1] == b"I" else ">"
        self._is_big = 43 in data[2:4]
        # struct formats of the number of entries, of an offset or a number of values, and of an entry
        self._count, self._offset, self._entry_bytes = ("Q", "Q", 20) if self._is_big else ("H", "I", 12)

    def first(self) -> int:
        """Return the offset of the first directory."""
        return self._unpack(self._offset, 8 if self._is_big else 4)

    def fields(self, at: int, most: int = 1 << 12) -> dict[int, Field]:
        """Return the first `most` entries of the directory at this offset, by tag."""
        num_entries, size = self._unpack(self._count, at), struct.calcsize(self._count)
        starts = range(at + size, at + size + self._entry_bytes * min(num_entries, most), self._entry_bytes)
        return dict(map(self._field, starts))

    def next(self, at: int) -> int:
        """Return the offset of the directory after the one at this offset, or 0."""
        size = struct.calcsize(self._count)
        return self._unpack(self._offset, at + size + self._entry_bytes * self._unpack(self._count, at))

    def number(self, fields: dict[int, Field], tag: int) -> int | None:
        """Return the first value of an entry as a whole number, or None."""
        field = fields.get(tag)
        if field is None or field.kind not in _NUMBERS or not field.num_bytes:
            return None
        return self._unpack(_NUMBERS[field.kind], field.start)

    def value(self, fields: dict[int, Field], tag: int) -> bytes:
        """Return the bytes of an entry's value, or b"" when it is missing or larger than 4 MiB."""
        field = fields.get(tag)
        if field is None or field.num_bytes > _MOST_VALUE_BYTES:
            return b""
        return self.data[field.start : field.start + field.num_bytes]

    def _field(self, at: int) -> tuple[int, Field]:
        tag, kind = struct.unpack_from(f"{self.order}HH", self.data, at)
        num_bytes = self._unpack(self._offset, at + 4) * _TYPE_BYTES.get(kind, 1)
        size = struct.calcsize(self._offset)
        start = at + 4 + size
        # the entry has the offset of a value that does not fit into it
        return tag, Field(kind, start if num_bytes <= size else self._unpack(self._offset, start), num_bytes)

    def _unpack(self, kind: str, at: int) -> int:
        # a far offset of a BigTIFF would raise OverflowError
        if at > len(self.data):
            raise ValueError("an offset leads out of the file")
        return struct.unpack_from(self.order + kind, self.data, at)[0]


def num_pages(data: bytes) -> int:
    """Return the number of pages of a TIFF file: pictures that are neither thumbnails nor masks.

    The count ends at a directory that leads in a circle or out of the file.
    """
    return sum(1 for _ in _pages(Tiff(data)))


def _pages(tiff: Tiff) -> Iterator[int]:
    seen: set[int] = set()
    try:
        at = tiff.first()
        while at and at not in seen and len(seen) < _MOST_PAGES:
            seen.add(at)
            # tags are sorted, and this one is the lowest in use: it is among the first
            kind = tiff.number(tiff.fields(at, most=16), _SUBFILE_TYPE) or 0
            following = tiff.next(at)
            if not kind & _NOT_A_PAGE:
                yield at
            at = following
    except (ValueError, struct.error):
        return
