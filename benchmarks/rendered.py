"""Render clips with known truth: people cut from annotated photos walk, cross, pause, come back, take masks off.

    python benchmarks/rendered.py OUT --scenes ../shared/data/scenes [--scenario corridor ...] [--seed 0] [--minutes 10]

Writes OUT/NAME.mp4, OUT/NAME.csv (frame, time_s, person, box of the face, state, is_static) and OUT/NAME.json (people,
episodes, cuts). The clips hold photographs of people: they stay outside the repository. benchmarks/people.py scans them.

corridor: 120 s, people walk towards the camera, across and away, cross, pause and come back. cuts: another scene every
2.5 s, with two people. change: people stand and take masks off and on at known times. crossings: people pass each other,
and hide each other's faces. poster: a portrait on the wall, and people who walk by. night: 1080p, nobody for nine tenths
of the time, sensor noise; --minutes long.

rain: streaks all over the picture. lights: lamps go off and on, with nobody there and with somebody. clock: a recorder
writes the time into the picture. pan: the camera swings from side to side, with pauses. In each of these, five people walk
by within 90 s, one after the other.
"""

import argparse
import csv
import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from effects import lamps, rain_of, recorder_clock, swing

FPS = 25
SCENARIOS = ("corridor", "cuts", "change", "crossings", "poster", "rain", "lights", "clock", "pan", "night")
# sets with boxes of the face itself, and labels that were checked
_SETS = ("ilc_", "macwin_", "wz_")
_MIN_FACE_PX = 70
# a cut-out around a face: its sides in face widths and heights beyond the box
_LEFT, _TOP, _BOTTOM = 0.9, 0.6, 1.5


@dataclass(frozen=True)
class Cutout:
    """A person: picture (H, W, 3) BGR, opacity (H, W) from 0 to 1, box of the face in it, state."""

    picture: np.ndarray
    alpha: np.ndarray
    xyxy: np.ndarray
    state: str


@dataclass
class Actor:
    """A person in a clip. Each of `ways` has (time_s, x, y, face height) in pixels, between which he moves evenly; he is
    there from the first to the last. `looks` are (from_s, cut-out)."""

    person: int
    ways: list[list[tuple[float, float, float, float]]]
    looks: list[tuple[float, Cutout]]
    is_static: bool = False

    def place(self, time_s: float) -> tuple[float, float, float] | None:
        """Return x and y of the face's centre and its height at a time, None when he is not there."""
        for way in self.ways:
            times = [step[0] for step in way]
            if times[0] <= time_s <= times[-1]:
                return tuple(float(np.interp(time_s, times, [step[axis] for step in way])) for axis in (1, 2, 3))
        return None


@dataclass
class Clip:
    """A clip to render: size (width, height), length, actors, and scenes as (from_s, background).

    `effect` maps a picture (H, W, 3) float32 BGR and a time in seconds to the picture that is recorded. `camera` gives the
    left edge in pixels, at a time, of what the camera sees of a wider background, and of actors who walk along it.
    """

    size: tuple[int, int]
    length_s: float
    actors: list[Actor]
    scenes: list[tuple[float, np.ndarray]]
    noise: float = 1.5
    effect: Callable[[np.ndarray, float], np.ndarray] | None = None
    camera: Callable[[float], int] | None = None
    truth: list[tuple] = field(default_factory=list)


def cutouts(scenes: Path, seed: int) -> list[Cutout]:
    """Return people of the photos in random order, one a photo."""
    found = []
    for path in sorted((scenes / "annotations").glob("*.xml")):
        if path.name.startswith(_SETS):
            found += _of_photo(path, scenes / "images")
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[at] for at in order]


