"""The roles of coded frames: which frames a decoder needs for which others, by the heads of NAL units."""

from collections.abc import Iterator
from dataclasses import dataclass

import av

from maskbatch.media.photo.headers import jpeg_is_whole
from maskbatch.media.video.parameter_sets import nal_units

# codecs without references between frames, with a check of the first bytes of a packet
_INTRA_ONLY = {"mjpeg": jpeg_is_whole, "prores": lambda content: content[4:8] == b"icpf"}
# offset in avcC and hvcC of the size of a NAL unit's length field
_LENGTH_AT = {"h264": 4, "hevc": 21}
# types of NAL units: slices, slices of a keyframe that clears all references, parameter sets, all known types
_H264_SLICES, _H264_IDR, _H264_SETS = range(1, 6), 5, frozenset((7, 8, 13, 15))
_H264_KNOWN = {*_H264_SLICES, *_H264_SETS, 6, 9, 12}
_HEVC_SLICES, _HEVC_IDR, _HEVC_SETS = range(32), frozenset((19, 20)), frozenset((32, 33, 34))
_HEVC_KNOWN = {*_HEVC_SLICES, *_HEVC_SETS, 35, 38, 39, 40, 62, 63}
# pictures that no other picture of their layer refers to
_HEVC_NO_BASE = range(0, 16, 2)


@dataclass(slots=True)
class CodedFrame:
    """A packet that holds one frame, and the frame's role.

    `is_reset`: no later frame refers to a frame before this one. `is_base`: later frames may refer to this frame.
    `is_needed`: this frame is always decoded. `layer`: frames of higher layers may refer to this frame.
    """

    packet: av.Packet
    is_reset: bool = True
    is_base: bool = False
    is_needed: bool = False
    layer: int = 0


class Roles:
    """The roles of the frames of a video, by its packets: MJPEG, ProRes, or H.264 and HEVC as stored in MP4 and Matroska.

    Args:
        codec: the codec of the video.

    Attributes:
        is_known: whether packets of this video can be read.
    """

    def __init__(self, codec: av.VideoCodecContext) -> None:
        self._codec = codec.name
        extradata = codec.extradata or b""
        is_framed = codec.name in _LENGTH_AT and len(extradata) > 22 and extradata[0] == 1
        self._length_size = 1 + (extradata[_LENGTH_AT[codec.name]] & 3) if is_framed else 0
        # PyAV before 16 does not show where a video's parameters change
        self.is_known = hasattr(av.Packet, "has_sidedata") and (is_framed or codec.name in _INTRA_ONLY)

    def of(self, packet: av.Packet) -> CodedFrame | None:
        """Return the role of the packet's frame, or None for a packet of unknown form."""
        if packet.pts is None or packet.is_corrupt or packet.has_sidedata("new_extradata"):
            return None
        content = memoryview(packet)
        if not self._length_size:
            frame = CodedFrame(packet) if _INTRA_ONLY[self._codec](bytes(content)) else None
        else:
            read = _h264_frame if self._codec == "h264" else _hevc_frame
            frame = read(packet, list(_nal_heads(content, self._length_size)))
        if frame is not None:
            frame.is_needed |= packet.is_discard  # the decoder returns no frame, but others may refer to it
        return frame


def _h264_frame(packet: av.Packet, heads: list[int]) -> CodedFrame | None:
    kinds = [head >> 8 & 31 for head in heads]
    slices = [head for head, kind in zip(heads, kinds, strict=True) if kind in _H264_SLICES]
    if not slices or any(head >> 15 for head in heads) or not {*kinds} <= _H264_KNOWN:
        return None
    is_reset = all(head >> 8 & 31 == _H264_IDR for head in slices)
    return CodedFrame(packet, is_reset, any(head >> 13 & 3 for head in slices), not _H264_SETS.isdisjoint(kinds))


def _hevc_frame(packet: av.Packet, heads: list[int]) -> CodedFrame | None:
    kinds = [head >> 9 & 63 for head in heads]
    slices = [kind for kind in kinds if kind in _HEVC_SLICES]
    # the highest bit means damage, bits 3 to 8 another view of the scene
    if not slices or any(head >> 15 or head >> 3 & 63 for head in heads) or not {*kinds} <= _HEVC_KNOWN:
        return None
    layer = min(head & 7 for head, kind in zip(heads, kinds, strict=True) if kind in _HEVC_SLICES)
    is_base = any(kind not in _HEVC_NO_BASE for kind in slices)
    return CodedFrame(packet, _HEVC_IDR.issuperset(slices), is_base, not _HEVC_SETS.isdisjoint(kinds), layer)


def _nal_heads(content: memoryview, length_size: int) -> Iterator[int]:
    """Yield the first two bytes of each NAL unit as a number, or 0xFFFF, which is no header, when lengths are damaged."""
    for unit in nal_units(content, length_size):
        yield int.from_bytes(unit[:2], "big") if len(unit) >= 2 else 0xFFFF
