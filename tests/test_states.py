"""The third state, masks that are worn incorrectly: the rule, the store, tables, pictures, crops, options."""

import csv
import itertools
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import cv2
import makers
import numpy as np
import pytest
from click.testing import CliRunner
from fakes import fake_faces, fake_frames, written
from killed_runs import contents, detect
from stores import Face, File, begun, end, fill, video

import maskbatch as mb
from maskbatch import settings as defaults
from maskbatch.analyse.classifier import Classifier
from maskbatch.cli.main import main
from maskbatch.drawing.annotate import annotate
from maskbatch.errors import UsageError
from maskbatch.networks.device import Device
from maskbatch.reports.tables import write_reports
from maskbatch.run import engine, quarantine, shard
from maskbatch.run.stages import Networks
from maskbatch.settings import ClassifierSettings, OutputSettings, ReportSettings, ScanSettings, Thresholds
from maskbatch.sinks.crops import CropSink
from maskbatch.states import LABELS, label_sql, labels_of, sql_parameters
from maskbatch.store.database import STORE, VERSION, open_store
from maskbatch.store.rows import face_rows
from maskbatch.types import Batch, Faces, Source

BLUE, PURPLE, ORANGE = (0, 114, 178), (204, 121, 167), (230, 159, 0)
BOTH = ReportSettings(0.5, 0.5)


def rows_of(path):
    """A table as dictionaries."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments):
    """`maskbatch ARGUMENTS`, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# the rule


@pytest.mark.parametrize(
    ("p_mask", "p_incorrect", "thresholds", "label"),
    [
        (0.9, 0.5, (0.5, 0.5), "incorrect_mask"),
        (0.9, 0.49994, (0.5, 0.5), "with_mask"),
        (0.9, 0.49996, (0.5, 0.5), "incorrect_mask"),  # 0.5 in the store
        (0.1, 0.9, (0.5, 0.5), "incorrect_mask"),
        (0.1, 0.1, (0.5, 0.5), "without_mask"),
        (0.9, 0.9, (0.5, None), "with_mask"),
        (0.1, 0.9, (0.5, None), "without_mask"),
        (0.9, np.nan, (0.5, 0.0), "with_mask"),
        (np.nan, np.nan, (0.0, 0.0), "without_mask"),
    ],
)
def test_the_third_state_comes_first(p_mask, p_incorrect, thresholds, label):
    """incorrect_mask from its threshold on, where there is one; else p_mask decides; NaN reaches no threshold."""
    assert labels_of(np.float32([p_mask]), np.float32([p_incorrect]), Thresholds(*thresholds)).tolist() == [label]


def test_reports_and_pictures_have_one_rule():
    """SQL says the same as Python for all pairs of probabilities around all pairs of thresholds, and for NULL."""
    steps = [None, *range(0, 10_001, 625), 2999, 3000, 3001, 7000]
    pairs = list(itertools.product(steps[1:], steps))
    query = f"SELECT {label_sql('p_mask / 10000.0', 'p_incorrect / 10000.0')} FROM face ORDER BY rowid"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE face (p_mask INTEGER, p_incorrect INTEGER)")
        connection.executemany("INSERT INTO face VALUES (?, ?)", pairs)
        p_mask, p_incorrect = np.array(pairs, float).T / 10_000
        for thresholds in itertools.starmap(Thresholds, itertools.product((0.0, 0.3, 0.5, 0.7, 1.0), repeat=2)):
            for used in (thresholds, Thresholds(thresholds.mask)):
                found = [label for (label,) in connection.execute(query, sql_parameters(used))]
                assert found == labels_of(p_mask, p_incorrect, used).tolist()
        connection.execute("UPDATE face SET p_mask = NULL")
        assert {label for (label,) in connection.execute(query, sql_parameters(Thresholds(0, 0)))} == {""}


