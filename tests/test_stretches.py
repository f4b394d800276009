"""Annotated copies take stretches without faces from the recording: whole, at their times, and to the bit."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from browsers import browser, until
from fakes import fake_faces, written
from makers import Clip, moving, packets_of, write_cut, write_joined, write_video
from mutations import mutate

from maskbatch.analyse.gate import Gate
from maskbatch.media.decode import open_source
from maskbatch.media.loader import load
from maskbatch.media.sources import find_sources
from maskbatch.media.video.parameter_sets import OWN_ID, ParameterSets, joined_sets, read_sets
from maskbatch.media.video.probe import probe
from maskbatch.media.video.stored import StoredFrames
from maskbatch.media.write import made_with
from maskbatch.media.write.sound import unguarded
from maskbatch.settings import LoaderSettings, OutputSettings, SamplingSettings, ScanSettings
from maskbatch.sinks import copies
from maskbatch.sinks.annotated import AnnotatedSink
from maskbatch.types import Batch, Checkpoint, CopyState, Faces, Recorded, Source

pytestmark = pytest.mark.skipif(not hasattr(av.Packet, "has_sidedata"), reason="nothing is copied with this PyAV")

NUM_FRAMES = 90
# a long stretch, a short one that ends in the middle of a group, and one that lasts to the end
FACES_AT = {*range(33, 37), *range(52, 54), 71}
SAMPLING = SamplingSettings(every=4, all_frames=True, with_planes=True)
UNEVEN = [0, *(40 * number + (7 * number) % 39 for number in range(1, NUM_FRAMES))]
HD = Clip(is_bt709=True, options={"g": "10", "bf": "0"})
# name: (file, clip, fewest frames that come from the recording)
CLIPS = {
    "as cameras write it": ("x.mp4", HD, 70),
    "in Matroska": ("x.mkv", HD, 70),
    "in MOV with sound": ("x.mov", replace(HD, audio="aac"), 70),
    "with B-frames": ("x.mp4", replace(HD, options={"g": "10", "bf": "3"}), 50),
    "with B-frames and sound": ("x.mp4", replace(HD, options={"g": "10", "bf": "3"}, audio="aac"), 50),
    "with B-frames in Matroska": ("x.mkv", replace(HD, options={"g": "10", "bf": "3"}), 50),
    "with many B-frames": ("x.mp4", replace(HD, options={"g": "30", "bf": "8", "x264-params": "b-adapt=0:b-pyramid=2"}), 30),
    "in colours of SD": ("x.mp4", replace(HD, is_bt709=False), 70),
    "of the full range": ("x.mp4", replace(HD, options={"g": "10", "bf": "0", "x264-params": "fullrange=on"}), 70),
    "of uneven times": ("x.mp4", replace(HD, pts=UNEVEN, time_base=Fraction(1, 1000)), 70),
    "of uneven times, with B-frames": (
        "x.mp4", replace(HD, pts=UNEVEN, time_base=Fraction(1, 1000), options={"g": "10", "bf": "3"}), 50
    ),
    "with sets in each group": ("x.mp4", replace(HD, options={"g": "10", "bf": "0", "x264-params": "repeat-headers=1"}), 70),
    "with slices": ("x.mp4", replace(HD, options={"g": "10", "bf": "0", "x264-params": "slices=4"}), 70),
    "with one group": ("x.mp4", replace(HD, options={"g": "999", "bf": "0"}), 33),
    "with intra refresh": ("x.mp4", replace(HD, options={"bf": "0", "x264-params": "intra-refresh=1"}), 30),
}  # fmt: skip
OTHERS = {
    "open groups after the first": ("x.mp4", replace(HD, options={"g": "10", "bf": "3", "x264-params": "open-gop=1"})),
    "hevc": ("x.mp4", replace(HD, codec="libx265", options={"x265-params": "log-level=none:keyint=10"})),
    "mjpeg": ("x.mkv", Clip(codec="mjpeg")),
    "a transport stream": ("x.ts", HD),
    "turned": ("x.mp4", replace(HD, rotation=90)),
    "the encoder's own ids": ("x.mp4", replace(HD, options={"g": "10", "x264-params": f"sps-id={OWN_ID}"})),
    "interlaced": ("x.mp4", replace(HD, options={"g": "10", "flags": "+ildct+ilme"})),
}  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Let stretches begin right behind a face, so that short clips have several."""
    monkeypatch.setattr(copies, "_CALM_S", 0)


