"""Compiled networks in the cache: the same numbers, whatever state the cache is in."""

import os
import time

import numpy as np
import pytest

from maskbatch import compiled as module
from maskbatch.cache import make_room
from maskbatch.compiled import compiled

OPTIONS = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
IMAGES = np.random.default_rng(0).integers(0, 255, (1, 6, 4, 3), np.uint8)


def network():
    """(?, ?, ?, 3) uint8 -> (?, ?, ?, 5) float32."""
    from openvino import Model, opset13

    images = opset13.parameter([-1, -1, -1, 3], np.uint8)
    weights = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    return Model([opset13.tanh(opset13.matmul(opset13.convert(images, "f32"), weights, False, False))], [images])


def numbers(model) -> np.ndarray:
    return next(iter(model.create_infer_request().infer([IMAGES]).values())).copy()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path))
    return tmp_path / "openvino"


def test_a_kept_network_is_not_compiled_again(cache):
    """The second time no model is needed, and the numbers are the same bits."""
    first = numbers(compiled(network(), (6, 4, 3), OPTIONS, "a"))
    assert first.shape == (1, 6, 4, 5)
    assert np.array_equal(numbers(compiled(None, (6, 4, 3), OPTIONS, "a")), first)


def test_another_model_shape_or_option_is_another_network(cache):
    """What was kept for one is never taken for another."""
    compiled(network(), (6, 4, 3), OPTIONS, "a")
    for shape, options, identity in [((4, 6, 3), OPTIONS, "a"), ((6, 4, 3), {}, "a"), ((6, 4, 3), OPTIONS, "b")]:
        with pytest.raises(AttributeError):  # there is no model to compile
            compiled(None, shape, options, identity)


@pytest.mark.parametrize("damage", ["one bit", "cut", "empty", "not OpenVINO's"])
def test_a_damaged_one_is_made_again(cache, damage):
    """A changed weight would be a wrong number without a word."""
    expected = numbers(compiled(network(), (6, 4, 3), OPTIONS, "a"))
    [file] = cache.iterdir()
    whole = file.read_bytes()
    if damage == "one bit":
        file.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    elif damage == "not OpenVINO's":
        module._keep(b"text", file)
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    assert np.array_equal(numbers(compiled(network(), (6, 4, 3), OPTIONS, "a")), expected)
    assert np.array_equal(numbers(compiled(None, (6, 4, 3), OPTIONS, "a")), expected)
    assert [*cache.iterdir()] == [file]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    """The network runs all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "file"))
    assert numbers(compiled(network(), (6, 4, 3), OPTIONS, "a")).shape == (1, 6, 4, 5)


def test_the_longest_unused_give_way(cache, monkeypatch):
    """The cache keeps its limit in bytes; a network that is read again counts as used, the one just made stays."""
    compiled(network(), (6, 4, 3), OPTIONS, "a")
    [first] = cache.iterdir()
    monkeypatch.setattr("maskbatch.cache._MOST_BYTES", int(3.5 * first.stat().st_size))
    for identity in "bc":
        compiled(network(), (6, 4, 3), OPTIONS, identity)
    unused_for_a_day(cache)
    compiled(None, (6, 4, 3), OPTIONS, "a")
    for identity in "de":
        compiled(network(), (6, 4, 3), OPTIONS, identity)
    assert len([*cache.iterdir()]) == 3
    for identity in "ade":
        compiled(None, (6, 4, 3), OPTIONS, identity)
    monkeypatch.setattr("maskbatch.cache._MOST_BYTES", 1)
    compiled(network(), (6, 4, 3), OPTIONS, "f")
    assert len([*cache.iterdir()]) == 1
    compiled(None, (6, 4, 3), OPTIONS, "f")


def test_converted_networks_count_too_and_what_killed_runs_left_goes(cache, monkeypatch):
    """Folders and files give way by their last use alone; what another process may be writing stays for an hour."""

    def folder(name, num_bytes, *files):
        (cache / name).mkdir(parents=True)
        for file in ("model.bin", *files):
            (cache / name / file).write_bytes(b"x" * num_bytes)

    folder("old", 900, "whole")
    folder("killed", 10)
    (cache / "killed.part").write_bytes(b"half")
    unused_for_a_day(cache)
    folder("in_the_making", 5000)
    folder("new", 200, "whole")
    monkeypatch.setattr("maskbatch.cache._MOST_BYTES", 1000)
    (cache / "just_made.compiled").write_bytes(b"x" * 500)
    make_room(cache / "just_made.compiled")
    assert sorted(entry.name for entry in cache.iterdir()) == ["in_the_making", "just_made.compiled", "new"]


def unused_for_a_day(cache):
    for entry in cache.iterdir():
        os.utime(entry, (time.time() - 86400,) * 2)
