"""Groups of faces in `maskbatch evaluate --by`: tone of skin, colour of the mask, pose, blur and size, on drawn faces."""

import json
from dataclasses import fields

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from statsmodels.stats.proportion import proportion_confint
from trainer_makers import class_folders, drawn_face, tiny_model

from maskbatch.cli import train as commands
from maskbatch.cli.main import main
from maskbatch.trainer.data.jpeg import encode_jpeg
from maskbatch.trainer.data.samples import Samples
from maskbatch.trainer.evaluate import face_groups
from maskbatch.trainer.evaluate.figures import Judged
from maskbatch.trainer.evaluate.intervals import recalls
from maskbatch.trainer.evaluate.mask_colour import mask_colour
from maskbatch.trainer.evaluate.patches import Patch, patch_lab
from maskbatch.trainer.evaluate.skin_tone import Skin, roughness, skin_of, tones_of, typology_degrees

PALE, TAN, BROWN = (235, 205, 185), (200, 155, 120), (105, 70, 50)
BLUE, WHITE, BLACK = (120, 170, 220), (235, 235, 235), (25, 25, 28)


def skin_of_faces(*faces):
    """Return the skin of faces, each an image, its landmarks, and whether it is masked."""
    found = [skin_of(*face) for face in faces]
    return Skin(*(np.stack(column) for column in zip(*found, strict=True)))


def test_a_recall_without_an_error_has_an_honest_interval():
    """Where no face is wrong a bootstrap would say 1 to 1; the interval is that of Clopper and Pearson over pictures.

    More faces in the same pictures change nothing, and one picture has no interval.
    """
    label, group = np.tile([0, 1], 20), np.arange(40)
    wrong = label.copy()
    wrong[::8] = 1  # five of the twenty bare faces
    for repeats in (1, 5):
        found = recalls(*(np.repeat(column, repeats) for column in (label, wrong, group)))
        assert found.faces == (20 * repeats, 20 * repeats) and found.pictures == (20, 20)
        bare, masked = found.recall
        assert masked.value == masked.high == 1
        assert masked.low == pytest.approx(proportion_confint(20, 20, method="beta")[0])
        assert 0.4 < bare.low < bare.value == 0.75 < bare.high < 1
        assert found.balanced.value == 0.875 and bare.low < found.balanced.low < found.balanced.high < 1
    nothing = recalls(label, 1 - label, group).recall[0]
    assert (nothing.low, nothing.high) == pytest.approx(proportion_confint(0, 20, method="beta"))
    alone = recalls(label, wrong, np.zeros(40)).recall[1]
    assert alone.value == 1 and np.isnan([alone.low, alone.high]).all()


def test_a_class_that_is_missing_has_no_figure():
    """A group with masked faces only has their recall, no recall of bare faces, and no balanced accuracy."""
    found = recalls(np.ones(6, int), np.array([1, 1, 0, 1, 1, 1]), np.arange(6))
    assert found.faces == (0, 6) and found.recall[1].value == pytest.approx(5 / 6) and found.recall[1].low < 5 / 6
    assert np.isnan([found.recall[0].value, found.recall[0].low, found.balanced.value, found.balanced.high]).all()


@pytest.mark.parametrize("turns", range(4))
def test_patches_turn_and_grow_with_the_face(turns):
    """A patch below the nose shows the mask of a face of any size that leans any way."""
    for size in (24, 120, 300):
        image, points = drawn_face(PALE, BLUE, size)
        for _ in range(turns):  # a quarter turn counter-clockwise takes (x, y) to (y, width - x)
            image, points = np.rot90(image), np.stack([points[:, 1], size - points[:, 0]], axis=1)
        lab = patch_lab(np.ascontiguousarray(image), points, (Patch(-0.4, 0.7, 0.4, 1.1),))
        assert len(lab) and (lab[:, 2] < -10).all()


def test_patches_outside_the_picture_show_nothing():
    """A patch of which less than half lies in the picture has no colour, and neither has a face without landmarks."""
    image, points = drawn_face(PALE)
    chin = (Patch(-0.4, 0.6, 0.4, 1.2),)
    assert len(patch_lab(image, points, chin)) == 144
    assert len(patch_lab(image[:90], points, chin)) == 96
    assert not len(patch_lab(image[:80], points, chin))
    assert not len(patch_lab(image, np.full((5, 2), np.nan, np.float32), chin))