def test_faces_carry_both_probabilities():
    """p_incorrect is NaN unless it is given, has its shape checked, and follows its face."""
    faces = fake_faces([0, 0], [[0, 0, 9, 9]] * 2)
    assert np.isnan(faces.with_state(np.float32([0.1, 0.2])).p_incorrect).all()
    both = faces.with_state(np.float32([0.1, 0.2]), np.float32([0.3, 0.4]))
    assert both.take([1]).p_incorrect.tolist() == both.p_incorrect[1:].tolist()
    assert both.with_track_id(np.array([0, 1])).p_incorrect is both.p_incorrect
    assert len(Faces.empty().p_incorrect) == 0
    with pytest.raises(ValueError, match="p_incorrect"):
        faces.with_state(np.float32([0.1, 0.2]), np.float32([0.3]))


@pytest.mark.parametrize("columns", [1, 2])
def test_the_network_decides_if_there_is_a_third_state(columns):
    """Its second column, where it has one, is p_incorrect of the same face, in chunks of any size; else that is NaN."""
    images = [np.full((40, 40, 3), value, np.uint8) for value in (0, 51, 255)]

    def net(crops):
        p = crops.mean(axis=(1, 2, 3))[:, None] / 255
        return [np.hstack([p, 1 - p])[:, :columns]]

    found = Classifier(net, max_batch=2)(images, fake_faces([0, 1, 2], [[5, 5, 20, 20]] * 3))
    np.testing.assert_allclose(found.p_mask, [0, 0.2, 1], atol=1e-6)
    np.testing.assert_allclose(found.p_incorrect, [1, 0.8, 0] if columns == 2 else [np.nan] * 3, atol=1e-6)
    assert found.p_mask.dtype == found.p_incorrect.dtype == np.float32


# store and tables


@pytest.fixture
def store(tmp_path):
    """An empty store in `tmp_path`."""
    with open_store(tmp_path) as opened:
        yield opened


def test_a_row_has_p_incorrect_in_ten_thousandths():
    """Rounded as p_mask is; None where it is unknown."""
    faces = fake_faces([0, 0], [[0, 0, 9, 9]] * 2, [0.1, 0.2], [0.45678, np.nan])
    rows = face_rows(Batch(fake_frames([0], [0], [0]), faces))
    assert [(row.p_mask_e4, row.p_incorrect_e4) for row in rows] == [(1000, 4568), (2000, None)]


def test_tables_tell_three_states(store, tmp_path):
    """A face, a photo and a folder; the rate is the share of people with a mask that is worn correctly."""
    states = [(0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.2), (0.98, 0.2)]
    faces = [Face("d/a", 0, face, p, face, p_incorrect=q) for face, (p, q) in enumerate(states)]
    fill(store, [File("d/a")], faces)
    found = write_reports(store, BOTH).summary
    assert (found.with_mask, found.incorrect_mask, found.without_mask, found.people) == (2, 2, 1, 5)
    assert (found.compliance_rate, found.threshold, found.incorrect_threshold) == (0.4, 0.5, 0.5)
    cells = [(row["p_mask"], row["p_incorrect"], row["label"]) for row in rows_of(tmp_path / "faces.csv")]
    assert cells == [
        ("0.9000", "0.1000", "with_mask"), ("0.9000", "0.9000", "incorrect_mask"), ("0.1000", "0.9000", "incorrect_mask"),
        ("0.1000", "0.2000", "without_mask"), ("0.9800", "0.2000", "with_mask"),
    ]  # fmt: skip
    for row in (*rows_of(tmp_path / "files.csv"), *rows_of(tmp_path / "summary.csv")):
        counts = [row[name] for name in ("people", *LABELS, "compliance_rate")]
        assert counts == ["5", "2", "2", "1", "0.4000"]
    same = write_reports(store, ReportSettings()).summary
    assert (same.with_mask, same.incorrect_mask, same.without_mask, same.incorrect_threshold) == (3, 0, 2, None)
    assert [row["p_incorrect"] for row in rows_of(tmp_path / "faces.csv")][:2] == ["0.1000", "0.9000"]
    assert {row["incorrect_mask"] for row in rows_of(tmp_path / "files.csv")} == {"0"}


