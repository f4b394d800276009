"""Copies of videos say when and with which camera they were recorded, and not where; or nothing, when told so."""

from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from fakes import fake_frames
from makers import numbered, write_video

from maskbatch.media.names import written_names
from maskbatch.media.video.probe import probe
from maskbatch.media.video.recorded import recorded
from maskbatch.media.write.join import join
from maskbatch.media.write.sound import unguarded
from maskbatch.media.write.video import VideoWriter, made_with
from maskbatch.settings import OutputSettings, ScanSettings
from maskbatch.sinks import open_sinks
from maskbatch.types import Batch, Checkpoint, Faces, Source

_WHEN = "2021-05-06T07:08:09.000000Z"


def _tagged(path: Path, tags: dict[str, str]) -> Path:
    """A video with the tags; in an MP4 and a MOV under their own names."""
    plain = write_video(path.with_name(f"plain{path.suffix}"), numbered(3))
    options = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(plain)) as source, av.open(str(path), "w", options=options) as container:
        container.metadata.update(tags)
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux_one(packet)
    return path


def _copied(path: Path) -> dict[str, str]:
    """The tags of the annotated copy of a video."""
    source = probe(Source(0, path, path.name, "video"))
    part, target = path.with_name("part.mp4"), path.with_name("copy.mp4")
    with VideoWriter(part, source, OutputSettings()) as writer:
        for number, image in enumerate(numbered(3)):
            writer.write(image, number / 25)
    join(target, source, [(part, writer.first_pts)])
    with av.open(str(target)) as container:
        assert container.streams.video[0].frames == 3
        return dict(container.metadata)


_PHONES = {
    "com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "iPhone 12",
    "com.apple.quicktime.creationdate": "2021-05-06T09:08:09+0200",
}  # fmt: skip
_WHERE = {"location": "+48.1-011.5/", "com.apple.quicktime.location.ISO6709": "+48.1-011.5/", "title": "Holidays"}


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv"])
def test_time_and_camera_are_kept(tmp_path, name):
    """The recording time and the camera come over from each container; the location and the title do not."""
    tags = _copied(_tagged(tmp_path / name, {"creation_time": _WHEN, **_PHONES, **_WHERE}))
    assert tags["creation_time"] == _WHEN
    assert _PHONES.items() <= tags.items()
    assert not [value for value in tags.values() if "48.1" in value or "Holidays" in value]


def test_a_camera_by_its_plain_name(tmp_path):
    """What a camera calls make and model has QuickTime's names in the copy, by which other programs find it."""
    tags = _copied(_tagged(tmp_path / "x.mkv", {"MAKE": "Canon", "model": "EOS R6", "DATE": "2021-05-06 07:08:09"}))
    assert tags["com.apple.quicktime.make"] == "Canon" and tags["com.apple.quicktime.model"] == "EOS R6"
    assert tags["date"] == "2021-05-06 07:08:09"


@pytest.mark.parametrize("value", ["yesterday", "0000-00-00", "1904-01-01T00:00:00Z", "x" * 9999, "a\nb", ""])
def test_nonsense_is_left_out(value):
    """A time or a camera that cannot be one costs nothing but itself."""
    stream = SimpleNamespace(metadata={"model": "Pixel 5"})
    for tags in ({"creation_time": value}, {"com.apple.quicktime.make": value[:1] + "\0" + value}):
        container = SimpleNamespace(metadata=tags)
        assert recorded(container, stream) == (("com.apple.quicktime.model", "Pixel 5"),)


@pytest.mark.parametrize("is_kept", [True, False])
def test_they_are_kept_unless_told_otherwise(tmp_path, is_kept):
    """With `keep_metadata` off, the copy says nothing of the recording."""
    path = _tagged(tmp_path / "x.mp4", {"creation_time": _WHEN, **_PHONES})
    source = probe(Source(0, path, path.name, "video"))
    settings = ScanSettings(output=OutputSettings(keep_metadata=is_kept, folder=tmp_path / "out"))
    frames = fake_frames([0, 0], [0, 1], [0.0, 0.04])
    with open_sinks([source], Checkpoint(source, made_with(), written_names(source)), settings) as sinks:
        sinks.write(Batch(frames, Faces.empty()), []).settle()
        sinks.cut(source)
        assert sinks.join(source, (), unguarded)
    with av.open(str(tmp_path / "out/annotated/x.mp4")) as container:
        names = set(container.metadata)
    assert ({"creation_time", *_PHONES} <= names) == is_kept
    assert is_kept or not {"creation_time", *_PHONES} & names
