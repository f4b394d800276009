"""A rough skin tone *as in the picture*, which light, lamps, exposure and make-up change. Arrays only.

The tone is the individual typology angle (Chardon et al. 1991), arctan((L* - 50) / b*) in degrees, of skin-coloured
points on forehead and cheeks. The tone describes a picture, not a person.
"""

from dataclasses import dataclass

import numpy as np

from maskbatch.trainer.evaluate.patches import UNKNOWN, Patch, patch_lab

# each tone joins two classes of Chardon and Del Bino: very light and light, intermediate and tan, brown and dark
_LIGHT_DEGREES, _DARK_DEGREES = 41, 10
TONES = ("light", "medium", "dark", UNKNOWN)
_FOREHEAD = (Patch(-0.4, -0.75, 0.4, -0.45),)
_UPPER_CHEEKS = (Patch(-0.7, 0.22, -0.4, 0.4), Patch(0.4, 0.22, 0.7, 0.4))
# patches that a mask covers
_LOWER_CHEEKS = (Patch(-0.6, 0.45, -0.3, 0.8), Patch(0.3, 0.45, 0.6, 0.8))
# hue in degrees and chroma of skin in any light that is not coloured; the only limit of lightness excludes black
_SKIN_HUE, _SKIN_CHROMA, _LEAST_LIGHTNESS = (15, 85), (8, 60), 10
# minimum share of skin-coloured points in a patch: other points are hair, hat, glasses or mask
_LEAST_SHARE = 0.2
# forehead and cheeks that differ by more degrees have no common tone: hair, a hat or hard shadow interferes
_MOST_APART_DEGREES = 30
# half a stop of exposure, as a factor of light
_HALF_STOP = 2**0.5


@dataclass(frozen=True, slots=True)
class Skin:
    """The colours of N faces in L*a*b*: `forehead`, `cheeks` and `all`, each (N, 3), NaN if too little skin is visible."""

    forehead: np.ndarray
    cheeks: np.ndarray
    all: np.ndarray


@dataclass(frozen=True, slots=True)
class Roughness:
    """Figures about the roughness of the tones.

    `faces` counts faces with visible forehead and cheeks. `apart_degrees` is the median difference between the two, and
    `same_tone` the share of these faces for which both give the same tone. `kept_when_relit` is the share of all faces
    with a tone that would keep it with half a stop more light, and with half a stop less.
    """

    faces: int
    apart_degrees: float
    same_tone: float
    kept_when_relit: tuple[float, float]


def skin_of(image: np.ndarray, landmarks: np.ndarray, is_masked: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the colours (3,) of forehead, cheeks and both of one face, as in `Skin`.

    Args:
        image: (H, W, 3) uint8 sRGB.
        landmarks: (5, 2) in pixels of the image, see `patch_lab`.
        is_masked: leave out the patches that a mask covers.
    """
    cheeks = _UPPER_CHEEKS if is_masked else _UPPER_CHEEKS + _LOWER_CHEEKS
    forehead, cheeks, both = (_skin(patch_lab(image, landmarks, p)) for p in (_FOREHEAD, cheeks, _FOREHEAD + cheeks))
    return forehead, cheeks, both


def typology_degrees(lab: np.ndarray) -> np.ndarray:
    """Return the individual typology angles (N,) of colours (N, 3) in degrees, large for light skin; NaN stays NaN.

    Example:
        >>> typology_degrees(np.array([[70.0, 10.0, 20.0], [30.0, 10.0, 20.0]])).tolist()
        [45.0, -45.0]
    """
    return np.degrees(np.arctan2(lab[:, 0] - 50, lab[:, 2]))


def tones_of(skin: Skin) -> np.ndarray:
    """Return the tone (N,) of each face, one of `TONES`.

    The tone is not known without landmarks, with too few skin-coloured points, or if forehead and cheeks disagree.
    """
    apart = np.abs(typology_degrees(skin.forehead) - typology_degrees(skin.cheeks))
    return np.where(apart > _MOST_APART_DEGREES, UNKNOWN, _tones(skin.all))


def roughness(skin: Skin) -> Roughness:
    """Return the roughness of the tones; figures without a face are NaN."""
    forehead, cheeks = typology_degrees(skin.forehead), typology_degrees(skin.cheeks)
    both = ~np.isnan(forehead) & ~np.isnan(cheeks)
    tone = tones_of(skin)
    known = tone != UNKNOWN
    relit = [_relit(skin.all[known], factor) for factor in (_HALF_STOP, 1 / _HALF_STOP)]
    return Roughness(
        int(both.sum()),
        float(np.median(np.abs(forehead - cheeks)[both])) if both.any() else float("nan"),
        _share(_tones(skin.forehead[both]) == _tones(skin.cheeks[both])),
        (_share(_tones(relit[0]) == tone[known]), _share(_tones(relit[1]) == tone[known])),
    )


def _skin(lab: np.ndarray) -> np.ndarray:
    """Return the median (3,) of the skin-coloured points among (K, 3); NaN if there are too few."""
    hue, chroma = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])), np.hypot(lab[:, 1], lab[:, 2])
    is_skin = (hue >= _SKIN_HUE[0]) & (hue <= _SKIN_HUE[1]) & (lab[:, 0] >= _LEAST_LIGHTNESS)
    is_skin &= (chroma >= _SKIN_CHROMA[0]) & (chroma <= _SKIN_CHROMA[1])
    if not len(lab) or is_skin.mean() < _LEAST_SHARE:
        return np.full(3, np.nan, np.float32)
    return np.median(lab[is_skin], axis=0)


def _tones(lab: np.ndarray) -> np.ndarray:
    degrees = typology_degrees(lab)
    conditions = [np.isnan(degrees), degrees > _LIGHT_DEGREES, degrees > _DARK_DEGREES]
    return np.select(conditions, [UNKNOWN, "light", "medium"], "dark")


def _relit(lab: np.ndarray, factor: float) -> np.ndarray:
    """Return colours (N, 3) with `factor` times the light: L* + 16, a* and b* grow with its cube root."""
    offset = np.array([16, 0, 0])
    return (lab + offset) * np.cbrt(factor) - offset


def _share(is_so: np.ndarray) -> float:
    return float(is_so.mean()) if len(is_so) else float("nan")
