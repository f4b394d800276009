"""Makes the photos and videos that tests read: small, exact, and broken in known ways."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)
NTSC_FILM = Fraction(24000, 1001)


@dataclass(frozen=True)
class Sound:
    """How the sound of a test video is encoded: a tone, which with `beats` sounds only 0.1 s from each of these seconds on.
    There are no packets in the seconds of the `hole`; all time stamps are `late_s` more than those of the picture."""

    codec: str
    rate: int = 48000
    layout: str = "mono"
    beats: Sequence[float] = ()
    hole: tuple[float, float] = (0, 0)
    late_s: float = 0


@dataclass(frozen=True)
class Clip:
    """How a test video is encoded. `pts` in ticks of `time_base` make a variable frame rate; `audio` is an encoder, or more
    about the sound; `options` are the video encoder's; `aspect` is a pixel's width by its height; `is_bt709`: the colours
    are those of an HD camera, and say so."""

    fps: Fraction = Fraction(25)
    codec: str = "libx264"
    pts: Sequence[int] | None = None
    time_base: Fraction | None = None
    rotation: int = 0
    audio: str | Sound | None = None
    options: dict[str, str] | None = None
    aspect: Fraction | None = None
    is_bt709: bool = False


@dataclass(frozen=True)
class Colours:
    """How a test video says that its colours are meant, in FFmpeg's numbers (2 is nothing said)."""

    matrix: int = 2
    transfer: int = 2
    primaries: int = 2
    is_full_range: bool = False


def corners(width: int = 96, height: int = 64) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a quarter each red, green (right), blue (below) and white, so that no turn looks alike."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def quarter_means(image: np.ndarray) -> np.ndarray:
    """(4, 3): the colour in the middle of each quarter, in the order of `corners`."""
    height, width = image.shape[:2]
    centres = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return np.array([image[y - 3 : y + 4, x - 3 : x + 4].mean((0, 1)) for y, x in centres])


def has_corners(image: np.ndarray, tolerance: int = 14) -> bool:
    """Whether `image` shows `corners` upright and in the right colours."""
    return bool(np.abs(quarter_means(image) - [RED, GREEN, BLUE, WHITE]).max() <= tolerance)


def encode(image: np.ndarray, suffix: str) -> bytes:
    """`image` as a file's bytes: (H, W, 3) RGB or (H, W, 4) RGBA or (H, W) grey, of any dtype the format takes."""
    if image.ndim == 3:
        image = image[:, :, [2, 1, 0, *range(3, image.shape[2])]]
    return cv2.imencode(suffix, image)[1].tobytes()


def write_photo(path: Path, image: np.ndarray | None = None) -> Path:
    """A photo of `corners`, or of `image`; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(corners() if image is None else image, path.suffix))
    return path


def jpeg_with_exif(upright: np.ndarray, orientation: int, thumbnail: bytes = b"") -> bytes:
    """A JPEG stored the way a camera held in that EXIF orientation (1-8) does; `thumbnail` goes into the EXIF too."""
    back = {
        1: lambda image: image, 2: np.fliplr, 3: lambda image: np.rot90(image, 2), 4: np.flipud,
        5: lambda image: image.transpose(1, 0, 2), 6: np.rot90,
        7: lambda image: np.rot90(image, 2).transpose(1, 0, 2), 8: lambda image: np.rot90(image, -1),
    }  # fmt: skip
    jpeg = encode(np.ascontiguousarray(back[orientation](upright)), ".jpg")
    tags = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0" + tags + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def numbered(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Frames whose grey level tells their number: 20, 26, 32, ..."""
    return [np.full((height, width, 3), 20 + 6 * number, np.uint8) for number in range(count)]


