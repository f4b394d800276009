"""What is written: formats, names, exact times, audio, and nothing half-done."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from makers import (
    NTSC_FILM,
    Clip,
    corners,
    has_corners,
    number_of,
    numbered,
    packets_of,
    write_cut,
    write_video,
)  # fmt: skip
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from maskbatch.errors import DecodeError, UsageError
from maskbatch.media.decode import open_source
from maskbatch.media.names import annotated_name
from maskbatch.media.sources import find_sources
from maskbatch.media.video.probe import probe
from maskbatch.media.write import video as video_module
from maskbatch.media.write.encoders import choose_encoder, why_not
from maskbatch.media.write.files import Unnamed, encode_image, partial_file, partial_files, write_image
from maskbatch.media.write.join import join
from maskbatch.media.write.video import VideoWriter, made_with
from maskbatch.settings import OutputSettings, SamplingSettings
from maskbatch.types import Source

ALL = SamplingSettings()


def _probed(path: Path) -> Source:
    return probe(find_sources([path], None)[0])


def _frames(path: Path) -> list[tuple[float, np.ndarray]]:
    with open_source(_probed(path), ALL) as reader:
        return [(time_s, image) for _, time_s, image, *_ in reader]


@contextmanager
def _whole(target: Path, source: Source) -> Iterator[VideoWriter]:
    """A writer whose one part is made a whole video with sound at the end."""
    with TemporaryDirectory() as folder:
        part = Path(folder) / "part.mp4"
        with VideoWriter(part, source, OutputSettings()) as writer:
            yield writer
        join(target, source, [(part, writer.first_pts)])


def _copy(source_path: Path, target: Path, sampling: SamplingSettings = ALL) -> list[float]:
    """Write the source's frames as the scan does; returns their times."""
    source = _probed(source_path)
    times = []
    with _whole(target, source) as writer, open_source(source, sampling) as reader:
        for _, time_s, image, *_ in reader:
            writer.write(image, time_s)
            times.append(time_s)
    return times


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jfif", ".png", ".webp", ".bmp", ".tiff"])
def test_image_round_trip(tmp_path, suffix):
    """Each photo format is written in its own format, in RGB, and nothing else is left."""
    path = tmp_path / "sub" / f"ü{suffix}"
    write_image(path, corners())
    assert has_corners(_frames(path)[0][1])
    assert list(path.parent.iterdir()) == [path]
    magic = {".png": b"\x89PNG", ".webp": b"RIFF", ".bmp": b"BM", ".tiff": b"II*\0"}.get(suffix, b"\xff\xd8\xff")
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize(("size", "sampling"), [((499, 500), "4:4:4"), ((500, 500), "4:2:0")])
def test_the_colours_of_a_large_jpeg_have_half_the_resolution(tmp_path, size, sampling):
    """Photos of cameras have that too. In small pictures, text in colours would blur."""
    write_image(tmp_path / "a.jpg", np.zeros((*size[::-1], 3), np.uint8))
    with Image.open(tmp_path / "a.jpg") as photo:
        assert photo.size == size and ("4:4:4", "4:2:2", "4:2:0")[get_sampling(photo)] == sampling


def test_image_that_cannot_be_written(tmp_path):
    """A size the format cannot hold, and a folder that is a file, are OSErrors; nothing is left behind."""
    with pytest.raises(OSError, match="cannot write"):
        write_image(tmp_path / "x.webp", np.zeros((2, 20000, 3), np.uint8))
    with pytest.raises(OSError, match="cannot write"):
        write_image(tmp_path / "x.unknown", corners())
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        write_image(tmp_path / "file" / "x.png", corners())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_small_jpeg_without_drawings_has_half_the_colour_resolution():
    """There are no thin lines that could blur."""
    for is_drawn_on, sampling in ((True, 0), (False, 2)):  # 4:4:4, 4:2:0
        encoded = encode_image(Path("a.jpg"), corners(), is_drawn_on=is_drawn_on)
        with Image.open(io.BytesIO(encoded)) as photo:
            assert get_sampling(photo) == sampling


