"""Shards on many machines, and their merge: the same tables and media as one scan over all inputs."""

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from killed_runs import contents, in_fork, killing_at, networks
from stores import File, sources_for

from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.media.shares import Share, deal, read_share
from maskbatch.reports import manifest
from maskbatch.run import engine, shard
from maskbatch.run.bring import MEDIA
from maskbatch.run.merge import run_merge
from maskbatch.run.merge_plan import MergeJob
from maskbatch.run.progress import Listener
from maskbatch.store.database import open_store
from maskbatch.store.lock import locked
from maskbatch.store.merge import tables_of_sources

SHARES = ("1/3", "2/3", "3/3")
NAMES = ("a1.png", "a2.jpg", "A2.jpg", "b\u200e.png", "c=1.png", "sub/d.png", "sub/e10.png", "sub/e2.png", "f.gif")


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Networks that are small functions."""
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", networks)


def run(*arguments):
    """`maskbatch ARGUMENTS`, in this process; its exit code is one of those of a scan that ended."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def scan(inputs, out, *more):
    """One scan, with media of all kinds."""
    result = run("scan", inputs, "--out", out, "--save", "annotated,crops,evidence", *more)
    assert result.exit_code in (0, 3), result.output


def make_inputs(folder):
    """Photos of which some have names that need care, two videos, and a file that is none."""
    for name in NAMES:
        makers.write_photo(folder / name, np.full((64, 96, 3), 20 + 9 * len(name) % 200, np.uint8))
    (folder / "broken.jpg").write_bytes(b"not a photo")
    grey = [np.full((64, 96, 3), 20 + (7 * number) % 200, np.uint8) for number in range(40)]
    makers.write_video(folder / "sub/m.mp4", grey, makers.Clip(audio="aac"))
    makers.write_video(folder / "n.avi", grey[5:30], makers.Clip(codec="mpeg4"))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Inputs in `in`, one scan of them in `whole`, and their three shards in `1`, `2` and `3`. Nobody changes them."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        for module in (engine, shard):
            patch.setattr(module, "open_networks", networks)
        inputs = make_inputs(folder / "in")
        scan(inputs, folder / "whole")
        for share in SHARES:
            scan(inputs, folder / share[0], "--shard", share)
    return folder


@pytest.fixture
def shards(made, tmp_path):
    """Copies of the three shards."""
    for number in "123":
        shutil.copytree(made / number, tmp_path / number)
    return [tmp_path / number for number in "123"]


def run_json(out):
    """The present run.json."""
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


# shares


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "3/0", "-1/3", "1/3/5", "1,3", "a/b", "1/20000", "\u0661/\u0663"]
)
def test_a_share_that_does_not_exist_is_a_usage_error(text, tmp_path):
    """Before anything is looked at."""
    with pytest.raises(UsageError, match="--shard takes"):
        read_share(text)
    result = run("scan", tmp_path, f"--shard={text}")
    assert result.exit_code == 2 and "--shard takes" in result.output


def test_each_source_is_in_one_share_and_stays_there():
    """Of 500 sources each is in exactly one of 7 shares, no share is empty, and files that come leave all others."""
    sources = sources_for([File(f"{number}.png") for number in range(500)])
    shares = [Share(number, 7) for number in range(1, 8)]
    dealt = [deal(sources, share)[0] for share in shares]
    assert sorted(source.name for own in dealt for source in own) == sorted(source.name for source in sources)
    assert all(40 < len(own) < 110 for own in dealt)
    more = sources_for(
        [File(f"new{number}.png") for number in range(50)] + [File(f"{number}.png") for number in range(500)]
    )
    for share, own in zip(shares, dealt, strict=True):
        now = {source.name for source in deal(more, share)[0]}
        assert {source.name for source in own} == {name for name in now if not name.startswith("new")}


def test_a_share_is_dealt_by_name_alone():
    """Names, and no machine or Python, decide: the shares of three names are written down here."""
    names = ["a.jpg", "video/night.mp4", "caf\u00e9/\u65e5.png"]
    assert [[number for number in range(1, 11) if Share(number, 10).has(name)] for name in names] == [[7], [2], [9]]


