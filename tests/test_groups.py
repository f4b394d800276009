"""Groups that no split may cut: near-duplicates and files that name them."""

import cv2
import numpy as np
import pytest
from trainer_makers import class_folders, textured

from maskbatch.errors import UsageError
from maskbatch.trainer.data.dataset import Picture, split_pictures
from maskbatch.trainer.data.groups import describe_groups, group_by_file, group_near_duplicates, near_duplicates


def write_family(folder, seed):
    """Write a picture and its typical copies: smaller, recompressed, brighter, mirrored."""
    image = textured(seed)
    family = {
        "plain": image,
        "small": cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "bright": np.clip(image * 0.9 + 20, 0, 255).astype(np.uint8),
        "mirrored": image[:, ::-1],
    }
    for name, changed in family.items():
        cv2.imwrite(str(folder / f"{seed}_{name}.jpg"), changed, [cv2.IMWRITE_JPEG_QUALITY, 60])


def pictures_of(paths, splits=None):
    return [
        Picture(path, None, np.array([i % 2]), "set", str(path), splits[i] if splits else "")
        for i, path in enumerate(paths)
    ]


def test_near_duplicates_are_found_and_others_are_not(tmp_path):
    """All copies of a picture are in its group; five pictures, flat ones and unreadable or missing files stay apart."""
    for seed in range(5):
        write_family(tmp_path, seed)
    for name in ("z_flat", "z_flat_too"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 40, 3), 99, np.uint8))
    (tmp_path / "z_rubbish.png").write_bytes(b"no picture")
    (tmp_path / "z_link.png").symlink_to(tmp_path / "gone.png")
    paths = sorted(tmp_path.iterdir())
    leader = near_duplicates(paths)
    families = [path.name.split("_")[0] for path in paths[:20]]
    for i in range(20):
        for j in range(20):
            assert (leader[i] == leader[j]) == (families[i] == families[j])
    assert leader[20:].tolist() == [20, 21, 22, 23]


def test_no_split_cuts_a_group(tmp_path):
    """With any seed, copies are in one split; a picture with a given split takes its copies along."""
    for seed in range(8):
        write_family(tmp_path, seed)
    paths = sorted(tmp_path.iterdir())
    grouped = group_near_duplicates(pictures_of(paths))
    for seed in range(5):
        found = describe_groups(split_pictures(grouped, 0.3, seed), "perceptual hash")
        assert (found.groups, found.pictures, found.cut) == (8, 32, 0)
    assert split_pictures(grouped, 0.3, 1) == split_pictures(grouped, 0.3, 1)
    given = group_near_duplicates(pictures_of(paths, ["val", *[""] * 31]))
    assert [picture.split for picture in split_pictures(given, 0.0, 0)[:5]] == ["val"] * 4 + ["train"]
    cut = group_near_duplicates(pictures_of(paths, ["val", "train"] * 16))
    assert "cuts 8 of them" in str(describe_groups(cut, "perceptual hash"))


def test_a_groups_file_decides(tmp_path):
    """The file's groups stay together and other pictures alone; a file about other pictures is an error."""
    paths = sorted(class_folders(tmp_path / "faces", count=3).rglob("*.png"))
    rows = "".join(f"faces/{path.parent.name}/{path.name},anna\n" for path in paths[:4])
    (tmp_path / "groups.csv").write_text("path,group\n" + rows)
    grouped = group_by_file(pictures_of(paths), tmp_path / "groups.csv")
    assert [picture.group for picture in grouped] == ["anna"] * 4 + [str(path) for path in paths[4:]]
    (tmp_path / "other.csv").write_text("path,group\nelsewhere.png,anna\n")
    with pytest.raises(UsageError, match="names no picture"):
        group_by_file(pictures_of(paths), tmp_path / "other.csv")
    (tmp_path / "odd.csv").write_text("file;person\n")
    with pytest.raises(UsageError, match="columns path and group"):
        group_by_file(pictures_of(paths), tmp_path / "odd.csv")
