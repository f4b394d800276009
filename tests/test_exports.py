import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import makers
import pytest
from click.testing import CliRunner
from stores import Face, File, fill, video

import maskbatch as mb
from maskbatch.cli.main import main
from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.exports import FORMATS
from maskbatch.exports.read_back import read_corrections
from maskbatch.store.database import open_store
from maskbatch.store.review import Verdict, add_verdicts, verdicts
from maskbatch.store.write import begin_session

FACTS = {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}, "maskbatch": "0",
         "weights": {"detector": {"file": "d.h5"}, "classifier": {"file": "c.zip"}}}  # fmt: skip
NAMES = ("day & night/a <1>.jpg", "empty.jpg", "broken.jpg", "v.mp4")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two photos, one that failed, and a video of two people, one of whom takes the mask off and is away for a while."""
    out = tmp_path_factory.mktemp("out")
    files = [File(NAMES[0]), File(NAMES[1]), File(NAMES[2], error="no JPEG", decoded=0, analysed=0),
             video(NAMES[3], fps=Fraction(30000, 1001))]  # fmt: skip
    faces = [Face(NAMES[0], p_mask=0.97), Face(NAMES[0], track_id=1, p_mask=0.03, face=1, x_min=4.5)]
    faces += [Face("v.mp4", frame, 0, 0.97 if frame < 90 else 0.03) for frame in range(0, 240, 5)]
    faces += [Face("v.mp4", frame, 1, 0.02, face=1, x_min=9.0) for frame in (*range(0, 60, 5), *range(120, 180, 5))]
    with open_store(out) as store:
        begin_session(store, {}, FACTS)
        fill(store, files, faces)
    return mb.open(out)


def boxes(results, source, **kinds):
    """The faces of a file: (frame, box in pixels, label, person), rounded, in order."""
    own = results.faces().query("source == @source")
    sides = ("x_min", "y_min", "x_max", "y_max")
    return sorted((face.frame, *(round(getattr(face, side), 1) for side in sides), face.label, face.person)
                  for face in own.itertuples())  # fmt: skip


def place(name):
    """The absolute path of a file of `fill`."""
    return str(Path("/nowhere", name).absolute())


def loaded(results, name, tmp_path):
    return json.loads(results.export(name, tmp_path / name).read_text(encoding="utf-8"))


def test_coco_is_read_by_its_own_library_and_loses_nothing(results, tmp_path):
    """Boxes, labels, scores, frames, times and persons come back by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    found = coco.COCO(str(results.export("coco", tmp_path / "coco.json")))
    names = {one["id"]: one["name"] for one in found.loadCats(found.getCatIds())}
    back = {}
    for one in found.loadAnns(found.getAnnIds()):
        [image] = found.loadImgs(one["image_id"])
        left, top, width, height = one["bbox"]
        row = (image.get("frame", 0), left, top, round(left + width, 1), round(top + height, 1), names[one["category_id"]],
               one["person"])  # fmt: skip
        back.setdefault(image.get("video", image["file_name"]), []).append(row)
    assert {name: sorted(rows) for name, rows in back.items()} == {
        name: boxes(results, name) for name in (NAMES[0], "v.mp4")
    }
    images = found.loadImgs(found.getImgIds())
    assert "empty.jpg" in {one["file_name"] for one in images} and "broken.jpg" not in {
        one["file_name"] for one in images
    }
    times = {one["frame"]: one["time_s"] for one in images if "video" in one}
    assert times[90] == pytest.approx(3.0, abs=1e-4)


def test_coco_photos_are_read_back_by_evaluate(results, tmp_path):
    """The trainer's own reader finds the faces of the photos, with their labels."""
    from maskbatch.trainer.data.annotations import read_coco

    results.export("coco", tmp_path / "faces.json")
    found = {one.picture: one for one in read_coco(tmp_path / "faces.json")}
    assert found[NAMES[0]].names == ("with_mask", "without_mask") and len(found["empty.jpg"].xyxy) == 0
    assert sorted(found[NAMES[0]].xyxy.round(1).tolist()) == sorted(list(row[1:5]) for row in boxes(results, NAMES[0]))


