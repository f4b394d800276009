"""Sound is where its picture is in the annotated video, plays in browsers, and costs no more than itself."""

import errno
import json
import threading
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from makers import Clip, Sound, beeps_of, flashes_of, flashing, packets_of, write_video

from maskbatch.errors import DecodeError, Interrupted
from maskbatch.media.decode import open_source
from maskbatch.media.guard.limits import TimeLimitedReader
from maskbatch.media.sound import reader as sound
from maskbatch.media.sound import samples
from maskbatch.media.sound.clock import SoundClock
from maskbatch.media.sound.reader import SoundReader, plays_in_browsers
from maskbatch.media.sound.samples import Samples
from maskbatch.media.sources import find_sources
from maskbatch.media.video.clock import FrameClock, Piece
from maskbatch.media.video.probe import probe
from maskbatch.media.write import sound as audio
from maskbatch.media.write.join import join
from maskbatch.media.write.sound import Guard, unguarded
from maskbatch.media.write.video import VideoWriter
from maskbatch.settings import OutputSettings, SamplingSettings

BEATS = (0.4, 1.4, 2.4)
# a frame at 25 per second, and a little
IN_SYNC_S = 0.045
# what Chrome and Firefox both play in an MP4
PLAYED = ("aac", "mp3", "opus", "flac")


def copied(path: Path, target: Path, guard: Guard = unguarded, num_frames: int | None = None) -> Path:
    """The annotated video of a file, as the scan makes it, or one of its first pictures only."""
    [source] = (probe(one) for one in find_sources([path], None))
    part = target.with_suffix(".part.mp4")
    with VideoWriter(part, source, OutputSettings()) as writer:
        try:
            with open_source(source, SamplingSettings()) as reader:
                for _, time_s, image, *_ in islice(reader, num_frames):
                    writer.write(image, time_s)
        except DecodeError:
            pass
    join(target, source, [(part, writer.first_pts)], reader.pieces, guard)
    part.unlink()
    return target


def codec_of(path: Path) -> str:
    """The name of the sound's codec, "" for no sound."""
    with av.open(str(path)) as container:
        return next((stream.codec_context.codec.canonical_name for stream in container.streams.audio), "")


def recording(path: Path, audio: Sound | None, num_frames: int = 75, pts: list[int] | None = None) -> Path:
    """Three seconds with a flash and a beep at each of `BEATS`."""
    codecs = {".wmv": "msmpeg4v3", ".asf": "msmpeg4v3", ".mpg": "mpeg2video", ".avi": "mpeg4"}
    codec = codecs.get(path.suffix, "libx264")
    options = {"g": "25", "bf": "2"} if codec == "libx264" else {}
    clip = Clip(codec=codec, audio=audio, pts=pts, time_base=Fraction(1, 25), options=options)
    return write_video(path, flashing(num_frames, BEATS if audio is None else audio.beats), clip)


def joined(path: Path, first: Sound | None, second: Sound | None, start_s: float = 0) -> Path:
    """Two recordings, one behind the other in one file; the clock of the second one starts at `start_s`."""
    start = round(start_s * 25)
    one = recording(path.with_name("1.ts"), first)
    two = recording(path.with_name("2.ts"), second, pts=list(range(start, start + 75)))
    path.write_bytes(one.read_bytes() + two.read_bytes())
    return path


def most_off_s(path: Path, num: int) -> float:
    """How far, in seconds, a beep is from its flash at most; infinite unless there are `num` flashes and as many beeps."""
    flashes, beeps = flashes_of(path), beeps_of(path)
    if (len(flashes), len(beeps)) != (num, num):
        return np.inf
    return np.abs(np.subtract(flashes, beeps)).max()


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
    assert most_off_s(target, 3) <= IN_SYNC_S
    assert caplog.text == ""