def test_files_get_their_names_once_all_are_on_the_disk(tmp_path, monkeypatch):
    """They are synced together before the first rename; a file whose name is taken by a folder costs no other file."""
    (tmp_path / "b.jpg").mkdir()
    files, happened, failed = Unnamed(), [], []
    assert not files
    for name in "abc":
        files.write(tmp_path / f"{name}.jpg", name.encode(), failed.append)
    assert files and not (tmp_path / "a.jpg").exists() and len(list(tmp_path.iterdir())) == 4
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (happened.append("replace"), rename(*paths)))
    files.settle()
    assert happened == ["fsync"] * 3 + ["replace"] * 3 and not files
    assert len(failed) == 1 and isinstance(failed[0], (IsADirectoryError, PermissionError))  # the latter on Windows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    assert (tmp_path / "c.jpg").read_bytes() == b"c"


def test_files_that_are_not_settled_can_be_dropped(tmp_path):
    """They leave nothing, and neither does a file that cannot be written, whose error is raised at once."""
    files = Unnamed()
    files.write(tmp_path / "a.jpg", b"a", print)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        files.write(tmp_path / "file/b.jpg", b"b", print)
    files.drop()
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and not files


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("a/b.JPG", "image", "a/b.JPG"),
        ("a/b.heic", "image", "a/b.heic.jpg"),
        ("b.gif", "image", "b.gif.jpg"),
        ("b.gif", "video", "b.gif.mp4"),
        ("c.MP4", "video", "c.MP4"),
        ("clip.avi", "video", "clip.avi.mp4"),
        ("noext", "image", "noext.jpg"),
    ],
)
def test_annotated_name(name, kind, expected):
    """The tree is mirrored; a format that is not written gets an extension more, so names stay apart."""
    assert annotated_name(Source(0, Path("/x") / name, name, kind)) == expected


@pytest.mark.parametrize(("clip", "colours"), [
    (Clip(), (2, 0)), (Clip(is_bt709=True), (1, 1)), (Clip(rotation=180), (1, 1)),
    (Clip(options={"x264-params": "colormatrix=smpte170m:fullrange=on"}), (6, 2)),
])  # fmt: skip
def test_frame_rate_duration_and_colours_are_kept(tmp_path, clip, colours):
    """23.976 fps stays exactly that; times, length, size and colours are the source's, or those of HD where the picture is
    turned; it is browser H.264."""
    source = write_video(tmp_path / "s.mp4", [corners()] * 24, replace(clip, fps=NTSC_FILM))
    times = _copy(source, tmp_path / "out/t.mp4")
    written = _probed(tmp_path / "out/t.mp4")
    assert (written.fps, written.num_frames, written.width, written.height) == (NTSC_FILM, 24, 96, 64)
    assert written.duration_s == pytest.approx(24 * 1001 / 24000, abs=1e-9)
    copied = _frames(written.path)
    assert [time_s for time_s, _ in copied] == times
    assert np.abs(copied[-1][1].astype(int) - _frames(source)[-1][1]).mean() < 5
    with av.open(str(written.path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt.replace("j", "")) == ("h264", "yuv420p")
        assert (codec.colorspace, codec.color_range) == colours
    data = written.path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["t.mp4"]


def test_variable_frame_rate_round_trip(tmp_path):
    """Uneven times survive, the length of the last frame too."""
    pts = [0, 40, 45, 300, 301, 1000, 1017, 2500]
    source = write_video(tmp_path / "s.mkv", numbered(8), Clip(pts=pts, time_base=Fraction(1, 1000)))
    _copy(source, tmp_path / "t.mp4")
    copied = _frames(tmp_path / "t.mp4")
    assert [round(time_s * 1000, 6) for time_s, _ in copied] == pts
    assert [number_of(image) for _, image in copied] == list(range(8))
    assert _probed(tmp_path / "t.mp4").duration_s == pytest.approx(_probed(source).duration_s, abs=1e-3)


def test_sampled_frames_last_as_long_as_the_source(tmp_path):
    """With every fifth frame only, each is shown at its time and the last until the end."""
    source = write_video(tmp_path / "s.mp4", numbered(25))
    assert _copy(source, tmp_path / "t.mp4", SamplingSettings(every=5)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert [time_s for time_s, _ in _frames(tmp_path / "t.mp4")] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert _probed(tmp_path / "t.mp4").duration_s == pytest.approx(1.0)


def test_rotated_video_is_written_upright(tmp_path):
    """The copy needs no display matrix: its pixels are upright."""
    stored = np.ascontiguousarray(np.rot90(corners(), -1))
    _copy(write_video(tmp_path / "s.mp4", [stored] * 3, Clip(rotation=90)), tmp_path / "t.mp4")
    written = _probed(tmp_path / "t.mp4")
    assert (written.width, written.height) == (96, 64)
    assert has_corners(_frames(written.path)[0][1], tolerance=25)


def test_odd_sizes(tmp_path):
    """Odd sides get one more pixel, the repeated edge."""
    with VideoWriter(tmp_path / "t.mp4", Source(0, tmp_path / "none", "none", "video"), OutputSettings()) as writer:
        writer.write(corners(97, 65), 0.0)
        writer.write(corners(97, 65)[:, ::-1][:, ::-1], 0.04)
    images = [image for _, image in _frames(tmp_path / "t.mp4")]
    assert [image.shape for image in images] == [(66, 98, 3)] * 2
    assert all(has_corners(image, tolerance=25) for image in images)
    assert np.abs(images[0][-1].astype(int) - images[0][-2]).mean() < 6


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("s.mp4", "aac"),
        ("s.mkv", "libopus"),
        ("s.mkv", "libmp3lame"),
        ("s.flv", "aac"),
        ("s.mkv", "flac"),
    ],
)
def test_audio_is_copied(tmp_path, name, codec):
    """Audio that MP4 can hold is copied: the same packets, and the same times relative to the video."""
    source = write_video(tmp_path / name, numbered(30), Clip(fps=NTSC_FILM, audio=codec))
    _copy(source, tmp_path / "t.mp4")
    before, after = packets_of(source, "audio"), packets_of(tmp_path / "t.mp4", "audio")
    assert [body for _, body in before] == [body for _, body in after]
    video_shift = packets_of(source, "video")[0][0] - packets_of(tmp_path / "t.mp4", "video")[0][0]
    shifts = {round(float(was - now - video_shift), 3) for (was, _), (now, _) in zip(before, after, strict=True)}
    assert max(map(abs, shifts)) <= 0.001


