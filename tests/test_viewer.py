"""Pictures of a video are those that a person sees: square pixels, upright, right way round, in ordinary colours."""

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from makers import (
    Clip,
    Colours,
    corners,
    has_corners,
    number_of,
    numbered,
    write_joined,
    write_matrix,
    write_patch,
    write_video,
    write_with_cover,
)  # fmt: skip

from maskbatch.errors import DecodeError
from maskbatch.media.decode import open_source
from maskbatch.media.kinds import kind_by_content
from maskbatch.media.video.probe import probe
from maskbatch.media.video.reader import VideoReader
from maskbatch.settings import SamplingSettings
from maskbatch.types import BT709, Source

_MATRICES = [
    *((x, 0, 0, y) for x, y in product((1, -1), repeat=2)),
    *((0, x, y, 0) for x, y in product((1, -1), repeat=2)),
]
_PQ, _HLG, _BT2020, _P3 = 16, 18, 9, 12
_FOR_COPY = SamplingSettings(every=3, all_frames=True, with_planes=True)


def _read(path: Path, sampling: SamplingSettings | None = None) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The pictures and the notes of a video."""
    with open_source(Source(0, path, path.name, "video"), sampling or SamplingSettings()) as reader:
        images = [frame.image for frame in reader]
    return images, reader.notes


def _probed(path: Path) -> tuple[int, int]:
    source = probe(Source(0, path, path.name, "video"))
    return source.width, source.height


@pytest.mark.parametrize(
    ("stored", "aspect", "seen"),
    [
        ((704, 576), Fraction(12, 11), (768, 576)),
        ((720, 576), Fraction(64, 45), (1024, 576)),
        ((720, 480), Fraction(8, 9), (720, 540)),
        ((720, 480), Fraction(32, 27), (853, 480)),
        ((960, 576), Fraction(1, 2), (960, 1152)),
        ((96, 64), Fraction(1), (96, 64)),
        ((96, 64), Fraction(201, 200), (96, 64)),
        ((96, 64), Fraction(50), (96, 64)),
        ((96, 64), Fraction(1, 50), (96, 64)),
    ],
)
@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.ts", "x.h264"])
def test_pixels_are_square(tmp_path, name, stored, aspect, seen):
    """A picture stored with other pixels is widened or heightened, never shrunk; a shape that cannot be is ignored."""
    path = write_video(tmp_path / name, [corners(*stored)] * 8, Clip(aspect=aspect))
    [image, *_], _ = _read(path)
    assert image.shape[1::-1] == seen == _probed(path)
    assert has_corners(image, tolerance=25)


def test_a_picture_that_would_get_too_large_keeps_its_size(tmp_path, monkeypatch):
    """The limit on pixels holds for the picture as it is seen, too."""
    monkeypatch.setattr("maskbatch.media.video.viewer.MAX_PIXELS", 96 * 64 * 2 - 1)
    path = write_video(tmp_path / "x.mp4", [corners()] * 2, Clip(aspect=Fraction(2)))
    assert _probed(path) == (96, 64) == _read(path)[0][0].shape[1::-1]


def _stored(upright: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The picture whose pixel (x, y) a player shows at (a x + c y, b x + d y), moved back into the frame."""
    a, b, c, d = matrix
    height, width = upright.shape[:2]
    y, x = np.indices((width, height) if a == 0 else (height, width))
    seen_x, seen_y = a * x + c * y, b * x + d * y
    return np.ascontiguousarray(upright[seen_y - seen_y.min(), seen_x - seen_x.min()])


@pytest.mark.parametrize("matrix", _MATRICES)
def test_display_matrices(tmp_path, matrix):
    """All eight turns and mirrorings of a display matrix are those of its definition, with pixels of any shape."""
    path = write_video(tmp_path / "x.mp4", [_stored(corners(), matrix)] * 3)
    [image, *_], _ = _read(write_matrix(path, matrix))
    assert image.shape == (64, 96, 3) and has_corners(image, tolerance=25)
    assert _probed(path) == (96, 64)
    wide = write_video(tmp_path / "wide.mp4", [_stored(corners(), matrix)] * 3, Clip(aspect=Fraction(2)))
    size = (96, 128) if matrix[0] == 0 else (192, 64)
    [image, *_], _ = _read(write_matrix(wide, matrix))
    assert image.shape[1::-1] == size == _probed(wide)
    assert has_corners(image, tolerance=25)


