"""What is kept of a dataset's faces between runs, and when it is not used."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from trainer_makers import detect_middle, detect_nothing, scenes, write_picture

from maskbatch.config import DetectorSettings
from maskbatch.trainer import cut_cache, measure
from maskbatch.trainer.cut_cache import CutCache
from maskbatch.trainer.dataset import read_datasets
from maskbatch.trainer.reading import fingerprint
from maskbatch.trainer.samples import load_samples


@pytest.fixture
def pictures(tmp_path):
    """Three scenes of one face each, one of them of neither class."""
    return read_datasets([scenes(tmp_path / "scenes")])


@pytest.fixture
def looks(tmp_path):
    """A function that loads samples with a cache, and says how often pictures were looked at since the last call."""
    seen = []

    def load(pictures, detector="middle"):
        def detect(images):
            seen.append(len(images))
            return detect_middle(images)

        samples = load_samples(pictures, detect, CutCache(tmp_path / "cache", detector))
        count = sum(seen)
        seen.clear()
        return samples, count

    return load


def test_another_source_group_or_split_is_not_taken_from_the_cache(pictures, looks):
    """They are those of the pictures given now, without another look at the pixels."""
    looks(pictures)
    moved = [replace(p, source="new", group=f"g{i}", split="val") for i, p in enumerate(pictures)]
    samples, count = looks(moved)
    assert count == 0
    assert set(samples.source) == {"new"} and set(samples.split) == {"val"} and samples.group.tolist() == ["g0", "g1"]


def test_another_detector_looks_again(pictures, looks):
    """The words that name the detector decide."""
    assert looks(pictures)[1] == 3
    assert looks(pictures, "other weights")[1] == 3
    assert looks(pictures)[1] == 0


def test_the_name_of_the_detector_holds_its_weights_and_settings(tmp_path, monkeypatch):
    """Other weights, other settings, another precision or runtime version: another name."""
    names = {measure.face_cache(tmp_path).detector}
    for name, value in (
        ("weights", SimpleNamespace(sha256=lambda path: "0" * 64)),
        ("DetectorSettings", lambda: DetectorSettings(threshold=0.4)),
        ("runtime.choose_precision", lambda *_: "fp32"),
        ("versions", lambda: {"openvino": "other", "tensorflow": "other"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"maskbatch.trainer.measure.{name}", value)
            names.add(measure.face_cache(tmp_path).detector)
    assert len(names) == 5


def test_changed_pictures_and_annotations_are_looked_at_again(pictures, looks):
    """Other pixels in a file of the same size and time, another label, another box, fewer pictures."""
    looks(pictures)
    path, image = pictures[0].path, pictures[0].path.read_bytes()
    write_picture(path, 51)
    assert looks(pictures)[1] == 3 and len(path.read_bytes()) == len(image)
    path.write_bytes(image)
    assert looks(pictures)[1] == 0
    assert looks([replace(pictures[0], label=np.array([0])), *pictures[1:]])[1] == 3
    assert looks([replace(pictures[0], xyxy=pictures[0].xyxy + 1), *pictures[1:]])[1] == 3
    assert looks(pictures[:2])[1] == 2


def test_what_is_damaged_or_of_something_else_is_made_anew(pictures, looks, tmp_path, caplog):
    """A file cut short, one that holds something else than its name says, and those of earlier versions."""
    first, _ = looks(pictures)
    (kept,) = (tmp_path / "cache").iterdir()
    (tmp_path / "cache" / "samples-2-0123456789abcdef.npz").write_bytes(b"old")
    whole = kept.read_bytes()
    looks(pictures, "other")
    (other,) = (path for path in (tmp_path / "cache").glob("faces-*") if path != kept)
    for content in (whole[:-50], b"", b"no archive", other.read_bytes()):
        kept.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            again, count = looks(pictures)
        assert count == 3 and again.region == first.region and "made anew" in caplog.text
        caplog.clear()
        assert looks(pictures)[1] == 0


def test_faces_that_cannot_be_kept_are_used_all_the_same(pictures, tmp_path, monkeypatch, caplog):
    """A full disk costs the next run its time, and this one nothing."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cut_cache.np, "savez", full)
    with caplog.at_level(logging.WARNING):
        samples = load_samples(pictures, detect_nothing, CutCache(tmp_path / "cache", "nothing"))
    assert len(samples) == 2 and "No space left" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_fingerprint_of_a_dataset_is_of_all_that_a_training_depends_on(pictures):
    """Contents, sources, groups and splits count; where the dataset lies does not."""
    one = fingerprint(pictures)
    assert fingerprint([replace(p, group=f"elsewhere/{i}") for i, p in enumerate(pictures)]) == one
    for change in ({"source": "x"}, {"split": "val"}, {"group": pictures[1].group}):
        assert fingerprint([replace(pictures[0], **change), *pictures[1:]]) != one
    write_picture(pictures[0].path, 51)
    assert fingerprint(pictures) != one