def test_an_empty_share_is_a_finished_scan(tmp_path):
    """More machines than files: a shard without files ends with empty tables, and the merge takes it."""
    makers.write_photo(tmp_path / "in/a.png")
    for number in (1, 2):
        scan(tmp_path / "in", tmp_path / str(number), "--shard", f"{number}/2")
    assert sorted(run_json(tmp_path / str(number))["files"] for number in (1, 2)) == [0, 1]
    assert run("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "out").exit_code == 0
    assert run_json(tmp_path / "out")["summary"]["files"] == 1


def test_a_share_has_a_folder_of_its_own_by_default(tmp_path, monkeypatch):
    """Two shards on one machine do not meet: their folders have their numbers."""
    makers.write_photo(tmp_path / "in/a.png")
    monkeypatch.chdir(tmp_path)
    for share in ("1/2", "2/2", "2/2"):
        assert run("scan", "in", "--shard", share, "--save", "none").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "in_maskbatch_1of2", "in_maskbatch_2of2"]


def test_a_shard_in_the_folder_of_another_is_refused(made, shards):
    """The same --out for two shards would push the files of the first out of the reports."""
    result = run("scan", made / "in", "--out", shards[0], "--shard", "2/3", "--save", "annotated,crops,evidence")
    assert result.exit_code == 2 and "holds a scan of other files" in result.output


def test_a_shard_resumes(made, shards):
    """The same command once more analyses nothing, also of files whose names have characters that nobody sees."""
    for folder, number in zip(shards, "123", strict=True):
        before = contents(folder)
        scan(made / "in", folder, "--shard", f"{number}/3")
        assert contents(folder) == before and run_json(folder)["sessions"][-1]["frames"] == 0


# merge


@pytest.mark.parametrize("media", MEDIA)
def test_a_merge_is_one_scan(made, shards, media):
    """Tables and media are those of one scan, byte for byte, in whatever order the folders come; the shards keep their
    media unless they are moved."""
    assert min(len(contents(folder)) for folder in shards) > 9
    before = {folder: contents(folder) for folder in shards}
    out = shards[0].parent / "out"
    result = run("merge", *shards[::-1], "--out", out, "--media", media)
    assert result.exit_code == 3, result.output  # one file is broken
    assert contents(out) == contents(made / "whole")
    names = [{path.name for path in folder.iterdir()} for folder in (out, made / "whole")]
    assert names[0] == names[1]
    after = {folder: contents(folder) for folder in shards}
    if media == "move":
        assert all("/" not in name for found in after.values() for name in found)
    else:
        assert after == before
    links = {path.stat().st_nlink for path in (out / "annotated").rglob("*.png")}
    assert links == ({2} if media == "link" else {1})


def test_a_merged_folder_is_an_ordinary_one(made, shards):
    """A scan of all inputs into it analyses nothing and changes no byte; a report at another threshold equals that of one
    scan."""
    out = shards[0].parent / "out"
    run("merge", *shards, "--out", out)
    scan(made / "in", out)
    assert contents(out) == contents(made / "whole") and run_json(out)["sessions"][-1]["frames"] == 0
    whole = out.with_name("whole")
    shutil.copytree(made / "whole", whole)
    for folder in (out, whole):
        assert run("report", folder, "--threshold", "0.3").exit_code == 3
    assert contents(out) == contents(whole) != contents(made / "whole")


def test_run_json_tells_where_a_merge_comes_from(made, shards):
    """The sessions of all shards, then that of the merge, with its folders; finished, and the inputs and the number of files
    are those of the whole."""
    out = shards[0].parent / "out"
    run("merge", *shards, "--out", out)
    values = run_json(out)
    assert [one["shard"]["number"] for one in values["merged"]["folders"]] == [1, 2, 3]
    assert [one["files"] for one in values["merged"]["folders"]] == [run_json(folder)["files"] for folder in shards]
    assert len(values["sessions"]) == 4 and values["sessions"][-1]["how"] == "finished" and values["finished"]
    assert (values["inputs"], values["files"]) == (
        [str(made / "in")],
        run_json(made / "whole")["files"],
    ) and "shard" not in values
    assert values["settings"] == run_json(made / "whole")["settings"]


