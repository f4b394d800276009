import base64
import hashlib
import json
import os
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from makers import write_photo
from stores import Face, fill, video

import maskbatch as mb
from maskbatch.cli.main import main
from maskbatch.errors import MaskbatchError, UsageError
from maskbatch.media.write import partial_file
from maskbatch.reports.manifest import MANIFEST, rows_digests
from maskbatch.review.session import Wanted, prepared
from maskbatch.run.corrections import import_corrections
from maskbatch.run.pack import pack
from maskbatch.run.purge import purge
from maskbatch.run.threshold import Asked
from maskbatch.run.verify import verify
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.folder import remove_temporary
from maskbatch.store.lock import locked
from maskbatch.store.read import last_session
from maskbatch.store.write import begin_session, end_session

SAMPLES = Path(__file__).parents[1] / "sample_media"
CLIP = "2026-11-20_22-00-00_desk.mp4"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A scan of two photos and a clip of a person who takes the mask off, with all media."""
    inputs = tmp_path_factory.mktemp("in")
    for name in ("portrait_bare.jpg", "portrait_surgical.jpg", f"video/{CLIP}"):
        shutil.copy(SAMPLES / name, inputs)
    mb.scan(inputs, inputs / "out", save="annotated,evidence,crops")
    return inputs


@pytest.fixture
def out(scanned, tmp_path):
    """A copy of that scan's folder, times of files included."""
    return Path(shutil.copytree(scanned / "out", tmp_path / "out"))


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_folder_as_it_was_written_is_whole(out):
    """Nothing differs right after a scan, and not after another report of the same results."""
    assert not verify(out) and run("verify", out).exit_code == 0
    mb.open(out).report(threshold=0.7)
    assert not verify(out)


_EACH = [
    "people.csv",
    "report.html",
    "run.json",
    "annotated/*.mp4",
    "annotated/*.jpg",
    "evidence/*.jpg",
    "crops/*/*.jpg",
]


@pytest.mark.parametrize("pattern", _EACH)
def test_one_flipped_byte_is_named(out, pattern):
    """In a table, the page, a video, a photo or a crop; the command ends with code 5."""
    path = sorted(out.glob(pattern))[0]
    flip(path)
    assert verify(out).changed == (path.relative_to(out).as_posix(),)
    assert run("verify", out).exit_code == 5


def test_a_report_does_not_launder_changed_media(out):
    """Another report keeps the checksums of media: what was changed since the scan is still found."""
    path = sorted(out.glob("evidence/*.jpg"))[0]
    flip(path)
    mb.open(out).report()
    assert verify(out).changed == (path.relative_to(out).as_posix(),)


def test_a_changed_row_is_found_whatever_the_file_of_the_store(out):
    """A probability that is changed in the store differs; a store that was only written anew does not."""
    with open_store(out) as store:
        store.vacuum()
    assert not verify(out)
    with open_store(out) as store, store.transaction() as connection:
        connection.execute("UPDATE face SET p_mask_e4 = 10000 - p_mask_e4 WHERE frame = 0")
    assert verify(out).changed == ("scan.db: rows of face",)


def test_rows_have_the_checksum_of_their_texts(tmp_path):
    """Faces with and without unknown values are told like all other rows; no faces have a checksum as well."""
    seen = [
        Face("v", frame, 0, p, p_incorrect=more)
        for frame, (p, more) in enumerate([(0.5, 0.1), (0.5, None), (None, None)])
    ]
    for faces in ([], seen[:1], seen):
        (folder := tmp_path / str(len(faces))).mkdir()
        with open_store(folder) as store:
            fill(store, [video("v")], [*faces, *(replace(face, x_min=-7.5, face=1) for face in faces)])
            with store.transaction() as connection:
                rows = connection.execute("SELECT * FROM face ORDER BY source_id, frame, face").fetchall()
                found = rows_digests(connection)["face"]
        assert found == hashlib.sha256("".join(f"{row!r}\n" for row in rows).encode()).hexdigest()


@pytest.mark.parametrize("value", ["NULL", "'None'", "X'35303030'", "'5000 '", "5000.5", "'x'", "5001"])
def test_nothing_passes_for_another_number(tmp_path, value):
    """Whatever replaces a number, or an unknown one, has another checksum unless it is stored as the same number."""
    with open_store(tmp_path) as store:
        fill(store, [video("v")], [Face("v", p_incorrect=0.5), Face("v", 1)])
        for frame, number in enumerate((5000, None)):
            with store.transaction() as connection:
                before = rows_digests(connection)["face"]
                connection.execute(f"UPDATE face SET p_incorrect_e4 = {value} WHERE frame = ?", [frame])
                [now] = connection.execute("SELECT p_incorrect_e4 FROM face WHERE frame = ?", [frame]).fetchone()
                assert (rows_digests(connection)["face"] == before) is (now == number)