@pytest.mark.parametrize("codec", ["aac", "mp2", "ac3"])
@pytest.mark.parametrize("start_s", [0, 2, 2.6, 5, 25.5 * 3600])
def test_joined_recordings_stay_in_sync(tmp_path, codec, start_s):
    """The sound of a second recording is where its picture is, whenever its clock starts."""
    second = Sound(codec, beats=BEATS, late_s=start_s)
    joined(tmp_path / "s.ts", Sound(codec, beats=BEATS), second, start_s)
    assert most_off_s(copied(tmp_path / "s.ts", tmp_path / "t.mp4"), 6) <= IN_SYNC_S


@pytest.mark.parametrize("first_has_it", [True, False])
def test_the_sound_of_one_recording_of_two(tmp_path, first_has_it):
    """Only one of two joined recordings has sound: it is heard there."""
    audio, silent = Sound("aac", beats=BEATS), Sound("aac", beats=BEATS, hole=(0, 9))
    joined(tmp_path / "s.ts", *((audio, silent) if first_has_it else (silent, audio)))
    target = copied(tmp_path / "s.ts", tmp_path / "t.mp4")
    seconds = BEATS if first_has_it else [3 + beat for beat in BEATS]
    assert beeps_of(target) == pytest.approx(seconds, abs=0.045)


@pytest.mark.parametrize("codec", ["aac", "mp2", "ac3", "libmp3lame"])
@pytest.mark.parametrize(("rate", "layout"), [(44100, "mono"), (48000, "stereo"), (32000, "stereo")])
def test_a_format_that_changes_on_the_way(tmp_path, codec, rate, layout):
    """Sound of another sample rate or with other channels from some place on is encoded to one format; all is heard."""
    joined(tmp_path / "s.ts", Sound(codec, beats=BEATS), Sound(codec, rate, layout, BEATS, late_s=3), 3)
    target = copied(tmp_path / "s.ts", tmp_path / "t.mp4")
    assert codec_of(target) == "aac"
    assert most_off_s(target, 6) <= IN_SYNC_S


@pytest.mark.parametrize(
    ("name", "codec"), [("s.mkv", "aac"), ("s.ts", "ac3"), ("s.mkv", "libopus"), ("s.wmv", "wmav2")]
)
def test_a_gap_moves_no_sound(tmp_path, name, codec):
    """Sound that is missing for a while is silence there; what comes behind is in sync in Chrome, too, which plays packet
    after packet: none is far from the end of the one before it."""
    beats = (0.4, 2.4)
    target = copied(recording(tmp_path / name, Sound(codec, beats=beats, hole=(0.8, 2.1))), tmp_path / "t.mp4")
    assert most_off_s(target, 2) <= IN_SYNC_S
    with av.open(str(target)) as container:
        times = [frame.time for frame in container.decode(audio=0)]
    assert max(np.diff(times)) < 0.1


@pytest.mark.parametrize(("most_s", "num"), [(3600, 141), (0.5, 112)])
def test_a_long_pause_is_not_encoded(tmp_path, monkeypatch, most_s, num):
    """The silence of a long pause is one packet again and again, up to a limit; what comes behind is in sync."""
    monkeypatch.setattr(samples, "_LONG_PAUSE_S", 0.5)
    monkeypatch.setattr(audio, "_MOST_SILENCE_S", most_s)
    beats = (0.4, 2.4)
    target = copied(recording(tmp_path / "s.mkv", Sound("ac3", beats=beats, hole=(0.8, 2.1))), tmp_path / "t.mp4")
    assert most_off_s(target, 2) <= IN_SYNC_S
    packets = packets_of(target, "audio")
    silent = [body for time_s, body in packets if 1.0 < time_s < 1.9]
    assert abs(len(packets) - num) <= 3 and (len(set(silent)) == 1 or most_s < 1)
    with av.open(str(target)) as container:
        loudness = [np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0) if 0.7 < frame.time < 2.2]
    assert max(loudness) < 1e-3


