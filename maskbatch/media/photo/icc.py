"""Make ICC colour profiles for colour spaces that a file only names."""

import struct
from collections.abc import Sequence

import numpy as np

from maskbatch.media.colours import HLG, PQ, hdr_light

# primaries: x and y of red, green and blue; all have the white point D65
SRGB = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Rec. 2020 and Display P3, by their numbers in ITU-T H.273
_PRIMARIES = {9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046), 12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)}
_D65 = (0.3127, 0.329)
_D50 = np.array([0.9642, 1.0, 0.8249])
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_CURVE_POINTS = 4096
# matrix of the cone model that adapts a white point (Bradford)
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_by_numbers(primaries: int, transfer: int) -> bytes:
    """Return a profile for colours given by the numbers of ITU-T H.273, or b"" for sRGB and similar spaces.

    The profile tone-maps HDR (PQ and HLG) like `media/colours.py` does for videos.
    """
    if transfer in (PQ, HLG):
        curve = hdr_light(transfer, _values())
    elif transfer in _GAMMAS:
        curve = gamma_curve(_GAMMAS[transfer])
    elif primaries in _PRIMARIES:
        curve = srgb_curve()
    else:
        return b""
    return make_profile(_PRIMARIES.get(primaries, SRGB), curve)


def make_profile(primaries: Sequence[float], curve: np.ndarray, white: Sequence[float] = _D65) -> bytes:
    """Return an ICC profile (version 2) of an RGB space.

    `primaries` are x and y of red, green and blue. `curve` (N,) is the light, 0 to 1, for values from 0 to the highest.
    Raises ValueError when the primaries do not form a triangle.
    """
    colours = np.array([_xyz(*primaries[at : at + 2]) for at in (0, 2, 4)]).T
    try:
        to_xyz = colours * np.linalg.solve(colours, _xyz(*white))
        own, wanted = _CONES @ _xyz(*white), _CONES @ _D50
        to_xyz = np.linalg.inv(_CONES) @ np.diag(wanted / own) @ _CONES @ to_xyz
    except np.linalg.LinAlgError as error:
        raise ValueError("these primaries do not form a triangle") from error
    if not np.isfinite(to_xyz).all() or np.abs(to_xyz).max() > 100:
        raise ValueError("no picture has these primaries")
    points = np.round(np.clip(curve, 0, 1) * 65535).astype(">u2").tobytes()
    curve_tag = b"curv" + bytes(4) + struct.pack(">I", len(points) // 2) + points
    columns = {b"wtpt": _D50, b"rXYZ": to_xyz[:, 0], b"gXYZ": to_xyz[:, 1], b"bXYZ": to_xyz[:, 2]}
    tags = {name: b"XYZ " + bytes(4) + np.round(xyz * 65536).astype(">i4").tobytes() for name, xyz in columns.items()}
    start, table, body = 128 + 4 + 12 * 7, b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        table += name + struct.pack(">II", start + len(body), len(curve_tag))
    body += curve_tag + bytes(-len(curve_tag) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + np.round(_D50 * 65536).astype(">i4").tobytes()
    return header.ljust(128, b"\0") + struct.pack(">I", 7) + table + body


def _xyz(x: float, y: float) -> np.ndarray:
    if y <= 0:
        raise ValueError("a colour without light")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _values() -> np.ndarray:
    return np.linspace(0, 1, _CURVE_POINTS)


def gamma_curve(gamma: float) -> np.ndarray:
    """Return the light for values from 0 to the highest, as a power function."""
    return _values() ** gamma


def srgb_curve() -> np.ndarray:
    """Return the light for values from 0 to the highest, as in sRGB and Display P3."""
    values = _values()
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