def test_folders_without_shards_follow_each_other(tmp_path):
    """Two lists of files below one folder: the merge is the scan of both lists in this order."""
    inputs = make_inputs(tmp_path / "in")
    lists = [["sub/e10.png", "a1.png"], ["sub/m.mp4", "c=1.png", "sub/d.png"]]
    for number, names in enumerate(lists):
        scan(inputs / names[0], tmp_path / f"out{number}", *[inputs / name for name in names[1:]])
    paths = [inputs / name for names in lists for name in names]
    scan(paths[0], tmp_path / "whole", *paths[1:])
    assert run("merge", tmp_path / "out0", tmp_path / "out1", "--out", tmp_path / "out").exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_every_table_of_the_store_is_merged(tmp_path):
    """A table that somebody adds has rows of sources, which the merge takes, or somebody must say here why not."""
    with open_store(tmp_path) as store, store.transaction() as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables - set(tables_of_sources(connection)) == {
            "session",
            "source",
            "segment",
            "sample",
            "sample_item",
            "purge",
        }


# what does not belong together


def refused(folders, *more):
    """The words with which a merge is refused; nothing is written."""
    out = folders[0].parent / "out"
    result = run("merge", *folders, "--out", out, *more)
    assert result.exit_code in (1, 2) and not out.exists(), result.output
    return " ".join(result.output.split())


def test_other_settings_models_and_versions_are_refused(made, shards):
    """What differs is named, with both values; versions of libraries may be allowed to differ, and nothing else."""
    for more, words in (
        (["--det-threshold", "0.5"], "detector.threshold: 0.7 in 1, 0.5 in 2"),
        (["--threshold", "0.4"], "classifier.threshold: 0.5 in 1, 0.4 in 2"),
        (["--min-bare", "2"], "report.min_bare_s: 1.0 in 1, 2.0 in 2"),
    ):
        scan(made / "in", shards[1], "--shard", "2/3", "--if-exists", "overwrite", *more)
        assert words in refused(shards, "--any-versions")
    scan(made / "in", shards[1], "--shard", "2/3", "--if-exists", "overwrite")
    with closing(sqlite3.connect(shards[1] / "scan.db")) as connection, connection:
        connection.execute("UPDATE session SET facts = json_set(facts, '$.packages.av', '9.9')")
    text = refused(shards)
    assert "packages.av" in text and "9.9 in 2" in text and "--any-versions" in text
    assert run("merge", *shards, "--out", shards[0].parent / "out", "--any-versions").exit_code == 3


def test_a_missing_shard_is_named(shards):
    """Two of three are no whole scan; --incomplete merges them, says so, and run.json has no end."""
    assert "no folder has shard 2/3" in refused([shards[0], shards[2]])
    out = shards[0].parent / "out"
    result = run("merge", shards[0], shards[2], "--out", out, "--incomplete")
    assert result.exit_code == 3 and "no folder has shard 2/3" in result.output
    assert run_json(out)["finished"] is None and "2/3" in run_json(out)["sessions"][-1]["how"]
    assert run("report", out).exit_code == 3


def test_an_unfinished_shard_waits_and_is_merged_later(made, shards):
    """Its sources that are done count with --incomplete; when it has ended, the same merge renews the folder."""
    with closing(sqlite3.connect(shards[1] / "scan.db")) as connection, connection:
        [(name,)] = connection.execute(
            "SELECT name FROM source WHERE kind = 'image' AND error IS NULL LIMIT 1"
        ).fetchall()
        connection.execute("UPDATE session SET how = 'interrupted'")
        connection.execute("UPDATE source SET state = 'pending' WHERE name = ?", [name])
    assert "2 has not finished" in refused(shards)
    out = shards[0].parent / "out"
    assert run("merge", *shards, "--out", out, "--incomplete").exit_code == 3
    assert (
        name not in (out / "files.csv").read_text(encoding="utf-8")
        and run_json(out)["summary"]["files"] == run_json(made / "whole")["files"] - 1
    )
    scan(made / "in", shards[1], "--shard", "2/3", "--if-exists", "overwrite")
    assert run("merge", *shards, "--out", out).exit_code == 3
    assert contents(out) == contents(made / "whole") and run_json(out)["finished"]


def test_a_source_twice_and_shards_of_two_scans_are_refused(made, shards):
    """A copy of a shard, the same folder, a whole scan beside a shard, and shards of another number."""
    assert "the source" in refused([*shards, made / "1"]) and "is in" in refused([*shards, made / "1"])
    assert "given twice" in refused([*shards, shards[0]])
    assert "no shard" in refused([shards[0], made / "whole"])
    scan(made / "in", shards[1], "--shard", "2/4", "--if-exists", "overwrite")
    assert "shards K/N with the same N" in refused(shards)