@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_sound_far_behind_the_last_picture_is_left_out(tmp_path, monkeypatch, caplog, codec):
    """A damaged time stamp made a day of silence behind half a second of video. Sound that goes on stays."""
    monkeypatch.setattr(samples, "_LONG_PAUSE_S", 0.5)
    source = recording(tmp_path / "s.mkv", Sound(codec, beats=(0.4, 2.4), hole=(0.8, 2.1)))
    whole = copied(source, tmp_path / "whole.mp4", num_frames=20)
    assert packets_of(whole, "audio")[-1][0] > 2.8 and "left out" not in caplog.text
    monkeypatch.setattr(audio, "_MOST_PAUSE_AFTER_S", 1)
    cut = copied(source, tmp_path / "cut.mp4", num_frames=20)
    assert 0.7 < packets_of(cut, "audio")[-1][0] < 0.9
    assert "s.mkv: the audio is left out from here on: it pauses for 1 s behind the last picture" in caplog.text
    monkeypatch.setattr(audio, "_MOST_PAUSE_AFTER_S", 2)
    assert packets_of(copied(source, tmp_path / "again.mp4", num_frames=20), "audio")[-1][0] > 2.8


@pytest.mark.parametrize("late_s", [100_000, -100_000, 0.5, -0.3])
@pytest.mark.parametrize(("name", "codec"), [("s.mkv", "aac"), ("s.mkv", "ac3")])
def test_sound_a_day_away_is_put_beside_its_picture(tmp_path, name, codec, late_s):
    """Sound by quite another clock begins with the picture; less than a day is believed."""
    source = recording(tmp_path / name, Sound(codec, beats=BEATS, late_s=late_s))
    target = copied(source, tmp_path / "t.mp4")
    late_s = 0 if abs(late_s) > 1 else late_s
    flashes, beeps = flashes_of(target), beeps_of(target)
    assert len(flashes) == len(beeps) == 3
    assert np.subtract(beeps, flashes) == pytest.approx(late_s, abs=0.045 if late_s else 0.1)


@pytest.mark.parametrize(
    "error", [TypeError("bad operand"), RuntimeError("?"), MemoryError(), av.error.InvalidDataError(1, "x")]
)
@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_whatever_goes_wrong_with_sound_costs_only_sound(tmp_path, monkeypatch, caplog, codec, error):
    """An exception of any kind in the middle of the sound is a warning that names the file; the picture is whole."""
    packets = SoundReader._packets

    def failing(reader):
        for number, packet in enumerate(packets(reader)):
            if number == 60:
                raise error
            yield packet

    monkeypatch.setattr(SoundReader, "_packets", failing)
    target = copied(recording(tmp_path / "s.mkv", Sound(codec, beats=BEATS)), tmp_path / "t.mp4")
    assert flashes_of(target) == pytest.approx(BEATS, abs=0.045)
    assert "s.mkv: the audio is left out" in caplog.text