def test_a_person_has_the_state_that_most_looks_speak_for(store, tmp_path):
    """However the frames of a video are cut into results: the sums of both probabilities add up."""
    faces = [Face("v", i, 0, 0.9, 0, p_incorrect=0.98 if i % 6 else 0.2) for i in range(60)]  # mean 0.85
    faces += [Face("v", i, 1, 0.9, 1, p_incorrect=0.1 if i % 6 else 0.6) for i in range(60)]
    sources = begun(store, [video("v")])
    for start in range(0, len(faces), 7):
        end(store, sources, [], faces[start : start + 7])
    end(store, sources, [video("v")])
    found = write_reports(store, BOTH).summary
    assert (found.people, found.with_mask, found.incorrect_mask) == (2, 1, 1)
    assert write_reports(store, ReportSettings(0.5, 0.99)).summary.incorrect_mask == 0
    with store.transaction() as connection:
        sums = connection.execute("SELECT track_id, p_incorrect_sum_e4 FROM track ORDER BY track_id").fetchall()
        assert sums == [(0, 510_000), (1, 110_000)]
        assert connection.execute("SELECT p_incorrect FROM tracks ORDER BY track_id").fetchall() == [(0.85,), (0.1833,)]
        assert connection.execute("SELECT DISTINCT p_incorrect FROM faces ORDER BY 1").fetchall() == [
            (0.1,),
            (0.2,),
            (0.6,),
            (0.98,),
        ]


def test_a_sum_with_an_unknown_part_is_unknown(store):
    """A track is not judged by a part of its frames only."""
    sources = begun(store, [video("v")])
    end(store, sources, [], [Face("v", 0, p_incorrect=0.9), Face("v", 1)])
    end(store, sources, [video("v")], [Face("v", 2, p_incorrect=0.9)])
    with store.transaction() as connection:
        assert connection.execute("SELECT frames, p_incorrect_sum_e4 FROM track").fetchall() == [(3, None)]
        assert connection.execute("SELECT p_incorrect FROM tracks").fetchall() == [(None,)]


# pictures and crops


@pytest.mark.parametrize(
    ("p_mask", "p_incorrect", "colour"), [(0.9, 0.2, BLUE), (0.9, 0.7, PURPLE), (0.1, 0.7, PURPLE), (0.1, 0.2, ORANGE)]
)
def test_each_state_has_its_colour(p_mask, p_incorrect, colour):
    """One of three colours for a face, never two; without the third state there are the two of before."""
    faces = fake_faces([0], [[50, 50, 90, 100]], [p_mask], [p_incorrect])
    drawn = annotate(np.full((150, 200, 3), 128, np.uint8), faces, Thresholds(0.5, 0.5))
    counts = {one: int((drawn == one).all(axis=2).sum()) for one in (BLUE, PURPLE, ORANGE)}
    assert counts.pop(colour) > 100 and set(counts.values()) == {0}
    two = annotate(np.full((150, 200, 3), 128, np.uint8), faces, Thresholds())
    assert not (two == PURPLE).all(axis=2).any()


# what an eye sees without its red, green or blue cones: Machado, Oliveira and Fernandes 2009, on linear RGB
_VISION = {
    "all cones": (np.eye(3), 50),
    "no red": ([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]], 15),
    "no green": (
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        15,
    ),
    "no blue": (
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        15,
    ),
}


@pytest.mark.parametrize("vision", _VISION)
def test_every_eye_tells_the_colours_apart(vision):
    """Each two of the three colours are far apart in CIELAB for most people, and plainly different for all others."""
    matrix, least = _VISION[vision]
    linear = ((np.array([BLUE, PURPLE, ORANGE]) / 255) ** 2.2) @ np.transpose(matrix)
    seen = np.clip(linear, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_RGB2Lab)[0]
    for one, other in itertools.combinations(lab, 2):
        assert np.linalg.norm(one - other) > least


