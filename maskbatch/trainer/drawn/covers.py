"""What else may cover a bare face: masks that make it a masked one, and hands, scarves, mugs and beards that do not.

Pure functions over arrays. A face is `landmarks` (5, 2) float32 px (left eye, right eye, nose tip, left and right mouth
corner as seen in the image) and `xyxy` (4,) float32 px; images are (H, W, 3) uint8 RGB. Places on a face are (a, b):
a is -1 and 1 at the sides of the face, b is 0 at the eyes, 1 at the mouth and about 1.85 at the chin.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from maskbatch.trainer.drawn.synthetic import draw_mask

# an ellipse: middle (a, b), half axes in (a, b), degrees
_Ellipse = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class CoverSettings:
    """How likely a bare face gets a drawn mask (and the label of one), or something else over its mouth."""

    mask: float = 0.0
    other: float = 0.0


def cover(
    image: np.ndarray, landmarks: np.ndarray, xyxy: np.ndarray, settings: CoverSettings, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """A bare face as it is, or covered; and its label: 1 where a mask was drawn, else 0."""
    chance = rng.random()
    if chance >= settings.mask + settings.other or not np.isfinite(landmarks).all():
        return image, 0
    if chance >= settings.mask:
        return hide_mouth(image, landmarks, xyxy, rng), 0
    worn = draw_mask(image, landmarks, xyxy, rng)
    # a face too small or too turned to carry a mask comes back as it was
    return worn, int(not np.array_equal(worn, image))


def hide_mouth(image: np.ndarray, landmarks: np.ndarray, xyxy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand, a scarf, a mug or a beard drawn over the mouth of a bare face. Rough shapes: they teach that something
    there, of any colour, is not a mask yet."""
    draw = (_hand, _scarf, _mug, _beard)[rng.integers(4)]
    return draw(image, _Face.of(landmarks, xyxy), rng)


@dataclass(frozen=True, slots=True)
class _Face:
    """Where a face lies: the middle of its eyes (2,), and in px one step along a, one along b (2,)."""

    eyes: np.ndarray
    across: np.ndarray
    down: np.ndarray

    @staticmethod
    def of(landmarks: np.ndarray, xyxy: np.ndarray) -> "_Face":
        eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
        down = mouth - eyes
        length = max(float(np.hypot(*down)), 1.0)
        across = np.array([down[1], -down[0]]) / length * max(float(xyxy[2] - xyxy[0]) / 2, 1.0)
        return _Face(eyes, across, down if length > 1 else np.array([0.0, 1.0]))

    def outline(self, ellipse: _Ellipse) -> np.ndarray:
        """An ellipse as a polygon (32, 2) int32 px."""
        a, b, half_a, half_b, degrees = ellipse
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        turn = np.deg2rad(degrees)
        x, y = np.cos(angle) * half_a, np.sin(angle) * half_b
        places = a + x * np.cos(turn) - y * np.sin(turn), b + x * np.sin(turn) + y * np.cos(turn)
        points = self.eyes + places[0][:, None] * self.across + places[1][:, None] * self.down
        return np.round(np.clip(points, -1e4, 1e4)).astype(np.int32)


def _hand(image: np.ndarray, face: _Face, rng: np.random.Generator) -> np.ndarray:
    """A palm below and four fingers across the mouth, in the colour of this face's skin."""
    colour = _skin(image, face) * rng.uniform(0.7, 1.15)
    side, turn = rng.choice([-1.0, 1.0]), rng.uniform(-35, 35)
    palm = (side * rng.uniform(0.3, 1.0), rng.uniform(1.4, 1.9), 0.6, 0.5, turn)
    image = _paint(image, face, [palm], _cloth(colour, 8), rng)
    for i in range(4):
        finger = (side * rng.uniform(-0.1, 0.3), 0.8 + 0.24 * i, rng.uniform(0.5, 0.7), 0.13, turn)
        image = _paint(image, face, [finger], _cloth(colour * rng.uniform(0.88, 1.05), 6), rng)
    return image


