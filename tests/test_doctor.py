"""What the doctor says of machines that are not well."""

import json
from collections import namedtuple
from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner
from makers import write_photo

from maskbatch import doctor, versions, weights
from maskbatch.cli import main
from maskbatch.errors import WeightsError
from maskbatch.media import encoders

OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def findings(monkeypatch):
    """What is found, by subject; without asking TensorFlow for devices."""
    monkeypatch.setattr(doctor, "_device", lambda: doctor.Finding("device", True, "CPU"))
    return {finding.subject: finding for finding in doctor.examine()}


def test_a_healthy_machine(tmp_path, monkeypatch):
    """Everything is ok; a cache folder that is not there yet is made."""
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "a" / "b"))
    found = findings(monkeypatch)
    assert all(finding.ok for finding in found.values()) and (tmp_path / "a" / "b").is_dir()
    assert found["H.264"].message.startswith("5 frames written with ")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """A file in the place of the cache folder is named, and what to do."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "file" / "cache"))
    cache = findings(monkeypatch)["cache folder"]
    assert not cache.ok and "cannot be written" in cache.message and "MASKBATCH_CACHE" in cache.message


def test_a_full_disk(monkeypatch):
    """Less space than an hour of video takes is a problem of the current folder; less still, of the cache."""
    usage = namedtuple("usage", "free")
    for free, is_cache_ok in ((1e9, True), (1e8, False)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: usage(free))
        found = findings(monkeypatch)
        assert not found["current folder"].ok and "--out" in found["current folder"].message
        assert found["cache folder"].ok == is_cache_ok


def test_no_encoder(monkeypatch):
    """A PyAV that cannot write H.264 is told how to be replaced, and how to scan without."""
    monkeypatch.setattr(encoders, "why_not", lambda codec: "it is unknown")
    video = findings(monkeypatch)["H.264"]
    assert not video.ok and "pip install" in video.message and "--save none" in video.message


def test_an_encoder_that_writes_what_cannot_be_read(monkeypatch):
    """The trial is decoded again: an encoder that claims to work is not believed."""
    monkeypatch.setattr(doctor, "_round_trip", lambda path, encoder: path.stat().st_size)
    assert "cannot be written and read again" in findings(monkeypatch)["H.264"].message


@pytest.mark.parametrize("name", ["find", "find_int8"])
def test_damaged_weights(monkeypatch, name):
    """A wrong checksum is a problem of that file, with what to do."""

    def damaged(_):
        raise WeightsError("mask.keras is damaged: install maskbatch again")

    monkeypatch.setattr(weights, name, damaged)
    assert not findings(monkeypatch)["weights mask"].ok


def test_missing_packages(monkeypatch):
    """A package that is not installed is named with its command, instead of a traceback."""
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no_such_package"))
    assert findings(monkeypatch)["versions"].message.endswith("pip install no_such_package")


def only(monkeypatch, *distributions):
    """Of OpenCV, these distributions are installed."""

    def version(name):
        if "opencv" in name and name not in distributions:
            raise PackageNotFoundError(name)
        return "4.12.0.88" if "opencv" in name else "1.0"

    monkeypatch.setattr(versions, "version", version)


@pytest.mark.parametrize("name", OPENCVS)
def test_any_opencv_will_do(tmp_path, monkeypatch, name):
    """The doctor names the one that is there, run.json has it, and a scan ends well with it."""
    only(monkeypatch, name)
    found = findings(monkeypatch)["versions"]
    assert found.ok and f"{name} 4.12.0.88" in found.message
    photo = write_photo(tmp_path / "a.png")
    result = CliRunner().invoke(main, ["scan", str(photo), "--out", str(tmp_path / "out"), "-q"])
    assert result.exit_code == 0, result.output
    packages = json.loads((tmp_path / "out" / "run.json").read_text())["packages"]
    assert {key: value for key, value in packages.items() if "opencv" in key} == {name: "4.12.0.88"}


def test_two_opencvs_are_one_too_many(monkeypatch):
    """They share their files, and either may be broken by the other."""
    only(monkeypatch, *OPENCVS[:2])
    found = findings(monkeypatch)["versions"]
    assert not found.ok and "pip uninstall opencv-python opencv-python-headless" in found.message


def test_an_opencv_of_no_known_distribution(monkeypatch):
    """Such as conda's, or one built by hand, is there all the same."""
    only(monkeypatch)
    found = findings(monkeypatch)["versions"]
    assert found.ok and "cv2 unknown" in found.message