@pytest.mark.parametrize(("name", "codec"), [("s.mov", "pcm_s16le"), ("s.mpg", "mp2")])
def test_other_audio_becomes_aac(tmp_path, name, codec):
    """Audio that MP4 cannot hold is encoded to AAC, as long as it was."""
    source = write_video(
        tmp_path / name, numbered(30), Clip(audio=codec, codec="mpeg2video" if name == "s.mpg" else "libx264")
    )
    _copy(source, tmp_path / "t.mp4")
    with av.open(str(tmp_path / "t.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        assert float(stream.duration * stream.time_base) == pytest.approx(1.2, abs=0.06)
        loudness = [np.abs(frame.to_ndarray()).mean() for frame in container.decode(stream)]
    assert max(loudness) > 0.1


def test_late_video_stays_in_sync(tmp_path):
    """A video that comes in a second after its audio does so in the copy."""
    pts = [1000 + 40 * number for number in range(10)]
    source = write_video(tmp_path / "s.mkv", numbered(10), Clip(audio="aac", pts=pts, time_base=Fraction(1, 1000)))
    times = _copy(source, tmp_path / "t.mp4")
    assert times[0] == pytest.approx(1.0, abs=0.03)
    before, after = packets_of(source, "audio"), packets_of(tmp_path / "t.mp4", "audio")
    assert [body for _, body in before] == [body for _, body in after]
    assert _frames(tmp_path / "t.mp4")[0][0] == pytest.approx(1.0, abs=0.03)


def test_broken_audio_is_a_warning(tmp_path, caplog):
    """When the audio cannot be read the video is written all the same, and a warning names the file."""
    source = _probed(write_video(tmp_path / "s.mp4", numbered(5), Clip(audio="aac")))
    source.path.write_bytes(b"gone" * 99)
    with caplog.at_level(logging.WARNING), _whole(tmp_path / "t.mp4", source) as writer:
        for number, image in enumerate(numbered(5)):
            writer.write(image, number / 25)
    assert "s.mp4: the audio is left out" in caplog.text
    assert len(_frames(tmp_path / "t.mp4")) == 5


def test_partial_source_is_written_as_far_as_it_goes(tmp_path):
    """Frames of a truncated file, with its audio, make a whole video; its last frame does not freeze."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(50)]
    cut = write_cut(tmp_path / "s.mp4", write_video(tmp_path / ".whole.mp4", noise, Clip(audio="aac")), 0.5)
    source, num_frames = _probed(cut), 0
    whole, ends_early = _whole(tmp_path / "t.mp4", source), pytest.raises(DecodeError, match="ends early")
    with whole as writer, open_source(source, ALL) as reader, ends_early:
        for _, time_s, image, *_ in reader:
            writer.write(image, time_s)
            num_frames += 1
    written = _probed(tmp_path / "t.mp4")
    assert written.num_frames == num_frames > 5
    assert written.duration_s == pytest.approx(num_frames / 25, abs=0.05)
    assert packets_of(written.path, "audio")


def test_nothing_is_left_after_an_error(tmp_path):
    """An exception while writing removes the temporary file; the exception goes on."""
    source = _probed(write_video(tmp_path / "s.mp4", numbered(5), Clip(audio="aac")))
    with pytest.raises(KeyError), VideoWriter(tmp_path / "out/t.mp4", source, OutputSettings()) as writer:
        writer.write(corners(), 0.0)
        raise KeyError
    assert list((tmp_path / "out").iterdir()) == []


def test_video_without_frames_leaves_no_file(tmp_path):
    """No frame, no file."""
    with VideoWriter(tmp_path / "out/t.mp4", Source(0, Path("x"), "x", "video"), OutputSettings()):
        pass
    assert not (tmp_path / "out/t.mp4").exists()


def test_unusable_codec_is_an_oserror(tmp_path):
    """An encoder that does not exist, or needs a device that is not here, fails with a reason and leaves nothing."""
    source = Source(0, Path("x"), "x", "video")
    for codec in ("no_such_codec", "h264_v4l2m2m"):
        writer = VideoWriter(tmp_path / "t.mp4", source, OutputSettings(codec=codec))
        with pytest.raises(OSError, match="cannot write"), writer:
            writer.write(corners(), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_name_only_when_it_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    """Content is synced before the rename; after an error an older file of that name stays as it was, and nothing else."""
    path, happened = tmp_path / "sub/table.csv", []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (happened.append("replace"), rename(*paths)))
    with partial_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and happened == ["fsync", "replace"]
    with pytest.raises(KeyError), partial_file(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_files_that_belong_together_get_their_names_together(tmp_path, monkeypatch):
    """No reader finds a new table beside an old one while the disk is busy: all content is synced before the first rename.
    After an error none of them is replaced."""
    paths, happened = [tmp_path / "faces.csv", tmp_path / "files.csv"], []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (happened.append("replace"), rename(*names)))
    with partial_files(*paths) as partials:
        for partial in partials:
            partial.write_text("whole")
    assert happened == ["fsync", "fsync", "replace", "replace"]
    assert [path.read_text() for path in paths] == ["whole"] * 2
    with pytest.raises(FileNotFoundError), partial_files(*paths) as partials:
        partials[0].write_text("half")
    assert [path.read_text() for path in paths] == ["whole"] * 2 and sorted(tmp_path.iterdir()) == paths


def test_annotated_names_never_meet(tmp_path):
    """`clip.avi` beside a real `clip.avi.mp4`: each keeps an annotated copy of its own."""
    (tmp_path / "clip.avi").touch()
    (tmp_path / "clip.avi.mp4").touch()
    names = [
        annotated_name(Source(0, tmp_path / name, f"sub/{name}", "video")) for name in ("clip.avi", "clip.avi.mp4")
    ]
    assert names == ["sub/clip.avi_annotated.mp4", "sub/clip.avi.mp4"]


def test_the_encoder_is_one_that_works_here():
    """auto ends at libx264 at the latest; one that is unknown, or not for video, is a usage error that says so."""
    assert choose_encoder("libx264") == "libx264"
    assert why_not(choose_encoder("auto")) is None
    for codec, reason in (("nonsense", "it is unknown"), ("aac", "it is not for video")):
        with pytest.raises(UsageError, match=f"{codec} does not work here .{reason}.: use --codec auto"):
            choose_encoder(codec)


def test_parts_that_other_options_made_do_not_fit(monkeypatch):
    """A build with other options of the encoder would make parts that one file cannot hold: a video in work starts over."""
    before = made_with()
    assert made_with() == before
    monkeypatch.setattr(video_module, "encoder_options", lambda codec, crf: {"preset": "slow"})
    assert made_with() != before
