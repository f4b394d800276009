"""Photo files beside their pixels: what is not looked at is said; time and camera are kept in copies."""

import io
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import written
from makers import Clip, corners, encode, has_corners, write_video
from photo_makers import (
    ARTIST,
    DATE_TIME,
    MAKE,
    MODEL,
    OFFSET,
    ORIENTATION,
    SUBSEC,
    TAKEN,
    avif,
    jpeg_of_several,
    jpeg_with,
    oriented,
    png_with,
    recorded,
    saved,
    segment,
    tiff_with,
    turned,
    webp_of,
)  # fmt: skip
from PIL import Image

from maskbatch.errors import DecodeError
from maskbatch.media.photo.embed import with_exif
from maskbatch.media.photo.exif import find_exif, recording_exif
from maskbatch.media.photo.notes import notes_of
from maskbatch.media.photo.profiles import profile_of
from maskbatch.media.photo.reader import PhotoReader, decode_photo
from maskbatch.media.photo.view import view_of
from maskbatch.settings import OutputSettings, ScanSettings
from maskbatch.sinks.annotated import AnnotatedSink
from maskbatch.types import Batch, Checkpoint, Faces, Frames, Source


def read(path: Path, data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """The image, and the notes."""
    path.write_bytes(data)
    with PhotoReader(path) as reader:
        [(_, _, image, *_)] = reader
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    return image, reader.notes


# --- what is not looked at -----------------------------------------------------------------------------------------------


def frames(count: int) -> list[Image.Image]:
    """Frames of different greys."""
    return [Image.fromarray(np.full((64, 96, 3), 20 + 40 * number, np.uint8)) for number in range(count)]


@pytest.mark.parametrize(("kind", "noun"), [("PNG", "frame"), ("WEBP", "frame"), ("AVIF", "frame"), ("TIFF", "page"),
                                            ("GIF", "frame")])  # fmt: skip
def test_further_pictures_are_said(tmp_path, kind, noun):
    """Of moving pictures and pages the first one is looked at; how many were not is said."""
    try:
        several, two, one = (saved(frames(count), kind) for count in (3, 2, 1))
    except KeyError:
        pytest.skip(f"this Pillow writes no {kind}")
    image, notes = read(tmp_path / "x", several)
    assert abs(image.astype(int) - 20).max() < 8 and notes == (f"2 further {noun}s not looked at",)
    assert read(tmp_path / "x", two)[1] == (f"1 further {noun} not looked at",)
    assert read(tmp_path / "x", one)[1] == ()


def test_jpegs_of_several_pictures(tmp_path):
    """A stereo pair's second picture is said; previews, and a phone's maps of depth and brightness, are none."""
    large, small = encode(corners(), ".jpg"), encode(corners(48, 32), ".jpg")
    brightness = jpeg_with(large, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0 hdrgm:Version"))
    for kind, further, is_full in (
        (0x020002, large, True), (0, large, True), (0x010001, large, False), (0, small, False), (0, brightness, False),
    ):  # fmt: skip
        image, notes = read(tmp_path / "x", jpeg_of_several((0x030000, large), (kind, further)))
        assert has_corners(image) and notes == ("1 further picture not looked at",) * is_full
    assert notes_of(jpeg_of_several((0x030000, large), (0x020002, b"no picture"))) == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv", ".webm"])
def test_a_video_with_the_name_of_a_photo(tmp_path, suffix):
    """The reason says that it is a video, and no samples of its tracks are counted as further pictures."""
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = write_video(tmp_path / f"x{suffix}", [corners()] * 3, Clip(codec=codec))
    with PhotoReader(path) as reader, pytest.raises(DecodeError, match="a video with the name of a photo"):
        list(reader)
    assert reader.notes == ()


def test_png_whose_picture_is_no_frame():
    """A PNG may show readers that know no animation a picture that is not part of it: all frames are further ones."""
    data = saved(frames(3), "PNG", default_image=True)
    assert notes_of(data) == ("2 further frames not looked at",)


def test_thumbnails_and_masks_are_no_pages():
    """Reduced copies and masks do not count; a chain of pages that runs in a circle, or out of the file, ends."""
    tiff = saved(frames(3), "TIFF")
    first = struct.unpack_from("<I", tiff, 4)[0]
    second_link = first + 2 + 12 * struct.unpack_from("<H", tiff, first)[0]
    second = struct.unpack_from("<I", tiff, second_link)[0]
    for kind, expected in ((1, 1), (4, 1), (2, 2)):
        data = bytearray(tiff)
        data[second + 2 : second + 14] = struct.pack("<HHII", 254, 4, 1, kind)
        assert notes_of(bytes(data))[0].startswith(f"{expected} further page")
    for target, expected in ((first, ()), (len(tiff) + 50, ()), (0, ()), (second_link, ())):
        data = bytearray(tiff)
        struct.pack_into("<I", data, second_link, target)
        assert notes_of(bytes(data)) == expected or target == second_link
        assert decode_photo(bytes(data)).shape == (64, 96, 3)


def test_avif_of_several_pictures():
    """A collection's further pictures are said."""
    assert notes_of(avif(corners(), num_further=2)) == ("2 further pictures not looked at",)
    assert notes_of(avif(corners(), exif=oriented(1))) == ()


MOTION = b"http://ns.adobe.com/xap/1.0/\0<rdf:Description GCamera:MotionPhoto="


@pytest.mark.parametrize(
    ("content", "has_clip"),
    [(MOTION + b'"1"/>', True), (MOTION + b'"0"/>', False), (MOTION[:-1] + b">1</GCamera:MotionPhoto>", True)],
)
def test_motion_photos(content, has_clip):
    """The clip inside a phone's photo is said."""
    data = jpeg_with(encode(corners(), ".jpg"), segment(0xE1, content))
    assert notes_of(data) == ("an embedded video clip not looked at",) * has_clip
    assert notes_of(encode(corners(), ".jpg") + b"MotionPhoto_Data....SEFT") == (
        "an embedded video clip not looked at",
    )


# --- what is kept --------------------------------------------------------------------------------------------------------


def annotated(folder: Path, path: Path, settings: OutputSettings) -> bytes:
    """The bytes of the annotated copy of a photo."""
    image = decode_photo(path.read_bytes())
    frame = Frames((image,), np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1))
    source = Source(0, path, path.name, "image")
    at = Checkpoint(source, "", ("", ""))
    with AnnotatedSink([source], at, ScanSettings(output=replace(settings, folder=folder))) as sink:
        written(sink, Batch(frame, Faces.empty()))
    [copy] = (folder / "annotated").iterdir()
    return copy.read_bytes()


def source_with(suffix: str, exif: bytes) -> bytes:
    """A photo with EXIF data."""
    image = corners()
    if suffix == ".png":
        return png_with(encode(image, ".png"), (b"eXIf", exif), is_last=True)
    if suffix == ".webp":
        return webp_of(image, 0x08, (b"EXIF", exif))
    return jpeg_with(encode(image, ".jpg"), segment(0xE1, b"Exif\0\0" + exif))


@pytest.mark.parametrize("suffix", [".jpg", ".jpe", ".png", ".webp"])
def test_copies_keep_time_and_camera(tmp_path, suffix):
    """The copy says when and with which camera; not who, where, with which serial number, which way up, or in small."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(source_with(suffix, recorded()))
    copy = annotated(tmp_path / "out", path, OutputSettings())
    exif = Image.open(io.BytesIO(copy)).getexif()
    assert (exif[MAKE], exif[MODEL], exif[DATE_TIME]) == ("Maker", "Model X", "2024:05:06 07:08:09")
    inner = exif.get_ifd(0x8769)
    assert (inner[TAKEN], inner[OFFSET], inner[SUBSEC]) == ("2024:05:06 07:08:09", "+02:00", "42")
    assert not {ORIENTATION, ARTIST, 0x8825} & exif.keys()
    assert all(secret not in copy for secret in (b"SERIAL", b"Owner"))
    assert has_corners(decode_photo(copy), tolerance=20)
    bare = annotated(tmp_path / "bare", path, OutputSettings(keep_metadata=False))
    assert find_exif(bare) == b"" and np.array_equal(decode_photo(bare), decode_photo(copy))


def test_tiff_copies_keep_time_and_camera(tmp_path):
    """As above; a TIFF has the tags itself."""
    path = tmp_path / "x.tiff"
    path.write_bytes(
        tiff_with(encode(corners(), ".tiff"), (MAKE, 2, b"Maker\0"), (DATE_TIME, 2, b"2024:05:06 07:08:09\0"),
                  (ARTIST, 2, b"Owner Name\0"))
    )  # fmt: skip
    copy = annotated(tmp_path / "out", path, OutputSettings())
    with Image.open(io.BytesIO(copy)) as photo:
        assert photo.tag_v2[MAKE] == "Maker" and photo.tag_v2[DATE_TIME] == "2024:05:06 07:08:09"
        assert ARTIST not in photo.tag_v2
    assert np.array_equal(decode_photo(copy), corners())
    # a TIFF with times of EXIF's own directory
    encoded = with_exif(encode(corners(), ".tiff"), recording_exif(source_with(".jpg", recorded())))
    assert Image.open(io.BytesIO(encoded)).getexif().get_ifd(0x8769)[TAKEN] == "2024:05:06 07:08:09"


def test_copies_of_avif_and_heic_sources(tmp_path):
    """EXIF data is found where these formats keep it; a copy in another format has it."""
    data = avif(corners(), exif=recorded())
    assert b"Maker\0" in recording_exif(data) and b"SERIAL" not in recording_exif(data)
    assert b"Maker\0" in recording_exif(data.replace(b"avif", b"heic"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_hostile_exif_costs_nothing(suffix):
    """EXIF data damaged anywhere never fails a photo, and what is kept of it stays small."""
    exif, rng = recorded()[:260], np.random.default_rng(0)
    for _ in range(150):
        data = source_with(suffix, _damaged(exif, rng))
        assert decode_photo(data).size == 64 * 96 * 3
        assert len(recording_exif(data)) < 3000


def test_hostile_boxes_cost_nothing():
    """The boxes of an AVIF, damaged anywhere, make no reader raise or run on: even a list without end is left in time."""
    data, rng = avif(corners(), turned(5), exif=recorded(), num_further=2), np.random.default_rng(0)
    start, end = data.index(b"meta"), data.index(b"mdat")
    for _ in range(300):
        damaged = data[:start] + _damaged(data[start:end], rng) + data[end:]
        view_of(damaged), profile_of(damaged), notes_of(damaged), recording_exif(damaged)
    iloc = data.index(b"iloc")
    endless = (
        data[: iloc + 8] + b"\0\0" + struct.pack(">H", 0xFFFF) + struct.pack(">HHH", 9, 0, 0xFFFF) * 500 + data[iloc:]
    )
    start_s = time.perf_counter()
    recording_exif(endless.replace(b"iprp", b"free"))
    assert time.perf_counter() - start_s < 10


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for at in rng.integers(0, len(data), 6):
        damaged[at] = int(rng.choice([0, 1, 0x7F, 0xFF, 4, 2]))
    return bytes(damaged)
