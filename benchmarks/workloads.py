"""Make the photos and clips that are measured, from the shared data set and by encoding, once per work folder.

Scenes with two or three boxed faces become 300 photos of 0.5-1 megapixels (as they are where they have that size) and,
enlarged with a camera's noise, 40 photos of 12 megapixels. Clips pan and zoom over scenes with two to eight faces, a cut
every five seconds, H.264 with AAC; one shows a painted street without anybody. Nothing here is ever committed.
"""

import csv
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np

FPS = 30
SAMPLE_RATE = 48_000
_SHOT_S = 5
_SETS = ("ilc", "afw")  # their boxes go around faces, and their pictures are large
_PHOTO_PIXELS = (500_000, 1_000_000)
_LARGE_PIXELS = 12_000_000
_SIZE = {"video1080": (1920, 1080)}  # of clips; else 720p


@dataclass(frozen=True, slots=True)
class Workload:
    """The input of one measurement. `path` is a folder of photos or a clip; `cut`, for clips, its beginning alone."""

    name: str
    path: Path
    cut: Path

    @property
    def is_clip(self) -> bool:
        return self.path.is_file()

    @property
    def has_faces(self) -> bool:
        return self.name != "noface"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Amounts to make: numbers of photos, seconds of clips, and of their beginnings that slow rivals read."""

    num_photos: int = 300
    num_large: int = 40
    clip_s: int = 60
    cut_s: int = 15

    @staticmethod
    def quick() -> "Sizes":
        return Sizes(30, 4, 6, 4)


@dataclass(frozen=True, slots=True)
class Scene:
    """An annotated picture: where it is, its (width, height), and the boxes (N, 4) of its faces."""

    path: Path
    size: tuple[int, int]
    xyxy: np.ndarray

    @property
    def num_pixels(self) -> int:
        return self.size[0] * self.size[1]


NAMES = ("photos", "photos12mp", "video720", "video1080", "noface")


def make(name: str, shared: Path, work: Path, sizes: Sizes) -> Workload:
    """Make the workload `name` from the data set at `shared`, unless an earlier run has left it in `work`."""
    folder = work / "workloads" / f"{name}-{_amount(name, sizes)}"
    is_clip = name not in ("photos", "photos12mp")
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        annotated = list(scenes(shared, _SETS))
        if name == "photos":
            _write_photos(folder / "photos", annotated, sizes.num_photos)
        elif name == "photos12mp":
            _write_large(folder / "photos", annotated, sizes.num_large)
        else:
            _write_clip(folder / "clip.mp4", _SIZE.get(name, (1280, 720)), _shots(name, annotated), sizes.clip_s)
            join(folder / "clip.mp4", folder / "cut.mp4", until_s=sizes.cut_s)
        (folder / "whole").touch()
    return Workload(name, folder / ("clip.mp4" if is_clip else "photos"), folder / ("cut.mp4" if is_clip else "photos"))


def _amount(name: str, sizes: Sizes) -> str:
    counts = {"photos": sizes.num_photos, "photos12mp": sizes.num_large}
    return str(counts.get(name, f"{sizes.clip_s}s-{sizes.cut_s}s"))


def scenes(shared: Path, sets: Collection[str], paths: Collection[str] | None = None) -> Iterator[Scene]:
    """Yield the annotated pictures of some sets, in the order of the data set's own list; of `paths` only, where given."""
    with open(shared / "splits.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "scene" and row["set"] in sets]
    rows = [row for row in rows if paths is None or row["path"] in paths]
    for row in rows:
        path = shared / row["path"]
        root = ElementTree.parse(shared / "scenes" / "annotations" / f"{path.stem}.xml").getroot()
        size = int(root.findtext("size/width")), int(root.findtext("size/height"))
        sides = ("xmin", "ymin", "xmax", "ymax")
        xyxy = [[float(face.findtext(f"bndbox/{side}")) for side in sides] for face in root.iter("object")]
        yield Scene(path, size, np.array(xyxy, np.float64).reshape(-1, 4))


def _write_photos(folder: Path, scenes: list[Scene], count: int) -> None:
    """Write scenes of two or three faces, the largest first; those under half a megapixel are enlarged to 0.6.

    Where there are fewer scenes, they come again, under other names.
    """
    folder.mkdir()
    chosen = [scene for scene in scenes if len(scene.xyxy) in (2, 3) and scene.num_pixels <= _PHOTO_PIXELS[1]]
    chosen = sorted(chosen, key=lambda scene: -scene.num_pixels)[:count]
    for number, scene in enumerate(islice(cycle(chosen), count)):
        target = folder / f"{number:04d}{scene.path.suffix}"
        if scene.num_pixels >= _PHOTO_PIXELS[0]:
            shutil.copyfile(scene.path, target)
        else:
            cv2.imwrite(str(target), _enlarged(scene, 600_000), [cv2.IMWRITE_JPEG_QUALITY, 90])


def _write_large(folder: Path, scenes: list[Scene], count: int) -> None:
    """Write the same kind of scenes at 12 megapixels, with noise, without which such a JPEG would be all smooth."""
    folder.mkdir()
    random = np.random.default_rng(0)
    chosen = sorted((scene for scene in scenes if len(scene.xyxy) in (2, 3)), key=lambda scene: -scene.num_pixels)
    for number, scene in enumerate(chosen[:count]):
        image = _noisy(_enlarged(scene, _LARGE_PIXELS), random, 5)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])


