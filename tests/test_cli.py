"""The command line, end to end: real weights on the sample media, and what goes wrong."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import av
import cv2
import makers
import numpy as np
import pytest
from click.testing import CliRunner
from killed_runs import contents
from trainer_makers import tiny_model

from maskbatch.cli.main import main
from maskbatch.cli.terminal import show, table
from maskbatch.geometry import boxes
from maskbatch.media.photo import reader as photos
from maskbatch.networks import weights
from maskbatch.run import engine, forecast, local, stages

SAMPLES = Path(__file__).parents[1] / "sample_media"


def rows(path):
    """A CSV file as dictionaries."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(*arguments):
    """`maskbatch ARGUMENTS`, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """The sample media, scanned once by the program itself as a user would."""
    out = tmp_path_factory.mktemp("scan") / "out"
    command = [
        sys.executable,
        "-m",
        "maskbatch",
        "scan",
        str(SAMPLES),
        "--out",
        str(out),
        "--save",
        "annotated,crops",
        "--sample-fps",
        "all",
    ]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
    return out, result


def test_every_face_of_the_samples_is_found_and_labelled_right(scanned):
    """Each face of `labels.csv`, photos and video frames, is found where it is, with its label, and no other face is; the
    videos hold as many people as `videos.csv` says."""
    out, _ = scanned
    truth = rows(SAMPLES / "labels.csv")
    frames = {(row["source"], row["frame"]) for row in truth}
    found = [row for row in rows(out / "faces.csv") if (row["source"], row["frame"]) in frames]
    assert len(found) == len(truth) > 60
    for row in truth:
        middle = [(float(row[f"{axis}_min"]) + float(row[f"{axis}_max"])) / 2 for axis in "xy"]
        here = [face for face in found if (face["source"], face["frame"]) == (row["source"], row["frame"]) and all(
            float(face[f"{axis}_min"]) < value < float(face[f"{axis}_max"]) for axis, value in zip("xy", middle, strict=True)
        )]  # fmt: skip
        assert [face["label"] for face in here] == [row["label"]], row
    people = {row["source"]: (row["with_mask"], row["without_mask"]) for row in rows(out / "files.csv")}
    for row in rows(SAMPLES / "videos.csv"):
        assert people[row["source"]] == (row["people_with_mask"], row["people_without_mask"])


def test_reports_of_the_samples_add_up(scanned):
    """Every file has its row, nothing failed, and the total counts what the files count."""
    out, _ = scanned
    files, summary = rows(out / "files.csv"), rows(out / "summary.csv")
    media = [path for path in SAMPLES.rglob("*") if path.suffix not in (".py", ".md", ".csv") and path.is_file()]
    assert len(files) == len([path for path in media if "__pycache__" not in path.parts])
    assert {row["status"] for row in files} == {"ok"}
    total = summary[0]
    assert total["level"] == "0" and int(total["files"]) == len(files)
    for column in ("faces", "people", "with_mask", "without_mask"):
        assert int(total[column]) == sum(int(row[column]) for row in files)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    detector, classifier = weights.SHIPPED["yunet"], weights.SHIPPED["mask"]
    assert record["summary"]["files"] == len(files) and record["weights"] == {
        "detector": {"file": detector.int8_file, "sha256": detector.int8_sha256},
        "classifier": {"file": classifier.int8_file, "sha256": classifier.int8_sha256},
    }
    assert record["inputs"] == [str(SAMPLES)] and record["finished"] >= record["started"]


def test_annotated_media_mirror_the_samples(scanned):
    """Each photo and video has its annotated copy of the same size; videos are H.264 yuv420p as long as the original."""
    out, _ = scanned
    for row in rows(out / "files.csv"):
        copy = out / "annotated" / row["source"]
        if row["kind"] == "image":
            assert cv2.imread(str(copy)).shape[:2] == (int(row["height"]), int(row["width"]))
            continue
        copy = copy if copy.suffix == ".mp4" else copy.with_name(copy.name + ".mp4")
        with av.open(str(copy)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
            assert len(container.streams.audio) == (1 if "visitors" in row["source"] else 0)
            assert sum(1 for _ in container.decode(video=0)) == int(row["frames_decoded"])
            assert float(stream.duration * stream.time_base) == pytest.approx(float(row["duration_s"]), abs=0.05)


def test_the_library_chatter_stays_away(scanned):
    """Standard error has our own lines only, standard output the table."""
    _, result = scanned
    for line in result.stderr.splitlines():
        own = ("looking for photos and videos; results go to ", "not looked at: ")
        assert line.startswith(own) or line.endswith("OpenVINO") or " files, " in line, line
    assert "without" in result.stdout and "reports in" in result.stdout


def test_a_byte_order_mark_is_written_when_it_is_asked_for(scanned, tmp_path):
    """Excel reads tables with it as UTF-8; pandas reads both kinds alike."""
    out, _ = scanned
    before = (out / "files.csv").read_bytes()
    assert run("report", out, "--csv-bom").exit_code == 0
    assert (out / "files.csv").read_bytes() == b"\xef\xbb\xbf" + before
    assert run("report", out).exit_code == 0 and (out / "files.csv").read_bytes() == before


def test_report_again_with_another_threshold(scanned, tmp_path):
    """A threshold of 1 leaves hardly a mask, without a new analysis; `run.json` names it. Without one, the scan's own
    tables come back; -q prints nothing."""
    out, _ = scanned
    before = (out / "faces.csv").read_bytes(), (out / "summary.csv").read_bytes()
    assert run("report", out, "--threshold", "1").exit_code == 0
    assert "with_mask" not in {row["label"] for row in rows(out / "faces.csv")}
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["report"]["threshold"] == 1
    result = run("report", out, "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert ((out / "faces.csv").read_bytes(), (out / "summary.csv").read_bytes()) == before


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Every tenth frame of the samples, reports only."""
    return scan_sparsely(tmp_path_factory.mktemp("sparse") / "out")