def test_a_full_disk_costs_no_sound(tmp_path, monkeypatch):
    """It ends the run, and the same command goes on when there is room; the copy is not written without sound instead."""
    source = recording(tmp_path / "s.mkv", Sound("ac3", beats=BEATS))
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(audio.AudioTrack, "_write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="No space left"):
        copied(source, tmp_path / "t.mp4")
    assert not (tmp_path / "t.mp4").exists()


def test_sound_that_never_returns_costs_only_sound(tmp_path, monkeypatch, caplog):
    """The decoder that hangs is left behind, as one of pictures is; the copy has the sound until there."""
    never, decode = threading.Event(), sound._decode
    numbers = iter(range(10**6))
    monkeypatch.setattr(sound, "_decode", lambda *given: never.wait(60) if next(numbers) == 80 else decode(*given))
    source = recording(tmp_path / "s.mkv", Sound("ac3", beats=BEATS))
    target = copied(source, tmp_path / "t.mp4", lambda reader: TimeLimitedReader(reader, 0.3))
    never.set()
    assert flashes_of(target) == pytest.approx(BEATS, abs=0.045) and beeps_of(target)[0] == pytest.approx(
        0.4, abs=0.045
    )
    assert "its decoder has not returned" in caplog.text


@pytest.mark.parametrize("is_stuck", [False, True])
def test_a_stop_ends_the_sound_within_two_seconds(tmp_path, caplog, is_stuck):
    """A stop while half an hour of sound is encoded behind the last frame, or while its decoder hangs, leaves no file."""
    path = recording(tmp_path / "a.mkv", Sound("pcm_s16le"), 5)
    [source] = (probe(one) for one in find_sources([path], None))
    part, target = tmp_path / "part.mp4", tmp_path / "out.mp4"
    with VideoWriter(part, source, OutputSettings()) as writer:
        for number in range(5):
            writer.write(np.zeros((64, 96, 3), np.uint8), number / 25)
    stops_at = time.monotonic() + 1

    def is_over() -> bool:
        return time.monotonic() > stops_at

    def guard(reader: SoundReader) -> TimeLimitedReader:
        return TimeLimitedReader(LongSound(reader, is_stuck), 60, is_over)

    with pytest.raises(Interrupted):
        join(target, source, [(part, writer.first_pts)], guard=guard, is_over=is_over)
    assert time.monotonic() < stops_at + 2 and list(tmp_path.glob("*out*")) == [] and not caplog.records


class LongSound:
    """A reader of noise for half an hour in place of a video's sound; when stuck, its first chunk takes 4 s."""

    def __init__(self, reader: SoundReader, is_stuck: bool) -> None:
        self._reader, self._is_stuck = reader, is_stuck

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def __enter__(self) -> "LongSound":
        self._reader.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)

    def __iter__(self):
        time.sleep(4 if self._is_stuck else 0)
        rng = np.random.default_rng(0)
        for number in range(1800 * self._reader.rate // 1024):
            noise = rng.normal(0, 0.1, (1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, "fltp", self._reader.layout)
            frame.sample_rate, frame.pts = self._reader.rate, 1024 * number
            frame.time_base = Fraction(1, self._reader.rate)
            yield [frame]


def test_damaged_packets_are_silent(tmp_path, monkeypatch):
    """Of sound that is encoded anew, damaged packets cost only themselves; what is no number is silence."""
    decode = sound._decode

    def damaging(codec, packet):
        if packet is not None and 0.6 < packet.pts * packet.time_base < 1.2:
            packet = av.Packet(b"\xff" * packet.size)
        return decode(codec, packet)

    monkeypatch.setattr(sound, "_decode", damaging)
    target = copied(recording(tmp_path / "s.mkv", Sound("ac3", beats=BEATS)), tmp_path / "t.mp4")
    assert most_off_s(target, 3) <= IN_SYNC_S
    frame = av.AudioFrame.from_ndarray(np.full((1, 4096), np.nan, np.float32), format="fltp", layout="mono")
    frame.sample_rate = 48000
    line = Samples(48000, "mono")
    frames = [*line.placed([frame]), *line.rest()]
    assert [part.samples for part in frames] == [1024] * 4 and not any(part.to_ndarray().any() for part in frames)


def test_frames_without_time_stamps_follow_the_others():
    """A frame without a time goes where the one before it ends; one a little off is not moved, one far off is."""
    line, rng = Samples(8000, "stereo"), np.random.default_rng(0)
    waves = [rng.uniform(-0.5, 0.5, (2, 800)).astype(np.float32) for _ in range(5)]
    frames = [av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo") for wave in waves]
    for frame, pts in zip(frames, (0, None, 1601, 3200, 3600), strict=True):
        frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), pts
    parts = [*line.placed(frames), *line.rest()]
    assert [part.pts for part in parts] == [0, 1024, 2048, 3072, 4096]
    silence = np.zeros((2, 800), np.float32)
    whole = np.concatenate([*waves[:3], silence, waves[3], waves[4][:, 400:]], axis=1)
    assert np.array_equal(np.concatenate([part.to_ndarray() for part in parts], axis=1), whole)


def test_profiles_and_rates_that_browsers_play():
    """AAC but for LC and HE, MP3 of low rates (which has another number in MP4), and FLAC of high ones (which MP4's header
    cannot hold) are encoded anew."""

    def codec(name, profile=None, rate=48000):
        return SimpleNamespace(codec=SimpleNamespace(canonical_name=name), profile=profile, sample_rate=rate)

    played = [
        codec("aac", "LC"),
        codec("aac", "HE-AAC"),
        codec("aac", "HE-AACv2"),
        codec("mp3"),
        codec("opus"),
        codec("flac"),
    ]
    others = [codec("aac", profile) for profile in ("Main", "SSR", "LTP", "xHE-AAC", None)] + [
        codec("mp3", rate=22050),
        codec("flac", rate=96000),
    ]
    others += [
        codec(name)
        for name in ("ac3", "eac3", "alac", "vorbis", "mp2", "dts", "truehd", "wmav2", "aac_latm", "pcm_s16le")
    ]
    assert [plays_in_browsers(one) for one in played] == [True] * len(played)
    assert [plays_in_browsers(one) for one in others] == [False] * len(others)


def times_of(stamps: list[int], step: int = 40) -> tuple[list[int], list[Piece]]:
    """What a clock in milliseconds at 25 fps makes of time stamps, and its pieces."""
    clock = FrameClock(Fraction(stamps[0], 1000), Fraction(1, 1000), Fraction(25))
    times = [round(clock.time_s(pts, step) * 1000) for pts in stamps]
    restored = FrameClock(Fraction(stamps[0], 1000), Fraction(1, 1000), Fraction(25))
    restored.restore(*json.loads(json.dumps(clock.state())))
    assert restored.pieces == clock.pieces
    return times, list(clock.pieces)


@pytest.mark.parametrize(
    ("stamps", "times", "pieces"),
    [
        ([0, 40, 80], [0, 40, 80], [(0, 0)]),
        ([500, 540, 580], [0, 40, 80], [(500, -500)]),
        # a second recording keeps its own pauses
        ([0, 1000, 2000, 0, 40, 1500], [0, 1000, 2000, 2040, 2080, 3540], [(0, 0), (0, 2040)]),
        # one damaged stamp moves nothing that follows
        ([1000, 1040, 5, 1120], [0, 40, 80, 120], [(1000, -1000), (5, 75), (1120, -1000)]),
        ([0, 40, 10**12, 120], [0, 40, 80, 120], [(0, 0), (10**12, 80 - 10**12), (120, 0)]),
        # a first frame before the start, or long after it
        ([0, 10**12, 10**12 + 40], [0, 40, 80], [(0, 0), (10**12, 40 - 10**12)]),
    ],
)
def test_the_clock_says_how_it_moves_time_stamps(stamps, times, pieces):
    """Each piece says from which stamp on how much is added, so that sound can follow."""
    assert times_of(stamps) == (times, pieces)


def test_the_clock_has_few_pieces():
    """A file whose every stamp is damaged takes no more memory for that; times still rise."""
    rng = np.random.default_rng(0)
    times, pieces = times_of([int(pts) for pts in rng.integers(0, 10**6, 3000)])
    assert len(pieces) <= 1000 and np.all(np.diff(times) > 0)


def test_sound_at_a_joint_belongs_to_the_recording_in_which_it_goes_on():
    """Sound may be stored a little before or behind the picture where another recording begins."""
    clock = SoundClock([Piece(0, 0), Piece(0, 1000)], Fraction(1, 1000))
    times = []
    for kind, stamp in [
        *[("picture", stamp) for stamp in range(0, 1000, 100)], *[("sound", stamp) for stamp in range(0, 900, 100)],
        ("picture", 0), ("sound", 900), ("sound", 0), ("picture", 100), ("sound", 100), ("sound", 200),
    ]:  # fmt: skip
        if kind == "picture":
            packet = av.Packet(b"x")
            packet.pts = packet.dts = stamp
            clock.see_picture(packet)
        else:
            times.append(round(clock.time_s(Fraction(stamp, 1000), Fraction(1, 10)) * 1000))
    assert times == list(range(0, 1300, 100))