def source_of(path: Path) -> Source:
    return probe(find_sources([path], None)[0])


def batches(source: Source, at: Checkpoint, segment_s: float, sampling: SamplingSettings = SAMPLING) -> Iterator[Batch]:
    """What a scan would draw: a face in the frames of FACES_AT."""
    gate = Gate() if sampling.is_gated else None
    loading = load([source], sampling, LoaderSettings(batch_size=7),
                   lambda source, sampling: open_source(source, sampling, segment_s, at.reader, gate))  # fmt: skip
    for frames in loading:
        rows = [row for row, index in enumerate(frames.index.tolist()) if index in FACES_AT]
        drawn = fake_faces(rows, [[20, 10, 60, 50]] * len(rows), [0.9] * len(rows))
        yield Batch(frames, Faces.empty(), drawn=drawn)


def annotated(
    source: Source, out: Path, segment_s: float = math.inf, stop_at: int | None = None,
    sampling: SamplingSettings = SAMPLING, **output,
) -> Path:  # fmt: skip
    """Write the annotated copy. With `stop_at`, the scan dies after that segment, and another one goes on."""
    settings = ScanSettings(output=replace(OutputSettings(folder=out, save=frozenset({"annotated"})), **output))
    at = Checkpoint(source, made_with(), (source.name, source.name))
    for is_again in (False, True) if stop_at is not None else (True,):
        with AnnotatedSink([source], at, settings) as sink:
            for batch in batches(source, at, segment_s, sampling):
                if batch.frames.cut is not None:
                    first = batch.frames.stored[0]
                    copy = sink.cut(source, first is not None and first.is_exit)
                    at = replace(at, num_segments=at.num_segments + 1, reader=batch.frames.cut, copy=copy)
                    if not is_again and at.num_segments == stop_at:
                        break
                written(sink, batch)
            else:
                sink.cut(source)
                assert sink.join(source, (), unguarded).reason == ""
    [path] = (out / "annotated").iterdir()
    return path


def planes(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.pts * frame.time_base for frame in frames], [frame.to_ndarray() for frame in frames]


def num_same(path: Path, copy: Path) -> int:
    """Check that all frames are there at their times, faces are drawn, and count the frames that are those of the file."""
    (times, pictures), (own_times, own) = planes(path), planes(copy)
    assert len(own) == len(pictures)
    stored_s, own_s = np.array(times, float), np.array(own_times, float)
    assert np.allclose(own_s - own_s[0], stored_s - stored_s[0], atol=2e-3)
    same = {number for number, pair in enumerate(zip(pictures, own, strict=True)) if np.array_equal(*pair)}
    assert not same & FACES_AT
    for number in FACES_AT:
        box = (slice(8, 12), slice(20, 60))
        assert np.abs(own[number][box].astype(int) - pictures[number][box]).mean() > 20, number
    return len(same)


@pytest.mark.parametrize("name", CLIPS)
def test_stretches_without_faces_are_those_of_the_recording(tmp_path, name):
    """Pictures to the bit, every frame at its time, boxes in every frame with a face, and the sound."""
    file, clip, fewest = CLIPS[name]
    path = write_video(tmp_path / file, moving(NUM_FRAMES), clip)
    copy = annotated(source_of(path), tmp_path / "out")
    assert num_same(path, copy) >= fewest
    if clip.audio:
        assert planes(copy)[0] == planes(path)[0]
        assert packets_of(copy, "audio") == packets_of(path, "audio")


