"""What the doctor says of machines that are not well."""

from collections import namedtuple

import pytest

from maskbatch.errors import WeightsError
from maskbatch.media.write import encoders
from maskbatch.networks import weights
from maskbatch.run import doctor


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
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package"))
    assert findings(monkeypatch)["versions"].message.endswith("pip install no-such-package")
