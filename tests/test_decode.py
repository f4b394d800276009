"""What comes out of a file: upright RGB, exact times, and a reason when it is not whole."""

import re
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from makers import (
    NTSC_FILM,
    Clip,
    corners,
    encode,
    has_corners,
    jpeg_with_exif,
    number_of,
    numbered,
    write_cut,
    write_sound,
    write_video,
)  # fmt: skip

from maskbatch.config import SamplingSettings
from maskbatch.data import Source
from maskbatch.errors import DecodeError
from maskbatch.media.clock import FrameClock
from maskbatch.media.decode import open_source

ALL = SamplingSettings()


def _source(path: Path) -> Source:
    is_photo = path.suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff", ".avif", ".jp2", ".ppm", ".heic")
    return Source(0, path, path.name, "image" if is_photo else "video")


def _read(path: Path, sampling: SamplingSettings = ALL) -> tuple[list[tuple[int, float, np.ndarray]], int, str]:
    """The frames, the number decoded, and the reason of the DecodeError, or ""."""
    frames = []
    reader = open_source(_source(path), sampling)
    try:
        with reader:
            frames.extend(reader)
    except DecodeError as error:
        return frames, reader.frames_decoded, str(error)
    return frames, reader.frames_decoded, ""


def _read_photo(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    [(index, timestamp_s, image)], num_decoded, reason = _read(path)
    assert (index, timestamp_s, num_decoded, reason) == (0, 0.0, 1, "")
    assert image.dtype == np.uint8 and image.ndim == 3 and image.flags.c_contiguous
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".jp2", ".ppm"])
def test_photo_formats_give_rgb(tmp_path, suffix):
    """Each photo format comes out in RGB order."""
    assert has_corners(_read_photo(tmp_path / f"x{suffix}", encode(corners(), suffix)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """All eight EXIF orientations come out upright."""
    image = _read_photo(tmp_path / "x.jpg", jpeg_with_exif(corners(), orientation))
    assert image.shape == (64, 96, 3) and has_corners(image)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_is_scaled(tmp_path, suffix):
    """16-bit values are scaled to 8 bits, not clipped; grey becomes three equal channels."""
    deep = corners().astype(np.uint16) * 257
    assert has_corners(_read_photo(tmp_path / f"x{suffix}", encode(deep, suffix)), tolerance=1)
    grey = _read_photo(tmp_path / f"y{suffix}", encode(np.full((8, 9), 100 * 257, np.uint16), suffix))
    assert grey.shape == (8, 9, 3) and np.all(np.abs(grey.astype(int) - 100) <= 1)


def test_float_tiff_is_scaled(tmp_path):
    """Float values 0..1 become 0..255; brighter ones are scaled by the brightest."""
    floats = corners().astype(np.float32) / 255
    assert has_corners(_read_photo(tmp_path / "x.tiff", encode(floats, ".tiff")), tolerance=3)
    bright = _read_photo(tmp_path / "y.tiff", encode(floats * 1000, ".tiff"))
    # a wide tolerance, because OpenCV 4.10 writes floats with loss
    assert bright.max() == 255 and has_corners(bright * (240 / 255), tolerance=12)


def test_grey_and_alpha(tmp_path):
    """A grey photo gets three equal channels; alpha is dropped."""
    grey = _read_photo(tmp_path / "x.jpg", encode(np.full((8, 9), 90, np.uint8), ".jpg"))
    assert grey.shape == (8, 9, 3) and np.all(np.abs(grey.astype(int) - 90) <= 2)
    clear = np.dstack([corners(), np.zeros((64, 96), np.uint8)])
    assert has_corners(_read_photo(tmp_path / "y.png", encode(clear, ".png")), tolerance=0)


def test_cmyk(tmp_path):
    """A JPEG and a TIFF in print colours come out in RGB."""
    pillow = pytest.importorskip("PIL.Image")
    for name in ("x.jpg", "x.tiff"):
        pillow.fromarray(corners()).convert("CMYK").save(tmp_path / name)
        assert has_corners(_read_photo(tmp_path / name, (tmp_path / name).read_bytes()))


def test_non_ascii_path(tmp_path):
    """Photos and videos with any letters in their names open."""
    folder = tmp_path / "фото ü 写真"
    folder.mkdir()
    assert has_corners(_read_photo(folder / "лицо 1.png", encode(corners(), ".png")))
    frames, _, reason = _read(write_video(folder / "видео.mp4", numbered(3)))
    assert len(frames) == 3 and reason == ""


@pytest.mark.parametrize("thumbnail", [b"", encode(corners(24, 16), ".jpg")])
def test_truncated_jpeg_is_partial(tmp_path, thumbnail):
    """A JPEG cut in its image gives what there is, then the reason; an EXIF thumbnail's end is not taken for its own."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    data = jpeg_with_exif(noise, 1, thumbnail)
    (tmp_path / "x.jpg").write_bytes(data[: -len(data) // 3])
    frames, num_decoded, reason = _read(tmp_path / "x.jpg")
    assert len(frames) == num_decoded == 1 and frames[0][2].shape == (64, 96, 3)
    assert reason.startswith("truncated: ")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".jp2"])
def test_truncated_photo_fails(tmp_path, suffix):
    """Other photos, cut, fail with a reason and without a frame."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    data = encode(noise, suffix)
    (tmp_path / f"x{suffix}").write_bytes(data[: len(data) // 2])
    frames, num_decoded, reason = _read(tmp_path / f"x{suffix}")
    assert (frames, num_decoded) == ([], 0) and reason.startswith("not decodable: ")


@pytest.mark.parametrize("name", ["x.jpg", "x.mp4", "x.gif"])
def test_empty_missing_and_junk_files(tmp_path, name):
    """An empty file, one that is gone and one of junk fail, each with its reason."""
    path = tmp_path / name
    assert "does not exist" in _read(path)[2]
    path.touch()
    assert _read(path) == ([], 0, "file is empty")
    path.write_bytes(b"junk" * 500)
    assert _read(path)[2].startswith("not ")
    (tmp_path / f"d{path.suffix}").mkdir()
    assert _read(tmp_path / f"d{path.suffix}")[2] != ""


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    """A small file that claims a huge picture is refused by its header."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 60000, 5000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(png)
    assert _read(tmp_path / "x.png")[2].startswith("too large: 60000 x 5000 is 300 megapixels")


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    """HEIC needs pillow-heif; where it is missing the reason names it."""
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    assert "pip install pillow-heif" in _read(tmp_path / "x.heic")[2]


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv", "x.ts", "x.flv"])
def test_video_times_and_order(tmp_path, name):
    """23.976 fps: every frame, in order, at n * 1001 / 24000 s (as exactly as the container notes it), from 0."""
    frames, num_decoded, reason = _read(write_video(tmp_path / name, numbered(20), Clip(fps=NTSC_FILM)))
    tick_s = 1e-9 if name in ("x.mp4", "x.mov") else 1e-3
    assert reason == "" and num_decoded == 20
    assert [index for index, _, _ in frames] == [number_of(image) for _, _, image in frames] == list(range(20))
    assert np.allclose([time_s for _, time_s, _ in frames], np.arange(20) * 1001 / 24000, rtol=0, atol=tick_s)


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "x.avi"), ("mjpeg", "x.mkv"), ("libx264", "x.h264")])
def test_other_codecs(tmp_path, codec, name):
    """Old codecs and a raw stream without time stamps give all frames with rising times."""
    frames, _, reason = _read(write_video(tmp_path / name, numbered(12), Clip(codec=codec)))
    times = [time_s for _, time_s, _ in frames]
    assert reason == "" and len(frames) == 12
    assert times[0] == 0.0 and np.all(np.diff(times) > 0)


def test_variable_frame_rate(tmp_path):
    """Uneven times come out as they were encoded."""
    pts = [0, 40, 45, 300, 301, 1000, 1017, 2500]
    clip = Clip(pts=pts, time_base=Fraction(1, 1000))
    frames, _, reason = _read(write_video(tmp_path / "x.mp4", numbered(8), clip))
    assert reason == ""
    assert [time_s for _, time_s, _ in frames] == pytest.approx([tick / 1000 for tick in pts], abs=1e-9)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_video(tmp_path, rotation):
    """A display matrix turns the frames upright."""
    stored = np.ascontiguousarray(np.rot90(corners(), -rotation // 90))
    frames, _, _ = _read(write_video(tmp_path / "x.mp4", [stored] * 3, Clip(rotation=rotation)))
    assert frames[0][2].shape == (64, 96, 3) and has_corners(frames[0][2], tolerance=25)


def test_odd_size(tmp_path):
    """Sizes that fit no alignment keep every row in place."""
    frames, _, _ = _read(write_video(tmp_path / "x.mp4", [corners(97, 65)] * 2))
    assert frames[0][2].shape == (65, 97, 3) and has_corners(frames[0][2], tolerance=25)


def test_every_nth(tmp_path):
    """`every=3` analyses frames 0, 3, 6, ... and decodes all."""
    path = write_video(tmp_path / "x.mp4", numbered(8))
    frames, num_decoded, _ = _read(path, SamplingSettings(every=3))
    assert [index for index, _, _ in frames] == [number_of(image) for _, _, image in frames] == [0, 3, 6]
    assert num_decoded == 8
    assert len(_read(path, SamplingSettings(every=100))[0]) == 1


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_sample_fps(tmp_path, name):
    """`sample_fps` takes the first frame at or after each multiple, also where times are rounded to milliseconds."""
    path = write_video(tmp_path / name, numbered(31), Clip(fps=Fraction(30)))
    assert [index for index, _, _ in _read(path, SamplingSettings(sample_fps=10))[0]] == list(range(0, 31, 3))
    assert len(_read(path, SamplingSettings(sample_fps=30))[0]) == 31
    assert len(_read(path, SamplingSettings(sample_fps=1000))[0]) == 31
    assert [index for index, _, _ in _read(path, SamplingSettings(sample_fps=0.5))[0]] == [0]


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.flv"])
def test_truncated_video_keeps_its_beginning(tmp_path, name):
    """A video cut short gives its frames, then says how many of how many there were."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(50)]
    whole = write_video(tmp_path / f"whole{name[1:]}", noise, Clip(audio="aac"))
    assert _read(whole)[1:] == (50, "")
    frames, num_decoded, reason = _read(write_cut(tmp_path / name, whole, 0.5))
    assert 5 < len(frames) == num_decoded < 45
    assert reason.startswith(f"ends early: {num_decoded} of about ")


def test_truncated_gif_keeps_its_beginning(tmp_path):
    """A GIF has no count of frames; its missing end mark gives it away."""
    whole = write_video(tmp_path / "whole.gif", [corners(), *numbered(10)], Clip(codec="gif", fps=Fraction(10)))
    assert _read(whole)[1:] == (11, "")
    frames, _, reason = _read(write_cut(tmp_path / "x.gif", whole, 0.8))
    assert frames and reason == "truncated: the GIF has no end"


def test_damaged_packets_are_skipped(tmp_path):
    """A video with a hole gives the frames around it, then the reason."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "x.mp4", noise, Clip(codec="mpeg4"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
    path.write_bytes(data)
    frames, num_decoded, reason = _read(path)
    assert 10 < len(frames) == num_decoded <= 40
    assert frames[-1][1] > 1.4
    assert reason.startswith("damaged: ") or num_decoded == 40


def test_frames_with_holes_make_a_video_damaged(tmp_path):
    """Where the decoder fills in what it cannot read, all frames are there, and the reason says that they are not whole."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "x.mkv", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = b"\xff" * 200
    path.write_bytes(data)
    frames, num_decoded, reason = _read(path)
    assert len(frames) == num_decoded == 40
    assert re.fullmatch(r"damaged: \d packets .* not whole \(parts of the picture are missing\)", reason)


def test_audio_only_file_is_no_video(tmp_path):
    """A sound file under a video's name fails with a reason."""
    write_sound(tmp_path / "x.mp4")
    assert _read(tmp_path / "x.mp4")[2] == "the file has no video stream"


def test_reader_can_be_left_early(tmp_path):
    """Leaving the iteration closes the file; frames_decoded counts what was read."""
    path = write_video(tmp_path / "x.mp4", numbered(30))
    with open_source(_source(path), ALL) as reader:
        next(iter(reader))
        assert reader.frames_decoded == 1
    path.unlink()


def test_clock_survives_bad_time_stamps():
    """Missing, repeated and backward time stamps still give strictly rising times."""
    clock = FrameClock(Fraction(1), Fraction(1, 1000), Fraction(25))
    stamps = [1000, None, 1080, 1080, 1120, 400, 440, None]
    times = [clock.time_s(pts, None) for pts in stamps]
    milliseconds = [round(time_s * 1000) for time_s in times]
    assert milliseconds == [0, 40, 80, 81, 120, 160, 200, 240]


@pytest.mark.parametrize(("tag", "matrix", "height"), [(1, 1, 64), (2, 1, 720), (2, 5, 64), (6, 5, 720)])
def test_colour_matrix(tmp_path, tag, matrix, height):
    """BT.709 is undone when it is tagged, and for untagged HD; else BT.601."""
    colour = np.full((height, 1280, 3), (200, 40, 60), np.uint8)
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, height, "yuv420p"
        stream.codec_context.colorspace = tag
        frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace(matrix))
        if frame.colorspace != tag:
            frame.colorspace = tag
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [(_, _, image)], _, _ = _read(tmp_path / "x.mp4")
    assert np.abs(image[9, 9].astype(int) - (200, 40, 60)).max() <= 4
