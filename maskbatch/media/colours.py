"""Colours of a video as an ordinary (SDR, BT.709) screen shows them: HDR and wide-gamut pictures are converted."""

from functools import cache
from typing import NamedTuple

import av
import cv2
import numpy as np

# FFmpeg's numbers (ITU-T H.273) of matrices, transfers and primaries; 2 is unspecified everywhere
_BT709, _UNSPECIFIED, _BT601, _BT2020, _BT2020_CL = 1, 2, 5, 9, 10
_MATRICES = frozenset((1, 4, 5, 6, 7, _BT2020))
PQ, HLG = 16, 18
_P3 = 12
# linear light of other primaries to that of BT.709: ITU-R BT.2087 for BT.2020, SMPTE EG 432-1 for P3
_TO_BT709 = {
    _BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    _P3: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
_HD_LINES = 720
# gamma of an SDR screen (ITU-R BT.1886); cd/m2 of its white, of the brightest an HDR screen shows, and of a sheet of paper
# in an HDR picture (ITU-R BT.2408), which is white in an SDR one
_GAMMA, _SDR_WHITE, _HDR_PEAK, _HDR_PAPER = 2.4, 100.0, 1000.0, 203.0
_STRIP_ROWS = 64


class Grading(NamedTuple):
    """A conversion of 16-bit RGB to 8-bit BT.709: `to_light` (65536,) uint16 makes linear light of each channel, `gamut`
    (3, 3) mixes the channels, `to_code` (65536,) uint8 encodes the light."""

    to_light: np.ndarray
    gamut: np.ndarray
    to_code: np.ndarray

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8 of `rgb` (H, W, 3) uint16."""
        image = np.empty(rgb.shape, np.uint8)
        for row in range(0, len(rgb), _STRIP_ROWS):  # strips stay in the processor's cache
            light = cv2.transform(self.to_light[rgb[row : row + _STRIP_ROWS]], self.gamut)
            self.to_code.take(light, out=image[row : row + _STRIP_ROWS])
        return image


def matrix_of(frame: av.VideoFrame, codec: av.VideoCodecContext) -> int:
    """Return the number of the matrix that makes RGB of the frame's YUV.

    Untagged video of HD size is BT.709 by convention, as players assume; swscale would take BT.601.
    """
    if frame.colorspace in _MATRICES:
        return frame.colorspace
    if frame.colorspace == _BT2020_CL or _transfer(frame, codec) in (PQ, HLG):
        return _BT2020
    return _BT709 if min(frame.width, frame.height) >= _HD_LINES else _BT601


def grading_of(frame: av.VideoFrame, codec: av.VideoCodecContext) -> Grading | None:
    """Return the conversion that the frame's colours need; None when they are those of SDR screens already."""
    primaries = getattr(frame, "color_primaries", codec.color_primaries)
    if (transfer := _transfer(frame, codec)) in (PQ, HLG):
        return _grading(transfer, _BT2020 if primaries == _UNSPECIFIED else primaries)
    return _grading(_BT709, primaries) if primaries in _TO_BT709 else None


def _transfer(frame: av.VideoFrame, codec: av.VideoCodecContext) -> int:
    """Return the number of the frame's transfer, which PyAV before 17 tells by the codec only."""
    return getattr(frame, "color_trc", codec.color_trc)


@cache
def _grading(transfer: int, primaries: int) -> Grading:
    signal = np.arange(1 << 16) / 65535
    light = hdr_light(transfer, signal) if transfer in (PQ, HLG) else signal**_GAMMA
    gamut = np.array(_TO_BT709.get(primaries, np.eye(3)), np.float32)
    code = np.round(255 * signal ** (1 / _GAMMA)).astype(np.uint8)
    return Grading(np.round(65535 * light).astype(np.uint16), gamut, code)


def hdr_light(transfer: int, signal: np.ndarray) -> np.ndarray:
    """Return the light 0..1 of an SDR screen for a signal 0..1 of PQ or HLG."""
    return _tone_mapped(_pq_to_nits(signal) if transfer == PQ else _hlg_to_nits(signal))


def _pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """Return cd/m2 of a perceptual quantizer signal 0..1 (SMPTE ST 2084)."""
    root = signal ** (1 / 78.84375)
    return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    """Return the signal of cd/m2, the inverse of `_pq_to_nits`."""
    root = (np.asarray(nits) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


def _hlg_to_nits(signal: np.ndarray) -> np.ndarray:
    """Return cd/m2 that an HDR screen shows of a hybrid log-gamma signal 0..1 (ITU-R BT.2100), each channel by itself."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return _HDR_PEAK * np.minimum(scene, 1) ** 1.2


def _tone_mapped(nits: np.ndarray) -> np.ndarray:
    """Return the light 0..1 of an SDR screen for cd/m2 of an HDR screen, by the EETF of ITU-R BT.2390.

    Light is dimmed as paper is; what is under about 85 cd/m2, as skin is, then stays so, and a spline takes the rest up to
    the SDR screen's white.
    """
    dimming = _SDR_WHITE / _HDR_PAPER
    brightest = _nits_to_pq(_HDR_PEAK * dimming)
    level = np.minimum(_nits_to_pq(nits * dimming) / brightest, 1)
    white = _nits_to_pq(_SDR_WHITE) / brightest
    knee = 1.5 * white - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return np.clip(_pq_to_nits(np.where(level < knee, level, spline) * brightest) / _SDR_WHITE, 0, 1)
