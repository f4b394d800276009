"""The metadata of AVIF and HEIC files: rotation, crop, colours, EXIF data, and the number of pictures."""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from maskbatch.media.photo.chunks import Part, boxes

# items that are pictures; "tmap" is an HDR rendering of the primary picture and does not count
_PICTURES = frozenset((b"av01", b"hvc1", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci", b"grid", b"iovl", b"iden"))
_HIDDEN = 1
_MOST_EXIF_BYTES = 1 << 22
_MOST_NUMBERS = 1 << 20
_SAMPLE_SIZES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")


class Item(NamedTuple):
    """An item of the file: its type, and whether it is hidden as a part of other items."""

    kind: bytes
    is_hidden: bool


class Heif:
    """The boxes of an AVIF or HEIC file that describe its pictures.

    Methods raise ValueError, IndexError or struct.error when boxes are damaged.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        meta = next((box for box in boxes(data) if box.name == b"meta"), Part(b"meta", len(data), len(data)))
        self._meta = {box.name: box for box in boxes(data, meta.start + 4, meta.end)}
        self.items = dict(self._items())
        self.primary = self._primary()

    def properties(self, item: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (name, content) of each property of an item."""
        parts = self._meta.get(b"iprp")
        if parts is None:
            return
        inner = list(boxes(self._data, parts.start, parts.end))
        known = [box for part in inner if part.name == b"ipco" for box in boxes(self._data, part.start, part.end)]
        for part in inner:
            if part.name == b"ipma":
                for index in self._associations(part, item):
                    if 0 < index <= len(known):
                        box = known[index - 1]
                        yield box.name, self._data[box.start : box.end]

    def references(self, kind: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield (from, to) of each reference of a kind: `dimg` from a grid to its tiles, `thmb` from a thumbnail, ..."""
        iref = self._meta.get(b"iref")
        if iref is None:
            return
        code, size = ("I", 4) if self._data[iref.start] else ("H", 2)
        for box in boxes(self._data, iref.start + 4, iref.end):
            if box.name == kind:
                [item] = struct.unpack_from(f">{code}", self._data, box.start)
                [count] = struct.unpack_from(">H", self._data, box.start + size)
                yield item, struct.unpack_from(f">{count}{code}", self._data, box.start + size + 2)

    def exif(self) -> bytes:
        """Return the TIFF structure of the EXIF data, or b""."""
        item = next((number for number, item in self.items.items() if item.kind == b"Exif"), None)
        content = b"" if item is None else self._content(item)
        return content[4 + int.from_bytes(content[:4], "big") :]

    def num_further_pictures(self) -> int:
        """Return the number of pictures except the primary one, parts of other pictures, and derived pictures."""
        not_counted = {self.primary}
        for kind in (b"thmb", b"auxl"):
            not_counted.update(item for item, _ in self.references(kind))
        for _, parts in self.references(b"dimg"):
            not_counted.update(self.items.keys() & parts)
        return sum(
            1 for number, item in self.items.items()
            if item.kind in _PICTURES and not item.is_hidden and number not in not_counted
        )  # fmt: skip

    def _primary(self) -> int:
        pitm = self._meta.get(b"pitm")
        if pitm is None:
            return 0
        return struct.unpack_from(">I" if self._data[pitm.start] else ">H", self._data, pitm.start + 4)[0]

    def _items(self) -> Iterator[tuple[int, Item]]:
        iinf = self._meta.get(b"iinf")
        if iinf is None:
            return
        for box in boxes(self._data, iinf.start + (8 if self._data[iinf.start] else 6), iinf.end):
            version, flags = self._data[box.start], self._data[box.start + 3]
            if box.name == b"infe" and version >= 2:
                number, _, kind = struct.unpack_from(">HH4s" if version == 2 else ">IH4s", self._data, box.start + 4)
                yield number, Item(kind, bool(flags & _HIDDEN))

    def _associations(self, ipma: Part, item: int) -> Iterator[int]:
        """Yield the numbers of an item's properties, from 1."""
        version, is_wide = self._data[ipma.start], self._data[ipma.start + 3] & 1
        at = ipma.start + 8
        while at < ipma.end:
            number, count = struct.unpack_from(">HB" if version == 0 else ">IB", self._data, at)
            at += 3 if version == 0 else 5
            if number == item:
                found = struct.unpack_from(f">{count}{'H' if is_wide else 'B'}", self._data, at)
                yield from (
                    index & (0x7FFF if is_wide else 0x7F) for index in found
                )  # the highest bit means "essential"
            at += count * (2 if is_wide else 1)

    def _content(self, item: int) -> bytes:
        """Return the bytes of an item, up to 4 MiB."""
        iloc = self._meta.get(b"iloc")
        if iloc is None:
            return b""
        reader = _Numbers(self._data, iloc.start)
        version = reader.take(1)
        reader.take(3)
        sizes, more_sizes = reader.take(1), reader.take(1)
        offset_size, length_size, base_size = sizes >> 4, sizes & 15, more_sizes >> 4
        index_size = more_sizes & 15 if version else 0
        for _ in range(reader.take(4 if version == 2 else 2)):
            number = reader.take(4 if version == 2 else 2)
            method = reader.take(2) & 15 if version else 0
            reader.take(2)
            base, parts = reader.take(base_size), []
            for _ in range(reader.take(2)):
                reader.take(index_size)
                parts.append((base + reader.take(offset_size), reader.take(length_size)))
            if number == item:
                idat = self._meta.get(b"idat")
                start = idat.start if method == 1 and idat else 0
                return self._joined((start + at, size) for at, size in parts)
        return b""

    def _joined(self, parts: Iterable[tuple[int, int]]) -> bytes:
        content = b""
        for at, size in parts:
            # a length of 0 means all bytes that follow
            content += self._data[at : at + min(size or len(self._data), _MOST_EXIF_BYTES - len(content))]
        return content


class _Numbers:
    """A sequential reader of big-endian numbers of any size from bytes.

    Raises ValueError at the end of the bytes, and after a million numbers, because empty numbers would never reach the
    end.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at, self._num_left = data, at, _MOST_NUMBERS

    def take(self, num_bytes: int) -> int:
        """Return the next number of `num_bytes` bytes; it is 0 when `num_bytes` is 0."""
        start, self._at, self._num_left = self._at, self._at + num_bytes, self._num_left - 1
        if self._at > len(self._data) or not self._num_left:
            raise ValueError("cut, or too many numbers")
        return int.from_bytes(self._data[start : self._at], "big")


def num_sequence_frames(data: bytes) -> int:
    """Return the number of frames of the longest track of an image sequence (animated AVIF), or 0 for a still picture."""
    found = [Part(b"", 0, len(data))]
    for name in _SAMPLE_SIZES:
        found = [box for part in found for box in boxes(data, part.start, part.end) if box.name == name]
    return max((struct.unpack_from(">I", data, box.start + 8)[0] for box in found), default=0)