def _exp_golomb(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def test_a_turn_that_only_the_codec_tells_holds_on(tmp_path):
    """H.264 may say once how its pictures are turned; it holds for those behind, also where the first are not wanted."""
    stored = np.ascontiguousarray(np.rot90(corners(), -1))
    data = write_video(tmp_path / "plain.h264", [stored] * 12).read_bytes()
    # a display orientation (SEI payload 47): not cancelled, no flips, turned by 90 degrees, holding on
    bits = f"000{90 * 65536 // 360:016b}" + _exp_golomb(1) + "01"
    payload = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    sei = b"\0\0\0\1\x06" + bytes((47, len(payload))) + payload + b"\x80"
    slice_at = data.index(b"\0\0\1\x65")
    path = tmp_path / "x.h264"
    path.write_bytes(data[:slice_at] + sei + data[slice_at:])
    for every in (1, 5):
        images, notes = _read(path, SamplingSettings(every=every))
        assert all(has_corners(image, tolerance=25) and image.shape == (64, 96, 3) for image in images)
        assert len(images) == -(-12 // every) and notes == ()
    assert _probed(path) == (96, 64)


# luma shares of red and blue by matrix: ITU-R BT.709, BT.601 (twice), SMPTE 240M, ITU-R BT.2020
_LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def _planes(signal: tuple[float, float, float], matrix: int, bits: int = 8, is_full: bool = False) -> list[int]:
    """The stored Y, Cb and Cr of an R'G'B' signal 0..1."""
    red, green, blue = signal
    of_red, of_blue = _LUMA[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chroma = (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)
    most, unit = (1 << bits) - 1, 1 << (bits - 8)
    if is_full:
        return [round(most * luma), *(round((most + 1) / 2 + most * value) for value in chroma)]
    return [round(unit * (16 + 219 * luma)), *(round(unit * (128 + 224 * value)) for value in chroma)]


def _colour(path: Path) -> np.ndarray:
    [image, *_], notes = _read(path)
    assert image.shape == (64, 96, 3) and image.dtype == np.uint8 and notes == ()
    return image[32, 48].astype(int)


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_matrices_and_ranges(tmp_path, matrix, is_full, bits):
    """YUV of each matrix, in the limited and the full range, of 8 and 10 bits, becomes the RGB it was made of."""
    colour = np.array((200, 60, 90))
    planes = _planes(tuple(colour / 255), matrix, bits, is_full)
    pix_fmt = "yuv444p" if bits == 8 else "yuv444p10le"
    path = write_patch(tmp_path / "x.mkv", planes, pix_fmt, Colours(matrix, 1, 1, is_full))
    assert np.abs(_colour(path) - colour).max() <= 2


def test_rgb_is_taken_as_it_is(tmp_path):
    """Video that is stored as green, blue and red planes needs no matrix."""
    path = write_patch(tmp_path / "x.mkv", [60 * 4, 90 * 4, 200 * 4], "gbrp10le", Colours(0, 1, 1, is_full_range=True))
    assert np.abs(_colour(path) - (200, 60, 90)).max() <= 1


def _pq(nits: float) -> float:
    """The signal of cd/m2 (SMPTE ST 2084)."""
    root = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)


def _hlg(nits: float) -> float:
    """The signal that a screen of 1000 cd/m2 shows as a grey of `nits` (ITU-R BT.2100)."""
    return _hlg_of_scene((nits / 1000) ** (1 / 1.2))


def _hlg_colour(nits: np.ndarray) -> tuple[float, ...]:
    """The signal (3,) that a screen of 1000 cd/m2 shows as `nits` (3,), by the inverse OOTF of ITU-R BT.2100."""
    luminance = np.dot((0.2627, 0.6780, 0.0593), nits) / 1000
    return tuple(_hlg_of_scene(value) for value in nits / 1000 * luminance ** (1 / 1.2 - 1))


def _hlg_of_scene(scene: float) -> float:
    return (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


@pytest.mark.parametrize(("transfer", "signal_of"), [(_PQ, _pq), (_HLG, _hlg)])
def test_hdr_greys(tmp_path, transfer, signal_of):
    """Greys of HDR video: dark ones as in SDR video, where paper (203 cd/m2) is white; paper nearly white, 1000 white.

    The signals of 203 cd/m2 are those that ITU-R BT.2408 names: 58 % in PQ, 75 % in HLG.
    """
    assert signal_of(203) == pytest.approx(0.58 if transfer == _PQ else 0.75, abs=0.005)
    greys = {}
    for nits in (0, 5, 20, 60, 203, 1000):
        signal = (signal_of(nits),) * 3 if nits else (0.0,) * 3
        path = write_patch(
            tmp_path / f"{nits}.mkv", _planes(signal, 9, 10), "yuv420p10le", Colours(9, transfer, _BT2020)
        )
        red, green, blue = _colour(path)
        assert max(red, green, blue) - min(red, green, blue) <= 2
        greys[nits] = green
    assert greys[0] <= 1 and greys[1000] >= 254
    # an SDR screen shows that share of its white for these (ITU-R BT.1886)
    for nits in (5, 20, 60):
        assert greys[nits] == pytest.approx(255 * (nits / 203) ** (1 / 2.4), abs=3)
    assert greys[203] == pytest.approx(0.9 * 255, abs=3)


# linear light of BT.709 as that of BT.2020 (ITU-R BT.2087) and of Display P3 (SMPTE EG 432-1)
_WIDER = {
    _BT2020: [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]],
    _P3: [[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]],
}


@pytest.mark.parametrize(
    ("transfer", "primaries", "is_tagged"),
    [(14, _BT2020, True), (1, _P3, True), (_PQ, _BT2020, True), (_HLG, _BT2020, True), (_HLG, _BT2020, False)],
)
def test_wide_gamut_colours(tmp_path, transfer, primaries, is_tagged):
    """A colour that an ordinary screen can show comes out as that colour; HDR with no other tag is BT.2020."""
    colour = np.array((140, 60, 40))  # darker than what tone mapping changes
    light = np.array(_WIDER[primaries]) @ (colour / 255) ** 2.4
    matrix = 9 if primaries == _BT2020 else 1
    if transfer == _HLG:
        signal = _hlg_colour(203 * light)
    else:
        signal = tuple(_pq(203 * value) if transfer == _PQ else value ** (1 / 2.4) for value in light)
    colours = Colours(matrix, transfer, primaries) if is_tagged else Colours(transfer=transfer)
    path = write_patch(tmp_path / "x.mkv", _planes(signal, matrix, 10), "yuv444p10le", colours)
    assert np.abs(_colour(path) - colour).max() <= 5


def _is_dark(rows: np.ndarray) -> bool:
    return rows.size > 0 and rows.max() < 30


def test_a_size_that_changes_is_fitted_into_the_first(tmp_path):
    """Later pictures of another size come in the size of the first, whole and in shape; a note says so."""
    sizes = [((96, 64), 5), ((192, 128), 4), ((64, 96), 3), ((96, 64), 3)]
    parts = [([corners(*size)] * number, Clip()) for size, number in sizes]
    images, notes = _read(write_joined(tmp_path / "x.ts", parts))
    assert [image.shape for image in images] == [(64, 96, 3)] * 15
    assert all(has_corners(image, tolerance=25) for image in (*images[:9], *images[12:]))
    upright = images[10]  # 64 x 96 in 64 rows: 43 columns in the middle
    assert _is_dark(upright[:, :25]) and _is_dark(upright[:, -25:])
    assert has_corners(upright[:, 27:69], tolerance=25)
    assert notes == ("size changes from frame 5 on: fitted into 96 x 64 pixels",)


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_a_broadcast_may_switch_to_wide_pictures(tmp_path, codec):
    """Where 4:3 becomes 16:9 in pictures stored alike, the wide ones come in their shape, with bars above and below."""
    shapes = [Clip(codec=codec, aspect=Fraction(8, 9)), Clip(codec=codec, aspect=Fraction(32, 27))]
    images, notes = _read(write_joined(tmp_path / "x.ts", [([corners()] * 8, clip) for clip in shapes]))
    # older decoders lose the last frame
    assert len(images) >= 15 and {image.shape for image in images} == {(72, 96, 3)}
    assert all(has_corners(image, tolerance=30) for image in images[:6])
    assert all(_is_dark(image[:8]) and _is_dark(image[-8:]) for image in images[8:])
    assert all(has_corners(image[9:63], tolerance=30) for image in images[8:])
    assert len(notes) == 1 and notes[0].endswith("fitted into 96 x 72 pixels")


def test_a_size_that_changes_survives_going_on(tmp_path):
    """Going on from any cut gives the same pictures, and the same note, as reading from the start."""
    parts = [(numbered(35), Clip()), (numbered(40, 48, 128) * 2, Clip())]
    path = write_joined(tmp_path / "x.ts", parts)
    with VideoReader(Source(0, path, path.name, "video"), SamplingSettings(), segment_s=0.5) as reader:
        frames = list(reader)
    expected, cuts = [(frame.index, frame.image.tobytes()) for frame in frames], [f.cut for f in frames if f.cut]
    assert len(expected) == 115 and len(cuts) >= 3
    for cut in cuts:
        with VideoReader(Source(0, path, path.name, "video"), SamplingSettings(), 0.5, cut) as later:
            assert [(frame.index, frame.image.tobytes()) for frame in later] == expected[cut.index :]
        assert later.notes == reader.notes == ("size changes from frame 35 on: fitted into 96 x 64 pixels",)


@pytest.mark.parametrize("is_cover_first", [False, True])
def test_a_cover_is_no_video(tmp_path, is_cover_first):
    """Beside a video, a cover picture is not looked at; with sound alone, it makes no video of it."""
    path = write_with_cover(tmp_path / "x.mp4", is_cover_first, numbered(6))
    images, notes = _read(path)
    assert [number_of(image) for image in images] == list(range(6)) and notes == ()
    assert _probed(path) == (96, 64)


@pytest.mark.parametrize("name", ["x.mp4", "x.m4a", "x"])
def test_sound_with_a_cover_has_no_video(tmp_path, name):
    """Sound and a cover picture fail with a reason, also under a name that says nothing."""
    write_with_cover(tmp_path / name, is_cover_first=True)
    assert kind_by_content(tmp_path / name) == "video"
    with pytest.raises(DecodeError, match="no video: only sound and a cover picture"):
        _read(tmp_path / name)


def test_further_streams_are_noted(tmp_path):
    """A file with several videos and sound tracks says how many there are; one of each is taken."""
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        videos = [container.add_stream("mpeg4", rate=25) for _ in range(3)]
        for stream in videos:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sounds = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(2)]
        for stream in videos:
            for image in numbered(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        for stream in sounds:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1280), np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    images, notes = _read(tmp_path / "x.mkv")
    assert len(images) == 4
    assert notes == ("video stream: 1 of 3 used", "sound track: 1 of 2 used")


def _decoded(path: Path) -> list:
    with open_source(probe(Source(0, path, path.name, "video")), _FOR_COPY) as reader:
        return list(reader)


def test_planes_are_what_the_video_stores(tmp_path):
    """Planes are the decoder's own; a frame that is not analysed has nothing else."""
    frames = [np.ascontiguousarray(np.roll(corners(), 3 * number, axis=1)) for number in range(7)]
    path = write_video(tmp_path / "x.mp4", frames, Clip(is_bt709=True))
    decoded = _decoded(path)
    with av.open(str(path)) as container:
        stored = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert all((one.planes == kept).all() for one, kept in zip(decoded, stored, strict=True))
    assert (
        [one.image is not None for one in decoded]
        == [one.is_looked_at for one in decoded]
        == [True, *[False, False, True] * 2]
    )
    assert {one.size for one in decoded} == {(96, 64)}
    for one in decoded[3::3]:
        frame = av.VideoFrame.from_ndarray(one.planes, format="yuv420p")
        again = frame.reformat(format="rgb24", src_colorspace=1, dst_colorspace=5, src_color_range=1, dst_color_range=2)
        assert np.abs(again.to_ndarray().astype(int) - one.image).mean() < 1


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("matrix", [1, 2, 5, 6])
def test_planes_have_the_colours_of_the_video(tmp_path, matrix, is_full):
    """Of HD and SD, with and without the full range: nothing is converted."""
    path = write_patch(tmp_path / "x.mkv", (100, 90, 200), "yuv420p", Colours(matrix, is_full_range=is_full))
    source, planes = probe(Source(0, path, path.name, "video")), _decoded(path)[1].planes
    assert (source.colours.matrix, source.colours.is_full) == (1 if matrix == 1 else 5, is_full)
    assert [np.unique(part).tolist() for part in (planes[:64], planes[64:80], planes[80:])] == [[100], [90], [200]]


@pytest.mark.parametrize(
    "colours", [Colours(4), Colours(7), Colours(8), Colours(1, _PQ, 1), Colours(1, 1, _P3), Colours(1, 12, 1)]
)
def test_rare_colours_become_those_of_hd(tmp_path, colours):
    """No encoder is asked for them: pictures are converted, as they are for wide and HDR colours."""
    path = write_patch(tmp_path / "x.mkv", (100, 90, 200), "yuv420p", colours)
    assert probe(Source(0, path, path.name, "video")).colours == BT709
    assert all(one.planes is None and one.image is not None for one in _decoded(path))


@pytest.mark.parametrize(
    "clip",
    [
        Clip(is_bt709=True, rotation=90),
        Clip(is_bt709=True, aspect=Fraction(2)),
        Clip(codec="ffv1", is_bt709=True),
    ],
)
def test_what_is_not_stored_as_it_is_seen_has_no_planes(tmp_path, clip):
    """A turned picture, pixels that are not square, other formats: every frame has its RGB picture."""
    size = (95, 63) if clip.codec == "ffv1" else (96, 64)
    decoded = _decoded(
        write_video(tmp_path / "x.mkv" if size[0] % 2 else tmp_path / "x.mp4", [corners(*size)] * 4, clip)
    )
    assert all(one.planes is None and one.image is not None for one in decoded) and len(decoded) == 4
