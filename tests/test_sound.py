"""Sound is where its picture is in the annotated video, plays in browsers, and costs no more than itself."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from makers import Clip, Sound, beeps_of, flashes_of, flashing, write_video

from maskbatch.config import OutputSettings, SamplingSettings
from maskbatch.data import Source
from maskbatch.errors import DecodeError
from maskbatch.media import sound
from maskbatch.media.clock import FrameClock, Piece
from maskbatch.media.decode import open_source
from maskbatch.media.joiner import join
from maskbatch.media.probe import probe
from maskbatch.media.samples import Samples
from maskbatch.media.segments import Segments
from maskbatch.media.sound_clock import SoundClock
from maskbatch.media.sources import find_sources
from maskbatch.media.video_writer import VideoWriter

BEATS = (0.4, 1.4, 2.4)
# what Chrome and Firefox both play in an MP4
PLAYED = ("aac", "mp3", "opus", "flac")


def copied(path: Path, target: Path) -> Path:
    """The annotated video of a file, as the scan makes it."""
    [source] = (probe(one) for one in find_sources([path], None))
    segments, part = Segments(), target.with_suffix(".part.mp4")
    with VideoWriter(part, source, OutputSettings()) as writer:
        try:
            with open_source(source, SamplingSettings(), segments) as reader:
                for _, time_s, image in reader:
                    writer.write(image, time_s)
        except DecodeError:
            pass
    join(target, source, [(part, writer.first_pts)], segments.pieces)
    part.unlink()
    return target


def codec_of(path: Path) -> str:
    """The name of the sound's codec, "" for no sound."""
    with av.open(str(path)) as container:
        return next((stream.codec_context.codec.canonical_name for stream in container.streams.audio), "")


def recording(path: Path, audio: Sound, num_frames: int = 75, pts: list[int] | None = None) -> Path:
    """Three seconds with a flash and a beep at each of `BEATS`."""
    is_old = path.suffix in (".wmv", ".asf")
    codec = "msmpeg4v3" if is_old else "mpeg2video" if path.suffix == ".mpg" else "libx264"
    options = {} if codec != "libx264" else {"g": "25", "bf": "0" if path.suffix == ".avi" else "2"}
    clip = Clip(codec=codec, audio=audio, pts=pts, time_base=Fraction(1, 25), options=options)
    return write_video(path, flashing(num_frames, audio.beats), clip)


def joined(path: Path, first: Sound | None, second: Sound | None, start_s: float = 0) -> Path:
    """Two recordings, one behind the other in one file; the clock of the second one starts at `start_s`."""
    start = round(start_s * 25)
    one = recording(path.with_name("1.ts"), first)
    two = recording(path.with_name("2.ts"), second, pts=list(range(start, start + 75)))
    path.write_bytes(one.read_bytes() + two.read_bytes())
    return path


def assert_in_sync(path: Path, num: int, most_s: float = 0.045) -> None:
    """As many flashes as beeps, each beep with its flash."""
    flashes, beeps = flashes_of(path), beeps_of(path)
    assert (len(flashes), len(beeps)) == (num, num), (flashes, beeps)
    assert np.abs(np.subtract(flashes, beeps)).max() <= most_s, (flashes, beeps)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"), ("a.mkv", "aac"), ("a.flv", "aac"), ("a.ts", "aac"), ("a.mkv", "libopus"), ("a.mkv", "flac"),
        ("a.mkv", "libmp3lame"), ("a.avi", "libmp3lame"), ("a.wmv", "wmav1"), ("a.wmv", "wmav2"), ("a.asf", "wmav2"),
        ("a.mkv", "ac3"), ("a.mp4", "ac3"), ("a.ts", "ac3"), ("a.mkv", "eac3"), ("a.mov", "alac"), ("a.mov", "pcm_s16le"),
        ("a.avi", "pcm_s16le"), ("a.mpg", "mp2"), ("a.ts", "mp2"),
    ],
)  # fmt: skip
def test_sound_of_every_codec_plays_in_browsers_and_in_sync(tmp_path, name, codec, caplog):
    """It is copied where Chrome and Firefox play it in an MP4, else encoded to AAC; nothing is left out."""
    layout = "stereo" if codec in ("vorbis", "dca") else "mono"
    source = recording(tmp_path / name, Sound(codec, beats=BEATS, layout=layout))
    before = codec_of(source)
    target = copied(source, tmp_path / "t.mp4")
    assert codec_of(target) == (before if before in PLAYED else "aac")
    assert_in_sync(target, 3)
    assert caplog.text == ""


@pytest.mark.parametrize("codec", ["aac", "mp2", "ac3"])
@pytest.mark.parametrize("start_s", [0, 2, 2.6, 5, 25.5 * 3600])
def test_joined_recordings_stay_in_sync(tmp_path, codec, start_s):
    """The sound of a second recording is where its picture is, whenever its clock starts."""
    second = Sound(codec, beats=BEATS, late_s=start_s)
    joined(tmp_path / "s.ts", Sound(codec, beats=BEATS), second, start_s)
    assert_in_sync(copied(tmp_path / "s.ts", tmp_path / "t.mp4"), 6)
