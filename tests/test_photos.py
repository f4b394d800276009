"""Photos as a person sees them: upright, and in the right colours."""

import io
import os
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from makers import corners, encode, has_corners
from photo_makers import (
    MAKE,
    ORIENTATION,
    avif,
    box,
    colours,
    heic,
    jpeg_with,
    oriented,
    png_with,
    segment,
    stored,
    tiff_structure,
    tiff_with,
    turned,
    webp_of,
)  # fmt: skip
from PIL import Image, ImageCms

from maskbatch.errors import DecodeError
from maskbatch.media.photo.embed import with_exif
from maskbatch.media.photo.exif import find_exif
from maskbatch.media.photo.headers import image_size
from maskbatch.media.photo.icc import make_profile
from maskbatch.media.photo.notes import notes_of
from maskbatch.media.photo.profiles import profile_of
from maskbatch.media.photo.reader import PhotoReader, decode_photo
from maskbatch.media.photo.srgb import to_srgb

# x and y of red, green and blue, and the gamma of their values
P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SPACES = {
    "Display P3": (P3, None), "Adobe RGB": ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.19921875),
    "Rec. 2020": ((0.708, 0.292, 0.17, 0.797, 0.131, 0.046), 2.4),
    "ProPhoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), 1.8),
}  # fmt: skip
SRGB = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
D50 = (0.3457, 0.3585)


def light(values: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """Light from 0 to 1 of values from 0 to 1, by sRGB's curve unless there is a gamma."""
    if gamma is not None:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def profile(name: str) -> bytes:
    """The profile of one of `SPACES`."""
    primaries, gamma = SPACES[name]
    white = D50 if name == "ProPhoto" else (0.3127, 0.329)
    return make_profile(primaries, light(np.linspace(0, 1, 4096), gamma), white)


def in_space(image: np.ndarray, name: str) -> np.ndarray:
    """An sRGB image in the values of one of `SPACES`, by LittleCMS."""
    there = ImageCms.ImageCmsProfile(io.BytesIO(profile(name)))
    convert = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), there, "RGB", "RGB", 1)
    return np.asarray(convert.apply(Image.fromarray(image)))


# --- upright -----------------------------------------------------------------------------------------------------------

APP0 = segment(0xE0, b"JFXX\0\x10")
XMP = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")


def jpeg_turned(orientation: int, order: str) -> bytes:
    """EXIF behind JFIF's segment, another APP0 and XMP."""
    exif = segment(0xE1, b"Exif\0\0" + oriented(orientation, order))
    return jpeg_with(encode(stored(corners(), orientation), ".jpg"), APP0, XMP, exif)


def png_turned(orientation: int, order: str) -> bytes:
    """EXIF before the picture in one byte order, behind it in the other."""
    png = encode(stored(corners(), orientation), ".png")
    return png_with(png, (b"eXIf", oriented(orientation, order)), is_last=order == ">")


def webp_turned(orientation: int, order: str) -> bytes:
    """EXIF with JPEG's prefix in one byte order, without in the other."""
    prefix = b"Exif\0\0" if order == ">" else b""
    return webp_of(stored(corners(), orientation), 0x08, (b"EXIF", prefix + oriented(orientation, order)))


def tiff_turned(orientation: int, order: str) -> bytes:
    """8 bits a value in one byte order's turn, 16 bits in the other's."""
    image = stored(corners(), orientation)
    data = encode(image if order == "<" else image.astype(np.uint16) * 257, ".tiff")
    return tiff_with(data, (ORIENTATION, 3, struct.pack("<H", orientation)))


def avif_turned(orientation: int, order: str) -> bytes:
    """EXIF data that says otherwise is not obeyed."""
    return avif(stored(corners(), orientation), turned(orientation), exif=oriented(6, order))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", [jpeg_turned, png_turned, webp_turned, tiff_turned, avif_turned])
