"""Frames that are not sampled need no decoding; nothing that comes out of a whole file may tell."""

import math
import random
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from makers import Clip, moving, write_cut, write_video
from mutations import mutate

from maskbatch.analyse.gate import Gate
from maskbatch.errors import DecodeError
from maskbatch.media.video import reader as videos
from maskbatch.media.video import segments
from maskbatch.media.video.reader import VideoReader
from maskbatch.media.video.segments import crc_of
from maskbatch.media.video.skipping import Skipping
from maskbatch.settings import SamplingSettings
from maskbatch.types import ReaderState, Source

pytestmark = pytest.mark.skipif(not hasattr(av.Packet, "has_sidedata"), reason="nothing is skipped with this PyAV")

NUM_FRAMES = 60
UNEVEN = [0, *(40 * number + random.Random(0).randrange(39) for number in range(1, NUM_FRAMES))]
X265 = "log-level=none:keyint=20"
X265_LAYERS = f"{X265}:open-gop=0:temporal-layers=3"
# name: (file, clip, whether packets may be left out at every=7)
CLIPS = {
    "h264 with B-frames": ("x.mp4", Clip(options={"g": "20"}), True),
    "h264 in Matroska": ("x.mkv", Clip(options={"g": "20"}), True),
    "h264 without B-frames": ("x.mp4", Clip(options={"g": "20", "bf": "0"}), True),
    "h264 with open groups": ("x.mp4", Clip(options={"g": "20", "x264-params": "open-gop=1"}), True),
    "h264 with intra refresh": ("x.mp4", Clip(options={"g": "20", "x264-params": "intra-refresh=1"}), True),
    "h264 of uneven times": ("x.mp4", Clip(pts=UNEVEN, time_base=Fraction(1, 1000), options={"g": "20"}), True),
    "hevc with open groups": ("x.mp4", Clip(codec="libx265", options={"x265-params": X265}), True),
    "hevc in layers": ("x.mp4", Clip(codec="libx265", options={"x265-params": X265_LAYERS}), True),
    "mjpeg": ("x.mkv", Clip(codec="mjpeg"), True),
    "interlaced h264": ("x.mp4", Clip(options={"g": "20", "flags": "+ildct+ilme"}), None),
    "raw h264, no time stamps": ("x.h264", Clip(options={"g": "20"}), False),
    "h264 in AVI, some time stamps": ("x.avi", Clip(options={"g": "20"}), False),
    "h264 in a transport stream": ("x.ts", Clip(options={"g": "20"}), False),
    "mpeg4": ("x.avi", Clip(codec="mpeg4", options={"g": "20"}), False),
    "vp9": ("x.mkv", Clip(codec="libvpx-vp9", options={"g": "20"}), False),
}  # fmt: skip
SAMPLINGS = [
    SamplingSettings(every=2), SamplingSettings(every=7), SamplingSettings(every=45), SamplingSettings(sample_fps=2.3)
]  # fmt: skip
FULL_ONLY = property(lambda _: False, lambda *_: None)


def _read(
    path: Path, sampling: SamplingSettings, segment_s: float = math.inf, start: ReaderState | None = None
) -> tuple[list, int, str]:
    """(index, timestamp_s, CRC of the image) of each frame, the number decoded, and the DecodeError's reason or ""."""
    return _read_with_cuts(path, sampling, segment_s, start)[:3]


def _read_with_cuts(
    path: Path, sampling: SamplingSettings, segment_s: float = math.inf, start: ReaderState | None = None
) -> tuple[list, int, str, dict[int, ReaderState]]:
    """The same, and the cut of each frame that begins a segment, by the frame's index."""
    frames, cuts, reader, reason = (
        [],
        {},
        VideoReader(Source(0, path, path.name, "video"), sampling, segment_s, start),
        "",
    )
    try:
        with reader:
            for index, time_s, image, cut, *_ in reader:
                frames.append((index, time_s, crc_of(image)))
                if cut is not None:
                    cuts[index] = cut
    except DecodeError as error:
        reason = str(error)
    return frames, reader.frames_decoded, reason, cuts


