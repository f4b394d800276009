"""Which files a run takes, in which order, under which names."""

import io
import logging
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from makers import NTSC_FILM, Clip, encode, numbered, write_photo, write_video

from maskbatch.errors import UsageError
from maskbatch.media.sources import find_sources, make_shards, read_list
from maskbatch.media.video.probe import probe
from maskbatch.store.database import open_store
from maskbatch.types import Source


def _names(*paths: Path, exclude: Path | None = None, limit: int | None = None) -> list[str]:
    return [source.name for source in find_sources(paths, exclude, limit)]


def test_natural_order_and_relative_names(tmp_path):
    """Folders are walked recursively, numbers sort by value, names are relative to the folder given."""
    for name in ("img10.jpg", "img2.jpg", "b/Ä ö.png", "B2/x.webp", "notes.txt", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = find_sources([tmp_path], None)
    assert [source.name for source in sources] == ["b/Ä ö.png", "B2/x.webp", "img2.jpg", "img10.jpg"]
    assert [source.id for source in sources] == [0, 1, 2, 3]
    assert all(source.path.is_absolute() and source.kind == "image" for source in sources)


def test_same_name_in_two_folders(tmp_path):
    """Files of one name in two folders keep apart: names are relative to the folders' common parent."""
    for folder in ("a", "b"):
        write_photo(tmp_path / folder / "face.jpg")
    assert _names(tmp_path / "b", tmp_path / "a") == ["b/face.jpg", "a/face.jpg"]
    assert _names(tmp_path / "a/face.jpg", tmp_path / "b/face.jpg") == ["a/face.jpg", "b/face.jpg"]
    assert _names(tmp_path / "a/face.jpg") == ["face.jpg"]


def test_a_file_counts_once(tmp_path):
    """Overlapping paths, a path with "..", and links to a file give one source."""
    photo = write_photo(tmp_path / "a/face.jpg")
    (tmp_path / "a/link.jpg").symlink_to(photo)
    assert _names(tmp_path, tmp_path / "a", tmp_path / "a/../a/face.jpg") == ["a/face.jpg"]


def test_hidden_and_output_are_skipped(tmp_path):
    """Hidden entries, the output folder, and any older output folder, of this version or the first one, are not scanned; a
    `scan.db` of the user's own makes no output folder."""
    names = (
        ".hidden/x.jpg",
        ".y.jpg",
        "out/z.jpg",
        "old/annotated/w.jpg",
        "first/annotated/w.jpg",
        "first/.state/rows/s",
    )
    for name in (*names, "my/u.jpg", "my/scan.db", "v.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with open_store(tmp_path / "old"):
        pass
    assert _names(tmp_path, exclude=tmp_path / "out") == ["my/u.jpg", "v.jpg"]
    assert _names(tmp_path, exclude=tmp_path / "elsewhere") == ["my/u.jpg", "out/z.jpg", "v.jpg"]


def test_link_loops_and_odd_entries(tmp_path):
    """A folder that links to itself and a FIFO do not stop the walk; a dangling link is a source, which will fail."""
    write_photo(tmp_path / "a/face.jpg")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    os.mkfifo(tmp_path / "a/pipe.jpg")
    assert _names(tmp_path) == ["a/face.jpg", "a/gone.jpg"]
    assert _names(tmp_path / "a/pipe.jpg", tmp_path / "a") == ["face.jpg", "gone.jpg"]


def test_linked_folder_is_followed(tmp_path):
    """A link to a folder outside is walked under the link's name."""
    write_photo(tmp_path / "elsewhere/face.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    assert _names(tmp_path / "in") == ["link/face.jpg"]


def test_unreadable_folder_is_a_warning(tmp_path, monkeypatch, caplog):
    """A folder without permission is named in a warning, and the others are walked."""
    write_photo(tmp_path / "a/face.jpg")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with caplog.at_level(logging.WARNING):
        assert _names(tmp_path) == ["a/face.jpg"]
    assert "locked: Permission denied" in caplog.text


def test_missing_path_is_a_usage_error(tmp_path):
    """A path that does not exist stops at once and is named."""
    with pytest.raises(UsageError, match=r"no/such does not exist"):
        find_sources([tmp_path, Path("no/such")], None)


def test_limit_and_empty(tmp_path):
    """`limit` cuts the list; an empty folder and no paths give no source."""
    for number in range(5):
        write_photo(tmp_path / "many" / f"{number}.jpg")
    (tmp_path / "none").mkdir()
    assert _names(tmp_path / "many", limit=2) == ["0.jpg", "1.jpg"]
    assert _names(tmp_path / "many", limit=0) == _names(tmp_path / "none") == _names() == []


def test_video_is_probed(tmp_path):
    """A video carries what the container claims: exact rate, frames, upright size, length; the size is as coded when nothing
    shall be decoded."""
    write_video(tmp_path / "v.mp4", numbered(24), Clip(fps=NTSC_FILM, rotation=90))
    [found] = find_sources([tmp_path], None)
    source = probe(found)
    assert found == Source(0, tmp_path / "v.mp4", "v.mp4", "video")
    assert (source.kind, source.fps, source.num_frames) == ("video", NTSC_FILM, 24)
    assert (source.width, source.height) == (64, 96)
    assert replace(source, width=96, height=64) == probe(found, upright=False)
    assert source.duration_s == pytest.approx(24 * 1001 / 24000)
    assert source.time_base == Fraction(1, 24000)


def test_broken_video_is_still_a_source(tmp_path):
    """A video that cannot be probed stays in the run, so that it is reported."""
    (tmp_path / "v.mp4").write_bytes(b"no video" * 99)
    [source] = find_sources([tmp_path], None)
    assert (source.kind, source.fps, source.num_frames, source.width) == ("video", None, None, None)


def test_gif_by_its_number_of_frames(tmp_path):
    """A GIF with several frames is a video, one with a single frame a photo."""
    write_video(tmp_path / "many.gif", numbered(3), Clip(codec="gif", fps=Fraction(10)))
    write_video(tmp_path / "one.gif", numbered(1), Clip(codec="gif", fps=Fraction(10)))
    assert [source.kind for source in find_sources([tmp_path], None)] == ["video", "image"]


def test_unknown_extension(tmp_path):
    """In a folder it is ignored; named explicitly, the content decides; neither photo nor video becomes a failing photo."""
    (tmp_path / "photo.dat").write_bytes(encode(numbered(1)[0], ".png"))
    write_video(tmp_path / "v.mp4", numbered(3)).rename(tmp_path / "video.bin")
    (tmp_path / "text.txt").write_text("hello " * 100)
    assert _names(tmp_path) == []
    sources = find_sources([tmp_path / name for name in ("photo.dat", "video.bin", "text.txt")], None)
    assert [source.kind for source in sources] == ["image", "video", "image"]


def test_typescript_is_no_video(tmp_path):
    """A .ts is taken only when it looks like an MPEG transport stream."""
    (tmp_path / "main.ts").write_text("export const x = 1;\n" * 50)
    write_video(tmp_path / "tape.ts", numbered(5))
    assert _names(tmp_path) == ["tape.ts"]


def test_read_list(tmp_path, monkeypatch):
    """Paths are relative to the list's folder; blank lines, CRLF and a byte order mark do no harm; - is stdin."""
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\r\n\r\n  b c/ü.mp4 \n/abs/x.png".encode())
    assert read_list(tmp_path / "list.txt") == [tmp_path / "a.jpg", tmp_path / "b c/ü.mp4", Path("/abs/x.png")]
    monkeypatch.setattr("sys.stdin", io.StringIO("one.jpg\n\ntwo.jpg\n"))
    assert read_list(Path("-")) == [Path("one.jpg"), Path("two.jpg")]
    with pytest.raises(UsageError, match="cannot read the list"):
        read_list(tmp_path / "missing.txt")


def test_shards_keep_the_order():
    """Photos in a row share shards up to the limit, each video has one to itself, nothing moves."""
    sources = [Source(i, Path("x"), "x", "video" if kind == "v" else "image") for i, kind in enumerate("iiivviiiii")]
    shards = make_shards(sources, photos_per_shard=2)
    assert [len(shard.sources) for shard in shards] == [2, 1, 1, 1, 2, 2, 1]
    assert [source for shard in shards for source in shard.sources] == sources
    assert [shard.index for shard in shards] == list(range(7))
    assert make_shards([]) == []