def test_shards_that_saw_other_files_are_named(made, tmp_path):
    """A file came between two shards: the merge says which shards to scan again, and then it is that of all files."""
    inputs = make_inputs(tmp_path / "in")
    num_files = sum(path.is_file() for path in inputs.rglob("*"))
    folders = [tmp_path / number for number in "123"]
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share)
        makers.write_photo(inputs / "a0.png")
    text = refused(folders)
    assert f"1 knew {num_files} files" in text and "scan shard 1/3 again" in text and "2 knew" not in text
    scan(inputs, folders[0], "--shard", "1/3")
    assert run("merge", *folders, "--out", tmp_path / "out").exit_code == 3
    scan(inputs, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_folder_at_work_is_refused(shards):
    """Its rows and media would be those of two moments."""
    for media in MEDIA:
        with locked(shards[1]):
            assert "written to by" in refused(shards, "--media", media)


def test_media_that_are_gone_are_named(shards):
    """A copy that somebody deleted is no part of a merge that says nothing of it."""
    copy = next(shards[0].glob("annotated/**/*.png"))
    copy.unlink()
    assert f"annotated/{copy.name}" in refused(shards)


def test_the_output_is_nobody_elses(made, shards):
    """A scan, a merge of other folders, a merged folder itself, and media that were moved: nothing is overwritten."""
    out = shards[0].parent / "out"
    scan(made / "in", out, "--limit", "2")
    before = contents(out)
    for more in ((), ("--if-exists", "error")):
        result = run("merge", *shards, "--out", out, *more)
        assert result.exit_code == 2 and contents(out) == before
    assert run("merge", *shards, "--out", shards[0]).exit_code == 2
    assert run("merge", *shards, "--out", out, "--if-exists", "overwrite", "--media", "move").exit_code == 3
    assert contents(out) == contents(made / "whole")
    for more, code in (((), 3), (("--media", "move"), 3), (("--if-exists", "overwrite"), 2), ((), 3)):
        assert run("merge", *shards, "--out", out, *more).exit_code == code
        assert contents(out) == contents(made / "whole")


def test_a_merge_is_renewed(tmp_path):
    """Files changed, came and went: the same merge has the media of now, none of before, and a user's file stays."""
    inputs = make_inputs(tmp_path / "in")
    folders, out = [tmp_path / number for number in "123"], tmp_path / "out"

    def merged():
        for share, folder in zip(SHARES, folders, strict=True):
            scan(inputs, folder, "--shard", share)
        run("merge", *folders, "--out", out)

    merged()
    (out / "annotated/mine.txt").write_text("mine")
    (inputs / "a1.png").unlink()
    makers.write_photo(inputs / "c=1.png", np.full((64, 96, 3), 30, np.uint8))  # one face in place of two
    makers.write_photo(inputs / "new.png")
    merged()
    scan(inputs, tmp_path / "whole")
    now = contents(out)
    assert now.pop("annotated/mine.txt") == b"mine"
    assert now == contents(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
@pytest.mark.parametrize(
    ("media", "then", "first"), [("copy", "copy", 0), ("link", "move", 1), ("move", "move", 2), ("move", "copy", 3)]
)
def test_a_merge_killed_at_any_moment_is_continued(made, tmp_path, media, then, first):
    """SIGKILL at moments spread over the merge, others for each pair of ways: the same command ends with the bytes of one
    scan, and no medium is lost, also when the media are then brought in another way."""

    def job(folder, media=media):
        return MergeJob(tuple(folder / number for number in "123"), folder / "out", media)

    def copied(name):
        for number in "123":
            shutil.copytree(made / number, tmp_path / name / number)
        return tmp_path / name

    def counted():
        killing_at(0, tmp_path / "count")
        run_merge(job(copied("counted")), Listener())

    assert in_fork(counted) == 0
    num_moments = int((tmp_path / "count").read_text())
    assert num_moments > 20
    for moment in range(1 + first * num_moments // 20, num_moments + 1, num_moments // 5):
        folder = copied(f"at_{moment}")

        def killed(folder=folder, moment=moment):
            killing_at(moment)
            run_merge(job(folder), Listener())

        assert in_fork(killed) == -signal.SIGKILL
        run_merge(job(folder, then), Listener())
        assert contents(folder / "out") == contents(made / "whole"), moment
        assert not list(Path(folder / "out").rglob(".*.part*"))


# reviews


def said(out):
    """What reviewers said in a folder: source, look, verdict, who, and if it stands."""
    with closing(sqlite3.connect(out / "scan.db")) as connection:
        return sorted(connection.execute(
            "SELECT name, frame, face, verdict, reviewer, undone IS NULL FROM review JOIN source ON source.id = source_id"
        ))  # fmt: skip


def review(out, reviewer, verdict, at="2026-11-26T10:00:00+00:00"):
    """A verdict on the first face of each source in a folder."""
    with closing(sqlite3.connect(out / "scan.db")) as connection, connection:
        connection.execute(
            "INSERT INTO review (source_id, person_id, frame, face, time_e4, verdict, p_mask_e4, model_verdict, reviewer, "
            "at) SELECT source_id, min(track_id), frame, face, time_e4, ?, p_mask_e4, 'unsure', ?, ? FROM face "
            "GROUP BY source_id", [verdict, reviewer, at],
        )  # fmt: skip


def reviewed(made, tmp_path):
    """A copy of the inputs, the folders of three shards in which ann gave verdicts, and their merge."""
    inputs = shutil.copytree(made / "in", tmp_path / "in")
    folders, out = [tmp_path / number for number in "123"], tmp_path / "out"
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share)
        review(folder, "ann", "with_mask")
    run("merge", *folders, "--out", out)
    return inputs, folders, out


def test_verdicts_are_merged_and_those_on_the_merge_stay(made, tmp_path):
    """What reviewers said in the shards is in the merge, once, and counts in its tables; a renewal keeps what they said or
    took back in the merged folder, also when the sources have other numbers by then."""
    inputs, folders, out = reviewed(made, tmp_path)
    of_shards = sorted(row for folder in folders for row in said(folder))
    assert said(out) == of_shards and len(of_shards) > 8
    assert run_json(out)["summary"]["with_mask"] >= len(of_shards)
    review(out, "bob", "without_mask")
    with closing(sqlite3.connect(out / "scan.db")) as connection, connection:
        connection.execute("UPDATE review SET undone = at WHERE reviewer = 'ann'")
        connection.execute("INSERT INTO sample VALUES (1, '', 0, NULL, '[]')")
        connection.execute("INSERT INTO sample_item SELECT 1, id, id, NULL, 0, 0 FROM source")
    before = said(out)
    (inputs / NAMES[-1]).unlink()
    makers.write_photo(inputs / "a0.png")
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share)
    run("merge", *folders, "--out", out)
    assert said(out) == before and {row[-1] for row in before if row[4] == "ann"} == {0}
    assert NAMES[-1] not in (out / "files.csv").read_text(encoding="utf-8")
    with closing(sqlite3.connect(out / "scan.db")) as connection:
        items = connection.execute("SELECT count(DISTINCT name) FROM sample_item JOIN source ON source.id = source_id")
        assert items.fetchone() == (run_json(made / "whole")["files"],)


def test_verdicts_end_with_the_content_that_they_are_about(made, tmp_path):
    """A file with other content has none of the verdicts on the people before, whether reviewers gave them in its shard or
    in the merged folder; a file with only another time keeps all of its verdicts."""
    inputs, folders, out = reviewed(made, tmp_path)
    review(out, "bob", "without_mask")
    makers.write_photo(inputs / "a1.png", np.full((64, 96, 3), 180, np.uint8))
    for name in NAMES[1:]:
        os.utime(inputs / name, ns=(1, 1))
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share)
    run("merge", *folders, "--out", out)
    assert {row[-1] for row in said(out) if row[0] == "a1.png"} == {0}
    assert {row[-1] for row in said(out) if row[0] != "a1.png"} == {1}
    assert [row[4] for row in said(out) if row[0] == "a1.png"] == ["ann", "bob"]