def test_megadetector_follows_the_rules_of_its_validator(results, tmp_path):
    """Version, categories, boxes within the picture, failures, and for videos frame rate, frames and frame numbers."""
    found = loaded(results, "megadetector", tmp_path)
    assert float(found["info"]["format_version"]) >= 1.6
    assert all(key.isdecimal() and name for key, name in found["detection_categories"].items())
    by_name = {one["file"]: one for one in found["images"]}
    assert list(by_name) == list(NAMES)
    assert by_name["broken.jpg"]["failure"] == "no JPEG" and by_name["broken.jpg"]["detections"] is None
    assert by_name["empty.jpg"]["detections"] == [] and "failure" not in by_name["empty.jpg"]
    clip = by_name["v.mp4"]
    assert clip["frame_rate"] == pytest.approx(29.97, abs=0.01)
    assert {one["frame_number"] for one in clip["detections"]} < set(clip["frames_processed"]) == set(range(300))
    for one in found["images"]:
        for face in one["detections"] or ():
            left, top, width, height = face["bbox"]
            assert 0 <= left <= left + width <= 1 and 0 <= top <= top + height <= 1 and 0 <= face["conf"] <= 1
            [(label, p)] = face["classifications"]
            assert label in found["classification_categories"] and p >= 0.5
            assert ("frame_number" in face) == (one is clip)