def test_all_orientations_of_all_formats(make, orientation, order):
    """Whichever way the camera was held, and wherever the format says so, the picture is upright; once, not twice."""
    image = decode_photo(make(orientation, order))
    assert image.shape == (64, 96, 3) and has_corners(image, tolerance=20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_by_another_writer(orientation):
    """AVIF's turns mean what Pillow takes them for."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    try:
        Image.fromarray(stored(corners(), orientation)).save(file, "AVIF", exif=exif, quality=95)
        image = decode_photo(file.getvalue())
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    assert image.shape == (64, 96, 3) and has_corners(image, tolerance=20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(tmp_path, orientation):
    """A phone writes both boxes and EXIF data; the boxes alone count."""
    pytest.importorskip("pillow_heif")
    data = heic(tmp_path, stored(corners(), orientation), turned(orientation), exif=oriented(orientation))
    image = decode_photo(data)
    assert image.shape == (64, 96, 3) and has_corners(image, tolerance=20)


def test_grey_heic(tmp_path):
    """A HEIC without colours comes out in three channels."""
    pillow_heif, file = pytest.importorskip("pillow_heif"), io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(np.full((64, 96), 90, np.uint8))).save(file)
    image = decode_photo(file.getvalue())
    assert image.shape == (64, 96, 3) and abs(image.astype(int) - 90).max() < 4


def test_avif_by_its_second_name():
    """An AVIF may name its family first."""
    data = avif(stored(corners(), 6), turned(6)).replace(b"ftypavif", b"ftypmif1")
    assert image_size(data) == (64, 96) and has_corners(decode_photo(data), tolerance=20)


@pytest.mark.parametrize("turn", [1, 8])
def test_avif_is_cropped_then_turned(turn):
    """The clean aperture is applied to the stored picture, before it is turned."""
    image = np.zeros((128, 160, 3), np.uint8)
    inside = stored(corners(), turn)
    height, width = inside.shape[:2]
    image[20 : 20 + height, 40 : 40 + width] = inside
    right_by, down_by = 40 + width // 2 - 80, 20 + height // 2 - 64
    numbers = struct.pack(">IIIIiIiI", width, 1, height, 1, right_by, 1, down_by, 1)
    seen = decode_photo(avif(image, [box(b"clap", numbers), *turned(turn)]))
    assert seen.shape == (64, 96, 3) and has_corners(seen, tolerance=20)


# --- in the right colours ------------------------------------------------------------------------------------------------


def jpeg_in(image: np.ndarray, icc: bytes) -> bytes:
    """The profile in pieces, in the wrong order."""
    pieces = [icc[at : at + 3000] for at in range(0, len(icc), 3000)]
    segments = [segment(0xE2, b"ICC_PROFILE\0" + bytes([number + 1, len(pieces)]) + piece)
                for number, piece in enumerate(pieces)]  # fmt: skip
    return jpeg_with(encode(image, ".jpg"), *reversed(segments))


def png_in(image: np.ndarray, icc: bytes) -> bytes:
    return png_with(encode(image, ".png"), (b"iCCP", b"x\0\0" + zlib.compress(icc)))


def webp_in(image: np.ndarray, icc: bytes) -> bytes:
    return webp_of(image, 0x20, (b"ICCP", icc))


def tiff_in(image: np.ndarray, icc: bytes) -> bytes:
    return tiff_with(encode(image, ".tiff"), (34675, 7, icc))


def avif_in(image: np.ndarray, icc: bytes) -> bytes:
    return avif(image, [colours(profile=icc), colours((12, 13))])


def jp2_in(image: np.ndarray, icc: bytes) -> bytes:
    data = encode(image, ".jp2")
    at = data.index(b"colr") - 4
    size, header = int.from_bytes(data[at : at + 4], "big"), data.index(b"jp2h") - 4
    colr = box(b"colr", b"\2\0\0" + icc)
    length = int.from_bytes(data[header : header + 4], "big") + len(colr) - size
    return data[:header] + struct.pack(">I", length) + data[header + 4 : at] + colr + data[at + size :]


MAKERS = [jpeg_in, png_in, webp_in, tiff_in, avif_in, jp2_in]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("make", MAKERS)
def test_profiles_of_all_formats(make, name):
    """Whatever colours a photo is stored in, it comes out in sRGB; without its profile it would not."""
    image = in_space(corners(), name)
    assert not has_corners(image, tolerance=40)
    # coding with loss in wide colours is coarse
    assert has_corners(
        decode_photo(make(image, profile(name))), tolerance=5 if make in (png_in, tiff_in, webp_in) else 30
    )


@pytest.mark.parametrize("transfer", [13, 1, 2])
def test_colours_by_number(tmp_path, transfer):
    """Display P3 that is named by its number, as AVIF, HEIC and PNG may do."""
    image = in_space(corners(), "Display P3")
    assert has_corners(decode_photo(png_with(encode(image, ".png"), (b"cICP", bytes([12, transfer, 0, 1])))), 5)
    assert has_corners(decode_photo(avif(image, [colours((12, transfer))])), 10)


def test_heic_profile(tmp_path):
    """A phone's HEIC is in Display P3."""
    pytest.importorskip("pillow_heif")
    image = in_space(corners(), "Display P3")
    assert has_corners(decode_photo(heic(tmp_path, image, [colours(profile=profile("Display P3"))])), 10)


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)])
def test_hdr_is_neither_grey_nor_blown_out(transfer, white):
    """Paper white of PQ (203 candela per square metre) and HLG (75 %) is bright, the brightest light white, black black."""
    values = np.zeros((64, 96, 3), np.uint8)
    values[:, 32:64], values[:, 64:] = round(white * 255), 255
    image = decode_photo(png_with(encode(values, ".png"), (b"cICP", bytes([9, transfer, 0, 1]))))
    assert image[5, 5].max() == 0 and 170 < image[5, 48].min() < 240 and image[5, 90].min() >= 250