def test_crops_have_a_third_folder(tmp_path):
    """By the label of each face; without the third state there are two folders."""
    source = Source(0, Path("/in/a.png"), "a.png", "image")
    faces = fake_faces([0] * 3, [[8, 6, 20, 18]] * 3, [0.9, 0.9, 0.1], [0.1, 0.9, 0.1])
    for incorrect, names in ((0.5, LABELS), (None, ("with_mask", "without_mask"))):
        out = tmp_path / str(incorrect)
        settings = ScanSettings(
            classifier=ClassifierSettings(incorrect_threshold=incorrect), output=OutputSettings(folder=out)
        )
        written(CropSink([source], settings), Batch(fake_frames([0], [0], [0]), faces))
        assert sorted(path.name for path in (out / "crops").iterdir()) == sorted(names)


# scans


def networks_of(columns):
    """Networks that are small functions: brightness says how probable a mask is, and how probable one worn incorrectly."""

    def net(crops):
        bright = crops.mean(axis=(1, 2, 3))[:, None] / 255
        return [np.hstack([bright, (bright > 0.45) * 0.6 + 0.2])[:, :columns]]

    device = Device("openvino", ("CPU",), "no device")
    made = Networks(lambda _: detect, lambda _: Classifier(net), device, {}, {"classifier": {"sha256": f"{columns}"}})
    return lambda _: made


@pytest.fixture
def states(request, monkeypatch):
    """Fake networks with three states, or as many as the test says."""
    opened = networks_of(getattr(request, "param", 3) - 1)
    monkeypatch.setattr(engine, "open_networks", opened)
    monkeypatch.setattr(shard, "open_networks", opened)
    monkeypatch.setattr(quarantine, "crash_reasons", lambda *_: {})


@pytest.fixture
def inputs(tmp_path):
    """Photos from dark to bright, two of them bright enough for masks that are worn incorrectly, and a video of them."""
    grey = [np.full((64, 96, 3), value, np.uint8) for value in (40, 80, 120, 160)]
    for number, image in enumerate(grey):
        makers.write_photo(tmp_path / f"in/{number}.png", image)
    makers.write_video(tmp_path / "in/v.mp4", [grey[3]] * 12)
    return tmp_path / "in"


def labels_in(out):
    """The labels of faces.csv, and the labels of the folders of crops, each with its number."""
    found = [row["label"] for row in rows_of(out / "faces.csv")]
    crops = [path.parent.name for path in out.glob("crops/*/*.jpg")]
    return {name: found.count(name) for name in LABELS}, {name: crops.count(name) for name in LABELS}


@pytest.mark.parametrize("is_on", [False, True])
def test_the_default_is_in_one_place(tmp_path, inputs, states, monkeypatch, is_on):
    """With either default, a scan without the option has it, the option turns it round, and run.json says which it was."""
    monkeypatch.setattr(defaults, "THIRD_STATE", is_on)
    for number, (option, wanted) in enumerate(
        {(): is_on, ("--third-state",): True, ("--no-third-state",): False}.items()
    ):
        out = tmp_path / f"out{number}"
        result = run("scan", inputs, "--out", out, "--save", "crops", *option)
        assert result.exit_code == 0, result.output
        labels, crops = labels_in(out)
        assert labels == crops and (labels["incorrect_mask"] > 0) == wanted
        assert ("incorrectly" in result.stdout) == wanted
        record = json.loads((out / "run.json").read_text())
        used = 0.5 if wanted else None
        assert record["report"]["incorrect_threshold"] == record["summary"]["incorrect_threshold"] == used
        assert record["settings"]["classifier"]["incorrect_threshold"] == used
        assert record["summary"]["incorrect_mask"] == sum(
            int(row["incorrect_mask"]) for row in rows_of(out / "files.csv")
        )
        assert mb.open(out).incorrect_threshold == used