def test_parquet_has_typed_columns_and_all_rows(results, tmp_path):
    """pyarrow reads the same numbers; types do not depend on what was found; unknown numbers are null."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = results.export("parquet", tmp_path / "parquet")
    faces = parquet.read_table(folder / "faces.parquet")
    table = results.faces()
    assert faces.num_rows == len(table) and faces["x_min"].to_pylist() == table["x_min"].tolist()
    assert faces["source"].to_pylist() == table["source"].tolist() and set(faces["p_incorrect"].to_pylist()) == {None}
    files = parquet.read_table(folder / "files.parquet")
    assert [str(kind) for kind in (files.schema.field("width").type, files.schema.field("fps").type)] == [
        "int64",
        "double",
    ]
    assert files["width"].to_pylist()[2] is None
    assert faces.schema.metadata[b"schema_version"] == b"1"


def test_cvat_has_a_track_for_each_stretch_of_a_label(results, tmp_path):
    """Every analysed box is a keyframe; a person who changes has two tracks; who is away is outside meanwhile."""
    folder = results.export("cvat", tmp_path / "cvat")
    root = ElementTree.parse(folder / "v.mp4.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/size") == "300"
    back, tracks = [], root.findall("track")
    for track in tracks:
        for box in track.findall("box"):
            if box.get("outside") == "0":
                corners = [float(box.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
                person = int(next(one.text for one in box.findall("attribute") if one.get("name") == "person"))
                back.append((int(box.get("frame")), *corners, track.get("label"), person))
    assert sorted(back) == boxes(results, "v.mp4")
    assert [track.get("label") for track in tracks] == ["with_mask", "without_mask", "without_mask"]
    assert [int(box.get("frame")) for box in tracks[2].findall("box") if box.get("outside") == "1"] == [56, 176]


def test_label_studio_tasks_have_scores_and_the_frame_rate(results, tmp_path):
    """Boxes in percent give the pixels back; each person of a video is a region; frames count from 1."""
    photo, empty, clip = loaded(results, "label-studio", tmp_path)
    assert clip["data"]["fps"] == pytest.approx(29.97, abs=0.01)
    assert "day%20%26%20night" in photo["data"]["image"] and empty["predictions"][0]["result"] == []
    back = sorted(
        (0, *corners(one["value"]), one["value"]["rectanglelabels"][0]) for one in photo["predictions"][0]["result"]
    )
    assert back == [row[:-1] for row in boxes(results, NAMES[0])]
    people = clip["predictions"][0]["result"]
    frames = sorted((one["frame"] - 1, *corners(one), one["label"], number)
                    for number, person in enumerate(people) for one in person["value"]["sequence"])  # fmt: skip
    assert frames == boxes(results, "v.mp4")
    assert all(0 < one["score"] <= 1 for one in people)


def corners(value, width=640, height=480):
    left, top = value["x"] * width / 100, value["y"] * height / 100
    return tuple(
        round(one, 1) for one in (left, top, left + value["width"] * width / 100, top + value["height"] * height / 100)
    )


def test_megadetector_has_the_frames_that_were_analysed_where_they_are_known(tmp_path):
    """Every n-th frame of a video that was read as a whole; by times, or where some are missing, those with a face."""
    sampled = {
        **FACTS,
        "settings": FACTS["settings"] | {"sampling": {"every": 7, "sample_fps": None, "is_gated": False}},
    }
    gated = {**FACTS, "settings": FACTS["settings"] | {"sampling": {"every": 1, "sample_fps": 6.0, "is_gated": True}}}
    for name, facts, expected in (("a", sampled, list(range(0, 300, 7))), ("b", gated, [14, 28])):
        (tmp_path / name).mkdir()
        with open_store(tmp_path / name) as store:
            begin_session(store, {}, facts)
            fill(
                store,
                [video("v.mp4", analysed=43), video("w.mp4", analysed=40)],
                [Face("v.mp4", 28), Face("v.mp4", 14)],
            )
        clips = loaded(mb.open(tmp_path / name), "megadetector", tmp_path / name)["images"]
        assert [one["frames_processed"] for one in clips] == [expected, []]


def test_megadetector_has_the_frames_of_a_real_scan(tmp_path):
    """The store of a scan says enough: every third of ten frames."""
    makers.write_video(tmp_path / "v.mp4", makers.numbered(10))
    results = mb.scan(tmp_path / "v.mp4", tmp_path / "out", every=3, save="none")
    assert loaded(results, "megadetector", tmp_path)["images"][0]["frames_processed"] == [0, 3, 6, 9]


def in_pixels(box):
    """A box of FiftyOne (left, top, width, height in shares) as corners in pixels."""
    left, top, width, height = box
    return tuple(round(side, 1) for side in (640 * left, 480 * top, 640 * (left + width), 480 * (top + height)))


def test_fiftyone_has_the_photos_with_their_faces(results, tmp_path):
    """Labels are named by the absolute paths of their photos, which the importer takes as they are; boxes are relative."""
    folder = results.export("fiftyone", tmp_path / "fiftyone") / "photos"
    content = json.loads((folder / "labels.json").read_text())
    assert content["classes"] is None and (folder / "data").is_dir()
    assert set(content["labels"]) == set(map(place, NAMES[:2]))
    back = sorted((0, *in_pixels(one["bounding_box"]), one["label"]) for one in content["labels"][place(NAMES[0])])
    assert back == [row[:-1] for row in boxes(results, NAMES[0])]


def test_fiftyone_has_the_videos_with_faces_and_episodes(results, tmp_path):
    """ETA VideoLabels: each face in its frame, counted from 1, with its person and time; episodes with their frames."""
    folder = results.export("fiftyone", tmp_path / "fiftyone") / "videos"
    [record] = json.loads((folder / "manifest.json").read_text())["index"]
    assert record["data"] == place("v.mp4")
    content, back, times = json.loads((folder / record["labels"]).read_text()), [], {}
    for key, frame in content["frames"].items():
        assert int(key) == frame["frame_number"]
        for one in frame["objects"]["objects"]:
            corners = one["bounding_box"]["top_left"], one["bounding_box"]["bottom_right"]
            box = [round(value, 1) for corner in corners for value in (640 * corner["x"], 480 * corner["y"])]
            back.append((int(key) - 1, *box, one["label"], one["index"]))
            times[int(key) - 1] = values(one)["time_s"]
    assert sorted(back) == boxes(results, "v.mp4") and times[90] == pytest.approx(3.0)
    events = [(one["label"], values(one)["person"], one["support"]["ranges"]) for one in content["events"]["events"]]
    assert events == [("with_mask", 0, "1-86"), ("without_mask", 0, "91-236"), ("without_mask", 1, "1-176")]


def values(one):
    """The attributes of an object or event by name."""
    return {item["name"]: item["value"] for item in one["attrs"]["attrs"]}


def test_fiftyone_itself_reads_both_folders(results, tmp_path):
    """Its importers, where FiftyOne is installed, give every box, label, person and episode back."""
    data = pytest.importorskip("fiftyone.utils.data")
    folder = results.export("fiftyone", tmp_path / "fiftyone")
    with data.FiftyOneImageDetectionDatasetImporter(str(folder / "photos")) as importer:
        photos = {path: label.detections for path, _, label in importer}
    assert set(photos) == set(map(place, NAMES[:2]))
    back = sorted((0, *in_pixels(one.bounding_box), one.label) for one in photos[place(NAMES[0])])
    assert back == [row[:-1] for row in boxes(results, NAMES[0])]
    with data.FiftyOneVideoLabelsDatasetImporter(str(folder / "videos")) as importer:
        [(path, _, sample, frames)] = list(importer)
    back = [(number - 1, *in_pixels(one.bounding_box), one.label, one.index)
            for number, frame in frames.items() for one in frame["detections"].detections]  # fmt: skip
    assert path == place("v.mp4") and sorted(back) == boxes(results, "v.mp4")
    assert [(one.label, one.support) for one in sample["episodes"].detections] == [
        ("with_mask", [1, 86]), ("without_mask", [91, 236]), ("without_mask", [1, 176]),
    ]  # fmt: skip


def test_paths_with_odd_characters_are_those_of_the_files(tmp_path):
    """The store escapes backslashes and line breaks in paths; exports open the files themselves."""
    with open_store(tmp_path) as store:
        begin_session(store, {}, FACTS)
        fill(store, [File("a\\b\n.jpg"), File("\udcff.jpg")], [])
    [task, other] = loaded(mb.open(tmp_path), "label-studio", tmp_path)
    assert [one["data"]["image"].rpartition("=")[2] for one in (task, other)] == ["a%5Cb%0A.jpg", "%FF.jpg"]
    names = [one["data"].pop("source") for one in (task, other)]
    (tmp_path / "done.json").write_text(json.dumps([one | {"annotations": [{"result": []}]} for one in (task, other)]))
    assert list(read_corrections(tmp_path / "done.json").sources) == names
    (tmp_path / "marked.json").write_text((tmp_path / "done.json").read_text(), encoding="utf-8-sig")  # as on Windows
    assert list(read_corrections(tmp_path / "marked.json").sources) == names
    folder = mb.open(tmp_path).export("fiftyone")
    assert list(json.loads((folder / "photos/labels.json").read_text())["labels"]) == [
        place("a\\b\n.jpg"),
        place("\udcff.jpg"),
    ]


def test_subtitles_are_read_by_a_player_and_have_the_times_of_episodes(results, tmp_path):
    """webvtt-py reads every episode with its person, state and times."""
    webvtt = pytest.importorskip("webvtt")
    cues = webvtt.read(str(results.export("webvtt", tmp_path / "vtt") / "v.mp4.vtt"))
    episodes = results.episodes().query("source == 'v.mp4'")
    assert len(cues) == len(episodes)
    begins = sorted(round(one, 3) for one in episodes.from_s)
    assert [cue.start_in_seconds + int(cue.start[-3:]) / 1000 for cue in cues] == begins
    assert {"Person 0: with a mask", "Person 0: without a mask"} <= {cue.text for cue in cues}


def test_chapters_are_those_without_a_mask_and_ffmpeg_takes_them(results, tmp_path):
    """FFmpeg reads the file as metadata with a chapter for each bare episode."""
    import av

    folder = results.export("chapters", tmp_path / "chapters")
    bare = results.episodes().query("source == 'v.mp4' and state == 'without_mask'")
    with av.open(str(folder / "v.mp4.ffmetadata"), format="ffmetadata") as container:
        chapters = container.chapters()
    assert [round(float(one["start"] * one["time_base"]), 3) for one in chapters] == sorted(
        round(one, 3) for one in bare.from_s
    )


def test_an_edit_list_has_each_bare_stretch(results, tmp_path):
    """Events are numbered, their length is the same in source and record, and they follow each other."""
    lines = (results.export("edl", tmp_path / "edl") / "v.mp4.edl").read_text().splitlines()
    events = [line.split() for line in lines if line[:3].isdecimal()]
    assert len(events) == len(results.episodes().query("source == 'v.mp4' and state == 'without_mask'"))
    record = 0
    for event in events:
        begin, end, into, out = map(frames_of, event[4:])
        assert end - begin == out - into > 0 and into == record
        record = out


def frames_of(timecode):
    hours, minutes, seconds, frames = map(int, timecode.split(":"))
    return ((60 * hours + minutes) * 60 + seconds) * 25 + frames


@pytest.mark.parametrize(
    "seconds", [lambda frame: frame / 30, lambda frame: 0.4 * (frame / 30) ** 1.7], ids=["even", "vfr"]
)
def test_opentimelineio_reads_every_bare_stretch_with_its_times(tmp_path, seconds):
    """The library gives back each bare episode as a clip: its times, also where frames come at uneven times, the file's
    address, its length, the best look, person and probability; clips follow each other."""
    otio = pytest.importorskip("opentimelineio")

    class At(Face):
        def row(self, source_id):
            return super().row(source_id)._replace(time_e4=round(seconds(self.frame) * 10_000))

    name = "a #1 & 50%/v.mp4"
    faces = [At(name, frame, 0, 0.97 if 90 <= frame < 150 else 0.03) for frame in range(0, 240, 5)]
    faces += [At(name, frame, 1, 0.02, face=1, x_min=9.0) for frame in (*range(0, 60, 5), *range(120, 180, 5))]
    (tmp_path / "scan").mkdir()
    with open_store(tmp_path / "scan") as store:
        begin_session(store, {}, FACTS)
        fill(store, [File("a.jpg"), video(name, duration_s=20.0), video("nobody.mp4")], faces)
    results = mb.open(tmp_path / "scan")
    bare = results.episodes().query("state == 'without_mask'")
    folder = results.export("otio", tmp_path / "otio")
    assert [path.name for path in folder.rglob("*.otio")] == ["v.mp4.otio"] and len(bare) >= 3
    timeline = otio.adapters.read_from_file(str(folder / f"{name}.otio"))
    [track] = timeline.video_tracks()
    back, at_s = [], 0.0
    for clip in timeline.find_clips():
        reference = clip.media_reference
        assert url2pathname(urlparse(reference.target_url).path) == place(name)
        assert reference.available_range == clip.available_range() and clip.duration().rate == 30
        assert (clip.available_range().start_time.value, clip.available_range().duration.to_seconds()) == (0, 20)
        assert clip.source_range.end_time_exclusive() <= clip.available_range().end_time_exclusive()
        [marker] = clip.markers
        facts, mark = clip.metadata["maskbatch"], marker.metadata["maskbatch"]
        assert (
            marker.name == f"Person {mark['person']}, p_mask {mark['p_mask']:.2f}"
            and clip.name == f"Person {mark['person']}"
        )
        begin = clip.source_range.start_time.to_seconds()
        best_s = marker.marked_range.start_time.to_seconds()
        end = clip.source_range.end_time_exclusive().to_seconds()
        back.append((mark["person"], begin, end, best_s, mark["p_mask"], facts["state"]))
        assert clip.range_in_parent().start_time.to_seconds() == pytest.approx(at_s)
        at_s += clip.duration().to_seconds()
    assert track.duration().to_seconds() == pytest.approx(bare.duration_s.sum(), abs=1e-3)
    expected = [(one.person, one.from_s, one.to_s, one.best_time_s, round(one.p_mask, 4), one.state)
                for one in bare.sort_values(["from_s", "person"]).itertuples()]  # fmt: skip
    assert [row[0] for row in back] == [row[0] for row in expected] and [row[4:] for row in back] == [
        row[4:] for row in expected
    ]
    for row, other in zip(back, expected, strict=True):
        assert row[1:4] == pytest.approx(other[1:4], abs=1e-4)


def test_a_missing_package_is_named_with_its_extra(results, tmp_path, monkeypatch):
    """The message says what to install, and nothing is written."""
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(MaskbatchError, match=r"pip install 'maskbatch\[otio\]'"):
        results.export("otio", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_times_of_frames_are_whole_frames_in_opentimelineio(tmp_path):
    """Stored times are rounded; still, the best look, which is a frame, has the number of the frame."""
    otio = pytest.importorskip("opentimelineio")
    faces = [Face("v.mp4", frame, 0, 0.03) for frame in range(7, 240, 7)]
    with open_store(tmp_path) as store:
        begin_session(store, {}, FACTS)
        fill(store, [video("v.mp4", fps=Fraction(30))], faces)
    [one] = mb.open(tmp_path).episodes().itertuples()
    timeline = otio.adapters.read_from_file(str(mb.open(tmp_path).export("otio") / "v.mp4.otio"))
    [marker] = timeline.find_clips()[0].markers
    assert marker.marked_range.start_time.value == one.best_frame == 7
    assert marker.marked_range.duration.value == 1


@pytest.mark.parametrize("name", FORMATS)
def test_exports_never_overwrite_and_an_empty_scan_has_all_formats(results, tmp_path, name):
    """A place that exists is refused and left alone; a scan without a face is written too."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        results.export(name, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    with open_store(tmp_path / "empty") as store:
        begin_session(store, {}, FACTS)
        fill(store, [File("a.jpg"), video("v.mp4")])
    assert mb.open(tmp_path / "empty").export(name).exists()


