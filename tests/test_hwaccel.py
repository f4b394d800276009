"""Hardware decoding is asked for by name; without the hardware, videos are decoded all the same, and it is said once."""

import logging

import av
import pytest
from click.testing import CliRunner
from makers import moving, write_video

from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.media.video import hwaccel
from maskbatch.media.video import reader as videos
from maskbatch.media.video.reader import VideoReader
from maskbatch.media.video.segments import crc_of
from maskbatch.settings import SamplingSettings
from maskbatch.types import Source

pytestmark = pytest.mark.skipif(int(av.__version__.split(".")[0]) < 18, reason="needs PyAV 18")


@pytest.fixture(autouse=True)
def fresh():
    """No test knows what another one tried."""
    hwaccel.open_hwaccel.cache_clear()
    hwaccel.note_software.cache_clear()


def _read(path, name):
    with VideoReader(Source(0, path, path.name, "video"), SamplingSettings(hwaccel=name)) as reader:
        return [(frame.index, frame.timestamp_s, crc_of(frame.image)) for frame in reader]


def _warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_an_unknown_device_is_a_usage_error(tmp_path, monkeypatch):
    """A name that this FFmpeg does not know stops at once, with those it knows; so does a PyAV that loses a frame's turn."""
    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["cuda", "qsv"])
    path = write_video(tmp_path / "x.mp4", moving(3))
    told = CliRunner().invoke(main, ["video", str(path), "--hwaccel", "warp", "--out", str(tmp_path / "out")])
    assert told.exit_code == 2 and "none, auto, cuda or qsv here, not 'warp'" in " ".join(told.stderr.split())
    assert not (tmp_path / "out").exists()
    assert [hwaccel.check_hwaccel(name) for name in ("none", "auto", "cuda")] == ["none", "auto", "cuda"]
    monkeypatch.setattr(av, "__version__", "17.9.1")
    assert hwaccel.check_hwaccel("none") == "none"
    with pytest.raises(UsageError, match="needs PyAV 18"):
        hwaccel.check_hwaccel("cuda")


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_without_the_device_software_decodes(tmp_path, caplog, monkeypatch, name):
    """A device that cannot be opened: the same frames, and one warning for all videos."""

    class Absent:
        def __init__(self, *_):
            pass

        def create(self, codec):
            raise av.error.ExternalError(-542398533, "no such device")

    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["cuda"])
    monkeypatch.setattr(hwaccel, "HWAccel", Absent)
    path = write_video(tmp_path / "x.mp4", moving(5))
    expected = _read(path, "none")
    assert _read(path, name) == _read(path, name) == expected and len(expected) == 5
    [warning] = _warnings(caplog)
    assert warning.startswith(f"--hwaccel {name}: videos are decoded in software (cuda: ")


def test_auto_takes_the_first_that_works(monkeypatch):
    """Devices are tried in FFmpeg's order, once; only the one that opens is used."""
    tried = []

    class Second:
        def __init__(self, kind, allow_software_fallback=True):
            self.kind, self.may_fall_back = kind, allow_software_fallback

        def create(self, codec):
            tried.append(self.kind)
            if self.kind != "vaapi":
                raise NotImplementedError

    monkeypatch.setattr(hwaccel, "hwdevices_available", lambda: ["cuda", "vaapi"])
    monkeypatch.setattr(hwaccel, "HWAccel", Second)
    assert hwaccel.open_hwaccel("auto") is hwaccel.open_hwaccel("auto")
    assert hwaccel.open_hwaccel("auto").kind == "vaapi" and hwaccel.open_hwaccel("auto").may_fall_back
    assert tried == ["cuda", "vaapi"]


def test_a_codec_that_the_device_lacks_is_decoded_in_software(tmp_path, caplog, monkeypatch):
    """PyAV opens such a video without the device: the same frames, and one warning for all videos of the codec."""

    class Opened:
        def __init__(self, *_, **__):
            pass

        def create(self, codec):
            pass

    opened_with, in_software = [], videos.open_container

    def noting(path, stall_s, device):
        opened_with.append(device)
        return in_software(path, stall_s)

    monkeypatch.setattr(hwaccel, "HWAccel", Opened)
    monkeypatch.setattr(videos, "open_container", noting)
    path = write_video(tmp_path / "x.mp4", moving(5))
    expected = _read(path, "none")
    assert _read(path, "cuda") == _read(path, "cuda") == expected and len(expected) == 5
    assert [device is not None for device in opened_with] == [False, True, True]
    [warning] = _warnings(caplog)
    assert "videos in h264 are decoded in software" in warning