def _enlarged(scene: Scene, num_pixels: int) -> np.ndarray:
    scale = (num_pixels / scene.num_pixels) ** 0.5
    return cv2.resize(cv2.imread(str(scene.path)), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _noisy(image: np.ndarray, random: np.random.Generator, sigma: float) -> np.ndarray:
    noise = random.normal(0, sigma, image.shape).astype(np.int16)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


# a shot: what is seen, and the windows (x, y, width, height) the camera sees at its start and at its end
_Shot = tuple[np.ndarray, np.ndarray, np.ndarray]


def _shots(name: str, scenes: list[Scene]) -> Iterator[_Shot]:
    """Yield the shots of a clip, without end."""
    if name == "noface":
        while True:
            yield _street(), np.array([0, 60, 1280, 720.0]), np.array([600, 180, 1100, 618.75])
    moves = [(scene, _move(scene)) for scene in scenes if scene.num_pixels >= 300_000]
    chosen = [(scene, move) for scene, move in moves if 2 <= _fewest_faces(scene, move) <= 8]
    chosen.sort(key=lambda item: -_fewest_faces(*item) - item[0].num_pixels / 1e7)
    spread = chosen[:: max(1, len(chosen) // 24)]
    order = np.random.default_rng(3).permutation(len(spread))  # crowds and couples in turn
    while True:
        for scene, (start, end) in (spread[position] for position in order):
            yield cv2.imread(str(scene.path)), start, end


def _move(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return 16:9 windows at the start and the end of a shot: the camera pans across the faces and comes nearer."""
    width, height = scene.size
    widest = min(width, height * 16 / 9)
    middle = (scene.xyxy[:, :2] + scene.xyxy[:, 2:]).mean(axis=0) / 2 if len(scene.xyxy) else np.array(scene.size) / 2
    windows = []
    for share, side in ((0.97, -1), (0.85, 1)):
        size = np.array([widest * share, widest * share * 9 / 16])
        corner = middle + np.array([side * 0.04 * widest, 0]) - size / 2
        windows.append(np.concatenate([np.clip(corner, 0, np.array(scene.size) - size), size]))
    return windows[0], windows[1]


def _fewest_faces(scene: Scene, move: tuple[np.ndarray, np.ndarray]) -> int:
    """Count the whole faces in view at the worse end of a shot."""
    inside = [
        ((scene.xyxy[:, :2] >= window[:2]) & (scene.xyxy[:, 2:] <= window[:2] + window[2:])).all(axis=1).sum()
        for window in move
    ]
    return int(min(inside))


def _street() -> np.ndarray:
    """Paint a scene (1000, 1900, 3) of blocks and textures, without a face."""
    random = np.random.default_rng(1)
    canvas = np.full((1000, 1900, 3), 120, np.uint8)
    for _ in range(60):
        left, top = random.integers(0, (1900, 1000))
        colour = tuple(int(value) for value in random.integers(40, 220, 3))
        cv2.rectangle(canvas, (left, top), (left + int(random.integers(40, 400)), top + 300), colour, -1)
    for grid in (8, 40, 200):
        coarse = random.normal(0, 10, (grid, grid * 2, 3)).astype(np.float32)
        canvas = np.clip(canvas + cv2.resize(coarse, (1900, 1000)), 0, 255).astype(np.uint8)
    return canvas


def _write_clip(path: Path, size: tuple[int, int], shots: Iterator[_Shot], seconds: int) -> None:
    """Encode shots, five seconds each, as a camera would: H.264 with a key frame every two seconds, and AAC."""
    random = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23", "g": "60"})
        video.width, video.height = size
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)
        for first in range(0, seconds * FPS, _SHOT_S * FPS):
            shot = next(shots)
            grain = random.normal(0, 2.5, (size[1] + 64, size[0] + 64, 3)).astype(np.int16)
            for number in range(min(_SHOT_S * FPS, seconds * FPS - first)):
                image = _view(shot, number / (_SHOT_S * FPS), size)
                x, y = random.integers(0, 64, 2)
                image = np.clip(image + grain[y : y + size[1], x : x + size[0]], 0, 255).astype(np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            _add_tone(container, sound, first // FPS, min(first // FPS + _SHOT_S, seconds))
        container.mux(video.encode())
        container.mux(sound.encode())


def _view(shot: _Shot, share: float, size: tuple[int, int]) -> np.ndarray:
    """Return the camera's view when `share` of the shot is over."""
    image, start, end = shot
    x, y, width, height = start + (end - start) * share
    affine = np.array([[size[0] / width, 0, -x * size[0] / width], [0, size[1] / height, -y * size[1] / height]])
    return cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _add_tone(container: av.container.OutputContainer, sound: av.AudioStream, start_s: int, end_s: int) -> None:
    samples = np.arange(start_s * SAMPLE_RATE, end_s * SAMPLE_RATE)
    wave = (0.2 * np.sin(samples * (2 * np.pi * 330 / SAMPLE_RATE))).astype(np.float32)[None]
    for first in range(0, wave.shape[1], 1000):
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, first : first + 1000]), "fltp", "mono")
        block.sample_rate, block.pts = SAMPLE_RATE, start_s * SAMPLE_RATE + first
        block.time_base = Fraction(1, SAMPLE_RATE)
        container.mux(sound.encode(block))


def join(source: Path, target: Path, until_s: float | None = None, times: int = 1) -> None:
    """Copy the packets of a clip, up to `until_s`, `times` over; nothing is encoded again."""
    with av.open(str(target), "w") as output:
        tracks: dict[int, av.stream.Stream] = {}
        last: dict[int, int] = {}
        for turn in range(times):
            with av.open(str(source)) as clip:
                for stream in clip.streams if turn == 0 else ():
                    tracks[stream.index] = output.add_stream_from_template(stream)
                length_s = Fraction(clip.streams.video[0].duration * clip.streams.video[0].time_base)
                for packet in clip.demux():
                    if packet.dts is None or (until_s is not None and packet.pts * packet.time_base >= until_s):
                        continue
                    shift = round(turn * length_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    if packet.dts <= last.get(packet.stream.index, packet.dts - 1):
                        continue  # the sound is a little longer than the pictures
                    last[packet.stream.index] = packet.dts
                    packet.stream = tracks[packet.stream.index]
                    output.mux(packet)