def test_png_gamma_and_primaries():
    """PNG's gAMA and cHRM count where it has no profile, and not where it says sRGB."""
    numbers = struct.pack(">8I", 31270, 32900, *(round(value * 100_000) for value in P3))
    linear = (light(corners() / 255) * 65535).round().astype(np.uint16)
    data = png_with(encode(linear, ".png"), (b"gAMA", struct.pack(">I", 100_000)))
    assert has_corners(decode_photo(data), tolerance=12)
    wide = png_with(
        encode(in_space(corners(), "Display P3"), ".png"), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", numbers)
    )
    assert has_corners(decode_photo(wide), tolerance=12)
    plain = png_with(encode(corners(), ".png"), (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000)))
    assert np.array_equal(decode_photo(plain), corners())
    senseless = png_with(encode(corners(), ".png"), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)))
    assert np.array_equal(decode_photo(senseless), corners())


def test_adobe_rgb_by_exif_alone():
    """Cameras that are set to Adobe RGB write no profile, but "R03"."""
    exif = tiff_structure("<", {MAKE: b"M\0", 0x8769: 0}, {0xA005: 0}, {1: b"R03\0"})
    data = jpeg_with(encode(in_space(corners(), "Adobe RGB"), ".jpg"), segment(0xE1, b"Exif\0\0" + exif))
    assert has_corners(decode_photo(data), tolerance=10)


def test_grey_profile():
    """A grey photo is converted by its grey profile; a colour photo with a grey profile stays as it is."""
    curve = struct.pack(">4s4xIH", b"curv", 1, 256)  # values are light
    tags = [(b"wtpt", b"XYZ " + bytes(4) + struct.pack(">III", 63190, 65536, 54061)), (b"kTRC", curve + bytes(2))]
    table, body = b"", b""
    for name, content in tags:
        table += name + struct.pack(">II", 128 + 4 + 24 + len(body), len(content))
        body += content
    head = bytearray(make_profile(SRGB, np.linspace(0, 1, 16))[:128])
    head[16:20], head[:4] = b"GRAY", struct.pack(">I", 128 + 4 + len(table) + len(body))
    icc = bytes(head) + struct.pack(">I", 2) + table + body
    grey = decode_photo(png_in(np.full((9, 8, 3), 55, np.uint8), icc))
    assert np.abs(grey.astype(int) - 128).max() <= 2
    assert np.array_equal(decode_photo(png_in(corners(), icc)), corners())


def print_profile() -> bytes:
    """A profile of print colours whose inks are all twice as strong as they should be."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 3)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    paper = 1 - np.minimum(1, 2 * (grid[:, :3] * (1 - grid[:, 3:]) + grid[:, 3:]))
    lab = cv2.cvtColor(paper[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0] * (2.55, 1, 1) + (0, 128, 128)
    table = b"mft1" + struct.pack(">4xBBBx", 4, 3, 3)
    table += (np.eye(3).ravel() * 65536).astype(">i4").tobytes() + bytes(range(256)) * 4
    table += np.clip(np.round(lab), 0, 255).astype(np.uint8).tobytes() + bytes(range(256)) * 3
    head = bytearray(make_profile(SRGB, np.linspace(0, 1, 16))[:128])
    head[12:24], head[:4] = b"prtrCMYKLab ", struct.pack(">I", 128 + 4 + 12 + len(table))
    return bytes(head) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_print_colours(tmp_path, kind):
    """A photo in print colours (CMYK) comes out by its profile, and upright; a cut one in part, with its reason."""
    pixels = Image.fromarray(np.full((64, 96, 3), 180, np.uint8)).convert("CMYK")
    exif, files = Image.Exif(), {}
    exif[ORIENTATION] = 6
    for icc in (b"", print_profile()):
        file = io.BytesIO()
        pixels.save(file, kind, icc_profile=icc, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
        files[icc] = file.getvalue()
        image = decode_photo(file.getvalue())
        assert image.shape == (96, 64, 3)
        assert abs(float(image.mean()) - (120 if icc else 180)) < 12
    if kind == "JPEG":
        (tmp_path / "cut.jpg").write_bytes(file.getvalue()[:-20])
        with PhotoReader(tmp_path / "cut.jpg") as reader, pytest.raises(DecodeError, match="truncated"):
            iterated = iter(reader)
            assert next(iterated)[2].shape == (96, 64, 3)
            next(iterated)


@pytest.mark.parametrize("make", MAKERS)
def test_srgb_profiles_change_nothing(make):
    """A photo whose profile is sRGB, by whatever name, comes out as if it had none."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    own = make_profile(SRGB, light(np.linspace(0, 1, 1024)))
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    plain = decode_photo(make(noise, b"x"))
    for icc in (srgb, own):
        assert np.array_equal(decode_photo(make(noise, icc)), plain)


