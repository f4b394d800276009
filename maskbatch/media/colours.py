"""Conversion of HDR and wide-gamut video to the colours of an ordinary (SDR, BT.709) screen."""

from functools import cache
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from maskbatch.types import YuvColours

# FFmpeg's numbers (ITU-T H.273) of matrices, transfers and primaries; 2 is unspecified everywhere
_BT709, _UNSPECIFIED, _BT601, _BT2020, _BT2020_CL = 1, 2, 5, 9, 10
_SMPTE170M = 6  # the same matrix as _BT601
# matrices, primaries and transfers of HD, SD and screens, which encoders and players know
_USUAL = (1, 2, 5, 6), (1, 2, 4, 5, 6, 7), (1, 2, 4, 5, 6, 7, 13)
_MATRICES = frozenset((1, 4, 5, 6, 7, _BT2020))
PQ, HLG = 16, 18
_P3 = 12
# linear light of other primaries to that of BT.709: ITU-R BT.2087 for BT.2020, SMPTE EG 432-1 for P3
_TO_BT709 = {
    _BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    _P3: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)  # of BT.2020
_HLG_GAMMA = 1.2  # of a screen of 1,000 cd/m2
_HD_LINES = 720
# gamma of an SDR screen (ITU-R BT.1886); luminance in cd/m2 of its white, of the brightest point of an HDR screen, and
# of white paper in an HDR picture (ITU-R BT.2408)
_GAMMA, _SDR_WHITE, _HDR_PEAK, _HDR_PAPER = 2.4, 100.0, 1000.0, 203.0
_STRIP_ROWS = 64


class Grading(NamedTuple):
    """A conversion of 16-bit RGB to 8-bit BT.709.

    `to_light` (65536,) uint16 maps each channel to linear light, `gamut` (3, 3) mixes the channels, `to_code` (65536,)
    uint8 encodes the light. If the signal describes the light of the scene, `scene` converts it to that of the screen
    first; otherwise it is None.
    """

    to_light: np.ndarray
    gamut: np.ndarray
    to_code: np.ndarray
    scene: "SceneLight | None" = None

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8 of `rgb` (H, W, 3) uint16."""
        image = np.empty(rgb.shape, np.uint8)
        for row in range(0, len(rgb), _STRIP_ROWS):  # strips stay in the processor's cache
            strip = rgb[row : row + _STRIP_ROWS]
            if self.scene is not None:
                strip = self.scene.on_screen(strip)
            light = cv2.transform(self.to_light[strip], self.gamut)
            self.to_code.take(light, out=image[row : row + _STRIP_ROWS])
        return image


class SceneLight(NamedTuple):
    """The conversion of a hybrid log-gamma signal to the light of an HDR screen (the OOTF of ITU-R BT.2100).

    All channels of a pixel get the same gain, by its luminance: separate gains would exaggerate colours.
    `to_scene` (65536,) uint16 maps each channel to the light of the scene, `gain` (65536,) float32 is by luminance.
    """

    to_scene: np.ndarray
    gain: np.ndarray

    def on_screen(self, rgb: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint16, 65535 for the screen's brightest light, of `rgb` (H, W, 3) uint16."""
        scene = self.to_scene[rgb]
        luminance = cv2.transform(scene, _LUMINANCE)
        return cv2.multiply(scene, cv2.merge([self.gain[luminance]] * 3), dtype=cv2.CV_16U)


def matrix_of(frame: av.VideoFrame, codec: av.VideoCodecContext) -> int:
    """Return the number of the matrix that converts the frame's YUV to RGB.

    Untagged video of HD size is BT.709 by convention, as players assume; swscale would assume BT.601.
    """
    if frame.colorspace in _MATRICES:
        return frame.colorspace
    if frame.colorspace == _BT2020_CL or _transfer(frame, codec) in (PQ, HLG):
        return _BT2020
    return _BT709 if min(frame.width, frame.height) >= _HD_LINES else _BT601