@pytest.mark.parametrize("is_on", [False, True])
@pytest.mark.parametrize("states", [2], indirect=True)
def test_a_model_of_two_states_is_refused_only_when_three_are_asked_for(tmp_path, inputs, states, monkeypatch, is_on):
    """The sentence says so, before anything is written. With either default it scans as before when nothing is asked for,
    and a report with a third state is refused as well."""
    monkeypatch.setattr(defaults, "THIRD_STATE", is_on)
    out = tmp_path / "out"
    result = run("scan", inputs, "--out", out, "--save", "none", "--third-state")
    assert result.exit_code == 2 and "knows two states" in " ".join(result.output.split()) and not out.exists()
    assert run("scan", inputs, "--out", out, "--save", "none", "--incorrect-threshold", 0.7).exit_code == 2
    assert run("scan", inputs, "--out", out, "--save", "none").exit_code == 0
    assert labels_in(out)[0]["incorrect_mask"] == 0
    assert {row["p_incorrect"] for row in rows_of(out / "faces.csv")} == {""}
    before = contents(out)
    result = run("report", out, "--third-state")
    assert result.exit_code == 2 and "knows two states" in " ".join(result.output.split())
    with pytest.raises(UsageError, match="two states"):
        mb.open(out, third_state=True)
    assert contents(out) == before and mb.open(out).incorrect_threshold is None


def test_other_thresholds_only_write_the_tables_again(tmp_path, inputs, states):
    """With the third state turned on, moved and turned off again nothing is analysed; crops move, copies stay, and all is as
    it was at the end. `report` gives the same tables as the scan."""
    out, options = tmp_path / "out", ("--save", "annotated,crops")
    assert run("scan", inputs, "--out", out, *options).exit_code == 0
    first = contents(out)
    for more, words in (
        (("--third-state",), "third state from 0.5 on:"),
        (("--third-state", "--incorrect-threshold", "0.9"), "third state from 0.9 on in place of 0.5"),
        (
            ("--threshold", "0.2", "--third-state", "--incorrect-threshold", "0.1"),
            "threshold 0.2 in place of 0.5, third",
        ),
        ((), "no third state any more"),
    ):
        result = run("scan", inputs, "--out", out, *options, *more)
        assert result.exit_code == 0 and words in result.stderr and "5 of them done already" in result.stderr
        assert "no file is analysed again; crops move" in result.stderr and "--if-exists overwrite" in result.stderr
        labels, crops = labels_in(out)
        assert labels == crops and (labels["incorrect_mask"] > 0) == (bool(more) and "0.9" not in more)
        tables = {name: data for name, data in contents(out).items() if name.endswith(".csv")}
        assert all(contents(out)[name] == data for name, data in first.items() if name.startswith("annotated/"))
        copied = tmp_path / "copy"
        shutil.copytree(out, copied)
        assert run("report", copied, "--no-third-state", "--threshold", 1).exit_code == 0
        assert run("report", copied, *(more or ["--no-third-state"])).exit_code == 0
        assert {name: data for name, data in contents(copied).items() if name.endswith(".csv")} == tables
        shutil.rmtree(copied)
    assert contents(out) == first


def test_a_removed_crop_of_the_third_state_is_missed(tmp_path, inputs, states):
    """A photo whose only crops lie in the third folder is done, and scanned again when they are gone; to overwrite removes
    the folder."""
    out, options = tmp_path / "out", ("--save", "crops", "--third-state")
    for _ in range(2):
        result = run("scan", inputs, "--out", out, *options)
    assert "5 of them done already" in result.stderr
    before = contents(out)
    for path in out.glob("crops/incorrect_mask/2.png_*"):
        path.unlink()
    assert "4 of them done already" in run("scan", inputs, "--out", out, *options).stderr
    assert contents(out) == before
    assert run("scan", inputs, "--out", out, "--save", "none", "--if-exists", "overwrite").exit_code == 0
    assert not (out / "crops").exists()


