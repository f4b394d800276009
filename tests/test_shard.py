"""`run_shard` as a plain function: what goes in and comes out can be pickled, and it gives the same wherever it runs."""

import multiprocessing
import pickle
from contextlib import closing
from dataclasses import replace

import makers
import numpy as np
import pytest
from killed_runs import SETTINGS, make_inputs, networks, shard_results

from maskbatch.media.sources import find_sources, make_shards
from maskbatch.run import shard as module
from maskbatch.run.shard import give_up, run_shard


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Networks that are small functions."""
    monkeypatch.setattr(module, "open_networks", networks)


def settings_for(out):
    """The settings of killed_runs, into the folder `out`."""
    return replace(SETTINGS, output=replace(SETTINGS.output, folder=out))


@pytest.fixture(scope="module")
def elsewhere():
    """A function: what `run_shard` gives in another process, which shares nothing with this one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda *arguments: pickle.loads(pool.apply(shard_results, (pickle.dumps(arguments),)))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The inputs of killed_runs.py, which nobody changes."""
    return make_inputs(tmp_path_factory.mktemp("shard") / "in")


def here(*arguments):
    """What it gives in this process, without the times that stages took."""
    return [replace(result, seconds={}) for result in run_shard(*arguments)]


def tree(out):
    """All files below a folder with their content."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["photos", "m.mp4", "t.mp4"])
def test_another_process_gives_the_same(inputs, elsewhere, tmp_path, name):
    """Photos, a video of five segments with sound, and one with a cut end: the same results, and the same bytes of media."""
    shards = make_shards(find_sources([inputs], None))
    [shard] = [one for one in shards if one.sources[0].name == name] or shards[:1]
    expected = here(shard, None, settings_for(tmp_path / "here"))
    assert elsewhere(shard, None, settings_for(tmp_path / "elsewhere")) == expected
    assert tree(tmp_path / "elsewhere") == tree(tmp_path / "here") != {}
    assert sum(len(result.ended) for result in expected) == len(shard.sources)
    assert sum(result.checkpoint is not None for result in expected) == {"m.mp4": 6, "t.mp4": 2}.get(name, 0)


def test_another_process_continues_from_a_checkpoint(inputs, elsewhere, tmp_path):
    """One process reads two segments and is gone; another one, given the checkpoint, ends with the results and the media of
    an uninterrupted reading."""
    [shard] = make_shards(find_sources([inputs / "m.mp4"], None))
    whole, settings = here(shard, None, settings_for(tmp_path / "whole")), settings_for(tmp_path / "out")
    before, cuts = [], []
    with closing(run_shard(shard, None, settings)) as results:
        for result in results:
            before.append(replace(result, seconds={}))
            cuts += [result.checkpoint] * (result.checkpoint is not None)
            if len(cuts) == 2 and result.checkpoint is None:  # in the middle of the third segment
                break
    kept = max(position for position, result in enumerate(before) if result.checkpoint) + 1
    assert before[:kept] + elsewhere(shard, cuts[-1], settings) == whole
    expected = tree(tmp_path / "whole")
    assert tree(tmp_path / "out") == expected and "annotated/m.mp4" in expected


def test_what_is_left_early_leaves_whole_files_only(inputs, tmp_path):
    """Closed after any result, nothing is half there: no temporary file, and no part of a video but those that were cut."""
    [shard] = make_shards(find_sources([inputs / "m.mp4"], None))
    for number in (1, 5, 6, 7, 12):
        out, num_cuts = tmp_path / f"{number}", 0
        with closing(run_shard(shard, None, settings_for(out))) as results:
            for _, result in zip(range(number), results, strict=False):
                num_cuts += result.checkpoint is not None
        names = [name for name in sorted(tree(out)) if not name.startswith(("crops/", "evidence/"))]
        assert names == [f".segments/{shard.sources[0].id}/{part:06d}.mp4" for part in range(num_cuts)]


def test_a_source_that_is_given_up_keeps_what_was_done(tmp_path):
    """Its segments make its copy, its frames are counted, and its reason is said; no picture of it is decoded."""
    grey = [np.full((64, 96, 3), 20 + number, np.uint8) for number in range(80)]
    makers.write_video(tmp_path / "in/v.mp4", grey)
    [shard] = make_shards(find_sources([tmp_path / "in"], None))
    settings = settings_for(tmp_path / "out")
    with closing(run_shard(shard, None, settings)) as results:
        at = next(result.checkpoint for result in results if result.checkpoint)
    result = give_up(at.source, at, "crashed the decoder (signal 11)", settings)
    [(source, ended)] = result.ended
    assert (ended.status, ended.frames_decoded, ended.frames_analysed) == ("partial", 35, 35)
    assert result.is_whole and result.copies == ((source.id, True),)
    assert len(makers.packets_of(tmp_path / "out/annotated/v.mp4", "video")) == 35
    fresh = give_up(source, None, "crashed the decoder (signal 11)", settings_for(tmp_path / "none"))
    assert fresh.ended[0][1].status == "failed" and fresh.copies == ((source.id, False),)