def scan_sparsely(out, *options):
    """Scans every tenth frame of the samples into `out`."""
    assert run("scan", SAMPLES, "--out", out, "--save", "none", "--every", 10, *options).exit_code == 0
    return out


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The faces of the same frames in fp32 on OpenVINO, rows of faces.csv."""
    return rows(scan_sparsely(tmp_path_factory.mktemp("exact") / "out", "--precision", "fp32") / "faces.csv")


def test_both_runtimes_give_the_same_answers(exact, tmp_path):
    """OpenVINO in fp32 and TensorFlow agree on every face of the samples: boxes to a tenth of a pixel, p_mask to 1e-3."""
    theirs = rows(scan_sparsely(tmp_path / "tf", "--runtime", "tensorflow") / "faces.csv")
    assert len(exact) == len(theirs) > 60
    for first, second in zip(exact, theirs, strict=True):
        assert (first["source"], first["frame"], first["label"]) == (second["source"], second["frame"], second["label"])
        assert float(first["p_mask"]) == pytest.approx(float(second["p_mask"]), abs=1e-3)
        for side in ("x_min", "y_min", "x_max", "y_max"):
            assert float(first[side]) == pytest.approx(float(second[side]), abs=0.11)


def test_eight_bits_change_little(sparse, exact):
    """What a CPU runs by default finds every face of the samples where fp32 does, says the same of it, as surely."""
    assert json.loads((sparse / "run.json").read_text())["precision"] == {"yunet": "int8", "mask": "int8"}
    ours = {place: list(faces) for place, faces in itertools.groupby(rows(sparse / "faces.csv"), key=place_of)}
    assert len(exact) == sum(map(len, ours.values()))
    for face in exact:
        overlap = boxes.iou(xyxy_of([face]), xyxy_of(ours[place_of(face)]))[0]
        same = ours[place_of(face)][overlap.argmax()]
        assert overlap.max() > 0.7 and same["label"] == face["label"]
        assert float(same["p_mask"]) == pytest.approx(float(face["p_mask"]), abs=0.05)


def place_of(row):
    """The frame that a row of faces.csv is about."""
    return row["source"], row["frame"]


def xyxy_of(faces):
    """Boxes (N, 4) of rows of faces.csv."""
    return np.array([[face[side] for side in ("x_min", "y_min", "x_max", "y_max")] for face in faces], np.float32)


@pytest.mark.parametrize("options", ["--batch-size 1", "--batch-size 7 --workers 3", "--batch-size 32", "--workers 3"])
def test_how_the_work_is_shared_out_changes_no_byte(sparse, tmp_path, options):
    """The reports with batches of 1, 7 and 32 frames, and with three shards at a time, are those of the defaults."""
    out = scan_sparsely(tmp_path / "out", *options.split())
    for name in ("faces.csv", "files.csv", "summary.csv"):
        assert (out / name).read_bytes() == (sparse / name).read_bytes()


def test_broken_files_are_rows_and_the_run_goes_on(tmp_path):
    """Corrupt, empty and good files in one run: a row each, a reason for the bad ones, exit code 3."""
    media = tmp_path / "in"
    for folder in ("a", "b"):
        (media / folder).mkdir(parents=True)
        cv2.imwrite(str(media / folder / "same.jpg"), np.full((80, 100, 3), 90, np.uint8))
    (media / "a" / "empty.png").touch()
    (media / "b" / "rubbish.mp4").write_bytes(b"no video")
    whole = (media / "a" / "same.jpg").read_bytes()
    (media / "b" / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    result = run("scan", media, "--out", tmp_path / "out")
    assert result.exit_code == 3
    status = {row["source"]: (row["status"], bool(row["error"])) for row in rows(tmp_path / "out" / "files.csv")}
    assert status.pop("b/cut.jpg")[0] in ("partial", "failed")
    assert status == {
        "a/same.jpg": ("ok", False), "b/same.jpg": ("ok", False), "a/empty.png": ("failed", True),
        "b/rubbish.mp4": ("failed", True),
    }  # fmt: skip
    assert (tmp_path / "out" / "annotated" / "a" / "same.jpg").is_file()
    assert (tmp_path / "out" / "annotated" / "b" / "same.jpg").is_file()


def test_a_link_to_itself_is_a_row(tmp_path):
    """A link in a circle costs its row, with the reason, and the run goes on."""
    makers.write_photo(tmp_path / "in/a.png")
    (tmp_path / "in/b.jpg").symlink_to(tmp_path / "in/b.jpg")
    result = run("scan", tmp_path / "in", "--out", tmp_path / "out", "--save", "none")
    assert result.exit_code == 3, result.output
    errors = {row["source"]: row["error"] for row in rows(tmp_path / "out" / "files.csv")}
    assert not errors["a.png"] and "symbolic links" in errors["b.jpg"]


def test_the_output_folder_inside_the_input_is_not_scanned(tmp_path):
    """Scanning a folder into itself twice gives the same files, not the annotated copies of the first time."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((60, 60, 3), np.uint8))
    for _ in range(2):
        assert run("scan", tmp_path, "--out", tmp_path / "out", "--if-exists", "overwrite").exit_code == 0
        assert [row["source"] for row in rows(tmp_path / "out" / "files.csv")] == ["photo.png"]