def test_a_threshold_of_the_third_state_needs_that_state(tmp_path, inputs, states):
    """A scan, a report and Python refuse --incorrect-threshold alone; a report of a scan with three states takes it."""
    two, three = tmp_path / "two", tmp_path / "three"
    result = run("scan", inputs, "--out", two, "--save", "none", "--incorrect-threshold", "0.4")
    assert result.exit_code == 2 and "--third-state" in result.output and not two.exists()
    results = mb.scan(inputs, two, save="none")
    assert run("report", two, "--incorrect-threshold", "0.4").exit_code == 2
    with pytest.raises(UsageError, match="third-state"):
        results.report(incorrect_threshold=0.4)
    with pytest.raises(UsageError, match="third-state"):
        mb.scan(inputs, three, third_state="yes")
    mb.scan(inputs, three, save="none", third_state=True, incorrect_threshold=0.6)
    assert mb.open(three).incorrect_threshold == 0.6
    assert run("report", three, "--incorrect-threshold", "0.4").exit_code == 0
    assert json.loads((three / "run.json").read_text())["report"]["incorrect_threshold"] == 0.4


def test_python_knows_three_states(tmp_path, inputs, states):
    """Options of the scan, of `open` and of `report`; frames with fixed types; conditions over the new columns."""
    results = mb.scan(inputs, tmp_path / "out", save="none", third_state=True)
    files, faces = results.files(), results.faces()
    assert results.summary.incorrect_mask == files["incorrect_mask"].sum()  # blurred faces: nobody is judged
    assert files["incorrect_mask"].dtype == "int64" and faces["p_incorrect"].dtype == "float64"
    assert repr(results).endswith("threshold=0.5, incorrect_threshold=0.5)")
    worn = results.faces("label = 'incorrect_mask'")
    assert len(worn) == len(results.faces("p_incorrect >= 0.5")) > 0
    two = results.report(third_state=False)
    assert two.summary.incorrect_mask == 0 and two.incorrect_threshold is None
    assert two.report(third_state=True).summary == results.summary
    assert results.report(incorrect_threshold=0.9).report(threshold=0.4).incorrect_threshold == 0.9
    assert mb.open(tmp_path / "out", third_state=True, incorrect_threshold=0.9).summary.incorrect_mask == 0


def test_drawing_from_python(monkeypatch):
    """`draw` has the third colour when asked for it, by default as the default is, and refuses it for faces without it."""
    image, faces = np.full((150, 200, 3), 128, np.uint8), fake_faces([0], [[50, 50, 90, 100]], [0.9], [0.8])

    def is_purple(**options):
        return bool((mb.draw(image, faces, **options) == PURPLE).all(axis=2).any())

    assert is_purple(third_state=True) and not is_purple() and not is_purple(third_state=True, incorrect_threshold=0.9)
    monkeypatch.setattr(defaults, "THIRD_STATE", True)
    assert is_purple() and not is_purple(third_state=False)
    with pytest.raises(UsageError, match="no p_incorrect"):
        mb.draw(image, fake_faces([0], [[50, 50, 90, 100]], [0.9]), third_state=True)


def test_a_folder_of_the_store_before_is_refused_whole(tmp_path, inputs, states):
    """With the sentence of any other version; nothing in it changes."""
    out = tmp_path / "out"
    mb.scan(inputs, out, save="none")
    with closing(sqlite3.connect(out / STORE)) as connection:
        connection.execute("PRAGMA user_version = 1")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for command in (("scan", inputs, "--out", out, "--save", "none"), ("report", out)):
        result = run(*command)
        assert result.exit_code == 2 and f"store 1, this one writes {VERSION}" in " ".join(result.output.split())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
