"""The cache of a dataset's cut faces, and when it is not used."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from trainer_makers import detect_middle, detect_nothing, scenes, write_picture

from maskbatch.settings import DetectorSettings
from maskbatch.trainer.data import cut_cache
from maskbatch.trainer.data.cut_cache import CutCache
from maskbatch.trainer.data.dataset import read_datasets
from maskbatch.trainer.data.reading import fingerprint
from maskbatch.trainer.data.samples import load_samples
from maskbatch.trainer.evaluate import measure


@pytest.fixture
def pictures(tmp_path):
    """Return three scenes of one face each."""
    return read_datasets([scenes(tmp_path / "scenes")])


@pytest.fixture
def looks(tmp_path):
    """Return a function that loads samples with a cache, and counts the pictures read since the last call."""
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
    """Source, group and split are those of the given pictures, whose pixels are not read again."""
    looks(pictures)
    moved = [replace(p, source="new", group=f"g{i}", split="val") for i, p in enumerate(pictures)]
    samples, count = looks(moved)
    assert count == 0
    assert (
        set(samples.source) == {"new"}
        and set(samples.split) == {"val"}
        and samples.group.tolist() == ["g0", "g1", "g2"]
    )


def test_another_detector_looks_again(pictures, looks):
    """A cache of another detector is not used."""
    assert looks(pictures)[1] == 3
    assert looks(pictures, "other weights")[1] == 3
    assert looks(pictures)[1] == 0


def test_the_name_of_the_detector_holds_its_weights_and_settings(tmp_path, monkeypatch):
    """Other weights, settings or runtime versions give another name."""
    names = {measure.face_cache(tmp_path).detector}
    for name, value in (
        ("weights", SimpleNamespace(sha256=lambda path: "0" * 64)),
        ("DetectorSettings", lambda: DetectorSettings(threshold=0.4)),
        ("versions", lambda: {"openvino": "other", "tensorflow": "other"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"maskbatch.trainer.evaluate.measure.{name}", value)
            names.add(measure.face_cache(tmp_path).detector)
    assert len(names) == 4


def test_changed_pictures_and_annotations_are_looked_at_again(pictures, looks):
    """Other pixels in a file of the same size and time, another label, another box or fewer pictures are cut again."""
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
    """A file that is cut short, belongs to other pictures or comes from an earlier version is written again."""
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
        assert count == 3 and again.region == first.region and "written again" in caplog.text
        caplog.clear()
        assert looks(pictures)[1] == 0


def test_faces_that_cannot_be_kept_are_used_all_the_same(pictures, tmp_path, monkeypatch, caplog):
    """A full disk does not stop the run; the next run cuts the faces again."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cut_cache.np, "savez", full)
    with caplog.at_level(logging.WARNING):
        samples = load_samples(pictures, detect_nothing, CutCache(tmp_path / "cache", "nothing"))
    assert len(samples) == 3 and "No space left" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_fingerprint_of_a_dataset_is_of_all_that_a_training_depends_on(pictures):
    """Contents, sources, groups and splits count; the dataset's folder does not."""
    one = fingerprint(pictures)
    assert fingerprint([replace(p, group=f"elsewhere/{i}") for i, p in enumerate(pictures)]) == one
    for change in ({"source": "x"}, {"split": "val"}, {"group": pictures[1].group}):
        assert fingerprint([replace(pictures[0], **change), *pictures[1:]]) != one
    write_picture(pictures[0].path, 51)
    assert fingerprint(pictures) != one