def test_the_command_names_what_it_wrote(results, tmp_path):
    """`maskbatch export` writes where it says; an unknown format is a usage error."""
    done = CliRunner().invoke(main, ["export", str(results.folder), "coco", "--out", str(tmp_path / "x.json")])
    assert done.exit_code == 0 and (tmp_path / "x.json").is_file()
    assert tuple(main.commands["export"].params[1].type.choices) == FORMATS
    assert CliRunner().invoke(main, ["export", str(results.folder), "xlsx"]).exit_code == 2
    with pytest.raises(UsageError, match="no format"):
        results.export("xlsx")


# corrections come back


@pytest.fixture
def copied(results, tmp_path):
    """A copy of the scan that may be reviewed."""
    return Path(shutil.copytree(results.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("export_*")))


def verdicts_after(folder, path, *options):
    done = CliRunner().invoke(main, ["import", str(folder), str(path), "--reviewer", "ann", *options])
    assert done.exit_code == 0, done.output
    people = mb.open(folder).people()
    return {(one.source, one.person): one.reviewed for one in people.itertuples() if one.reviewed}


def confirmed(tasks):
    """Tasks of Label Studio whose predictions somebody submitted, with labels of whole regions only."""
    for task in tasks:
        for region in task["predictions"][0]["result"]:
            for one in region["value"].get("sequence", ()):
                del one["label"]
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    return tasks