def yuv_colours_of(frame: av.VideoFrame, codec: av.VideoCodecContext) -> YuvColours | None:
    """Return what a frame's YUV means, or None when an SDR screen needs other colours, or the file states rare ones."""
    matrix = matrix_of(frame, codec)
    matrix = _BT601 if matrix == _SMPTE170M else matrix
    if matrix not in (_BT709, _BT601) or grading_of(frame, codec) is not None:
        return None
    primaries = getattr(frame, "color_primaries", codec.color_primaries)
    stated = int(frame.colorspace), int(primaries), int(_transfer(frame, codec))
    is_usual = all(number in usual for number, usual in zip(stated, _USUAL, strict=True))
    return YuvColours(matrix, is_full(frame), stated) if is_usual else None


def is_full(frame: av.VideoFrame) -> bool:
    """Return whether luma and chroma use all values from 0 to 255."""
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def grading_of(frame: av.VideoFrame, codec: av.VideoCodecContext) -> Grading | None:
    """Return the conversion of the frame's colours, or None when they already suit an SDR screen."""
    primaries = getattr(frame, "color_primaries", codec.color_primaries)
    if (transfer := _transfer(frame, codec)) in (PQ, HLG):
        return _grading(transfer, _BT2020 if primaries == _UNSPECIFIED else primaries)
    return _grading(_BT709, primaries) if primaries in _TO_BT709 else None


def _transfer(frame: av.VideoFrame, codec: av.VideoCodecContext) -> int:
    """Return the number of the frame's transfer. PyAV before 17 knows only the codec's."""
    return getattr(frame, "color_trc", codec.color_trc)


@cache
def _grading(transfer: int, primaries: int) -> Grading:
    signal = np.arange(1 << 16) / 65535
    gamut = np.array(_TO_BT709.get(primaries, np.eye(3)), np.float32)
    code = np.round(255 * signal ** (1 / _GAMMA)).astype(np.uint8)
    if transfer == HLG:
        return Grading(_as_uint16(_tone_mapped(_HDR_PEAK * signal)), gamut, code, _scene_light(signal))
    light = hdr_light(PQ, signal) if transfer == PQ else signal**_GAMMA
    return Grading(_as_uint16(light), gamut, code)


def _scene_light(signal: np.ndarray) -> SceneLight:
    gain = np.maximum(signal, 1 / 65535) ** (_HLG_GAMMA - 1)
    return SceneLight(_as_uint16(_hlg_to_scene(signal)), gain.astype(np.float32))


def _as_uint16(light: np.ndarray) -> np.ndarray:
    return np.round(65535 * light).astype(np.uint16)


def hdr_light(transfer: int, signal: np.ndarray) -> np.ndarray:
    """Return the light 0..1 of an SDR screen for a signal 0..1 of PQ, or of a grey in HLG."""
    return _tone_mapped(_pq_to_nits(signal) if transfer == PQ else _HDR_PEAK * _hlg_to_scene(signal) ** _HLG_GAMMA)


def _pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """Return cd/m2 of a perceptual quantizer signal 0..1 (SMPTE ST 2084)."""
    root = signal ** (1 / 78.84375)
    return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    """Return the signal of cd/m2, the inverse of `_pq_to_nits`."""
    root = (np.asarray(nits) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


def _hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """Return the light 0..1 of the scene for a hybrid log-gamma signal 0..1 (ITU-R BT.2100)."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.minimum(scene, 1)


def _tone_mapped(nits: np.ndarray) -> np.ndarray:
    """Return the light 0..1 of an SDR screen for cd/m2 of an HDR screen, by the EETF of ITU-R BT.2390.

    All light is dimmed by the ratio of paper to SDR white. Light below about 85 cd/m2, such as skin, is then unchanged;
    a spline compresses brighter light below the SDR screen's white.
    """
    dimming = _SDR_WHITE / _HDR_PAPER
    brightest = _nits_to_pq(_HDR_PEAK * dimming)
    level = np.minimum(_nits_to_pq(nits * dimming) / brightest, 1)
    white = _nits_to_pq(_SDR_WHITE) / brightest
    knee = 1.5 * white - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return np.clip(_pq_to_nits(np.where(level < knee, level, spline) * brightest) / _SDR_WHITE, 0, 1)
