"""Foreign datasets: their labels, and the pairing of annotations and pictures."""

import json
import logging

import numpy as np
import pytest
from trainer_makers import VOC, class_folders, coco_scenes, scenes, write_picture

from maskbatch.errors import DatasetError, UsageError
from maskbatch.trainer.data.dataset import read_datasets
from maskbatch.trainer.data.labels import LabelRules, parse_rules


def write_voc(path, picture=None, label="with_mask"):
    """Write a Pascal VOC annotation with one box; `picture` is the picture's name in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = "" if picture is None else f"<filename>{picture}</filename>"
    path.write_text(VOC.format(label, 30, 20, 60, 60).replace("<annotation>", f"<annotation>{stated}"))


def write_coco(path, *pictures):
    """Write a COCO file with one box for each picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [30, 20, 30, 40]} for i in range(len(pictures))]
    images = [{"id": i, "file_name": name} for i, name in enumerate(pictures)]
    categories = [{"id": 1, "name": "with_mask"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


def read_names(root):
    return [picture.path.relative_to(root).as_posix() for picture in read_datasets([root])]


def test_an_annotation_belongs_to_the_picture_that_it_names(tmp_path):
    """An annotation beside a.jpg and a.png belongs to the one that <filename> names."""
    write_picture(tmp_path / "images" / "a.jpg", 50)
    write_picture(tmp_path / "images" / "a.png", 60)
    write_voc(tmp_path / "annotations" / "a.xml", "a.jpg")
    assert read_names(tmp_path) == ["images/a.jpg"]


def test_an_annotation_belongs_to_the_picture_in_its_folder(tmp_path):
    """With one stem in two subfolders, an annotation belongs to the picture in its folder, with and without <filename>."""
    for i, folder in enumerate(("north", "south")):
        write_picture(tmp_path / "images" / folder / "a.jpg", 50)
        write_voc(tmp_path / "annotations" / folder / "a.xml", "a.jpg" if i else None, ("without_mask", "with_mask")[i])
    pictures = read_datasets([tmp_path])
    assert [(p.path.parent.name, p.label.tolist()) for p in pictures] == [("north", [0]), ("south", [1])]


def test_coco_names_with_folders_are_kept_apart(tmp_path):
    """x/a.jpg and y/a.jpg of a COCO file are two pictures, also below folders of another machine."""
    for folder in ("x", "y"):
        write_picture(tmp_path / "images" / folder / "a.jpg", 50)
    write_coco(tmp_path / "annotations" / "all.json", "x/a.jpg", r"C:\data\y\a.jpg")
    assert read_names(tmp_path) == ["images/x/a.jpg", "images/y/a.jpg"]
    write_picture(tmp_path / "images" / "x" / "y" / "a.jpg", 50)
    write_coco(tmp_path / "annotations" / "all.json", "y/a.jpg")
    assert read_names(tmp_path) == ["images/y/a.jpg"]


def test_a_byte_order_mark_before_coco_is_no_part_of_it(tmp_path):
    """Windows writes it before UTF-8."""
    write_picture(tmp_path / "images" / "a.jpg", 50)
    file = tmp_path / "annotations" / "all.json"
    write_coco(file, "a.jpg")
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert read_names(tmp_path) == ["images/a.jpg"]


@pytest.mark.parametrize("stated", [None, "a.tif"])
def test_an_ambiguous_annotation_is_refused(tmp_path, stated):
    """The error names both a.jpg and a.png where an annotation could belong to either."""
    write_picture(tmp_path / "images" / "a.jpg", 50)
    write_picture(tmp_path / "images" / "a.png", 60)
    write_voc(tmp_path / "annotations" / "a.xml", stated)
    with pytest.raises(DatasetError, match=r"a\.jpg or to .*a\.png"):
        read_datasets([tmp_path])


def test_an_annotation_that_names_another_picture_is_refused(tmp_path):
    """b.xml that names a.jpg beside a b.jpg is an error."""
    for name in ("a", "b"):
        write_picture(tmp_path / "images" / f"{name}.jpg", 50)
    write_voc(tmp_path / "annotations" / "b.xml", "C:/old/a.jpg")
    with pytest.raises(DatasetError, match=r"a\.jpg or to .*b\.jpg"):
        read_datasets([tmp_path])


def test_two_annotations_of_one_picture_are_refused(tmp_path):
    """The error names the files: two of VOC, VOC and COCO, or one COCO file that lists a picture twice."""
    write_picture(tmp_path / "images" / "a.jpg", 50)
    for folder in ("x", "y"):
        write_voc(tmp_path / "annotations" / folder / "a.xml")
    with pytest.raises(DatasetError, match=r"x.a\.xml and .*y.a\.xml both annotate"):
        read_datasets([tmp_path])
    (tmp_path / "annotations" / "x" / "a.xml").unlink()
    write_coco(tmp_path / "annotations" / "all.json", "a.jpg")
    with pytest.raises(DatasetError, match=r"a\.xml and .*all\.json both annotate"):
        read_datasets([tmp_path])
    (tmp_path / "annotations" / "y" / "a.xml").unlink()
    write_coco(tmp_path / "annotations" / "all.json", "a.jpg", "images/a.jpg")
    with pytest.raises(DatasetError, match="lists twice"):
        read_datasets([tmp_path])


def test_what_is_left_out_or_taken_from_another_folder_is_said(tmp_path, caplog):
    """A warning names pictures without annotation, and an annotation whose only match lies in another folder."""
    write_picture(tmp_path / "images" / "y" / "a.jpg", 50)
    write_picture(tmp_path / "images" / "y" / "b.jpg", 50)
    write_coco(tmp_path / "annotations" / "all.json", "x/a.jpg")
    with caplog.at_level(logging.WARNING):
        assert read_names(tmp_path) == ["images/y/a.jpg"]
    assert "another folder" in caplog.text and "x/a.jpg" in caplog.text
    assert "1 pictures" in caplog.text and "b.jpg" in caplog.text


@pytest.mark.parametrize("make", [class_folders, scenes, coco_scenes])
def test_notes_of_macos_and_folders_named_like_pictures_are_no_pictures(tmp_path, make):
    """Archives from macOS hold `._a.jpg` beside `a.jpg`, also for annotations; a folder may be named like a picture."""
    make(tmp_path / "set")
    before = read_names(tmp_path / "set")
    for path in list((tmp_path / "set").rglob("*.*")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    next((tmp_path / "set").rglob("*.[jp]*g")).with_name("folder.jpg").mkdir()
    assert read_names(tmp_path / "set") == before


@pytest.mark.parametrize("make", [write_voc, write_coco])
def test_boxes_without_an_area_are_left_out_and_said(tmp_path, make, caplog):
    """Nobody can find a box whose sides are swapped, so it must not count as a face that was missed."""
    write_picture(tmp_path / "images/a.jpg", 50)
    path = tmp_path / ("a.xml" if make is write_voc else "all.json")
    make(path, "a.jpg")
    text = path.read_text()
    assert len(read_datasets([tmp_path])[0].xyxy) == 1
    path.write_text(text.replace("<xmax>60", "<xmax>20").replace("30, 20, 30, 40", "30, 20, 0, 40"))
    [picture] = read_datasets([tmp_path])
    assert picture.xyxy.shape == (0, 4) and len(picture.label) == 0
    assert "1 boxes have no area" in caplog.text and path.name in caplog.text


def test_rules_for_labels_that_do_not_occur_are_said(tmp_path, caplog):
    """A misspelled --ignore-label would ignore nothing without a word."""
    read_datasets([class_folders(tmp_path, count=1)], rules=parse_rules(["Mask=with_mask"], ["wihtout_mask"]))
    assert "'Mask', 'wihtout_mask'" in caplog.text and "'with_mask', 'without_mask'" in caplog.text


@pytest.mark.parametrize("make", [scenes, coco_scenes])
def test_labels_of_others_get_a_meaning(tmp_path, make):
    """A renamed label is ours, an ignored one leaves no box, in both formats."""
    root = make(tmp_path / "set", labels=("Mask", "no mask", "helmet"))
    rules = parse_rules(["Mask=with_mask", "no mask = without_mask"], ["helmet"])
    pictures = read_datasets([root], rules=rules)
    assert [p.label.tolist() for p in pictures] == [[1], [0], []]
    assert [p.xyxy.shape for p in pictures] == [(1, 4), (1, 4), (0, 4)]


def test_class_folders_of_others_get_a_meaning(tmp_path):
    """The names of class folders are labels too: all unknown ones are refused."""
    class_folders(tmp_path)
    for name in ("with_mask", "without_mask"):
        (tmp_path / name).rename(tmp_path / name.title())
    (tmp_path / ".thumbnails").mkdir()
    write_picture(tmp_path / ".thumbnails" / "0.jpg", 9)
    write_picture(tmp_path / "worn badly" / "0.jpg", 9)
    with pytest.raises(UsageError, match=r"'With_Mask' \(6\), 'Without_Mask' \(6\), 'worn badly' \(1\)"):
        read_datasets([tmp_path])
    renamed = ["With_Mask=with_mask", "Without_Mask=without_mask"]
    with pytest.raises(UsageError, match="--ignore-label 'worn badly'"):
        read_datasets([tmp_path], rules=parse_rules(renamed, []))
    pictures = read_datasets([tmp_path], rules=parse_rules(renamed, ["worn badly"]))
    assert np.concatenate([p.label for p in pictures]).tolist() == [1] * 6 + [0] * 6
    for third in ("mask_worn_incorrectly", "incorrect_mask", "mask_weared_incorrect"):
        pictures = read_datasets([tmp_path], rules=parse_rules([*renamed, f"worn badly={third}"], []))
        assert np.concatenate([p.label for p in pictures]).tolist() == [1] * 6 + [0] * 6 + [2]


def test_all_unknown_labels_are_listed_at_once(tmp_path):
    """One error lists the unknown labels of all datasets and formats, their numbers and the option to use."""
    roots = [
        scenes(tmp_path / "a", labels=("beard", "with_mask", "beard")),
        coco_scenes(tmp_path / "b", labels=("cap",)),
    ]
    with pytest.raises(UsageError, match=r"'beard' \(2\), 'cap' \(1\).*--labels 'beard=with_mask'"):
        read_datasets(roots)


def test_rules_that_mean_nothing_are_refused():
    """A rule without equals sign, with a foreign meaning or with two meanings for one label is refused."""
    for renamed, ignored, words in (
        (["Mask"], [], "OLD=NEW"),
        (["Mask=masked"], [], "'masked' is not one of"),
        (["Mask=with_mask", "Mask=without_mask"], [], "more than one meaning"),
        (["Mask=with_mask"], ["Mask"], "more than one meaning"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_rules(renamed, ignored)
    assert parse_rules(["a=b=with_mask"], ["c"]) == LabelRules((("a=b", "with_mask"),), ("c",))


def test_a_splits_file_that_does_not_fit_is_refused(tmp_path):
    """Missing columns or pictures, unknown splits, contradictions and files without text are refused."""
    root = class_folders(tmp_path / "faces", count=2)
    paths = [path.relative_to(tmp_path).as_posix() for path in sorted(root.rglob("*.png"))]
    whole = "".join(f"{path},train\n" for path in paths)
    for content, words in (
        ("path;split\n", "columns path and split"),
        ("path,split\n" + whole.replace("0.png", "9.png"), "2 of the dataset's 4 pictures"),
        ("path,split\n" + whole.replace("train", "rest"), "'rest'"),
        ("path,split\n" + whole + f"{paths[0]},val\n", "two rows that differ"),
        ("path,split\nä", "UTF-8"),
    ):
        (tmp_path / "splits.csv").write_bytes(content.encode("latin-1"))
        with pytest.raises(UsageError, match=words):
            read_datasets([root], tmp_path / "splits.csv")
    (tmp_path / "splits.csv").write_text("path,split\n" + whole, encoding="utf-8-sig")
    assert len(read_datasets([root], tmp_path / "splits.csv")) == 4
