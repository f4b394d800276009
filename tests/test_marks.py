"""Marks of faces that nobody boxed, and what they change in an evaluation."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from maskbatch.errors import UsageError
from maskbatch.trainer.data.dataset import Picture
from maskbatch.trainer.data.marks import with_marks
from maskbatch.trainer.data.scenes import analyse_scenes, scene_figures
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


def figures(pictures, *boxes):
    """The figures of a detector that finds these boxes in each picture, all masked."""

    def detect(images):
        xyxy = np.tile(np.array(boxes, np.float32), (len(images), 1))
        row = np.repeat(np.arange(len(images)), len(boxes))
        return Faces(row, xyxy, np.full(len(row), 0.9, np.float32), np.zeros((len(row), 5, 2), np.float32))

    def classify(images, faces):
        return faces.with_state(np.full(len(faces), 0.9, np.float32))

    return scene_figures(list(analyse_scenes(pictures, detect, classify)), 0.5, 0.5)


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


def test_a_mark_on_a_box_takes_no_hit_away(tmp_path):
    """A finding that hits an annotated box counts, whatever is marked there."""
    marked = with_marks(pictures_in(tmp_path), marks(tmp_path, "a.png,10,10,40,50,unsure", "b.png,10,10,40,50,face"))
    assert figures(marked, [10, 10, 40, 50]).recall[1] == 1


def test_places_without_a_face_are_a_record_only(tmp_path):
    """`no_face` changes nothing, and a file with nothing else ignores nothing, which is said."""
    pictures = pictures_in(tmp_path)
    marked = with_marks(pictures, marks(tmp_path, "a.png,96,10,134,60,no_face", "b.png,0,0,5,5,picture_of_face"))
    assert figures(marked, [100, 10, 130, 50]).false_faces == 1
    with pytest.raises(UsageError, match="no place to ignore in any"):
        with_marks(pictures, marks(tmp_path, "a.png,96,10,134,60,no_face"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,x_min,y_min,x_max,mark\n", "lacks the columns y_max"),
        (HEADER + "a.png,1,2,3,4,fcae\n", "line 2: the mark 'fcae' is none of face, picture_of_face, unsure, no_face"),
        (HEADER + "a.png,1,2,3,4,face\na.png,1,2,x,4,face\n", "line 3: a corner of the box is no number"),
        (HEADER + "a.png,1,2\n", "the mark None is none of"),
    ],
)
def test_wrong_marks_are_named(tmp_path, text, said):
    """File, line and what is wrong."""
    path = tmp_path / "marks.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        with_marks(pictures_in(tmp_path), path)
    assert str(path) in str(error.value)


def test_the_marks_of_the_val_scenes_are_whole():
    """The project's own file has known marks and boxes with an area."""
    path = Path(__file__).parents[1] / "models/val_marks.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert len(rows) > 500 and rows == sorted(rows, key=lambda row: (row[0], *map(int, row[1:5]), row[5]))
    assert {row[5] for row in rows} == {"face", "picture_of_face", "unsure", "no_face"}
    assert all(int(row[3]) > int(row[1]) and int(row[4]) > int(row[2]) for row in rows)