@pytest.mark.parametrize("name", OTHERS)
def test_other_recordings_are_encoded(tmp_path, name):
    """Where pictures of two kinds cannot stand in one file, the whole copy is encoded, and complete."""
    file, clip = OTHERS[name]
    path = write_video(tmp_path / file, moving(NUM_FRAMES), clip)
    (_, pictures), (_, own) = planes(path), planes(annotated(source_of(path), tmp_path / "out"))
    most = 10 if name.startswith("open") else 0  # the first group is closed
    assert len(own) == len(pictures)
    assert sum(one.shape == other.shape and np.array_equal(one, other) for one, other in zip(own, pictures)) <= most  # noqa: B905


def test_messages_in_packets_are_left_out(tmp_path):
    """Cameras write the place there, encoders their name: neither is in the copy."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), HD)
    copy = annotated(source_of(path), tmp_path / "out")
    assert b"x264 - core" in path.read_bytes() and num_same(path, copy) > 70
    [first, *_] = packets_of(copy, "video")
    assert b"x264 - core" not in first[1]


def test_other_encoders_encode_everything(tmp_path):
    """They cannot choose the ids of their parameter sets."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), HD)
    assert num_same(path, annotated(source_of(path), tmp_path / "out", codec="libx265")) == 0


@pytest.mark.parametrize("options", [{"g": "10", "bf": "0"}, {"g": "10", "bf": "3"}, {"g": "25", "bf": "8"}])
def test_an_interrupted_copy_is_the_same(tmp_path, options):
    """After any segment, in a stretch or beside one: the same bytes as without an interruption."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), replace(HD, options=options))
    source = source_of(path)
    whole = annotated(source, tmp_path / "whole", 1.2).read_bytes()
    assert num_same(path, tmp_path / "whole/annotated/x.mp4") > 30
    for number in (1, 2):
        assert annotated(source, tmp_path / f"{number}", 1.2, stop_at=number).read_bytes() == whole


@pytest.mark.parametrize("options", [{"g": "10", "bf": "0"}, {"g": "10", "bf": "3"}])
@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_pictures_of_still_groups_are_decoded_when_a_face_is_drawn(tmp_path, name, options):
    """Where nothing moves, only keyframes are decoded at first; the copy is the same as if all frames were."""
    frames = [*moving(20), *[moving(21)[-1]] * 60, *moving(10)]
    path = write_video(tmp_path / name, frames, replace(HD, options=options))
    source, gated = source_of(path), replace(SAMPLING, every=1, sample_fps=12.5, is_gated=True)
    at = Checkpoint(source, made_with(), (source.name, source.name))
    read = [batch.frames for batch in batches(source, at, math.inf, gated)]
    still = [
        image is planes is None for frames in read for image, planes in zip(frames.images, frames.planes, strict=True)
    ]
    assert 20 < sum(still) < 60 and any(still[number] for number in FACES_AT)
    copies = [annotated(source, tmp_path / f"{number}", sampling=one) for number, one in enumerate((SAMPLING, gated))]
    assert num_same(path, copies[1]) > 50
    assert copies[0].read_bytes() == copies[1].read_bytes()


def test_a_stretch_goes_on_in_the_next_segment(tmp_path):
    """One stretch is one part, however many segments it lasts."""
    path = write_video(tmp_path / "x.mp4", moving(33), HD)
    source = source_of(path)
    settings = ScanSettings(output=OutputSettings(folder=tmp_path / "out", save=frozenset({"annotated"})))
    at = Checkpoint(source, made_with(), (source.name, source.name))
    with AnnotatedSink([source], at, settings) as sink:
        states = []
        for batch in batches(source, at, 0.1):
            if batch.frames.cut is not None:
                states.append(sink.cut(source))
            written(sink, batch)
        states.append(sink.cut(source))
    assert [len(state.parts) for state in states] == [1, 1] and isinstance(states[-1].parts[0], Recorded)
    assert [state.parts[0].num_frames for state in states] == [32, 33]


def test_a_stretch_waits_until_it_is_calm(tmp_path, monkeypatch):
    """Half a second behind a face, a keyframe may begin one: 50 does, and 70, but neither 40 nor 60 nor 80."""
    monkeypatch.setattr(copies, "_CALM_S", 0.5)
    clip = replace(HD, options={"g": "10", "bf": "0", "x264-params": "scenecut=0"})
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), clip)
    assert num_same(path, annotated(source_of(path), tmp_path / "out")) == 33 + 2 + 1


def test_a_recording_without_faces_is_copied(tmp_path, monkeypatch):
    """No picture is encoded: packets are those of the file, without the message in the first."""
    monkeypatch.setattr("test_stretches.FACES_AT", set())
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), HD)
    copy = annotated(source_of(path), tmp_path / "out")
    assert num_same(path, copy) == NUM_FRAMES
    own, stored = packets_of(copy, "video"), packets_of(path, "video")
    assert own[1:] == stored[1:] and stored[0][1].endswith(own[0][1])


def test_a_broken_file_has_the_frames_that_could_be_read(tmp_path):
    """A file that ends early, in a stretch."""
    whole = write_video(tmp_path / "whole.mkv", moving(NUM_FRAMES), HD)
    path = write_cut(tmp_path / "x.mkv", whole, 0.45)
    copy = annotated(source_of(path), tmp_path / "out")
    (_, pictures), (_, own) = planes(path), planes(copy)
    assert 20 < len(own) <= len(pictures)
    assert all(np.array_equal(one, other) for one, other in zip(own[:20], pictures, strict=False))


def test_a_size_that_changes_ends_copying(tmp_path):
    """From there on, pictures are fitted into the first size."""
    path = write_joined(tmp_path / "x.ts", [(moving(30), HD), (moving(30, 64, 48), HD)])
    source = source_of(path)
    assert len(planes(annotated(source, tmp_path / "out"))[1]) == 60


def test_a_recording_that_changed_gives_no_copy(tmp_path, monkeypatch):
    """A file that is not there, or has other packets when the parts are joined: the reason is told."""
    monkeypatch.setattr("test_stretches.FACES_AT", set())
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), HD)
    source = source_of(path)
    settings = ScanSettings(output=OutputSettings(folder=tmp_path / "out", save=frozenset({"annotated"})))
    at = Checkpoint(source, made_with(), (source.name, source.name))
    with AnnotatedSink([source], at, settings) as sink:
        for batch in batches(source, at, math.inf):
            written(sink, batch)
        state = sink.cut(source)
    shutil.copy(write_video(tmp_path / "other.mp4", moving(20), HD), path)
    with AnnotatedSink([source], replace(at, copy=state), settings) as sink:
        assert "frames are gone" in sink.join(source, (), unguarded).reason
    path.unlink()
    with AnnotatedSink([source], replace(at, copy=state), settings) as sink:
        assert "cannot read" in sink.join(source, (), unguarded).reason
    assert not (tmp_path / "out/annotated/x.mp4").exists() and isinstance(state, CopyState)


def test_parameter_sets(tmp_path):
    """What is read is written again; records that are damaged or of another form are none."""
    with av.open(str(write_video(tmp_path / "x.mp4", moving(2), HD))) as container:
        record = container.streams.video[0].codec_context.extradata
    sets = read_sets(record)
    own = own_sets(tmp_path)
    assert sets.ids == {0} and own.ids == {OWN_ID}
    both = read_sets(joined_sets(sets, own))
    assert (both.sps, both.pps) == (sets.sps + own.sps, sets.pps + own.pps) and both.more == sets.more
    assert [read_sets(content) for content in (None, b"", b"\0\0\0\1" + record, record[:4] + b"\xfe" + record[5:])] == [
        None
    ] * 4
    for length in range(len(record) - len(sets.more)):
        assert read_sets(record[:length]) is None


def own_sets(folder: Path) -> ParameterSets:
    clip = replace(HD, options={"x264-params": f"sps-id={OWN_ID}"})
    with av.open(str(write_video(folder / "own.mp4", moving(2), clip))) as container:
        return read_sets(container.streams.video[0].codec_context.extradata)


@pytest.mark.parametrize("num_later", [0, 3])
def test_a_browser_plays_all_frames(tmp_path, num_later):
    """Across every change between the recording and the encoder, from the file itself."""
    path = write_video(tmp_path / "x.mp4", moving(NUM_FRAMES), replace(HD, options={"g": "10", "bf": str(num_later)}))
    copy = annotated(source_of(path), tmp_path / "out")
    (tmp_path / "page.html").write_text(f'<video src="{copy.as_uri()}" muted></video>')
    with browser() as opened:
        page = opened.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        page.evaluate("document.querySelector('video').play()")
        until(page, "document.querySelector('video').ended || document.querySelector('video').error !== null")
        played = page.evaluate(
            "(video => [video.error === null, video.currentTime, video.getVideoPlaybackQuality().totalVideoFrames])"
            "(document.querySelector('video'))"
        )
    assert played == [True, NUM_FRAMES / 25, NUM_FRAMES]


def told(path: Path, lost: set[int] = frozenset(), num_passes: int = 1) -> list[bool]:
    """Whether each frame is `Stored`, when the decoder loses some, and the packets come several times."""
    found = []
    with av.open(str(path)) as container:
        stored = StoredFrames(container.streams.video[0].codec_context)
        for _ in range(num_passes):
            container.seek(0)
            for packet in container.demux(video=0):
                stored.note(packet)
                for frame in packet.decode():
                    if frame.pts * frame.time_base * 25 not in lost:
                        stored.notice(frame)
                        found.append(stored.of(frame) is not None)
            container.streams.video[0].codec_context.flush_buffers()
    return found


@pytest.mark.parametrize("num_later", ["0", "3"])
def test_nothing_is_copied_across_a_lost_frame(tmp_path, num_later):
    """The rest of its group is encoded, and so is the next group when the last frame of a group is lost."""
    clip = replace(HD, options={"g": "10", "bf": num_later, "x264-params": "scenecut=0"})
    path = write_video(tmp_path / "x.mp4", moving(40), clip)
    assert all(told(path))
    assert told(path, {14}) == [True] * 14 + [False] * 5 + [False] * 10 + [True] * 10
    assert told(path, {19}) == [True] * 19 + [False] * 10 + [True] * 10


def test_time_stamps_that_come_again_are_not_copied(tmp_path):
    """A packet is found by its time stamp, so a second one with the same must be encoded."""
    path = write_video(tmp_path / "x.mp4", moving(20), HD)
    assert told(path, num_passes=2) == [True] * 20 + [False] * 20


def test_damaged_recordings_have_all_frames_that_could_be_read(tmp_path):
    """50 damaged files, read as a whole and by groups that move: no error, and no frame of the copy is missing."""
    frames, num_whole = [*moving(30), *[moving(31)[-1]] * 30, *moving(30)], 0
    gated = replace(SAMPLING, every=1, sample_fps=12.5, is_gated=True)
    clips = [write_video(tmp_path / f"whole{number}.mkv", frames, replace(HD, options={"g": "10", "bf": bf}))
             for number, bf in enumerate("03")]  # fmt: skip
    for seed in range(50):
        path = tmp_path / f"in{seed}.mkv"
        data, other = (clip.read_bytes() for clip in (clips[seed % 2], clips[1 - seed % 2]))
        path.write_bytes(mutate(data, other, np.random.default_rng(seed)))
        source = source_of(path)
        for number, sampling in enumerate((SAMPLING, gated)):
            at = Checkpoint(source, made_with(), (source.name, source.name))
            num_frames = sum(len(batch.frames) for batch in batches(source, at, math.inf, sampling))
            if num_frames:
                copy = annotated(source, tmp_path / f"{seed} {number}", sampling=sampling)
                with av.open(str(copy)) as container:
                    assert container.streams.video[0].frames == num_frames, seed
                num_whole += 1
    assert num_whole > 50