def test_missing_and_extra_files_are_named(out):
    """A picture that is gone, and one that nobody wrote."""
    gone = sorted(out.glob("evidence/*.jpg"))[0]
    gone.unlink()
    (out / "evidence" / "planted.jpg").write_bytes(b"x")
    found = verify(out)
    assert found.missing == (gone.relative_to(out).as_posix(),) and found.extra == ("evidence/planted.jpg",)


def test_changed_and_moved_inputs(scanned, tmp_path):
    """An input that differs from the one that was scanned is a difference; one that was moved is only said."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in ("portrait_bare.jpg", "portrait_surgical.jpg"):
        shutil.copy(SAMPLES / name, inputs)
    mb.scan(inputs, tmp_path / "out", save="none")
    (inputs / "portrait_bare.jpg").rename(tmp_path / "elsewhere.jpg")
    found = verify(tmp_path / "out")
    assert not found and found.missing_inputs == ("portrait_bare.jpg",)
    flip(inputs / "portrait_surgical.jpg")
    assert verify(tmp_path / "out").changed == ("input portrait_surgical.jpg",)


def test_an_input_that_changed_in_its_middle_is_read_again(tmp_path):
    """The same size and the same ends are not the same file: its time differs."""
    path = tmp_path / "a.png"
    write_photo(path, np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8))
    mb.scan(path, tmp_path / "out", save="none")
    flip(path, path.stat().st_size // 2)
    mb.scan(path, tmp_path / "out", save="none")
    assert not verify(tmp_path / "out")


@pytest.mark.parametrize("end", [None, "interrupted"])
def test_the_manifest_of_an_earlier_session_is_refused(out, tmp_path, end):
    """While a scan is at work, and after an interrupted one, the folder is not what the manifest says."""
    with open_store(out) as store:
        with store.transaction() as connection:
            last = last_session(connection)
        number = begin_session(store, last.identity, last.facts)
        if end:
            end_session(store, number, end, {})
    for command in (["verify", out], ["pack", out, "--out", tmp_path / "a.zip"]):
        result = run(*command)
        assert result.exit_code == 2 and "has not finished" in result.output and not (tmp_path / "a.zip").exists()


def test_the_manifest_itself_can_be_expected(out):
    """Somebody who changes a file and makes a new manifest is found by the checksum that was written down."""
    import hashlib

    checksum = hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest()
    assert run("verify", out, "--expect", checksum.upper()).exit_code == 0
    values = json.loads((out / MANIFEST).read_text())
    values["files"].pop("people.csv")
    (out / MANIFEST).write_text(json.dumps(values))
    assert run("verify", out, "--expect", checksum).exit_code == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": {}}'])
def test_a_damaged_manifest_is_said(out, text):
    """Not a traceback but a sentence."""
    (out / MANIFEST).write_text(text)
    result = run("verify", out)
    assert result.exit_code == 1 and "is damaged" in result.output


def test_without_a_manifest_there_is_nothing_to_verify(tmp_path):
    """A folder that no finished scan wrote is a usage error, for `pack` too."""
    assert run("verify", tmp_path).exit_code == 2
    assert run("pack", tmp_path, "--out", tmp_path / "x.zip").exit_code == 2 and not (tmp_path / "x.zip").exists()


def test_the_zip_is_whole_and_the_same_each_time(out, tmp_path):
    """Unpacked, it verifies by its own manifest; a flipped byte is found there too; two zips have the same bytes."""
    zips = [tmp_path / "a.zip", tmp_path / "b.zip"]
    numbers = [pack(out, path) for path in zips]
    assert zips[0].read_bytes() == zips[1].read_bytes()
    with zipfile.ZipFile(zips[0]) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "un")
    assert len(names) == numbers[0] and {"report.html", "people.csv", MANIFEST, "method/mask.md"} <= set(names)
    assert not any(name.startswith("annotated/") for name in names)
    assert not verify(tmp_path / "un")
    flip(tmp_path / "un/people.csv")
    assert verify(tmp_path / "un").changed == ("people.csv",)


def test_media_are_told_from_temporary_files_by_their_whole_names(scanned, tmp_path):
    """A recording named like a part is in the manifest and in the zip, and survives the removal of temporary files."""
    name = ".meeting.part2.jpg"
    shutil.copy(scanned / "portrait_bare.jpg", tmp_path / name)
    out = mb.scan(tmp_path, tmp_path / "out", save="annotated,evidence", include_hidden=True).folder
    files = json.loads((out / MANIFEST).read_text())["files"]
    assert {f"annotated/{name}", f"evidence/{name}_f000000_0.jpg"} <= files.keys()
    pack(out, tmp_path / "a.zip", with_annotated=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert f"annotated/{name}" in packed.namelist() and f"evidence/{name}_f000000_0.jpg" in packed.namelist()
    with partial_file(out / "annotated" / ("x" * 251 + ".jpg")) as killed:
        killed.write_bytes(b"x")
        assert verify(out) == ((),) * 4 and killed.is_file()
        remove_temporary(out)
        assert (out / "annotated" / name).is_file() and not killed.exists()
        killed.write_bytes(b"x")


@pytest.mark.parametrize("with_annotated", [True, False])
def test_each_link_of_a_packed_page_leads_to_a_file(out, tmp_path, with_annotated):
    """The page of a zip links to annotated copies only if the zip has them, and so does that of a copy to pass on."""
    pack(out, tmp_path / "a.zip", with_annotated)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        packed.extractall(tmp_path / "un")
    assert run("report", out, "-q", "--anonymize", tmp_path / "copy").exit_code == 0
    for folder, has_copies in ((tmp_path / "un", with_annotated), (tmp_path / "copy", False)):
        links = re.findall(r'(?:href|src)="((?:evidence|annotated)/[^"#]*)', (folder / "report.html").read_text())
        assert links and all((folder / unquote(link)).is_file() for link in links)
        assert any(link.startswith("annotated/") for link in links) == has_copies


def test_a_zip_is_never_overwritten(out, tmp_path):
    """A file that is there stays as it is."""
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        pack(out, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


def test_hidden_evidence_shows_no_face(out, tmp_path):
    """With --anonymize evidence is grey, up to its edges, and nobody is found in it; annotated copies cannot go along."""
    pack(out, tmp_path / "a.zip", is_hidden=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        packed.extractall(tmp_path / "un")
    pictures = sorted(map(str, (tmp_path / "un/evidence").glob("*.jpg")))
    model = mb.Model()
    assert len(pictures) == 4 and sum(map(len, model.find(pictures))) == 0
    assert all(np.ptp(cv2.imread(path)) <= 2 for path in pictures)
    assert sum(map(len, model.find(sorted(map(str, (out / "evidence").glob("*.jpg")))))) >= 3
    assert run("pack", out, "--annotated", "--anonymize", "--out", tmp_path / "b.zip").exit_code == 2


def test_pictures_inside_the_page_are_hidden_as_well(out, tmp_path):
    """After `report --inline`, the page of a hidden zip embeds the hidden pictures, and not those of the folder."""
    assert run("report", out, "-q", "--inline").exit_code == 0
    pack(out, tmp_path / "a.zip", is_hidden=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        embedded, hidden = (
            {base64.b64decode(one) for one in re.findall(rb'src="data:image/jpeg;base64,([^"]*)', page)}
            for page in ((out / "report.html").read_bytes(), packed.read("report.html"))
        )
        evidence = {packed.read(name) for name in packed.namelist() if name.startswith("evidence/")}
    assert embedded and len(hidden) == len(embedded) and hidden <= evidence


def test_a_copy_to_pass_on_shows_no_face(out, tmp_path):
    """`report --anonymize` writes page, tables and hidden evidence into a new folder that verifies by itself, once."""
    assert run("report", out, "-q", "--anonymize", tmp_path / "copy").exit_code == 0
    pictures = sorted(map(str, (tmp_path / "copy").rglob("*.jpg")))
    assert len(pictures) == 4 and sum(map(len, mb.Model().find(pictures))) == 0
    assert (tmp_path / "copy/report.html").is_file() and not (tmp_path / "copy/scan.db").exists()
    assert not verify(tmp_path / "copy")
    assert run("report", out, "-q", "--anonymize", tmp_path / "copy").exit_code == 2


def test_a_purge_of_one_person_keeps_the_others_and_all_numbers(out, scanned):
    """The pictures of the person are gone, everybody else's are there, and no number changes; the folder verifies."""
    before = mb.open(out).people().drop(columns="evidence")
    others = [path.name for path in (out / "evidence").iterdir() if CLIP not in path.name]
    found = purge(out, None, f"{CLIP}:0")
    assert found.num_files > 3 and not list(out.rglob(f"*{CLIP}*"))
    assert [path.name for path in (out / "evidence").iterdir()] == others
    assert mb.open(out).people().drop(columns="evidence").equals(before)
    assert not verify(out)
    with open_store(out, reader=True) as store, store.transaction() as connection:
        assert connection.execute("SELECT what, sources FROM purge").fetchall() == [("one person", 1)]
        assert connection.execute("SELECT count(*) FROM evidence").fetchone() == (len(others),)