@pytest.mark.parametrize("between", ["unreadable", "pending"])
def test_verdicts_end_with_their_content_although_a_merge_in_between_did_not_know_it(made, tmp_path, between):
    """A file that is unreadable for one merge, or not scanned yet, and has other content for the next one."""
    inputs, folders, out = reviewed(made, tmp_path)
    review(out, "bob", "without_mask")
    (inputs / "a1.png").unlink()
    (inputs / "a1.png").symlink_to(tmp_path / "gone.png")
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share, "--if-exists", "overwrite")
        if between == "pending":
            with closing(sqlite3.connect(folder / "scan.db")) as connection, connection:
                connection.execute("UPDATE source SET state = 'pending', size = NULL WHERE name = 'a1.png'")
    run("merge", *folders, "--out", out, *(["--incomplete"] if between == "pending" else []))
    (inputs / "a1.png").unlink()
    makers.write_photo(inputs / "a1.png", np.full((64, 96, 3), 180, np.uint8))
    for share, folder in zip(SHARES, folders, strict=True):
        scan(inputs, folder, "--shard", share)
    run("merge", *folders, "--out", out)
    bob = [row for row in said(out) if row[4] == "bob"]
    assert {row[0]: row[-1] for row in bob} == {row[0]: int(row[0] != "a1.png") for row in bob} and len(bob) > 8