def test_paler_skin_has_the_larger_angle():
    """Pale, tan and brown faces get falling angles and the tones light, medium and dark."""
    skin = skin_of_faces(*((*drawn_face(colour), False) for colour in (PALE, TAN, BROWN)))
    degrees = typology_degrees(skin.all)
    assert (np.diff(degrees) < -20).all()
    assert tones_of(skin).tolist() == ["light", "medium", "dark"]


def test_a_mask_does_not_change_the_tone():
    """The tone of a masked face is that of the skin above the mask, even of a mask of another skin colour."""
    for mask in (BLUE, WHITE, BLACK, BROWN):
        assert tones_of(skin_of_faces((*drawn_face(PALE, mask), True))).tolist() == ["light"]
    assert tones_of(skin_of_faces((*drawn_face(PALE, BROWN), False))).tolist() != ["light"]


def test_a_tone_that_cannot_be_seen_is_not_known():
    """A grey picture, coloured light, a face without landmarks, and hair over the forehead have no tone."""
    image, points = drawn_face(PALE)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    blue = (image * np.array([0.4, 0.6, 1.0])).astype(np.uint8)
    fringe = image.copy()
    fringe[:42] = BROWN
    missing = np.full((5, 2), np.nan, np.float32)
    faces = [(grey, points, False), (blue, points, False), (image, missing, True), (fringe, points, False)]
    assert tones_of(skin_of_faces(*faces)).tolist() == ["not known"] * 4


def test_roughness_knows_what_light_does():
    """Skin near the limit of light keeps its tone with more light and loses it with less, as the relit picture shows."""
    image, points = drawn_face((195, 160, 135))
    linear = np.where(image <= 10, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
    tones = []
    for factor in (2**0.5, 1, 2**-0.5):
        light = np.clip(linear * factor, 0, 1)
        relit = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        tones += tones_of(skin_of_faces((np.round(relit * 255).astype(np.uint8), points, False))).tolist()
    assert tones == ["light", "light", "medium"]
    found = roughness(skin_of_faces((image, points, False)))
    assert (found.faces, found.same_tone, found.kept_when_relit) == (1, 1.0, (1.0, 0.0)) and found.apart_degrees < 1


def test_roughness_without_a_face_is_not_a_number():
    """No face gives no share, and no warning."""
    found = roughness(Skin(*np.empty((3, 0, 3))))
    assert found.faces == 0 and np.isnan([found.apart_degrees, found.same_tone, *found.kept_when_relit]).all()


@pytest.mark.parametrize(
    ("colour", "name"),
    [(WHITE, "white"), (BLUE, "blue or green"), ((110, 190, 170), "blue or green"), ((30, 50, 120), "blue or green"),
     (BLACK, "black"), ((225, 180, 160), "skin or pink"), ((240, 170, 190), "skin or pink"), ((190, 20, 30), "other"),
     ((230, 200, 60), "other")],
)  # fmt: skip
def test_masks_get_the_name_of_their_colour(colour, name):
    """White, blue, green, black, skin-coloured and pink masks are told apart on any skin; red and yellow are others."""
    for skin in (PALE, BROWN):
        assert mask_colour(*drawn_face(skin, colour)) == name


def test_patterns_are_other_and_unseen_masks_not_known():
    """A mask of three colours has no dominant one; a mask below the picture's edge, or without landmarks, has none."""
    image, points = drawn_face(PALE, WHITE)
    colours = np.array([WHITE, BLUE, BLACK], np.uint8)
    striped = image.copy()
    striped[68:] = colours[np.arange(120) // 6 % 3]
    assert mask_colour(striped, points) == "other"
    assert mask_colour(image[:60], points) == "not known"
    assert mask_colour(image, np.full((5, 2), np.nan, np.float32)) == "not known"


def drawn_samples():
    """Return faces in two pictures each: pale with a blue mask, brown with a black one, pale and brown without."""
    looks = [(PALE, BLUE), (BROWN, BLACK), (PALE, None), (BROWN, None)] * 2
    drawn = [drawn_face(*look) for look in looks]
    box = np.tile(np.array([20, 15, 100, 115], np.float32), (8, 2, 1))
    points = np.stack([points for _, points in drawn])
    points[3] = np.nan
    values = {
        "region": tuple(encode_jpeg(image, 95) for image, _ in drawn), "xyxy": box, "landmarks": points,
        "label": np.array([1, 1, 0, 0] * 2), "size_px": np.array([10, 20, 40, 80] * 2, np.float32),
        "detected": ~np.isnan(points[:, 0, 0]), "annotated": np.ones(8, bool), "position": np.arange(8),
    }  # fmt: skip
    names = np.array([f"picture {i}" for i in range(8)])
    return Samples(*(values.get(item.name, names) for item in fields(Samples)))


def test_groups_have_the_figures_of_their_faces():
    """Every face is in one group of each kind, bare faces in no colour, and an error counts in its own groups only."""
    samples = drawn_samples()
    p_mask = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.4, 0.1, 0.1])  # the second brown face with a black mask is wrong
    report = face_groups.group_report(
        samples, Judged(samples.label, p_mask, samples.group), 0.5, tuple(face_groups.GROUPS)
    )
    by = report["by"]
    masked = {kind: {name: item["recall"][1]["value"] for name, item in found.items()} for kind, found in by.items()}
    assert masked["colour"] == {"blue or green": 1.0, "black": 0.5}
    assert masked["tone"] == pytest.approx({"light": 1.0, "dark": 0.5, "not known": np.nan}, nan_ok=True)
    assert masked["size"] == pytest.approx(
        {"0-16 px": 1, "16-32 px": 0.5, "32-64 px": np.nan, "64 px and more": np.nan}, nan_ok=True
    )
    assert by["pose"]["frontal"]["faces"] == (3, 4) and by["pose"]["not known"]["faces"] == (1, 0)
    for kind, found in by.items():
        counts = np.sum([item["faces"] for item in found.values()], axis=0).tolist()
        assert counts == ([0, 4] if kind == "colour" else [4, 4])
    assert report["tone_roughness"]["faces"] == 7
    lower = face_groups.group_report(samples, Judged(samples.label, p_mask, samples.group), 0.3, ("colour",))
    assert lower["by"]["colour"]["black"]["recall"][1]["value"] == 1 and "tone_roughness" not in lower


