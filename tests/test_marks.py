"""Marks of faces that nobody boxed and of wrong labels, and what they change in an evaluation."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from trainer_makers import scenes

from maskbatch.cli.main import main
from maskbatch.errors import DatasetError, UsageError
from maskbatch.settings import DetectorSettings
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.labels import STATES
from maskbatch.trainer.data.marks import with_marks
from maskbatch.trainer.data.scenes import analyse_scenes
from maskbatch.trainer.detector import train as training
from maskbatch.trainer.evaluate import measure as evaluation
from maskbatch.trainer.evaluate.operating_point import choose_for_scenes
from maskbatch.trainer.evaluate.scene_figures import scene_figures
from maskbatch.types import Faces

HEADER = "path,x_min,y_min,x_max,y_max,mark\n"


def pictures_in(folder):
    """Two grey pictures, each with one masked face in a box."""
    found = []
    for name in ("a", "b"):
        path = folder / "scenes/images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((100, 200, 3), 128, np.uint8))
        found.append(Picture(path, np.array([[10, 10, 40, 50]], np.float32), np.array([1]), "photos", name))
    return found


def marks(folder, *rows):
    """A file of marks."""
    path = folder / "marks.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def scenes_of(pictures, boxes, score, p_mask=0.9, label=None):
    """The scenes of a detector that finds these boxes in each picture, all of one state; `label` replaces the truth."""

    def detect(images):
        xyxy, row = (
            np.tile(np.array(boxes, np.float32), (len(images), 1)),
            np.repeat(np.arange(len(images)), len(boxes)),
        )
        return Faces(row, xyxy, np.tile(np.float32(score), len(images)), np.zeros((len(row), 5, 2), np.float32))

    def classify(images, faces):
        return faces.with_state(np.full(len(faces), p_mask, np.float32))

    found = list(analyse_scenes(pictures, detect, classify))
    return found if label is None else [replace(one, label=np.full_like(one.label, label)) for one in found]


def figures(pictures, *boxes):
    """The figures of a detector that finds these boxes in each picture, all masked."""
    return scene_figures(scenes_of(pictures, boxes, [0.9] * len(boxes)), 0.5, 0.5)


def test_a_face_that_nobody_boxed_is_no_false_face(tmp_path):
    """A finding in a marked place counts neither way, also of another size; elsewhere it is false as before."""
    pictures = pictures_in(tmp_path)
    plain = figures(pictures, [10, 10, 40, 50], [100, 10, 130, 50])
    assert plain.false_faces == 1 and plain.precision[1] == 0.5
    marked = with_marks(pictures, marks(tmp_path, "scenes/images/a.png,96,10,134,60,face"))
    assert [len(picture.ignored) for picture in marked] == [1, 0]
    found = figures(marked, [10, 10, 40, 50], [100, 10, 130, 50])
    assert found.false_faces == 0.5 and found.precision[1] == pytest.approx(2 / 3) and found.recall[1] == 1
    assert figures(marked, [10, 10, 40, 50], [160, 10, 190, 50]).false_faces == 1
    assert figures(marked, [10, 10, 40, 50], [50, 0, 180, 100]).false_faces == 1  # far larger than the face


@pytest.mark.parametrize(("width", "false_faces"), [(90, 0.5), (91, 1), (10, 0.5), (9, 1)])
def test_a_finding_in_a_place_has_three_times_its_area_at_most(tmp_path, width, false_faces):
    """A finding around the middle of a place of 30 x 30 px is in it up to three times, or a third, of its area."""
    marked = with_marks(pictures_in(tmp_path), marks(tmp_path, "a.png,100,40,130,70,face"))
    finding = [115 - width / 2, 40, 115 + width / 2, 70]
    assert figures(marked, [10, 10, 40, 50], finding).false_faces == false_faces


def test_a_mark_on_a_box_takes_no_hit_away(tmp_path):
    """A finding that hits an annotated box counts, whatever is marked there."""
    marked = with_marks(pictures_in(tmp_path), marks(tmp_path, "a.png,10,10,40,50,unsure", "b.png,10,10,40,50,face"))
    assert figures(marked, [10, 10, 40, 50]).recall[1] == 1


def test_places_without_a_face_are_a_record_only(tmp_path):
    """`no_face` changes nothing, and a file with nothing else ignores nothing, which is said."""
    pictures = pictures_in(tmp_path)
    marked = with_marks(pictures, marks(tmp_path, "a.png,96,10,134,60,no_face", "b.png,0,0,5,5,picture_of_face"))
    assert figures(marked, [100, 10, 130, 50]).false_faces == 1
    with pytest.raises(UsageError, match=r"ignores no place and corrects no label.*no_face only"):
        with_marks(pictures, marks(tmp_path, "a.png,96,10,134,60,no_face"))


@pytest.mark.parametrize(("label", "recall"), [("without_mask", 0.5), ("with_mask", 1), ("incorrect_mask", 1)])
def test_a_wrong_label_is_corrected(tmp_path, label, recall):
    """A label in the mark replaces that of the box, also where corners are rounded; the file on disk keeps its own."""
    pictures = pictures_in(tmp_path)
    wrong = [replace(pictures[0], label=np.array([0])), pictures[1]]
    assert figures(wrong, [10, 10, 40, 50]).precision[1] == 0.5
    marked = with_marks(wrong, marks(tmp_path, f"a.png,10,11,40,50,{label}"))
    assert marked[0].label.tolist() == [STATES.index(label)] and wrong[0].label.tolist() == [0]
    found = figures(marked, [10, 10, 40, 50])
    assert found.precision[1] == recall and found.recall[1] == 1
    assert len(marked[0].ignored) == 0


def test_a_mark_on_a_picture_without_boxes_is_refused(tmp_path):
    """Findings in pictures of class folders never count, so a mark there is a mistake."""
    one, other = pictures_in(tmp_path)
    with pytest.raises(UsageError, match=r"a\.png, a picture of a class folder"):
        with_marks([replace(one, xyxy=None), other], marks(tmp_path, "a.png,96,10,134,60,face"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,x_min,y_min,x_max,mark\n", "line 1, lacks the columns y_max: add them"),
        (
            HEADER + "a.png,1,2,3,4,fcae\n",
            "line 2: the mark 'fcae' is none of face, picture_of_face, unsure, no_face, without_mask, .*: use one",
        ),
        (
            HEADER + "a.png,1,2,3,4,face\na.png,1,2,x,4,face\n",
            r"line 3: a corner of the box is no number .*: give pixels",
        ),
        (HEADER + "a.png,1,2,nan,4,face\n", "line 2: a corner of the box is no number .*'nan'"),
        (HEADER + "a.png,1,2,inf,4,face\n", "line 2: a corner of the box is no number .*'inf'"),
        (HEADER + "a.png,1,2\n", "the mark None is none of"),
        (
            HEADER + "a.png,1,2,3,4,face\nimages/c.png,1,2,3,4,no_face\n",
            r"pictures that are not in the dataset \(1\), such as 'images/c",
        ),
        (
            HEADER + "a.png,10,10,40,50,without_mask\na.png,10,10,40,49,incorrect_mask\n",
            "gives the labels without_mask and incorrect_mask to one box in a.png: delete one",
        ),
        (
            HEADER + "a.png,60,10,90,50,with_mask\n",
            "the label with_mask to .* in a.png, where no box is: give the corners",
        ),
        (HEADER + "a.png,30,2,30,4,face\n", "line 2: a place needs an x_max larger than x_min"),
    ],
)
def test_wrong_marks_are_named(tmp_path, text, said):
    """File, line and what is wrong."""
    path = tmp_path / "marks.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        with_marks(pictures_in(tmp_path), path)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    """A file in another encoding is told as such, and not as a wrong number."""
    (tmp_path / "marks.csv").write_bytes((HEADER + "caf\xe9.png,1,2,3,4,face\n").encode("latin-1"))
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        with_marks(pictures_in(tmp_path), tmp_path / "marks.csv")


def test_a_path_that_two_pictures_share_is_refused(tmp_path):
    """A mark on one of two pictures of the same name must not fall on both; with its folder the path is clear."""
    pictures = pictures_in(tmp_path / "north") + pictures_in(tmp_path / "south")
    with pytest.raises(UsageError, match="names several pictures: put their folders before it"):
        with_marks(pictures, marks(tmp_path, "a.png,96,10,134,60,face"))
    marked = with_marks(pictures, marks(tmp_path, "south/scenes/images/a.png,96,10,134,60,face"))
    assert [len(picture.ignored) for picture in marked] == [0, 0, 1, 0]


def test_faces_that_nobody_boxed_do_not_raise_the_chosen_threshold(tmp_path):
    """With a sure finding in an unboxed place, a high threshold looks best; once it is marked, the default stays."""
    pictures = pictures_in(tmp_path)
    marked = with_marks(pictures, marks(tmp_path, *(f"{name}.png,100,10,130,50,face" for name in "ab")))
    low, high = DetectorSettings().threshold + 0.02, DetectorSettings().threshold + 0.1

    def chosen(pictures):
        scenes = scenes_of(pictures, [[10, 10, 40, 50], [100, 10, 130, 50]], score=[high, low])
        return choose_for_scenes([*scenes, *scenes_of(pictures, [[10, 10, 40, 50]], [high], p_mask=0.1, label=0)])

    assert chosen(pictures).detector > low and chosen(pictures).value == 1
    assert chosen(marked).detector == DetectorSettings().threshold and chosen(marked).value == 1


@pytest.mark.parametrize("command", ["evaluate", "train-detector"])
def test_both_commands_take_marks(tmp_path, monkeypatch, command):
    """`--ignore` reaches the pictures that are measured, and a wrong file ends the command with exit code 2."""
    root, seen = scenes(tmp_path / "set"), []
    (tmp_path / "splits.csv").write_text(
        "path,split\nset/images/0.jpg,train\nset/images/1.jpg,val\nset/images/2.jpg,val\n"
    )
    out = [] if command == "evaluate" else ["--out", str(tmp_path / "out")]
    given = [command, str(root), *out, "--splits", str(tmp_path / "splits.csv"), "--ignore"]
    wrong = CliRunner().invoke(main, [*given, str(marks(tmp_path, "images/9.jpg,96,10,134,60,face"))])
    assert wrong.exit_code == 2 and "delete their rows" in " ".join(wrong.output.split())

    def stop(pictures, *_):
        seen.extend(len(picture.ignored) for picture in pictures)
        raise DatasetError("seen")

    monkeypatch.setattr(evaluation, "load_samples", stop)
    monkeypatch.setattr(training, "fingerprint", stop)
    CliRunner().invoke(main, [*given, str(marks(tmp_path, "images/1.jpg,96,10,134,60,face"))])
    assert sorted(seen) == [0, 0, 1]


def test_the_marks_of_the_val_scenes_are_whole():
    """The project's own file has known marks and boxes with an area."""
    path = Path(__file__).parents[1] / "models/val_marks.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert len(rows) > 500 and rows == sorted(rows, key=lambda row: (row[0], *map(int, row[1:5]), row[5]))
    assert {row[5] for row in rows} == {"face", "picture_of_face", "unsure", "no_face", "with_mask", "incorrect_mask"}
    assert all(int(row[3]) > int(row[1]) and int(row[4]) > int(row[2]) for row in rows)