def _scarf(image: np.ndarray, face: _Face, rng: np.random.Generator) -> np.ndarray:
    """Folds of striped or plain cloth around neck and chin, often up to the mouth."""
    colour, stripe = rng.uniform(10, 245, 3), rng.uniform(10, 245, 3)
    top = rng.uniform(0.85, 1.6)
    folds = [
        (rng.uniform(-0.3, 0.3), top + 0.5 + 0.45 * i, rng.uniform(1.2, 1.8), 0.5, rng.uniform(-15, 15))
        for i in range(3)
    ]

    def pattern(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        wave = np.sin(
            np.arange(shape[0])[:, None] * rng.uniform(0.1, 0.9) + np.arange(shape[1]) * rng.uniform(-0.5, 0.5)
        )
        share = (wave > rng.uniform(-1, 1.5))[..., None]
        return np.where(share, stripe, colour) + rng.normal(0, 12, (*shape, 1))

    return _paint(image, face, folds, pattern, rng)


def _mug(image: np.ndarray, face: _Face, rng: np.random.Generator) -> np.ndarray:
    """A cup held to the lips: a body of one colour with a darker rim."""
    colour = rng.uniform(20, 250, 3)
    a, top, width = rng.uniform(-0.2, 0.2), rng.uniform(0.75, 1.1), rng.uniform(0.35, 0.6)
    body = [(a, top + 0.1 + 0.15 * i, width * (1 - 0.02 * i), 0.25, 0.0) for i in range(5)]
    image = _paint(image, face, body, _cloth(colour, 3), rng)
    return _paint(image, face, [(a, top, width, 0.12, 0.0)], _cloth(colour * 0.6, 3), rng)


def _beard(image: np.ndarray, face: _Face, rng: np.random.Generator) -> np.ndarray:
    """Coarse dark, grey or reddish hair from cheek to cheek; the lips stay in sight."""
    colour = np.array([(40, 32, 28), (70, 48, 34), (130, 80, 45), (150, 148, 145)][rng.integers(4)], np.float64)
    jaw = [(0.0, 1.4, rng.uniform(0.65, 0.85), rng.uniform(0.45, 0.75), 0.0), (0.0, 0.82, 0.4, 0.1, 0.0)]
    hairy = _paint(image, face, jaw, _cloth(colour * rng.uniform(0.7, 1.2), 22), rng)
    lips = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(lips, [face.outline((0.0, 1.02, 0.33, 0.14, 0.0))], 255)
    return np.where(lips[..., None] > 0, image, hairy)


def _cloth(colour: np.ndarray, grain: float) -> Callable[[tuple[int, int], np.random.Generator], np.ndarray]:
    """A surface of one colour (3,), lighter and darker in places, with grain of that many grey levels."""

    def surface(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        slow = cv2.resize(rng.uniform(0.8, 1.15, (3, 3)), shape[::-1], interpolation=cv2.INTER_LINEAR)
        return colour * slow[..., None] + rng.normal(0, grain, (*shape, 1))

    return surface


def _paint(
    image: np.ndarray, face: _Face, shapes: list[_Ellipse], surface: Callable, rng: np.random.Generator
) -> np.ndarray:
    """A copy of the image with the ellipses filled by `surface(shape, rng)` (H, W, 3) and their edges softened."""
    filled = np.zeros(image.shape[:2], np.uint8)
    for shape in shapes:
        cv2.fillPoly(filled, [face.outline(shape)], 255)
    soft = cv2.GaussianBlur(filled, (0, 0), max(float(np.hypot(*face.across)) * 0.03, 0.4))[..., None] / np.float32(255)
    return np.clip(image * (1 - soft) + surface(image.shape[:2], rng) * soft, 0, 255).astype(np.uint8)


def _skin(image: np.ndarray, face: _Face) -> np.ndarray:
    """The colour (3,) of the face between eyes and mouth."""
    cheeks = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(cheeks, [face.outline((0.0, 0.5, 0.5, 0.25, 0.0))], 255)
    return np.median(image[cheeks > 0], axis=0) if cheeks.any() else np.array([190.0, 150.0, 125.0])
