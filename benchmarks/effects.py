"""Weather, lamps, a recorder's clock and a camera that swings, for rendered clips: see rendered.py."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

# streaks of rain in a picture; their length and speed in pixels, the latter per second; their brightness in grey values
_NUM_STREAKS, _LENGTH_PX, _SPEED_PX, _GREY = 260, 26, 900, 55.0
# light that is left when the lamps are off, and seconds in which they fade
_DIM, _FADE_S = 0.4, 0.12
# a swing of the camera: seconds of rest at each side, and of the way
_REST_S, _WAY_S, _SWING_PX = 6.0, 5.0, 1280


def rain_of(size: tuple[int, int], seed: int) -> Callable[[np.ndarray, float], np.ndarray]:
    """Return an effect: streaks that fall over the whole picture of `size` (width, height), each at its own speed."""
    rng, (width, height) = np.random.default_rng(seed + 6), size
    x, y = rng.uniform(0, width, _NUM_STREAKS), rng.uniform(0, height, _NUM_STREAKS)
    speed, length = rng.uniform(0.7, 1.4, (2, _NUM_STREAKS)) * np.array([[_SPEED_PX], [_LENGTH_PX]])

    def effect(image: np.ndarray, time_s: float) -> np.ndarray:
        streaks = np.zeros((height, width), np.float32)
        rounds, top = np.divmod(y + speed * time_s, height + _LENGTH_PX)
        at = (x + 337.0 * rounds) % width  # a streak falls elsewhere the next time
        for left, above, long in zip(at.tolist(), top.tolist(), length.tolist(), strict=True):
            cv2.line(streaks, (int(left), int(above - long)), (int(left - 3), int(above)), _GREY, 1, cv2.LINE_AA)
        return image + streaks[..., None]

    return effect


def lamps(switched_s: Sequence[float]) -> Callable[[np.ndarray, float], np.ndarray]:
    """Return an effect: the lamps go off at the first of the times, on at the second, and so on."""

    def effect(image: np.ndarray, time_s: float) -> np.ndarray:
        num = sum(at <= time_s for at in switched_s)
        if num == 0:
            return image
        before, now = (1.0, _DIM) if num % 2 else (_DIM, 1.0)
        share = min((time_s - switched_s[num - 1]) / _FADE_S, 1.0)
        return image * np.float32(before + share * (now - before))

    return effect


def recorder_clock(image: np.ndarray, time_s: float) -> np.ndarray:
    """Return the picture (H, W, 3) float32 with date and time in it, as a recorder writes them; the seconds run."""
    seconds = 79_200 + int(time_s)  # from ten in the evening on
    text = f"2026-11-20 {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    image = np.clip(image, 0, 255).astype(np.uint8)
    for colour, thick in (((0, 0, 0), 6), ((255, 255, 255), 2)):
        cv2.putText(image, text, (24, 52), cv2.FONT_HERSHEY_SIMPLEX, 1.2, colour, thick, cv2.LINE_AA)
    return image.astype(np.float32)


def swing(time_s: float) -> int:
    """Return the left edge in pixels of what a camera sees that rests, swings to the right, rests, and swings back."""
    at = time_s % (2 * (_REST_S + _WAY_S))
    is_back, at = divmod(at, _REST_S + _WAY_S)
    share = float(np.clip((at - _REST_S) / _WAY_S, 0, 1))
    share = 0.5 - 0.5 * np.cos(np.pi * share)  # it starts and stops gently
    return round(_SWING_PX * (1 - share if is_back else share))