def _read_in_full(path: Path, sampling: SamplingSettings) -> tuple[list, int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Skipping, "_is_on", FULL_ONLY, raising=False)
        return _read(path, sampling)


@pytest.fixture
def plans(monkeypatch) -> list[Skipping]:
    """Every `Skipping` that readers make."""
    made = []
    monkeypatch.setattr(videos, "Skipping", lambda *arguments: made.append(Skipping(*arguments)) or made[-1])
    return made


@pytest.mark.parametrize("name", CLIPS)
def test_nothing_tells_that_frames_were_skipped(tmp_path, plans, name):
    """Index, time and pixels of each frame, and their number, are those of decoding in full; so is the end of a cut file."""
    file, clip, is_skipping = CLIPS[name]
    whole = write_video(tmp_path / file, moving(NUM_FRAMES), clip)
    for sampling in SAMPLINGS:
        expected = _read_in_full(whole, sampling)
        plans.clear()
        assert _read(whole, sampling) == expected
        assert expected[1:] == (NUM_FRAMES, "")
        if is_skipping is not None and sampling.every == 7:
            assert (plans[0].num_skipped > 0) == is_skipping and len(plans) == 1
    if clip.codec != "mjpeg":  # the pixels behind the end of a cut JPEG are not the same twice
        for share in (0.4, 0.63, 0.97):
            cut = write_cut(tmp_path / f"cut{whole.suffix}", whole, share)
            assert _read(cut, SAMPLINGS[1]) == _read_in_full(cut, SAMPLINGS[1])


@pytest.mark.parametrize(("name", "most"), [("h264 with B-frames", 0.75), ("mjpeg", 0.2)])
def test_fewer_frames_are_decoded(tmp_path, monkeypatch, name, most):
    """The decoder gives only some of the frames, and none of a group of pictures that holds no sample."""
    num_decoded = 0
    in_place = Skipping.in_place

    def counting(self, frames):
        nonlocal num_decoded
        num_decoded += len(frames)
        return in_place(self, frames)

    monkeypatch.setattr(Skipping, "in_place", counting)
    file, clip, _ = CLIPS[name]
    path = write_video(tmp_path / file, moving(NUM_FRAMES), clip)
    assert _read(path, SamplingSettings(every=7))[1] == NUM_FRAMES
    assert 9 <= num_decoded <= most * NUM_FRAMES
    num_decoded = 0
    assert _read(path, SamplingSettings(every=1000))[1] == NUM_FRAMES
    assert num_decoded == 1
    num_decoded = 0
    _read(path, SamplingSettings())
    assert num_decoded == NUM_FRAMES


@pytest.mark.parametrize("name", ["h264 with B-frames", "hevc with open groups", "mjpeg"])
def test_going_on_inside_a_video_skips_too(tmp_path, plans, name):
    """From a cut on, the frames are those of the uninterrupted reading, and packets are left out."""
    file, clip, _ = CLIPS[name]
    path = write_video(tmp_path / file, moving(240), clip)
    for sampling in (SamplingSettings(every=3), SamplingSettings(sample_fps=8.5)):
        frames, num_decoded, _, cuts = _read_with_cuts(path, sampling, 2.0)
        assert cuts
        for index, start in cuts.items():
            plans.clear()
            expected = [frame for frame in frames if frame[0] >= index]
            assert _read(path, sampling, 2.0, start) == (expected, num_decoded, "")
            assert len(plans) == 1 and plans[0].num_skipped > 0