def test_a_purge_by_age_looks_at_the_clock(out):
    """Recordings of the last days stay, older ones go; a later scan of the same inputs does not bring pictures back."""
    assert purge(out, "36000d", None).num_files == 0
    assert purge(out, "0d", None, is_trial=True).num_files == len(list(out.glob("*/**/*.*"))) and any(
        out.glob("crops/*/*")
    )
    assert purge(out, "0d", None).num_sources == 3
    assert not any(
        path.is_file() for folder in ("annotated", "crops", "evidence") for path in (out / folder).rglob("*")
    )
    assert len(mb.open(out).people()) == 3


def test_a_purged_scan_is_not_scanned_again(scanned, tmp_path):
    """The same command finds everything done."""
    for name in ("portrait_bare.jpg", CLIP):
        shutil.copy(scanned / name, tmp_path)
    results = mb.scan(tmp_path, tmp_path / "out", save="annotated,evidence,crops")
    purge(results.folder, "0d", None)
    mb.scan(tmp_path, tmp_path / "out", save="annotated,evidence,crops")
    assert not any((tmp_path / "out/annotated").rglob("*.*"))


ODD = ["b\\c.jpg", "new\nline.jpg", "\udce9.jpg"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A scan, with all media, of photos whose names the tables show escaped."""
    inputs = tmp_path_factory.mktemp("odd")
    for name in ODD:
        shutil.copy(SAMPLES / "portrait_bare.jpg", inputs / name)
    mb.scan(inputs, inputs / "out", save="annotated,evidence,crops")
    return inputs / "out"


def test_pictures_of_escaped_names_are_found(odd):
    """The page and the review lead to the files themselves: a backslash, a line break and odd bytes are no escapes."""
    assert len(links_in(odd)) == 2 * len(ODD) and all((odd / link).is_file() for link in links_in(odd))
    with open_store(odd) as store:
        items = prepared(store, Wanted("ann"), Asked()).items
    assert all((odd / one.picture).is_file() and (odd / one.copy).is_file() and one.path.is_file() for one in items)


def test_a_zip_with_names_that_are_not_utf8_is_whole(odd, tmp_path):
    """The manifest and the page in the zip have the names that the zip has."""
    pack(odd, tmp_path / "a.zip", with_annotated=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        packed.extractall(tmp_path / "un")
    assert not verify(tmp_path / "un")
    assert all((tmp_path / "un" / link).is_file() for link in links_in(tmp_path / "un"))


def links_in(folder):
    """The paths of the pictures that the page of a folder leads to."""
    links = re.findall(r'(?:href|src)="((?:evidence|annotated)/[^"#]+)"', (folder / "report.html").read_text())
    return {os.fsdecode(unquote_to_bytes(link)) for link in links}


def test_a_purge_removes_pictures_of_escaped_names(odd, tmp_path):
    """No face stays in the folder."""
    out = Path(shutil.copytree(odd, tmp_path / "out"))
    assert purge(out, "0d", None).num_files == 3 * len(ODD)
    assert not list(out.rglob("*.jpg"))


def test_evidence_that_somebody_deleted_is_made_again(scanned, tmp_path):
    """The file of a picture that is gone is scanned again; pictures that a purge removed do not come back."""
    for name in ("portrait_bare.jpg", "portrait_surgical.jpg"):
        shutil.copy(scanned / name, tmp_path)
    out = mb.scan(tmp_path, tmp_path / "out", save="evidence").folder
    purge(out, None, "portrait_surgical.jpg:0")
    [path] = out.glob("evidence/*.jpg")
    content = path.read_bytes()
    path.unlink()
    mb.scan(tmp_path, out, save="evidence")
    assert [one.read_bytes() for one in out.glob("evidence/*.jpg")] == [content] and not verify(out)


@pytest.mark.parametrize(("how", "num_left"), [(("0d", None), 0), ((None, "portrait_bare.jpg:0"), 3)])
def test_a_purge_reaches_recordings_that_left_the_inputs(scanned, tmp_path, how, num_left):
    """Pictures of a file that is no longer scanned are removed too, by age and by person."""
    for name in ("portrait_bare.jpg", "portrait_surgical.jpg"):
        shutil.copy(scanned / name, tmp_path)
    mb.scan(tmp_path, tmp_path / "out", save="annotated,evidence,crops")
    (tmp_path / "portrait_bare.jpg").unlink()
    out = mb.scan(tmp_path, tmp_path / "out", save="annotated,evidence,crops").folder
    purge(out, *how)
    left = [path.relative_to(out).as_posix() for path in out.rglob("*.jpg")]
    assert len(left) == num_left and not any("bare" in Path(name).name for name in left)


def test_a_purge_holds_the_lock(out, monkeypatch):
    """No scan can begin while files are being removed, and no purge while a scan is running."""
    from maskbatch.run import purge as module

    monkeypatch.setattr(module, "remove_temporary_media", lambda folder: locked(folder).__enter__())
    with pytest.raises(MaskbatchError, match="being written to"):
        purge(out, "0d", None)
    monkeypatch.undo()
    with locked(out), pytest.raises(MaskbatchError, match="being written to"):
        purge(out, "0d", None)
    assert not verify(out)


def test_a_purge_removes_what_unfinished_work_left(out):
    """The parts of a video in work and the temporary files of a killed scan show faces, too."""
    left = [out / ".segments/1/000000.mp4", out / "evidence/.x.part1-1.jpg"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    purge(out, "0d", None)
    assert not any(path.exists() for path in left)


def test_what_changes_results_keeps_the_rules_of_the_last_report(out, tmp_path):
    """A purge, an import, a review and `open` start from them; another `report` starts from those of the scan."""
    assert run("report", out, "-q", "--threshold", 0.7, "--timezone", "Asia/Tokyo", "--csv-bom").exit_code == 0
    before = rules_in(out)
    assert mb.open(out).settings == ReportSettings(**before) and before["timezone"] == "Asia/Tokyo"
    boxes = mb.open(out).export("coco", tmp_path / "boxes.json")
    exported = json.loads(boxes.read_text())
    labels = [one["id"] for one in exported["categories"] if one["name"] in ("with_mask", "without_mask")]
    for one in exported["annotations"]:
        one["category_id"] = sum(labels) - one["category_id"]
    boxes.write_text(json.dumps(exported))
    with open_store(out) as store:
        assert any(one.when.endswith("+09:00") for one in prepared(store, Wanted("ann"), Asked()).items)
    assert import_corrections(out, boxes, "ann").num_verdicts == 3
    assert rules_in(out) == before
    purge(out, None, f"{CLIP}:0")
    assert rules_in(out) == before and (out / "people.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert run("report", out, "-q").exit_code == 0 and rules_in(out)["threshold"] == 0.5


def rules_in(out):
    """The rules of the tables in an output folder."""
    found = json.loads((out / "run.json").read_text())["report"]
    del found["written"]
    return found


@pytest.mark.parametrize("options", [[], ["--older-than", "soon"], ["--person", "x"], ["--person", f"{CLIP}:99"],
                                     ["--older-than", "1d", "--person", f"{CLIP}:0"]])  # fmt: skip
def test_a_purge_that_is_not_understood_removes_nothing(out, options):
    """Bad ages and people are usage errors."""
    assert run("purge", out, "--yes", *options).exit_code == 2
    assert not verify(out)


def test_a_purge_asks_first(out):
    """Without a yes nothing is removed."""
    result = CliRunner().invoke(main, ["purge", str(out), "--older-than", "0d"], input="n\n")
    assert result.exit_code == 0 and not verify(out) and any((out / "evidence").iterdir())


def test_a_purge_prints_the_new_checksum(out):
    """`verify --expect` accepts the checksum that the purge prints, because the purge writes a new manifest."""
    result = run("purge", out, "--yes", "--person", f"{CLIP}:0")
    assert " of 1 recording; all numbers stay" in result.output
    checksum = result.output.split()[-1]
    assert run("verify", out, "--expect", checksum).exit_code == 0


def test_inputs_are_read_once_for_many_reports(out, monkeypatch):
    """The checksums of inputs are kept by size, time and both ends of a file."""
    from maskbatch.reports import manifest

    read = []
    monkeypatch.setattr(manifest, "sha256_of", lambda path: read.append(path) or "0" * 64)
    mb.open(out).report()
    assert not [path for path in read if path.suffix in (".jpg", ".mp4")] and read
