"""Masks painted flat, in face coordinates (see `drawn_masks`): outline, folds, seams, weave and ear loops of each style."""

from collections.abc import Callable

import cv2
import numpy as np

SIZE_PX = 512
X_RANGE, Y_RANGE = (-1.5, 1.5), (-0.35, 2.4)
# width in px of a face that a cut of full size is made for
FACE_PX = SIZE_PX * 2 / (X_RANGE[1] - X_RANGE[0])


def paint(style: str, rng: np.random.Generator) -> np.ndarray:
    """A mask of one style with its straps (SIZE_PX, SIZE_PX, 4) uint8: RGB premultiplied by coverage, and coverage."""
    x, y = np.meshgrid(
        np.linspace(*X_RANGE, SIZE_PX, dtype=np.float32), np.linspace(*Y_RANGE, SIZE_PX, dtype=np.float32)
    )
    colour, shade, outline, strap = _PAINTERS[style](x, y, rng)
    cover = _fill(outline)
    edge = cv2.GaussianBlur(cover, (0, 0), 7)
    # cloth curls away from the light where it meets the face
    shade = shade * (0.72 + 0.28 * np.clip(edge * 2 - 1, 0, 1) ** 0.5) * _roundness(x, y)
    loops = _loops(outline, rng) * (1 - cover)
    rgb = colour * (shade * cover)[..., None] + np.float32(strap) * loops[..., None]
    return np.clip(np.dstack([rgb, (cover + loops) * 255]) + 0.5, 0, 255).astype(np.uint8)