@pytest.mark.parametrize("where", [0.3, 0.6])
@pytest.mark.parametrize("name", ["h264 with B-frames", "h264 without B-frames", "hevc with open groups"])
def test_damage_that_is_seen_ends_skipping(tmp_path, name, where):
    """A hole over many packets: the same frames at the same times, and the same reason, as from decoding in full."""
    file, clip, _ = CLIPS[name]
    path = write_video(tmp_path / file, moving(NUM_FRAMES), clip)
    content = bytearray(path.read_bytes())
    at = int(where * len(content))
    content[at : at + len(content) // 8] = bytes(len(content) // 8)
    path.write_bytes(content)
    frames, num_decoded, reason = _read(path, SAMPLINGS[1])
    expected, expected_num, expected_reason = _read_in_full(path, SAMPLINGS[1])
    # the pixels of damaged frames are not the same twice
    assert [frame[:2] for frame in frames] == [frame[:2] for frame in expected]
    assert (num_decoded, reason) == (expected_num, expected_reason)


def test_a_decoder_that_surprises_is_read_in_full(tmp_path, plans, monkeypatch):
    """A planned frame that does not come: the file is read again in full, and no frame comes twice."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), Clip(options={"g": "20"}))
    expected = _read_in_full(path, SAMPLINGS[1])
    plans.clear()
    in_place, lost_s = Skipping.in_place, Fraction(28, 25)

    def losing(self, frames):
        return in_place(self, [one for one in frames if not self.num_skipped or one.pts * one.time_base != lost_s])

    monkeypatch.setattr(Skipping, "in_place", losing)
    assert _read(path, SAMPLINGS[1]) == expected
    assert [plan.num_skipped > 0 for plan in plans] == [True, False]


DAMAGED = {
    "x.mp4": Clip(options={"g": "20"}),
    "x.mkv": Clip(options={"g": "20", "x264-params": "open-gop=1"}),
    "hevc.mp4": Clip(codec="libx265", options={"x265-params": X265}),
    "mjpeg.mkv": Clip(codec="mjpeg"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_video_goes_on_from_each_cut_as_it_was_read(tmp_path, name):
    """Of damaged videos, going on gives the frames, times, count and reason of reading on; and what is called damaged is
    so for decoding in full too."""
    whole = write_video(tmp_path / name, moving(240), DAMAGED[name]).read_bytes()
    sampling, path = SamplingSettings(every=3), tmp_path / f"damaged-{name}"
    num_cuts = 0
    for variant in range(20):
        path.write_bytes(mutate(whole, whole[::-1], np.random.default_rng([variant, len(name)])))
        frames, num_decoded, reason, cuts = _read_with_cuts(path, sampling, 2.0)
        num_cuts += len(cuts)
        for index, start in cuts.items():
            again = _read(path, sampling, 2.0, start)
            # the pixels of damaged frames may hang on what the decoder had before
            assert [frame[:2] for frame in again[0]] == [frame[:2] for frame in frames if frame[0] >= index]
            assert again[1:] == (num_decoded, reason)
        assert not reason or _read_in_full(path, sampling)[2]
    assert num_cuts > 10


def test_decoding_all_finds_damage_between_the_samples(tmp_path):
    """A damaged frame that nobody analyses is found by `decode_all` alone."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), Clip(options={"g": "20", "bf": "0"}))
    with av.open(path) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][37]
        at, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[at + 9 : at + size] = bytes(size - 9)  # behind the length, the head and the first bits of the slice
    path.write_bytes(content)
    assert _read(path, SamplingSettings(every=56))[2] == ""
    assert "damaged" in _read(path, SamplingSettings(every=56, decode_all=True))[2]


def test_times_that_go_back_behind_a_cut_are_read_as_ever(tmp_path):
    """A video that holds its beginning again, later on: going on from a cut gives what reading on gave."""
    whole = write_video(tmp_path / "x.mkv", moving(240), Clip(options={"g": "20"})).read_bytes()
    clusters = [match.start() for match in re.finditer(b"\x1f\x43\xb6\x75", whole)]
    path, sampling = tmp_path / "again.mkv", SamplingSettings(every=3)
    path.write_bytes(whole[: clusters[8]] + whole[clusters[0] : clusters[2]] + whole[clusters[8] :])
    frames, num_decoded, reason, cuts = _read_with_cuts(path, sampling, 2.0)
    assert cuts and num_decoded > 270
    for index, start in cuts.items():
        expected = [frame for frame in frames if frame[0] >= index]
        assert _read(path, sampling, 2.0, start) == (expected, num_decoded, reason)