@pytest.mark.parametrize("make", MAKERS)
def test_broken_profiles_cost_nothing(make):
    """A profile that is empty, cut, of noise, of another space or full of extremes is as good as none."""
    icc, rng = profile("Display P3"), np.random.default_rng(0)
    broken = [b"x", icc[:100], icc[:300], rng.bytes(500), icc[:16] + b"CMYK" + icc[20:], icc[:16] + b"Lab " + icc[20:],
              icc[:128] + b"\xff" * 400, icc[:132] + b"\xff" * 200 + icc[332:]]  # fmt: skip
    for data in broken:
        assert decode_photo(make(corners(), data)).shape == (64, 96, 3)
    bomb = png_with(encode(corners(), ".png"), (b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 26))))
    assert np.array_equal(decode_photo(bomb), corners())


def test_large_photos_are_converted_in_stripes():
    """Every row is converted, and in place: no second copy of a large photo."""
    image = np.broadcast_to(in_space(corners(), "Display P3")[20:21, 70:71], (3001, 401, 3)).copy()
    converted = to_srgb(image, profile("Display P3"))
    assert converted is image and np.abs(image.astype(int) - (30, 200, 30)).max() <= 3


def test_ordinary_photos_pay_next_to_nothing():
    """Looking for profiles, turns and further pictures costs less than 2 % of decoding a photo (5 % in a noisy test)."""
    photo = cv2.resize(np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8), (3000, 2000))
    data = jpeg_in(photo, make_profile(SRGB, light(np.linspace(0, 1, 1024))))
    decode_photo(data)

    def fastest(work) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()  # other processes at work do not count
            work()
            times.append(time.process_time() - start)
        return min(times)

    bare = fastest(lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    looked = fastest(lambda: (to_srgb(photo[:1, :1].copy(), profile_of(data)), notes_of(data), find_exif(data)))
    print(looked / bare)
    assert looked < 0.05 * bare


@pytest.mark.parametrize("length", [None, 100_000])
def test_large_jpegs_are_decoded_as_small_ones(monkeypatch, length):
    """A whole JPEG and a cut one have the same pixels as without a file in memory, which other systems lack."""
    photo = cv2.resize(np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8), (1800, 1200))
    data = with_exif(encode(photo, ".jpg"), oriented(6))
    data = data if length is None else data[:length] + b"\xff\xd9"
    num_read = []
    read = cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda *given: num_read.append(1) or read(*given))
    by_file = decode_photo(data)
    assert by_file.shape == (1800, 1200, 3) and bool(num_read) == (
        hasattr(os, "memfd_create") and hasattr(cv2, "IMREAD_COLOR_RGB")
    )
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert np.array_equal(decode_photo(data), by_file)


def test_a_cut_png_takes_no_memory(tmp_path):
    """A chunk that claims 2 GiB is refused before its decoder makes room for it."""
    png = bytearray(encode(corners(), ".png"))
    struct.pack_into(">I", png, png.index(b"IDAT") - 4, 0x7FFFFFF0)
    with pytest.raises(DecodeError, match="damaged PNG"):
        decode_photo(bytes(png))
    assert peak_mb(bytes(png)) < 200


def peak_mb(data: bytes) -> float:
    """Memory that decoding takes in a process of its own, over that for a small photo."""
    code = """if True:
    import resource, sys
    from maskbatch.media.photo.reader import decode_photo
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        decode_photo(sys.stdin.buffer.read())
    except Exception:
        pass
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"""
    return float(subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout)