def moving(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Frames of which each is a detail of one picture, a little further on: what B-frames are good for."""
    picture = np.random.default_rng(0).integers(0, 255, (height // 4 + 10, width // 4 + 20, 3), np.uint8)
    picture = cv2.resize(picture, (width + 80, height + 40), interpolation=cv2.INTER_CUBIC)
    return [picture[(y := k % 40) : y + height, (x := 3 * k % 80) : x + width].copy() for k in range(count)]


def number_of(image: np.ndarray) -> int:
    """The number of a frame of `numbered`."""
    return round((float(image.mean()) - 20) / 6)


def write_video(path: Path, frames: Sequence[np.ndarray], clip: Clip | None = None) -> Path:
    """Encode RGB frames as `clip` says; the container is that of the path's extension."""
    clip = clip or Clip()
    path.parent.mkdir(parents=True, exist_ok=True)
    time_base = clip.time_base or 1 / clip.fps
    # without bitexact, Matroska draws random numbers, and no two runs of a test or of the fuzzer read the same bytes
    options = {"fflags": "bitexact"} | ({"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {})
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(clip.codec, rate=clip.fps, options=clip.options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(clip.codec, "yuv420p")
        if clip.aspect:
            stream.codec_context.sample_aspect_ratio = clip.aspect
        if clip.is_bt709:
            codec = stream.codec_context
            codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = 1
        if clip.codec != "mpeg4":
            stream.codec_context.time_base = time_base
        if clip.rotation:
            if not hasattr(av.VideoStream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a display matrix")
            stream.set_display_rotation(clip.rotation)
        if stream.height % 2 or stream.width % 2:
            stream.pix_fmt = "yuv444p"
        sound = Sound(clip.audio) if isinstance(clip.audio, str) else clip.audio
        audio = None if sound is None else _add_sound(container, sound)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if clip.is_bt709:
                frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=1, dst_color_range=1)
            frame.pts, frame.time_base = (clip.pts[number] if clip.pts else number), time_base
            container.mux(stream.encode(frame))
        if audio is not None:
            _add_tone(container, audio, len(frames) / clip.fps, sound)
        container.mux(stream.encode(None))
    return path


def write_patch(path: Path, planes: Sequence[int], pix_fmt: str, colours: Colours) -> Path:
    """A lossless video of three frames of one colour: `planes` are the stored values, of 8 or more bits."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        codec = stream.codec_context
        codec.width, codec.height, codec.pix_fmt = 96, 64, pix_fmt
        codec.colorspace, codec.color_trc, codec.color_primaries = colours.matrix, colours.transfer, colours.primaries
        codec.color_range = 2 if colours.is_full_range else 1
        for number in range(3):
            frame = av.VideoFrame(96, 64, pix_fmt)
            for plane, value in zip(frame.planes, planes, strict=True):
                size = plane.buffer_size
                plane.update(bytes([value]) * size if max(planes) < 256 else value.to_bytes(2, "little") * (size // 2))
            frame.colorspace, frame.color_range, frame.pts = colours.matrix, codec.color_range, number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """Puts a display matrix ((a, b, c, d), each 1, 0 or -1) into an MP4 that has a video track first."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_with_cover(path: Path, is_cover_first: bool, frames: Sequence[np.ndarray] = ()) -> Path:
    """An MP4 with sound and a cover picture, and with a video of `frames` if there are some."""
    images = {"cover": [np.full((128, 128, 3), 99, np.uint8)], "video": frames}
    with av.open(str(path), "w", format="mp4") as container:
        streams = {}
        for name in sorted(images, reverse=not is_cover_first):
            if images[name]:
                stream = container.add_stream("mjpeg" if name == "cover" else "libx264", rate=25)
                stream.height, stream.width = images[name][0].shape[:2]
                stream.pix_fmt = "yuvj420p" if name == "cover" else "yuv420p"
                streams[name] = stream
        streams["cover"].disposition = Disposition.attached_pic.value
        audio = container.add_stream("aac", rate=48000, layout="mono")
        for name, stream in streams.items():
            for image in images[name]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        _add_tone(container, audio, Fraction(1), Sound("aac"))
    return path


def write_joined(path: Path, parts: Sequence[tuple[Sequence[np.ndarray], Clip]]) -> Path:
    """A transport stream of 25 frames a second whose pictures change on the way: (frames, how), one behind the other."""
    data, before = b"", 0
    for frames, clip in parts:
        pts = range(before, before := before + len(frames))
        piece = write_video(path.with_name(".part.ts"), frames, replace(clip, pts=pts, time_base=Fraction(1, 25)))
        data += piece.read_bytes()
        piece.unlink()
    path.write_bytes(data)
    return path


def write_sound(path: Path, codec: str = "aac", seconds: Fraction = Fraction(1)) -> Path:
    """A file with audio only."""
    with av.open(str(path), "w") as container:
        _add_tone(container, _add_sound(container, Sound(codec)), seconds, Sound(codec))
    return path


def write_cut(path: Path, whole: Path, share: float = 0.6) -> Path:
    """The first `share` of a file's bytes."""
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    return path


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(time in seconds, bytes) of each packet of the file's first stream of that kind."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]


def flashing(count: int, beats: Sequence[float], fps: int = 25) -> list[np.ndarray]:
    """Dark frames, which are white for 0.1 s from each of these seconds on."""
    is_on = [any(0 <= number / fps - beat < 0.1 for beat in beats) for number in range(count)]
    return [np.full((64, 96, 3), 235 if on else 30, np.uint8) for on in is_on]


def flashes_of(path: Path) -> list[float]:
    """The seconds at which the pictures of a file of `flashing` frames become white."""
    with av.open(str(path)) as container:
        return _rises(
            [(frame.time, float(frame.to_ndarray(format="gray").mean()) / 255) for frame in container.decode(video=0)]
        )


def beeps_of(path: Path) -> list[float]:
    """The seconds at which the sound of a file with `beats` becomes loud, to 5 ms."""
    loudness = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            resampled = av.AudioResampler("fltp", "mono", frame.sample_rate).resample(frame)
            samples = np.concatenate([part.to_ndarray()[0] for part in resampled])
            step = frame.sample_rate // 200
            starts = range(0, len(samples), step)
            loudness += [
                (frame.time + at / frame.sample_rate, np.abs(samples[at : at + step]).max() * 4) for at in starts
            ]
    return _rises(loudness)


def _rises(levels: Sequence[tuple[float, float]], quiet_s: float = 0.15) -> list[float]:
    """When the level goes above a half after it was below for a while."""
    rises, last_high_s = [], -1.0
    for time_s, level in levels:
        if level > 0.5:
            if time_s - last_high_s > quiet_s:
                rises.append(time_s)
            last_high_s = time_s
    return rises


def _add_sound(container: av.container.OutputContainer, sound: Sound) -> av.AudioStream:
    stream = container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
    if sound.codec.startswith("wma"):
        stream.bit_rate = 64000
    return stream


def _add_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: Fraction, sound: Sound) -> None:
    rate, codec = sound.rate, stream.codec_context
    codec.open(strict=False)
    size, kind = codec.frame_size or 1024, codec.format.name
    for start in range(0, int(seconds * rate), size):
        at = np.arange(start, start + size)
        wave = 0.3 * np.sin(at * (2 * np.pi * 440 / rate))
        if sound.beats:
            wave[~np.any([(at >= beat * rate) & (at < (beat + 0.1) * rate) for beat in sound.beats], axis=0)] = 0
        if sound.hole[0] <= start / rate < sound.hole[1]:
            continue
        depth = {"s16": np.int16, "s32": np.int32}.get(kind.rstrip("p"))
        samples = (wave * np.iinfo(depth).max).astype(depth) if depth else wave.astype(np.float32)
        channels = np.repeat(samples[None], codec.layout.nb_channels, axis=0)
        if not kind.endswith("p"):
            channels = channels.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format=kind, layout=sound.layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(sound.late_s * rate), Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