def test_numbers_are_not_mixed_when_it_is_read_in_full_after_all(tmp_path, monkeypatch):
    """Decoding in full loses a frame before the cut, so that those behind it have other numbers than at the cut."""
    path = write_video(tmp_path / "x.mp4", moving(240), Clip(options={"g": "20"}))
    in_place = Skipping.in_place

    def losing(self, frames):
        lost_s = 6 if self.num_skipped else Fraction(1)
        return in_place(self, [frame for frame in frames if frame.pts * frame.time_base != lost_s])

    monkeypatch.setattr(Skipping, "in_place", losing)
    sampling = SamplingSettings(every=3)
    frames, num_decoded, _, cuts = _read_with_cuts(path, sampling, 2.0)
    assert num_decoded == 239 and cuts[90].is_skipping
    expected = [frame for frame in frames if frame[0] >= 90]
    assert _read(path, sampling, 2.0, cuts[90]) == (expected, num_decoded, "")


# still groups


def _gated(path: Path, may_skip: bool = True, segment_s: float = math.inf, start: ReaderState | None = None):
    """The frames that the gate chooses as (index, time, CRC), and the states at cuts, with still groups skipped or not."""
    sampling = SamplingSettings(sample_fps=6.0, is_gated=True, decode_all=not may_skip)
    with VideoReader(Source(0, path, path.name, "video"), sampling, segment_s, start, Gate()) as reader:
        found = list(reader)
    return [(one.index, one.timestamp_s, crc_of(one.image)) for one in found], [one.cut for one in found if one.cut]


def _night(path: Path, group: int = 20) -> Path:
    """Thirty seconds of a still scene, but for two in which a square moves, in groups of this many tenths of a second."""
    scene = np.kron(np.random.default_rng(0).integers(40, 200, (12, 16), np.uint8), np.ones((20, 20), np.uint8))
    images = []
    for number in range(300):
        image = np.repeat(scene[..., None], 3, axis=2)
        if 142 <= number < 160:
            image[100:140, 2 * (number - 120) : 2 * (number - 120) + 40] = (250, 20, 20)
        images.append(image)
    options = {"g": str(group), "x264-params": "scenecut=0"}
    return write_video(path, images, Clip(fps=Fraction(10), options=options))


def _gaps(path: Path) -> list[float]:
    """The seconds between the frames that the gate chooses, up to the end at thirty seconds."""
    return np.diff([*(time_s for _, time_s, _ in _gated(path)[0]), 30.0]).tolist()


def test_of_a_still_group_only_the_keyframe_is_decoded(tmp_path, monkeypatch):
    """Packets that say that the picture is the same are not decoded; where something moves, nothing is left out."""
    path = _night(tmp_path / "night.mp4")
    skipped, plain = _gated(path)[0], _gated(path, may_skip=False)[0]
    moving = {one for one in plain if 14.0 <= one[1] < 16.0}
    assert len(moving) > 8 and moving <= set(skipped)
    assert all(one in plain or one[0] % 20 == 0 for one in skipped)
    counts = []
    planned = Skipping._planned
    monkeypatch.setattr(Skipping, "_planned", lambda self, *group: counts.append(self) or planned(self, *group))
    _gated(path)
    assert counts[-1].num_skipped > 200


@pytest.mark.parametrize("group", [3, 7, 13, 16, 19, 20, 23, 40, 100, 250])
def test_nobody_who_holds_still_is_forgotten(tmp_path, group):
    """However long the groups are, and whether their keyframes are sampled or not, the gate looks at a still scene about
    every two seconds, up to the end."""
    assert max(_gaps(_night(tmp_path / "night.mp4", group))) < 2.3


@pytest.mark.parametrize("group", [7, 16, 20, 40])
def test_still_groups_are_skipped_alike_from_each_cut(tmp_path, monkeypatch, group):
    """A scan that goes on inside the night looks at the same frames."""
    monkeypatch.setattr(segments, "_MIN_FRAMES", 3)
    path = _night(tmp_path / "night.mp4", group)
    whole, cuts = _gated(path, segment_s=8.0)
    assert len(cuts) >= 2
    for cut in cuts:
        assert _gated(path, segment_s=8.0, start=cut)[0] == [one for one in whole if one[0] >= cut.index]