def _of_photo(path: Path, images: Path) -> list[Cutout]:
    root = ET.parse(path).getroot()
    boxes = []
    for item in root.iter("object"):
        box = item.find("bndbox")
        xyxy = np.array([float(box.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax")])
        boxes.append((item.find("name").text, xyxy))
    if len(boxes) != 1 or boxes[0][0] not in ("with_mask", "without_mask"):
        return []
    label, xyxy = boxes[0]
    image = cv2.imread(str(images / root.find("filename").text)) if root.find("filename") is not None else None
    image = cv2.imread(str(next(images.glob(path.stem + ".*")))) if image is None else image
    width, height = xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]
    left, top = int(xyxy[0] - _LEFT * width), int(xyxy[1] - _TOP * height)
    right, bottom = int(xyxy[2] + _LEFT * width), int(xyxy[3] + _BOTTOM * height)
    is_inside = left >= 0 and top >= 0 and right <= image.shape[1] and bottom <= image.shape[0]
    if height < _MIN_FACE_PX or not is_inside:
        return []
    picture = image[top:bottom, left:right]
    return [
        Cutout(picture, _matte(picture.shape[:2], xyxy - (left, top, left, top)), xyxy - (left, top, left, top), label)
    ]


def _matte(shape: tuple[int, int], xyxy: np.ndarray) -> np.ndarray:
    """Return an opacity (H, W): an ellipse for the head, and shoulders, with soft edges."""
    mask = np.zeros(shape, np.float32)
    centre = (xyxy[:2] + xyxy[2:]) / 2
    width, height = xyxy[2:] - xyxy[:2]
    cv2.ellipse(mask, tuple(map(int, centre)), (int(0.68 * width), int(0.78 * height)), 0, 0, 360, 1.0, -1)
    shoulders = np.array([
        (centre[0] - 0.4 * width, xyxy[3] - 0.1 * height), (centre[0] + 0.4 * width, xyxy[3] - 0.1 * height),
        (centre[0] + 1.25 * width, xyxy[3] + 0.7 * height), (centre[0] + 1.3 * width, shape[0]),
        (centre[0] - 1.3 * width, shape[0]), (centre[0] - 1.25 * width, xyxy[3] + 0.7 * height),
    ])  # fmt: skip
    cv2.fillPoly(mask, [shoulders.astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.03 * width))


def background(size: tuple[int, int], seed: int) -> np.ndarray:
    """Return a corridor (H, W, 3) BGR: walls, floor, doors and lamps, another one for each seed."""
    rng, (width, height) = np.random.default_rng(seed), size
    image = np.full((height, width, 3), rng.integers(90, 190, 3), np.uint8)
    vanish = int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.25, 0.45))
    floor = np.array([(0, height), vanish, (width, height)])
    cv2.fillPoly(image, [floor], tuple(int(value) for value in rng.integers(40, 120, 3)))
    for _ in range(rng.integers(4, 9)):
        x, w = int(rng.integers(0, width)), int(rng.integers(width // 20, width // 6))
        y, h = int(rng.integers(0, height // 2)), int(rng.integers(height // 5, height // 2))
        cv2.rectangle(image, (x, y), (x + w, y + h), tuple(int(value) for value in rng.integers(30, 230, 3)), -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), (40, 40, 40), 3)
    texture = cv2.resize(rng.normal(0, 8, (height // 8, width // 8, 1)).astype(np.float32), size)[..., None]
    return np.clip(image + texture, 0, 255).astype(np.uint8)


def corridor(people: Sequence[Cutout], seed: int) -> Clip:
    """14 people in 120 s: towards the camera, across it, with pauses; two of them come back after half a minute."""
    rng, size, actors = np.random.default_rng(seed + 1), (1280, 720), []
    for person in range(14):
        begin = person * 8.0 + float(rng.uniform(0, 3))
        ways = [_walk(rng, begin, size)]
        if person in (2, 6):  # comes back
            ways.append(_walk(rng, ways[0][-1][0] + 30, size))
        actors.append(Actor(person, ways, [(0.0, people[person])]))
    return Clip(size, 120.0, actors, [(0.0, background(size, seed))])


def _walk(rng: np.random.Generator, begin: float, size: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    """Return a way of 6 to 12 s: across the picture or towards the camera, perhaps with a pause."""
    width, height = size
    tall = float(rng.uniform(0.055, 0.11)) * height
    y = height * float(rng.uniform(0.3, 0.5))
    first, last = (0.08, 0.92) if rng.random() < 0.5 else (0.92, 0.08)
    length = float(rng.uniform(6, 11))
    if rng.random() < 0.35:  # towards the camera
        x = width * float(rng.uniform(0.35, 0.65))
        return [
            (begin, x, y * 0.8, tall * 0.7),
            (begin + length, x + float(rng.uniform(-150, 150)), y * 1.15, tall * 1.6),
        ]
    way = [(begin, first * width, y, tall)]
    if rng.random() < 0.5:
        middle, pause = float(rng.uniform(0.35, 0.65)), float(rng.uniform(1, 3))
        way += [(begin + length / 2, middle * width, y, tall), (begin + length / 2 + pause, middle * width, y, tall)]
        length += pause
    return [*way, (begin + length, last * width, y, tall)]


def cuts(people: Sequence[Cutout], seed: int) -> Clip:
    """Another place with two people every 2.5 s: 32 people in 40 s."""
    size, actors, scenes = (1280, 720), [], []
    for scene in range(16):
        begin = 2.5 * scene
        scenes.append((begin, background(size, seed + 100 + scene)))
        for side in range(2):
            person = 2 * scene + side
            # the second scene has its people where the first one had them
            x, y, tall = 380 + 480 * side + 12 * (scene % 3), 300, 70.0
            actors.append(
                Actor(person, [[(begin, x, y, tall), (begin + 2.46, x + 40, y + 6, tall)]], [(0.0, people[person])])
            )
    return Clip(size, 40.0, actors, scenes)


def change(people: Sequence[Cutout], seed: int) -> Clip:
    """Six people stand, one after the other, and take the mask off or put it on once."""
    masked = [one for one in people if one.state == "with_mask"]
    bare = [one for one in people if one.state == "without_mask"]
    rng, size, actors = np.random.default_rng(seed + 2), (1280, 720), []
    for person in range(6):
        begin, at = 10.0 * person, 10.0 * person + float(rng.uniform(2.5, 5.5))
        first, second = (masked[person], bare[person]) if person % 2 == 0 else (bare[person], masked[person])
        x, y, tall = float(rng.uniform(300, 980)), 320.0, float(rng.uniform(55, 100))
        way = [(begin, x, y, tall), (begin + 8.0, x + float(rng.uniform(-30, 30)), y + 8, tall)]
        actors.append(Actor(person, [way], [(begin, first), (at, dressed_alike(first, second))]))
    return Clip(size, 60.0, actors, [(0.0, background(size, seed))])


def dressed_alike(first: Cutout, second: Cutout) -> Cutout:
    """Return the face of `second` on the body of `first`: the clothes stay when a mask is taken off."""
    picture, xyxy = first.picture.copy(), np.round(first.xyxy).astype(int)
    left, top, right, bottom = xyxy
    own = np.round(second.xyxy).astype(int)
    face = cv2.resize(second.picture[own[1] : own[3], own[0] : own[2]], (right - left, bottom - top))
    ellipse = np.zeros(face.shape[:2], np.float32)
    centre = face.shape[1] // 2, face.shape[0] // 2
    cv2.ellipse(ellipse, centre, (int(0.46 * face.shape[1]), int(0.48 * face.shape[0])), 0, 0, 360, 1.0, -1)
    ellipse = cv2.GaussianBlur(ellipse, (0, 0), 3)[..., None]
    inside = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = (inside + ellipse * (face.astype(np.float32) - inside)).astype(np.uint8)
    return Cutout(picture, first.alpha, first.xyxy, second.state)


def crossings(people: Sequence[Cutout], seed: int) -> Clip:
    """Pairs of people pass each other; the one in front hides the other one's face for a moment."""
    size, actors = (1280, 720), []
    for pair in range(8):
        begin = 6.0 * pair
        for side in range(2):
            ends = (120.0, 1160.0) if side == 0 else (1160.0, 120.0)
            y, tall = 300.0 + 24 * side, 66.0 + 16 * side
            way = [(begin, ends[0], y, tall), (begin + 4.6, ends[1], y, tall)]
            actors.append(Actor(2 * pair + side, [way], [(0.0, people[2 * pair + side])]))
    return Clip(size, 48.0, actors, [(0.0, background(size, seed))])


def poster(people: Sequence[Cutout], seed: int) -> Clip:
    """90 s: a portrait hangs on the wall, and five people walk by."""
    rng, size = np.random.default_rng(seed + 3), (1280, 720)
    actors = [Actor(0, [[(0.0, 900.0, 210.0, 80.0), (90.0, 900.0, 210.0, 80.0)]], [(0.0, people[0])], is_static=True)]
    actors += [Actor(1 + at, [_walk(rng, 6.0 + 15 * at, size)], [(0.0, people[1 + at])]) for at in range(5)]
    return Clip(size, 90.0, actors, [(0.0, background(size, seed))])


def _passers_by(people: Sequence[Cutout], seed: int, width: int) -> list[Actor]:
    """Return five people who walk by within 90 s of a picture of `width` x 720, one after the other."""
    rng = np.random.default_rng(seed + 5)
    return [Actor(at, [_walk(rng, 14.0 + 15 * at, (width, 720))], [(0.0, people[20 + at])]) for at in range(5)]


def rain(people: Sequence[Cutout], seed: int) -> Clip:
    """90 s of rain; five people walk by."""
    size = (1280, 720)
    return Clip(
        size, 90.0, _passers_by(people, seed, 1280), [(0.0, background(size, seed))], effect=rain_of(size, seed)
    )


def lights(people: Sequence[Cutout], seed: int) -> Clip:
    """90 s: lamps go off and on five times, at 18 and 48 s with somebody there; five people walk by."""
    size = (1280, 720)
    return Clip(size, 90.0, _passers_by(people, seed, 1280), [(0.0, background(size, seed))],
                effect=lamps((5.0, 10.0, 18.0, 27.0, 48.0, 57.0, 72.0, 85.0)))  # fmt: skip


def clock(people: Sequence[Cutout], seed: int) -> Clip:
    """90 s with the time in the picture, as recorders write it; five people walk by."""
    size = (1280, 720)
    return Clip(size, 90.0, _passers_by(people, seed, 1280), [(0.0, background(size, seed))], effect=recorder_clock)


def pan(people: Sequence[Cutout], seed: int) -> Clip:
    """90 s: the camera swings over twice its width and back, with pauses; five people walk by."""
    wide = (2560, 720)
    return Clip((1280, 720), 90.0, _passers_by(people, seed, 2560), [(0.0, background(wide, seed))], camera=swing)


def night(people: Sequence[Cutout], seed: int, minutes: float) -> Clip:
    """1080p: a person every 80 s for 8 s, and nobody otherwise."""
    rng, size, actors = np.random.default_rng(seed + 4), (1920, 1080), []
    for person in range(max(1, int(minutes * 60 / 80))):
        actors.append(Actor(person, [_walk(rng, 80.0 * person + 30, size)], [(0.0, people[person % len(people)])]))
    return Clip(size, minutes * 60, actors, [(0.0, background(size, seed))], noise=1.0)


def frames(clip: Clip, seed: int) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) BGR, and note the truth of each."""
    rng, (width, height) = np.random.default_rng(seed), clip.size
    # a few pictures of noise, over and over: drawing each anew would take most of the time
    noises = [rng.normal(0, clip.noise, (height, width, 1)).astype(np.float32) for _ in range(7)]
    still: dict[tuple[int, int], np.ndarray] = {}
    for index in range(round(clip.length_s * FPS)):
        time_s = index / FPS
        scene = max(at for at, (begin, _) in enumerate(clip.scenes) if begin <= time_s)
        there = [(actor, place) for actor in clip.actors if (place := actor.place(time_s)) is not None]
        if not there and clip.effect is None and clip.camera is None:
            key = scene, index % len(noises)
            if key not in still:
                still[key] = np.clip(clip.scenes[scene][1] + noises[key[1]], 0, 255).astype(np.uint8)
            yield still[key]
            continue
        canvas, left = clip.scenes[scene][1].astype(np.float32), clip.camera(time_s) if clip.camera else 0
        faces = [_paste(canvas, actor, place, index) for actor, place in sorted(there, key=lambda item: item[1][2])]
        faces = [face for at, face in enumerate(faces) if not any(_hides(other, face) for other in faces[at + 1 :])]
        canvas = canvas[:, left : left + width]
        if clip.camera:
            faces = [moved for face in faces if (moved := _seen(face, left, width)) is not None]
        clip.truth += faces
        if clip.effect:
            canvas = clip.effect(canvas, time_s)
        yield np.clip(canvas + noises[index % len(noises)], 0, 255).astype(np.uint8)


def _seen(face: tuple, left: int, width: int) -> tuple | None:
    """Return a face of the truth as a camera of `width` sees it from `left` on; None when less than half is inside."""
    index, time_s, person, x1, y1, x2, y2, *rest = face
    inside = min(x2, left + width) - max(x1, left)
    return (
        (index, time_s, person, round(x1 - left, 1), y1, round(x2 - left, 1), y2, *rest)
        if inside >= 0.5 * (x2 - x1)
        else None
    )


def _hides(front: tuple, face: tuple) -> bool:
    """Return True when more than half of a face of the truth is behind another one."""
    (x1, y1, x2, y2), (left, top, right, bottom) = front[3:7], face[3:7]
    inside = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
    return inside > 0.5 * (right - left) * (bottom - top)


def _paste(canvas: np.ndarray, actor: Actor, place: tuple[float, float, float], index: int) -> tuple:
    """Paste an actor onto the canvas (H, W, 3) float32; return the row of the truth."""
    time_s, (x, y, tall) = index / FPS, place
    if not actor.is_static:  # heads go up and down with each step, and are never quite still
        y += 0.05 * tall * math.sin(2 * math.pi * 1.8 * time_s + actor.person)
        x += 0.03 * tall * math.sin(2 * math.pi * 0.4 * time_s + 2 * actor.person)
    look = [cutout for begin, cutout in actor.looks if begin <= time_s][-1]
    scale = tall / (look.xyxy[3] - look.xyxy[1])
    size = max(2, round(look.picture.shape[1] * scale)), max(2, round(look.picture.shape[0] * scale))
    picture = cv2.resize(look.picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(look.alpha, size, interpolation=cv2.INTER_AREA)[..., None]
    box = look.xyxy * scale
    left, top = round(x - (box[0] + box[2]) / 2), round(y - (box[1] + box[3]) / 2)
    begin = max(left, 0), max(top, 0)
    end = min(left + size[0], canvas.shape[1]), min(top + size[1], canvas.shape[0])
    if begin[0] < end[0] and begin[1] < end[1]:
        own = np.s_[begin[1] - top : end[1] - top, begin[0] - left : end[0] - left]
        there = np.s_[begin[1] : end[1], begin[0] : end[0]]
        canvas[there] += alpha[own] * (picture[own] - canvas[there])
    face = box + np.array((left, top, left, top))
    return index, time_s, actor.person, *face.round(1).tolist(), look.state, int(actor.is_static)


def write(clip: Clip, name: str, out: Path, seed: int) -> None:
    """Render and encode a clip, and write its truth."""
    with av.open(str(out / f"{name}.mp4"), "w") as container:
        options = {"preset": "veryfast", "crf": "26", "g": str(2 * FPS), "x264-params": "scenecut=0:cpu-independent=1"}
        stream = container.add_stream("libx264", FPS, options=options)
        stream.width, stream.height = clip.size
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FPS)
        for image in frames(clip, seed):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with (out / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("frame", "time_s", "person", "x_min", "y_min", "x_max", "y_max", "state", "is_static"))
        rows.writerows(clip.truth)
    episodes = [
        (actor.person, look.state, max(begin, actor.ways[0][0][0]), end)
        for actor in clip.actors if not actor.is_static
        for (begin, look), end in zip(actor.looks, [*(at for at, _ in actor.looks[1:]), actor.ways[-1][-1][0]], strict=True)
    ]  # fmt: skip
    facts = {
        "people": sum(not actor.is_static for actor in clip.actors), "episodes": episodes,
        "cuts": [begin for begin, _ in clip.scenes[1:]], "length_s": clip.length_s,
    }  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(facts, indent=1))


def main() -> None:
    """Render the clips that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=SCENARIOS[:-1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the night")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    people = cutouts(given.scenes, given.seed)
    print(f"{len(people)} cut-outs", flush=True)
    for name in given.scenario:
        make = globals()[name]
        clip = make(people, given.seed, given.minutes) if name == "night" else make(people, given.seed)
        write(clip, name, given.out, given.seed)
        print(f"{name}: {clip.length_s:.0f} s, {len(clip.actors)} actors", flush=True)


if __name__ == "__main__":
    main()