def test_blur_lowers_the_group():
    """A face of noise is sharp, and a face that only becomes brighter from left to right is blurred."""
    samples = drawn_samples().take(np.array([2, 6]))
    noise = np.random.default_rng(0).integers(0, 255, (120, 120, 3), np.uint8)
    smooth = np.tile(np.arange(0, 240, 2, np.uint8)[None, :, None], (120, 1, 3))
    regions = tuple(encode_jpeg(image, 97) for image in (noise, smooth))
    changed = Samples(regions, *(getattr(samples, item.name) for item in fields(Samples)[1:]))
    judged = Judged(changed.label, np.array([0.9, 0.1]), changed.group)
    found = face_groups.group_report(changed, judged, 0.5, ("blur",))["by"]["blur"]
    assert {name: item["recall"][0]["value"] for name, item in found.items()} == {"sharp": 0, "blurred": 1}


def test_evaluate_measures_the_groups_that_are_asked_for(tmp_path):
    """--by prints a table for each kind and writes it to the JSON. Another word is a wrong use."""
    assert tuple(face_groups.GROUPS) == commands._GROUPS
    tiny_model().save(tmp_path / "model.keras")
    root = class_folders(tmp_path / "faces")
    given = ["evaluate", str(root), "--model", str(tmp_path / "model.keras"), "--json", str(tmp_path / "x.json")]
    result = CliRunner().invoke(main, [*given, "--by", "tone", "--by", "size", "--by", "size"])
    assert result.exit_code == 0, result.output
    groups = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)["groups"]
    assert list(groups["by"]) == ["tone", "size"] and groups["by"]["tone"]["not known"]["faces"] == [6, 6]
    assert "called without" in result.output and "tone is that of the picture" in result.output
    assert CliRunner().invoke(main, [*given, "--by", "age"]).exit_code == 2
    plain = CliRunner().invoke(main, given)
    assert plain.exit_code == 0 and "called without" not in plain.output
    assert "groups" not in json.loads((tmp_path / "x.json").read_text())