def test_wrong_use_stops_at_once_with_one_sentence(tmp_path, monkeypatch):
    """Missing paths, options that cannot be, and folders that are no place to write to are usage errors: exit code 2."""
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "faces.csv").write_text("my own")
    cases = {
        ("scan",): "nothing to scan",
        ("scan", tmp_path / "nowhere"): "nowhere",
        ("scan", photo, "--colour"): "--colour",
        ("scan", photo, "--det-size", "100"): "multiple of 32",
        ("scan", photo, "--det-size", "640", "--min-face", "12"): "give one of them",
        ("scan", photo, "--min-face", "0"): "--min-face",
        ("scan", photo, "--save", "everything"): "--save",
        ("scan", photo, "--device", "tpu"): "--device",
        ("scan", photo, "--model", "nothing.keras"): "nothing.keras",
        ("scan", photo, "--model", "yunet"): "yunet",
        ("scan", photo, "--every", "2", "--sample-fps", "1"): "give one of them",
        ("scan", photo, "--every", "1", "--sample-fps", "1"): "give one of them",
        ("scan", photo, "--out", tmp_path / "file"): "is a file",
        ("scan", photo, "--out", tmp_path / "file" / "below"): "below",
        ("scan", photo, "--out", tmp_path / "mine"): "not from maskbatch",
        ("video", tmp_path): "maskbatch scan",
        ("report", tmp_path): "not the output folder",
    }
    for arguments, words in cases.items():
        result = run(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert words in result.output and "Traceback" not in result.output
    assert (tmp_path / "mine" / "faces.csv").read_text() == "my own"


def test_an_earlier_scan_is_not_overwritten_unasked(tmp_path):
    """A second scan into the same folder stops when told to, and when its settings differ; with --if-exists overwrite it
    replaces what maskbatch wrote."""
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    assert run("scan", photo, "--out", out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert run("scan", photo, "--out", out, "--if-exists", "error").exit_code == 2
    assert run("scan", photo, "--out", out, "--every", 2).exit_code == 2
    assert run("scan", photo, "--out", out, "--every", 2, "--if-exists", "overwrite").exit_code == 0
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("option", ["--threshold", "--det-threshold", "--sample-fps", "--stall-limit"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_no_option_takes_nan(tmp_path, option, value):
    """It compares with nothing: all faces would be bare."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((60, 60, 3), np.uint8))
    result = run("scan", tmp_path / "photo.png", "--out", tmp_path / "out", option, value)
    assert result.exit_code == 2 and not (tmp_path / "out").exists()


def test_a_log_is_only_written_into_a_log(tmp_path):
    """A recording given by mistake stays as it is; a log of an earlier run is gone on with."""
    photo, out, log = tmp_path / "photo.png", tmp_path / "out", tmp_path / "log.txt"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    before = photo.read_bytes()
    result = run("scan", photo, "--out", out, "--log-file", photo)
    assert result.exit_code == 2 and "not a log of maskbatch" in result.output and photo.read_bytes() == before
    for num_runs in (1, 2):
        assert run("scan", photo, "--out", out, "--log-file", log).exit_code == 0
        assert log.read_text().count("finished: ") == num_runs


def test_an_empty_folder_among_others_is_warned_of(tmp_path):
    """It may be a drive that is not there."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((60, 60, 3), np.uint8))
    (tmp_path / "drive").mkdir()
    result = run("scan", tmp_path / "photo.png", tmp_path / "drive", "--out", tmp_path / "out")
    assert result.exit_code == 0 and "drive: no photo or video in it" in result.output


def test_what_was_not_looked_at_is_said_and_recorded(tmp_path, monkeypatch):
    """At the start, under the table and in run.json; a folder that cannot be read is a warning, too, and exit code 3.
    --include-hidden looks at hidden entries."""
    for name in ("in/photo.png", "in/@eaDir/thumb.png", "in/locked/x.png"):
        makers.write_photo(tmp_path / name)
    (tmp_path / "in/notes.txt").touch()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = run("scan", tmp_path / "in", "--out", tmp_path / "out", "--save", "none")
    lines = ["not looked at: 1 .txt", "not looked at: 1 @eaDir (--include-hidden scans them)",
             f"not looked at: {tmp_path / 'in/locked'}: cannot be read"]  # fmt: skip
    assert result.exit_code == 3
    for line in lines:
        assert line in result.stdout.splitlines() and line in result.stderr.splitlines()
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["not_looked_at"] == {
        "hidden": 0, "system_folders": {"@eaDir": 1}, "unknown_kinds": {".txt": 1},
        "unreadable": [str(tmp_path / "in/locked")],
    }  # fmt: skip
    assert "locked: Permission denied" in record["warnings"][0]
    monkeypatch.undo()
    assert run("scan", tmp_path / "in", "--out", tmp_path / "out", "--save", "none", "--include-hidden").exit_code == 0
    names = [row["source"] for row in rows(tmp_path / "out/files.csv")]
    assert names == ["'@eaDir/thumb.png", "locked/x.png", "photo.png"]


def test_a_missing_path_among_others_is_a_row(tmp_path):
    """A path that does not exist, named or in a list, costs its row and exit code 3, and is scanned when it is there."""
    makers.write_photo(tmp_path / "a.png")
    (tmp_path / "list").write_text("a.png\nb.png\n")
    for again in (False, True):
        given = ("--from-list", tmp_path / "list", tmp_path / "b.png", "--out", tmp_path / "out", "--save", "none")
        assert run("scan", *given).exit_code == (0 if again else 3)
        found = {row["source"]: (row["status"], row["error"]) for row in rows(tmp_path / "out/files.csv")}
        assert found == {"a.png": ("ok", ""), "b.png": ("ok", "") if again else ("failed", "does not exist")}
        makers.write_photo(tmp_path / "b.png", makers.numbered(1)[0])


def test_a_second_scan_of_other_inputs_says_what_to_do(tmp_path):
    """Other inputs for the same --out are refused with a sentence, not with a list of settings."""
    for name in ("a/x.png", "b/y.png"):
        makers.write_photo(tmp_path / name)
    out = tmp_path / "my out"
    assert run("scan", tmp_path / "a", "--out", out, "--save", "none").exit_code == 0
    for paths in ([tmp_path / "b"], [tmp_path / "b", tmp_path / "a"]):
        result = run("scan", *paths, "--out", out, "--save", "none")
        assert result.exit_code == 2 and "holds a scan of other inputs" in result.output
        assert "an output folder of its own with --out" in result.output and "->" not in result.output


def test_another_threshold_only_writes_the_tables_again(tmp_path):
    """`scan` with another threshold analyses nothing and says so; crops move to the folder of their label, and go back with
    the first threshold; copies stay. run.json names the threshold of the tables."""
    out, photos = tmp_path / "out", SAMPLES / "groups"
    assert run("scan", photos, "--out", out, "--save", "annotated,crops").exit_code == 0
    first = contents(out)
    mine = out / "crops/with_mask/my own.jpg"
    mine.write_bytes(b"mine")
    result = run("scan", photos, "--out", out, "--save", "annotated,crops", "--threshold", 0.98)
    assert result.exit_code == 0 and "4 of them done already" in result.stderr
    assert "threshold 0.98 in place of 0.5" in result.stderr and "--if-exists overwrite" in result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["classifier"]["threshold"] == record["report"]["threshold"] == 0.98
    masked = [row for row in rows(out / "faces.csv") if row["label"] == "with_mask"]
    crops = sorted(path.relative_to(out / "crops/with_mask").as_posix() for path in out.glob("crops/with_mask/*_f*"))
    assert crops == sorted(f"{row['source']}_f000000_{row['face']}.jpg" for row in masked) and crops
    assert all(contents(out)[name] == data for name, data in first.items() if name.startswith("annotated/"))
    assert run("scan", photos, "--out", out, "--save", "annotated,crops").exit_code == 0
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    assert contents(out) == first


def test_crops_follow_after_a_kill_between(tmp_path, monkeypatch):
    """A session that died while it sorted crops is made good by the next one, also at the first threshold again."""
    out, photos = tmp_path / "out", SAMPLES / "groups"
    options = (photos, "--out", out, "--save", "crops")
    assert run("scan", *options).exit_code == 0
    first = contents(out)
    with monkeypatch.context() as patched:
        patched.setattr(local, "follow_threshold", die_after(local.follow_threshold))
        patched.setattr(local.Driver, "_end", lambda *_: None)
        assert run("scan", *options, "--threshold", 0.999).exit_code == 1
    assert contents(out) != first
    assert run("scan", *options).exit_code == 0
    assert contents(out) == first


def die_after(function):
    """A function that does what another does, and then fails."""

    def call(*arguments):
        function(*arguments)
        raise SystemExit(1)

    return call


def test_paths_and_numbers_in_the_wrong_place_get_the_right_command(tmp_path):
    """A folder without `scan`, a decimal comma, addresses of no storage, a photo given to `video`."""
    makers.write_photo(tmp_path / "a.png")
    cases = {
        (f"{tmp_path}/", "--every", "2"): f"maskbatch scan {tmp_path}/ --every 2",
        ("scan", tmp_path, "--threshold", "0,5"): "write 0.5",
        ("scan", "quark://example.org/a.mp4"): "quark:// is no storage that maskbatch can read",
        ("video", "rtsp://camera/1"): "rtsp:// is no storage that maskbatch can read",
        (
            "report",
            "file:///nowhere/out",
        ): "needs a folder of this machine: copy file:///nowhere/out to this machine first",
        ("video", tmp_path / "a.png"): f"is a photo: use maskbatch scan {tmp_path / 'a.png'}",
    }
    for arguments, words in cases.items():
        result = run(*arguments)
        assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output
    result = run("sacn")
    assert result.exit_code == 2 and "No such command" in result.output


def test_help_has_groups_and_examples():
    """`scan --help` lists its options in groups, then examples; the list of commands keeps training apart."""
    text = run("scan", "--help").output
    places = [
        text.index(f"\n{name}:\n")
        for name in ("What to scan", "People, time and place", "Speed", "Video", "Output", "Advanced", "Examples")
    ]
    assert places == sorted(places) and "maskbatch scan photos/ " in text[places[-1] :]
    text = run("--help").output
    assert text.index("  doctor ") < text.index("Commands for training") < text.index("  train ")


def test_a_dry_run_estimates_the_time(tmp_path, monkeypatch):
    """On a fresh folder, a trial of a few files gives the time, and nothing is written; a scan longer than a night names the
    option that helps."""
    makers.write_photo(tmp_path / "a.png")
    makers.write_video(tmp_path / "v.mp4", makers.numbered(30))
    result = run("scan", tmp_path, "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0 and not (tmp_path / "out").exists()
    assert re.search(r"time: about \d+ (seconds?|minutes?) by a trial of a few seconds", result.stderr), result.stderr
    assert "warning" not in result.stderr
    monkeypatch.setattr(forecast, "trial_estimate", lambda *_: 40 * 3600)
    result = run("scan", tmp_path, "--out", tmp_path / "out", "--dry-run")
    assert "warning: this takes about 40.0 hours" in result.stderr and "--sample-fps 2" in result.stderr
    result = run("scan", tmp_path, "--out", tmp_path / "out", "--dry-run", "--sample-fps", 1)
    assert "longer than a night" in result.stderr and "--sample-fps 2" not in result.stderr


def test_the_end_names_folders_failed_files_and_the_next_step(tmp_path):
    """A row for each top folder and the total; up to ten files with their reasons; where the tables are."""
    for name in ("in/a/x.png", "in/b/c/y.png", "in/z.png"):
        makers.write_photo(tmp_path / name)
    for number in range(12):
        (tmp_path / f"in/b/bad{number}.png").write_bytes(b"bad")
    result = run("scan", tmp_path / "in", "--out", tmp_path / "out", "--save", "none")
    table = [line.split() for line in result.stdout.splitlines()]
    assert [row[:3] for row in table if row and row[0] in ("a", "b", ".", "total")] == [
        ["a", "1", "0"], ["b", "13", "12"], [".", "1", "0"], ["total", "15", "12"]
    ]  # fmt: skip
    assert result.exit_code == 3 and result.stdout.count("  failed: b/bad") == 10 and "and 2 more" in result.stdout
    assert f"reports in {tmp_path / 'out'}" in result.stdout and "maskbatch report" in result.stdout


def test_names_are_shown_as_they_are(tmp_path, monkeypatch):
    """No name of a folder is a colour, a picture or a command for the terminal."""
    monkeypatch.chdir(tmp_path)
    makers.write_photo(tmp_path / "a.png")
    result = run("scan", "a.png", "--out", "[red]x:smile:\x1b[31m", "--save", "none")
    assert result.exit_code == 0 and "reports in [red]x:smile:\\x1b[31m" in result.stdout
    result = run("scan", "b\x1b[31m.png")
    assert result.exit_code == 2 and "b\\x1b[31m.png does not exist" in result.stderr


def test_warnings_of_earlier_sessions_stay_on_record(tmp_path):
    """The same command again, when all is done, does not make the auditor's record poorer."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((60, 60, 3), np.uint8))
    (tmp_path / "drive").mkdir()
    for _ in range(2):
        run("scan", tmp_path / "photo.png", tmp_path / "drive", "--out", tmp_path / "out")
        (tmp_path / "drive/late.png").write_bytes((tmp_path / "photo.png").read_bytes())
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["num_warnings"] == 0 and [len(each["warnings"]) for each in record["sessions"]] == [1, 0]


def test_overwriting_never_removes_what_is_to_be_scanned(tmp_path):
    """Inputs that lie in the output folder's own subfolders are refused, not deleted."""
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    assert run("scan", photo, "--out", out).exit_code == 0
    result = run("scan", out / "annotated" / "photo.png", "--out", out, "--if-exists", "overwrite")
    assert result.exit_code == 2 and "lies in the output folder" in result.output
    assert (out / "annotated" / "photo.png").is_file()


def test_an_interrupted_scan_says_so(tmp_path, monkeypatch):
    """Ctrl-C in the second of two videos: exit code 130, the first is reported, and `report` does not call it whole; its
    pictures are not taken for input by another scan."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in").mkdir(exist_ok=True)
        makers.write_video(tmp_path / "in" / name, makers.numbered(5))
    whole = engine.run_shard

    def interrupted(shard, *more):
        if shard.index == 1:
            raise KeyboardInterrupt
        yield from whole(shard, *more)

    monkeypatch.setattr(engine, "run_shard", interrupted)
    out = tmp_path / "in" / "out"
    assert run("scan", tmp_path / "in", "--out", out).exit_code == 130
    assert [row["source"] for row in rows(out / "files.csv")] == ["a.mp4"]
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["finished"] is None
    result = run("report", out)
    assert result.exit_code == 3 and "interrupted" in result.output
    monkeypatch.setattr(engine, "run_shard", whole)
    assert run("scan", tmp_path / "in", "--out", tmp_path / "other").exit_code == 0
    assert [row["source"] for row in rows(tmp_path / "other" / "files.csv")] == ["a.mp4", "b.mp4"]


def test_a_decoder_that_hangs_costs_one_file(tmp_path, monkeypatch):
    """The run goes on after twice the stall limit; the next one tries that file again."""
    for number, name in enumerate("abc"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((60, 60, 3), number, np.uint8))
    bad, free, decode = (tmp_path / "b.png").read_bytes(), threading.Event(), photos.decode_photo
    monkeypatch.setattr(photos, "decode_photo", lambda data: decode(data) if data != bad or free.wait(60) else None)
    out = tmp_path / "out"
    assert run("scan", tmp_path, "--out", out, "--stall-limit", 0.5).exit_code == 3
    found = {row["source"]: row for row in rows(out / "files.csv")}
    assert [found[f"{name}.png"]["status"] for name in "abc"] == ["ok", "failed", "ok"]
    assert "given up: its decoder has not returned for 1 s" in found["b.png"]["error"]
    free.set()
    assert run("scan", tmp_path, "--out", out).exit_code == 0
    assert [row["status"] for row in rows(out / "files.csv")] == ["ok"] * 3


def test_a_damaged_model_cache_is_made_again(tmp_path, monkeypatch):
    """A converted model that lost its weights, or is cut short, is converted again instead of ending the run."""
    monkeypatch.setenv("MASKBATCH_CACHE", str(tmp_path / "cache"))
    photo, model = tmp_path / "photo.png", tmp_path / "model.keras"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    tiny_model().save(model)
    stages._open.cache_clear()  # as in a new process
    assert run("scan", photo, "--model", model, "--out", tmp_path / "a").exit_code == 0
    [weights] = (tmp_path / "cache" / "openvino").glob("*/model.bin")  # the detector is shipped as OpenVINO has it
    whole = weights.stat().st_size
    for name, damage in (("b", weights.unlink), ("c", lambda: weights.write_bytes(weights.read_bytes()[:100]))):
        damage()
        stages._open.cache_clear()
        assert run("scan", photo, "--model", model, "--out", tmp_path / name).exit_code == 0
        assert weights.stat().st_size == whole


def test_lists_limits_and_sampling(tmp_path):
    """--from-list reads paths, --limit takes the first files, --every and --sample-fps analyse a part of the frames."""
    for name in ("a.mp4", "b.mp4"):
        makers.write_video(tmp_path / name, makers.numbered(10))
    (tmp_path / "list.txt").write_text("b.mp4\n\na.mp4\n")
    out = tmp_path / "out"
    assert run("scan", "--from-list", tmp_path / "list.txt", "--limit", 1, "--every", 3, "--out", out).exit_code == 0
    (row,) = rows(out / "files.csv")
    assert (row["source"], row["frames_decoded"], row["frames_analysed"]) == ("b.mp4", "10", "4")
    log = tmp_path / "log.txt"
    options = ("--sample-fps", 5, "--out", tmp_path / "other", "--log-file", log, "-q")
    result = run("video", tmp_path / "a.mp4", *options)
    assert result.exit_code == 0 and result.output == ""
    assert rows(tmp_path / "other" / "files.csv")[0]["frames_analysed"] == "2"
    assert "a.mp4: ok, 2 frames" in log.read_text() and "finished: Summary" in log.read_text()


def test_a_gpu_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    """--require-gpu never runs on the CPU in silence: it stops, exit code 1, and writes nothing."""
    monkeypatch.setattr("maskbatch.networks.device.list_gpus", lambda: [])
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    result = run("scan", photo, "--out", tmp_path / "out", "--require-gpu")
    assert result.exit_code == 1 and "GPU" in result.output
    assert not (tmp_path / "out").exists()


def test_bare_out_writes_beside_the_video(tmp_path):
    """`maskbatch video clip.mp4 --out` makes clip_maskbatch/ beside the clip, with the annotated clip in it."""
    clip = makers.write_video(tmp_path / "clip.mp4", makers.numbered(5))
    assert run("video", clip, "--out").exit_code == 0
    assert (tmp_path / "clip_maskbatch" / "annotated" / "clip.mp4").is_file()


def test_a_scan_on_openvino_does_without_tensorflow(tmp_path):
    """TensorFlow, whose import takes longer than all else before the first photo, is not loaded."""
    code = (
        "import sys; from maskbatch.cli.main import main;"
        f"main(['scan', {str(SAMPLES / 'portrait_bare.jpg')!r}, '--out', {str(tmp_path / 'out')!r}, '-q'], "
        "standalone_mode=False); print('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


def test_run_json_says_how_long_each_stage_was_at_work(scanned):
    """Seconds by stage for each session; the networks were at work."""
    [session] = json.loads((scanned[0] / "run.json").read_text())["sessions"]
    stages = session["stages_s"]
    assert set(stages) == {"annotate, encode, write", "classify", "decode", "detect", "sync", "track"}
    assert 0 < stages["classify"] < stages["detect"] < 2 * session["seconds"]


def test_help_answers_without_tensorflow():
    """`maskbatch --help` loads neither TensorFlow nor OpenCV, PyAV or pandas."""
    code = "import sys; from maskbatch.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n" \
           "print([m for m in ('tensorflow', 'cv2', 'av', 'pandas', 'openvino') if m in sys.modules])"  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("[]") and "scan" in result.stdout


def test_doctor_finds_nothing_wrong_here():
    """On a machine where the other tests pass, every check is ok."""
    result = run("doctor")
    assert result.exit_code == 0 and "FAIL" not in result.output
    assert "5 frames written with" in result.output and "can be written" in result.output


def test_opencv_has_our_limit_of_pixels_in_the_program():
    """A photo of a kind whose header we do not read is refused by OpenCV itself, without the memory for it."""
    code = (
        "import os; from maskbatch.cli.standard_streams import quiet_libraries\n"
        "with quiet_libraries():\n from maskbatch.media.photo.reader import MAX_PIXELS\n"
        "print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'] == str(MAX_PIXELS))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "True", result.stderr


def test_tables_are_whole_in_a_narrow_terminal(monkeypatch, capsys):
    """No cell is cut where the terminal is narrower than the table, and numbers stand at the right."""
    monkeypatch.setenv("COLUMNS", "20")
    made = table("folder", "incorrectly", "without", "rate", title="people")
    for column in made.columns[1:]:
        column.justify = "right"
    made.add_row("camera_of_the_door", "6", "37", "52.8%")
    show(made)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["folder", "incorrectly", "without", "rate"] in lines and ["camera_of_the_door", "6", "37", "52.8%"] in lines
    show(made)
    assert "          6       37  52.8%" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "watch {} --out s3://bucket/out --settle never", "scan {} --log-file s3://bucket/log", "merge {} --out s3://bucket/out",
        "pack {} --out s3://bucket/audit.zip", "export {} coco --out s3://bucket/faces.json",
        "report {} --anonymize s3://bucket/hidden", "diff {} {} --csv s3://bucket/changes.csv",
    ],
)  # fmt: skip
def test_an_address_where_a_path_belongs_is_refused(tmp_path, monkeypatch, words):
    """A folder `s3:` in the current folder took the results, and nothing was said."""
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, words.format("in", "in").split())
    assert result.exit_code == 2 and "is an address" in result.output, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