def test_what_a_reviewer_takes_back_in_a_shard_is_taken_back_in_the_merge(shards):
    """The next merge has no verdict that its reviewer has undone in the shard since the merge before."""
    out = shards[0].parent / "out"
    review(shards[1], "ann", "with_mask")
    run("merge", *shards, "--out", out)
    with closing(sqlite3.connect(shards[1] / "scan.db")) as connection, connection:
        connection.execute("UPDATE review SET undone = at")
    run("merge", *shards, "--out", out)
    assert said(out) == said(shards[1]) and {row[-1] for row in said(out)} == {0}


# the chain of evidence


@pytest.mark.parametrize("media", MEDIA)
def test_a_merge_is_verified_and_reads_no_input(made, shards, media, monkeypatch):
    """Its manifest has the checksums of all inputs, which the shards have read, and `verify` finds no difference; a byte
    that changed is found."""
    read = []
    monkeypatch.setattr(manifest, "sha256_of", lambda path, real=manifest.sha256_of: read.append(path) or real(path))
    out = shards[0].parent / "out"
    run("merge", *shards, "--out", out, "--media", media)
    assert read and not [path for path in read if path.is_relative_to(made / "in")]
    inputs = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    whole = json.loads((made / "whole/manifest.json").read_text(encoding="utf-8"))["inputs"]
    assert [(one["name"], one["sha256"]) for one in inputs] == [(one["name"], one["sha256"]) for one in whole]
    assert all(one["sha256"] for one in inputs)
    assert run("verify", out).exit_code == 0
    picture = next((out / "evidence").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    assert run("verify", out).exit_code != 0


def test_what_was_purged_from_a_shard_leaves_the_merge(made, shards):
    """The next merge has no picture of these people, no name of their reviewers, and the log of the purge; all numbers
    stay."""
    out = shards[0].parent / "out"
    review(shards[1], "ann", "with_mask")
    run("merge", *shards, "--out", out)
    names = {line.split(",")[0] for line in (shards[1] / "files.csv").read_text(encoding="utf-8").splitlines()[1:]}
    people = (out / "people.csv").read_text(encoding="utf-8").count("\n")
    assert run("purge", shards[1], "--older-than", "0d", "--yes").exit_code == 0
    assert run("merge", *shards, "--out", out).exit_code == 3
    left = {name for name in contents(out) if "/" in name}
    assert left == {name for folder in shards for name in contents(folder) if "/" in name} != set()
    assert not left & {f"annotated/{name}" for name in names}
    assert {row[4] for row in said(out)} == {"purged"} and len(said(out)) == len(said(shards[1]))
    assert (out / "people.csv").read_text(encoding="utf-8").count("\n") == people
    with closing(sqlite3.connect(out / "scan.db")) as connection:
        assert connection.execute("SELECT what FROM purge").fetchall() == [("0d",)]


def test_people_who_were_purged_from_a_merge_do_not_come_back(shards):
    """The folders still have their pictures: a renewal is refused, and says what to do."""
    out = shards[0].parent / "out"
    run("merge", *shards, "--out", out)
    assert run("purge", out, "--older-than", "0d", "--yes").exit_code == 0
    before = contents(out)
    result = run("merge", *shards, "--out", out)
    assert result.exit_code == 2 and "were purged from" in result.output and contents(out) == before
