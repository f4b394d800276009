"""Parameter sets of H.264 in MP4, Matroska and MOV: the record avcC (ISO/IEC 14496-15, 5.3.3) and its NAL units."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# bytes of the length field before each NAL unit; encoders and cameras write four
LENGTH_SIZE = 4
# types of NAL units
SPS, PPS = 7, 8
# the id of the parameter sets that maskbatch's encoder writes; those of cameras count from 0
OWN_ID = 31
_HEAD_SIZE = 6
# from this profile on, the record ends with four bytes about bit depths
_HIGH_PROFILE = 100


class ParameterSets(NamedTuple):
    """The content of an avcC record: NAL units of sequence and picture parameter sets.

    `profile`, `compatibility` and `level` are bytes of the record; `more` are the bytes after the sets.
    """

    profile: int
    compatibility: int
    level: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    more: bytes

    @property
    def ids(self) -> frozenset[int]:
        """The ids of all sets."""
        return frozenset(map(_id_of, (*self.sps, *self.pps)))


def read_sets(extradata: bytes | None) -> ParameterSets | None:
    """Return the sets of an avcC record; None for another form, other lengths than four bytes, or damage."""
    content = extradata or b""
    if len(content) < _HEAD_SIZE or content[0] != 1 or content[4] & 3 != LENGTH_SIZE - 1:
        return None
    sps, at = _units(content, _HEAD_SIZE, content[5] & 31)
    pps, at = _units(content, at + 1, content[at] if at < len(content) else 0)
    is_whole = sps and pps and at <= len(content) and all(len(unit) > 4 for unit in sps) and all(map(len, pps))
    return ParameterSets(content[1], content[2], content[3], sps, pps, content[at:]) if is_whole else None


def joined_sets(first: ParameterSets, second: ParameterSets) -> bytes:
    """Return the avcC record of a stream with pictures of both. No id of a set may be in both."""
    profile, level = max(first.profile, second.profile), max(first.level, second.level)
    sps, pps = first.sps + second.sps, first.pps + second.pps
    head = [1, profile, first.compatibility & second.compatibility, level, 0xFC | LENGTH_SIZE - 1, 0xE0 | len(sps)]
    more = (first.more or second.more) if profile >= _HIGH_PROFILE else b""
    return bytes(head) + _stored(sps) + bytes([len(pps)]) + _stored(pps) + more


def nal_units(content: memoryview, length_size: int = LENGTH_SIZE) -> Iterator[memoryview]:
    """Yield the NAL units of a packet. A unit whose length is damaged is yielded as far as it goes, even if empty."""
    at = 0
    while at < len(content):
        begin = at + length_size
        at = begin + int.from_bytes(content[at:begin], "big")
        yield content[begin:at] if at <= len(content) else content[:0]


def _units(content: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    """Return `count` NAL units with lengths of two bytes from position `at` on, and the position behind them."""
    units = []
    for _ in range(count):
        begin = at + 2
        at = begin + int.from_bytes(content[at:begin], "big")
        units.append(content[begin:at])
    return tuple(units), at


def _stored(units: Sequence[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def _id_of(unit: bytes) -> int:
    """Return the id of a parameter set: its first Exp-Golomb code, in a sequence set behind profile and level."""
    content = unit[4:8] if unit[0] & 31 == SPS else unit[1:5]
    bits = "".join(f"{byte:08b}" for byte in content)
    num_zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[num_zeros : 2 * num_zeros + 1] or "0", 2) - 1