def _pixels(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of face coordinates as pixels of the cut, 4 fractional bits, int32, as OpenCV draws them."""
    scale = SIZE_PX / np.array([X_RANGE[1] - X_RANGE[0], Y_RANGE[1] - Y_RANGE[0]])
    return np.round((points - (X_RANGE[0], Y_RANGE[0])) * scale * 16).astype(np.int32)


def _smooth(points: list[tuple[float, float]], num_points: int = 160) -> np.ndarray:
    """A closed curve (num_points, 2) through the points of its right half, from the nose to the chin, mirrored."""
    half = np.array(points, np.float64)
    ring = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    steps = np.cumsum(np.r_[0, np.hypot(*np.diff(np.r_[ring, ring[:1]], axis=0).T)])
    at = np.linspace(0, steps[-1], num_points, endpoint=False)
    curve = np.stack([np.interp(at, steps, np.r_[ring[:, i], ring[0, i]]) for i in (0, 1)], 1)
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    wrapped = np.concatenate([curve[-2:], curve, curve[:2]])
    return np.stack([np.convolve(wrapped[:, i], kernel, "valid") for i in (0, 1)], 1)


def _fill(outline: np.ndarray) -> np.ndarray:
    """Coverage (S, S) float32 0-1 of a closed outline (N, 2)."""
    cover = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.fillPoly(cover, [_pixels(outline)], 255, cv2.LINE_AA, shift=4)
    return cover.astype(np.float32) / 255


def _line(points: np.ndarray, width_px: int, soft_px: float) -> np.ndarray:
    """Strength (S, S) float32 0-1 of an open line through points (N, 2), softened."""
    line = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.polylines(line, [_pixels(points)], False, 255, width_px, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(line, (0, 0), soft_px).astype(np.float32) / 255


def _loops(outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strength (S, S) float32 0-1 of the ear loops: from the upper and lower corner of each side towards the ear."""
    width = int(rng.integers(3, 7))
    strength = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    side = outline[outline[:, 0] > 0.86 * outline[:, 0].max()]
    upper, lower = side[side[:, 1].argmin()], side[side[:, 1].argmax()]
    for sign in (-1, 1):
        for corner, ear in ((upper, (1.06, 0.14)), (lower, (1.07, 0.6))):
            middle = (corner + ear) / 2 + (0.03, 0.03)
            points = np.array([corner, middle, ear]) * (sign, 1)
            strength = np.maximum(strength, _line(points, width, 1.0))
    # hair and the ear itself hide the far end
    x = np.linspace(*X_RANGE, SIZE_PX, dtype=np.float32)
    return strength * np.clip((1.07 - np.abs(x)) / 0.06, 0, 1) * 0.92


def _roundness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shade (S, S) of a muzzle lit from above: sides and the part under the chin turn away, the nose ridge shines."""
    sides = 1 - 0.26 * np.clip(np.abs(x), 0, 1.1) ** 2.6
    under = 1 - 0.34 * np.clip((y - 1.15) / 0.75, 0, 1) ** 1.4
    ridge = 1 + 0.07 * np.exp(-((x / 0.22) ** 2) - ((y - 0.55) / 0.3) ** 2)
    return sides * under * ridge


def _wrinkles(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, depth: float) -> np.ndarray:
    """Shade (S, S) of soft creases: slow noise, drawn out along x, and pulls that run from the loops into the cloth."""
    noise = cv2.resize(rng.standard_normal((9, 5)).astype(np.float32), x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    shade = 1 + 0.35 * depth * noise
    for sign in (-1, 1):
        for _ in range(3):
            slope, start, width = rng.uniform(-0.35, 0.35), rng.uniform(0.6, 1.35), rng.uniform(0.02, 0.05)
            distance = (y - start - slope * (1 - sign * x)) / width
            reach = np.clip((sign * x - rng.uniform(0.1, 0.4)) / 0.5, 0, 1)
            shade += depth * reach * (np.exp(-(distance**2)) - np.exp(-((distance + 1.6) ** 2)))
    return shade


def _weave(rng: np.random.Generator, depth: float) -> np.ndarray:
    """Shade (S, S) of fine thread."""
    return 1 + depth * cv2.GaussianBlur(rng.standard_normal((SIZE_PX, SIZE_PX)).astype(np.float32), (0, 0), 0.9)


def _surgical(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple:
    """Three pleats between two welded sides; light blue, white, teal, or seldom black."""
    top, low, side = rng.uniform(0.24, 0.36), rng.uniform(1.86, 2.0), rng.uniform(0.9, 0.99)
    upper = [
        (0, top),
        (0.16, top + 0.03),
        (0.45, top + 0.17),
        (side, top + 0.26),
        (side + 0.02, 0.95),
        (side - 0.06, 1.36),
    ]
    outline = _smooth([*upper, (0.74, 1.66), (0.45, low - 0.07), (0, low)])
    choices = ((150, 194, 226), (228, 234, 238), (158, 203, 231), (142, 205, 205), (170, 206, 232), (48, 50, 54))
    colour = np.float32(choices[rng.integers(len(choices))])
    bow = 1 - 0.3 * np.clip(np.abs(x), 0, 1) ** 2
    # from the upper to the lower hem: pleats spread in the middle and close up at the sides
    t = 0.5 + (y - (0.5 * (top + low) - 0.06)) / ((low - top) * bow)
    shade = _wrinkles(x, y, rng, 0.05) * _weave(rng, 0.03)
    for centre in (0.34, 0.52, 0.7):
        d = (t - centre - rng.uniform(-0.015, 0.015)) / 0.022
        shade *= 1 - 0.25 * np.exp(-(d**2)) + 0.1 * np.exp(-((d + 2.2) ** 2) / 2) - 0.05 * np.exp(-((d - 2.5) ** 2) / 5)
    for inset in (0.035, 0.07):
        hem = outline[: len(outline)] * (1 - inset, 1) + (0, 0.6 * inset)
        shade *= 1 - 0.1 * _line(np.concatenate([hem, hem[:1]]), 2, 1.0)
    wire = _line(np.array([(-0.34, top + 0.2), (-0.14, top + 0.11), (0.14, top + 0.11), (0.34, top + 0.2)]), 9, 2.5)
    strap = (235, 238, 240) if colour.mean() > 100 else (60, 60, 62)
    return colour, shade * (1 + 0.07 * wire), outline, strap


def _respirator(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple:
    """FFP2, KN95: two stiff halves welded along a fold that runs from the nose to the chin; mostly white."""
    top, side_y = rng.uniform(0.2, 0.32), rng.uniform(0.72, 0.86)
    upper = [(0, top), (0.14, top + 0.05), (0.42, top + 0.22), (0.9, side_y - 0.12), (0.97, side_y), (0.95, 1.16)]
    outline = _smooth([*upper, (0.76, 1.52), (0.42, 1.84), (0.12, 1.98), (0, 1.99)])
    choices = ((236, 238, 238), (240, 240, 236), (232, 236, 240), (238, 238, 238), (70, 72, 76), (226, 232, 238))
    colour = np.float32(choices[rng.integers(len(choices))])
    lit = rng.choice([-1, 1])
    shade = _wrinkles(x, y, rng, 0.022) * _weave(rng, 0.012)
    # one half faces the light; the fold itself is a bright weld between two thin shadows
    shade *= 1 + 0.07 * np.tanh(lit * x / 0.06) * np.clip((y - top) / 0.5, 0, 1)
    fold = np.clip((y - top - 0.05) / 0.2, 0, 1)
    shade *= 1 + fold * (0.05 * np.exp(-((x / 0.014) ** 2)) - 0.13 * np.exp(-(((np.abs(x) - 0.04) / 0.018) ** 2)))
    weld = (np.abs(x) - 0.9 + 0.25 * (y - 0.9) ** 2) / 0.02
    shade *= 1 - 0.09 * np.exp(-(weld**2))
    for inset in (0.05, 0.085):
        hem = outline * (1 - inset, 1 - inset) + (0, 1.05 * inset)
        shade *= 1 - 0.07 * _line(np.concatenate([hem, hem[:1]]), 2, 1.0)
    cup = (y - 1.12 - 0.1 * x**2) / 0.05
    shade *= 1 - 0.05 * np.tanh(cup)
    strap = (238, 238, 238) if colour.mean() > 100 else (64, 64, 66)
    return colour, shade, outline, strap


def _cloth_outline(rng: np.random.Generator) -> np.ndarray:
    """The outline (N, 2) of a fitted cloth mask with narrow sides."""
    top, low, side = rng.uniform(0.18, 0.34), rng.uniform(1.9, 2.04), rng.uniform(0.92, 1.02)
    upper = [(0, top), (0.15, top + 0.05), (0.45, top + 0.24), (side, rng.uniform(0.46, 0.62)), (side + 0.01, 0.86)]
    return _smooth([*upper, (side - 0.05, rng.uniform(1.15, 1.32)), (0.74, 1.64), (0.42, low - 0.08), (0, low)])


def _cloth(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple:
    """Plain cloth of one dark colour, cut in two halves with a seam down the middle, a stitched rim."""
    outline = _cloth_outline(rng)
    choices = ((36, 36, 39), (44, 45, 49), (38, 44, 62), (30, 30, 32), (84, 86, 90), (92, 34, 42))
    colour = np.float32(choices[rng.integers(len(choices))])
    shade = _wrinkles(x, y, rng, 0.12) * _weave(rng, 0.07)
    shade *= 1 - 0.22 * np.exp(-((x / 0.018) ** 2)) + 0.12 * np.exp(-(((x - 0.04) / 0.025) ** 2))
    hem = outline * 0.94 + (0, 0.065)
    shade *= 1 - 0.2 * _line(np.concatenate([hem, hem[:1]]), 3, 1.2)
    # dark cloth shows the light more than light cloth does
    shade *= 1 + 0.35 * np.exp(-((x / 0.5) ** 2) - ((y - 0.75) / 0.4) ** 2)
    return colour, shade, outline, colour * 0.9


def _patterned(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple:
    """Printed cotton: flowers, dots or a check on a plain ground."""
    outline = _cloth_outline(rng)
    grounds = ((228, 178, 186), (58, 76, 118), (232, 224, 206), (150, 44, 52), (72, 112, 96), (198, 208, 222))
    colour = np.full((*x.shape, 3), grounds[rng.integers(len(grounds))], np.float32)
    ink = np.float32(grounds[rng.integers(len(grounds))]) * 0.5 + rng.uniform(0, 127, 3).astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        pitch = rng.uniform(0.16, 0.24)
        colour = colour + (ink - colour) * (0.45 * ((x / pitch % 1 < 0.5) * 1.0 + (y / pitch % 1 < 0.5)) / 1)[..., None]
    else:
        print_ = np.zeros(x.shape, np.uint8)
        for centre in rng.uniform((-1.1, 0.1), (1.1, 2.1), (70, 2)) if kind == 1 else _lattice(rng.uniform(0.17, 0.25)):
            for angle in np.arange(5) * 1.257 if kind == 1 else (0,):
                petal = centre + 0.045 * np.array([np.cos(angle), np.sin(angle)]) * (kind == 1)
                cv2.circle(print_, _pixels(petal[None])[0].tolist(), 16 * 7, 255, -1, cv2.LINE_AA, shift=4)
        colour += (ink - colour) * (print_.astype(np.float32) * (0.85 / 255))[..., None]
    shade = _wrinkles(x, y, rng, 0.085) * _weave(rng, 0.05) * (1 - 0.16 * np.exp(-((x / 0.02) ** 2)))
    hem = outline * 0.94 + (0, 0.065)
    shade *= 1 - 0.16 * _line(np.concatenate([hem, hem[:1]]), 3, 1.2)
    return colour, shade, outline, (226, 226, 224)


def _lattice(pitch: float) -> np.ndarray:
    """Points (N, 2) of a staggered grid over the mask."""
    rows, columns = np.mgrid[0.1:2.1:pitch, -1.1:1.1:pitch]
    stagger = (np.arange(rows.shape[0]) % 2)[:, None] * pitch / 2
    return np.stack([(columns + stagger).ravel(), rows.ravel()], 1)


_PAINTERS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple]] = {
    "surgical": _surgical,
    "respirator": _respirator,
    "cloth": _cloth,
    "patterned": _patterned,
}
STYLES = tuple(_PAINTERS)