@pytest.mark.parametrize("format", ["coco", "cvat", "label-studio"])
def test_what_was_exported_and_not_touched_says_nothing(copied, results, tmp_path, format):
    """A file that comes back as it was gives no verdict, so that a person who is bare for a while stays without a mask."""
    if format == "label-studio":
        path = tmp_path / "done.json"
        path.write_text(json.dumps(confirmed(loaded(results, format, tmp_path))))
    else:
        path = results.export(format, tmp_path / "x.json")
    assert verdicts_after(copied, path / "v.mp4.xml" if format == "cvat" else path) == {}


def test_the_changed_boxes_of_a_person_decide(copied, results, tmp_path):
    """One changed box among many is a verdict on its person, and on nobody else."""
    content = loaded(results, "coco", tmp_path)
    names = {one["id"]: one["name"] for one in content["categories"]}
    [incorrect] = [number for number, name in names.items() if name == "incorrect_mask"]
    changed = next(one for one in content["annotations"] if one["person"] == 1 and one["image_id"] > 1)
    changed["category_id"] = incorrect
    (tmp_path / "one.json").write_text(json.dumps(content))
    assert verdicts_after(copied, tmp_path / "one.json") == {("v.mp4", 1): "incorrect_mask"}


def test_an_import_that_fails_stores_nothing(copied):
    """All verdicts of an import are one transaction."""
    good = Verdict(1, 0, 0, 0, 0, "with_mask", 9000, "unsure", "ann")
    with open_store(copied) as store:
        with pytest.raises(MaskbatchError):
            add_verdicts(store, [good, good._replace(verdict=None)])
        with store.transaction() as connection:
            assert verdicts(connection) == []


def test_corrections_of_cvat_are_verdicts(copied, results, tmp_path):
    """Another label changes the person; a track that was removed is no face; the store keeps who said so."""
    path = results.export("cvat", tmp_path / "cvat") / "v.mp4.xml"
    tree = ElementTree.parse(path)
    root = tree.getroot()
    for track in root.findall("track"):
        person = track.find("box/attribute[@name='person']").text
        if person == "1":
            root.remove(track)
        else:
            track.set("label", "incorrect_mask")
    tree.write(path)
    assert verdicts_after(copied, path) == {("v.mp4", 0): "incorrect_mask", ("v.mp4", 1): "not_a_face"}
    with open_store(copied, reader=True) as store, store.transaction() as connection:
        assert connection.execute("SELECT DISTINCT reviewer FROM review").fetchall() == [("ann",)]


def test_annotations_of_label_studio_count_and_predictions_do_not(copied, results, tmp_path):
    """Only what somebody submitted is a verdict; frames count from 1 there."""
    tasks = loaded(results, "label-studio", tmp_path)
    (tmp_path / "none.json").write_text(json.dumps(tasks))
    assert CliRunner().invoke(main, ["import", str(copied), str(tmp_path / "none.json")]).exit_code == 2
    clip = tasks[2]
    regions = clip["predictions"][0]["result"]
    for one in regions[0]["value"]["sequence"]:
        one["label"] = "with_mask"
    clip["annotations"] = [{"result": regions}]
    (tmp_path / "done.json").write_text(json.dumps(tasks))
    assert verdicts_after(copied, tmp_path / "done.json") == {("v.mp4", 0): "with_mask"}


def test_new_boxes_are_counted_and_change_nothing(copied, results, tmp_path):
    """A box where the scan has no face is said."""
    content = loaded(results, "coco", tmp_path)
    content["annotations"].append({**content["annotations"][0], "id": 999, "bbox": [500, 300, 50, 60]})
    (tmp_path / "more.json").write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["import", str(copied), str(tmp_path / "more.json")])
    assert "1 box where the scan has no face" in done.output


@pytest.mark.parametrize("text", ["", "{}", "[1]", "<x", '{"images": [], "annotations": [{}], "categories": []}'])
def test_files_that_are_no_corrections_are_usage_errors(copied, tmp_path, text):
    """Damaged and strange files change nothing."""
    path = tmp_path / ("x.xml" if text.startswith("<") else "x.json")
    path.write_text(text)
    assert CliRunner().invoke(main, ["import", str(copied), str(path)]).exit_code == 2
