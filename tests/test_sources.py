"""Which files a run takes, in which order, under which names."""

import inspect
import io
import logging
import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
from makers import NTSC_FILM, Clip, corners, encode, numbered, write_photo, write_video

from maskbatch.errors import TransientError, UsageError
from maskbatch.media.decode import open_source
from maskbatch.media.kinds import kind_by_content
from maskbatch.media.sources import find_sources, look_for, make_shards, read_list
from maskbatch.media.video.probe import probe
from maskbatch.media.walk import NotLookedAt
from maskbatch.settings import SamplingSettings
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
    """A folder without permission is named in a warning and among what was not looked at; the others are walked."""
    write_photo(tmp_path / "a/face.jpg")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with caplog.at_level(logging.WARNING):
        found = look_for([tmp_path], None)
    assert [source.name for source in found.sources] == ["a/face.jpg"]
    assert found.not_looked_at == NotLookedAt(unreadable=(str(tmp_path / "locked"),))
    assert "locked: Permission denied" in caplog.text
    assert found.not_looked_at.remarks() == [f"not looked at: {tmp_path / 'locked'}: cannot be read"]


def test_a_folder_that_lists_names_only_is_said(tmp_path, monkeypatch):
    """Where the system lists entries but tells nothing of them, photos are rows and all else is not passed by in silence."""
    for name in ("a.jpg", "maybe_a_folder"):
        (tmp_path / name).touch()
    stat = Path.stat

    def refuse(path, **options):
        if path.parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    found = look_for([tmp_path], None)
    assert [source.name for source in found.sources] == ["a.jpg"]
    assert found.not_looked_at.unreadable == (str(tmp_path / "maybe_a_folder"),)


def test_what_was_not_looked_at_is_counted(tmp_path):
    """Files of other kinds by extension, hidden entries and folders of systems are counted; --include-hidden looks at the
    latter two. A path that the user gives is looked at whatever its name."""
    names = ["a.txt", "b.TXT", "c.pdf", "d", "e. and so on", "main.ts", "@eaDir/x.jpg", "s/@eaDir/y.jpg", "#recycle/z.jpg",
             "$Recycle.Bin/v.jpg", "lost+found/w.jpg", ".hidden/u.jpg", "._t.jpg", "t.jpg"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    found = look_for([tmp_path], None)
    assert [source.name for source in found.sources] == ["t.jpg"]
    assert found.not_looked_at == NotLookedAt(
        hidden=2,
        system_folders={"#recycle": 1, "$Recycle.Bin": 1, "@eaDir": 2, "lost+found": 1},
        unknown_kinds={".txt": 2, "without extension": 2, ".pdf": 1, ".ts": 1},
    )
    assert found.not_looked_at.remarks() == [
        "not looked at: 2 .txt, 2 without extension, 1 .pdf, 1 .ts",
        "not looked at: 2 hidden, 1 #recycle, 1 $Recycle.Bin, 2 @eaDir, 1 lost+found (--include-hidden scans them)",
    ]
    everything = look_for([tmp_path], None, include_hidden=True)
    assert len(everything.sources) == 8 and not everything.not_looked_at.system_folders
    assert _names(tmp_path / "@eaDir") == ["x.jpg"]


def test_deep_folders_are_walked(tmp_path):
    """Folders in folders cost no depth of Python's own, of which there is little."""
    write_photo(tmp_path.joinpath(*"d" * 400) / "x.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        assert len(_names(tmp_path)) == 1
    finally:
        sys.setrecursionlimit(limit)


def test_missing_paths_are_rows_unless_all_are(tmp_path, caplog):
    """Paths that do not exist are sources, which fail with that reason, and are warned of together; when no path exists it
    is a usage error."""
    write_photo(tmp_path / "a.jpg")
    missing = [tmp_path / "no/such.mp4", tmp_path / "a.jpg/below.jpg", tmp_path / "phtos"]
    found = find_sources([tmp_path / "a.jpg", *missing, tmp_path / ("n" * 300)], None)
    assert [source.name for source in found] == ["a.jpg", "no/such.mp4", "a.jpg/below.jpg", "phtos", "n" * 300]
    reasons = [_reason(source) for source in found]
    assert reasons == ["", *["does not exist"] * 3, "cannot be read: File name too long"]
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning == f"{', '.join(map(str, missing))} do not exist"
    with pytest.raises(UsageError, match=r"no/such\.mp4 does not exist; check"):
        find_sources(missing[:1], None)
    with pytest.raises(UsageError, match="phtos do not exist"):
        find_sources(missing, None)


def _reason(source: Source) -> str:
    try:
        with open_source(source, SamplingSettings()) as reader:
            assert len(list(reader))
    except TransientError as error:
        return str(error)
    return ""


def test_two_slashes_in_front_are_one(tmp_path):
    """POSIX lets a path begin with two slashes."""
    write_photo(tmp_path / "a.jpg")
    assert _names(Path(f"/{tmp_path}")) == _names(Path(f"/{tmp_path}/a.jpg")) == ["a.jpg"]


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


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mkv", "libx264"), (".nut", "libx264"), (".wmv", "wmv2"), (".mp4", "libx264"), (".ts", "libx264")],
)
@pytest.mark.parametrize("late_s", [0, 100])
def test_the_length_of_a_video_counts_from_its_first_frame(tmp_path, suffix, codec, late_s):
    """Recorders that begin a new file every minute leave time stamps as they are: the minutes before are not its length."""
    clip = Clip(codec=codec, pts=range(25 * late_s, 25 * late_s + 50), time_base=Fraction(1, 25))
    source = probe(Source(0, path := write_video(tmp_path / f"x{suffix}", [corners()] * 50, clip), path.name, "video"))
    assert abs(source.duration_s - 2) < 0.15


def test_broken_video_is_still_a_source(tmp_path):
    """A video that cannot be probed stays in the run, so that it is reported."""
    (tmp_path / "v.mp4").write_bytes(b"no video" * 99)
    [source] = find_sources([tmp_path], None)
    assert (source.kind, source.fps, source.num_frames, source.width) == ("video", None, None, None)


def test_gif_by_its_number_of_frames(tmp_path):
    """A GIF with several frames is a video; one with a single frame is a photo, whatever its end is."""
    for count in (1, 2, 3):
        write_video(tmp_path / f"{count}.gif", numbered(count), Clip(codec="gif", fps=Fraction(10)))
    one, three = ((tmp_path / f"{count}.gif").read_bytes() for count in (1, 3))
    (tmp_path / "comment.gif").write_bytes(one[:-1] + b"\x21\xfe\x01,\0;")
    (tmp_path / "cut.gif").write_bytes(one[:-9])
    for count in range(0, len(three), 7):  # no cut is an error
        (tmp_path / "3.gif").write_bytes(three[:count])
        assert find_sources([tmp_path / "3.gif"], None)
    (tmp_path / "3.gif").write_bytes(three)
    kinds = {source.name: source.kind for source in find_sources([tmp_path], None)}
    assert {name for name, kind in kinds.items() if kind == "video"} == {"2.gif", "3.gif"}
    assert {name for name, kind in kinds.items() if kind == "image"} == {"1.gif", "comment.gif", "cut.gif"}


@pytest.mark.parametrize(
    "suffix", ["mp4", "mov", "mkv", "webm", "avi", "ts", "mpg", "flv", "nut", "y4m", "h264", "asf", "mxf"]
)
def test_video_by_its_content(tmp_path, suffix):
    """A video without an extension is one by its first bytes."""
    codec = {"webm": "libvpx", "mpg": "mpeg2video", "y4m": "rawvideo", "asf": "msmpeg4", "mxf": "mpeg2video"}
    write_video(tmp_path / f"x.{suffix}", numbered(3), Clip(codec=codec.get(suffix, "libx264"))).rename(tmp_path / "x")
    assert kind_by_content(tmp_path / "x") == "video"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "jp2", "ppm", "pgm", "pbm", "avif"])
def test_photo_by_its_content(tmp_path, suffix):
    """A photo without an extension is one by its first bytes."""
    if not cv2.haveImageWriter(f"x.{suffix}"):
        pytest.skip("this OpenCV does not write it")
    image = corners()[:, :, 0] if suffix in ("pgm", "pbm") else corners()
    (tmp_path / "x").write_bytes(encode(image, f".{suffix}"))
    assert kind_by_content(tmp_path / "x") == "image"


def test_no_decoder_opens_a_file_before_the_store_names_it(tmp_path, monkeypatch):
    """Finding sources reads bytes only, also of GIFs, .ts files and files without an extension: a file that kills its
    decoder is noted in the store by then."""
    for name in ("moving.gif", "tape.ts", "clip.mp4"):
        write_video(tmp_path / name, numbered(3), Clip(codec="gif" if name.endswith("gif") else "libx264"))
    (tmp_path / "clip.mp4").rename(tmp_path / "clip")
    (tmp_path / "photo").write_bytes(encode(corners(), ".jpg"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(av, "open", refuse)
    for name in ("haveImageReader", "imread", "imdecode"):
        monkeypatch.setattr(cv2, name, refuse)
    found = find_sources([tmp_path, tmp_path / "clip", tmp_path / "photo"], None)
    kinds = {source.name: source.kind for source in found}
    assert kinds == {"moving.gif": "video", "tape.ts": "video", "clip": "video", "photo": "image"}


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


def test_read_list(tmp_path):
    """Paths are relative to the list's folder; empty lines, CRLF and a byte order mark do no harm."""
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\r\n\r\n \nb c/ü.mp4\n/abs/x.png".encode())
    assert read_list(tmp_path / "list.txt") == [tmp_path / "a.jpg", tmp_path / "b c/ü.mp4", Path("/abs/x.png")]
    (tmp_path / "list.txt").write_text("a.jpg\r\nü.jpg\r\n", encoding="utf-16")  # by PowerShell
    assert read_list(tmp_path / "list.txt") == [tmp_path / "a.jpg", tmp_path / "ü.jpg"]
    with pytest.raises(UsageError, match="cannot read the list"):
        read_list(tmp_path / "missing.txt")


ODD_NAMES = [b" a.jpg", b"b .jpg ", b"\tc.jpg\x0b", b"bad\xff.jpg", b"d.jpg\x85", "e\u2028.jpg".encode(), b"cr.jpg\r"]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("is_stdin", [True, False])
def test_lists_hold_names_of_any_bytes(tmp_path, monkeypatch, separator, is_stdin):
    """Blanks, bytes that are not UTF-8, odd line breaks and a carriage return that is part of a name lead to their files,
    also where NUL bytes separate them, from a file and from standard input."""
    monkeypatch.chdir(tmp_path)
    names = [*ODD_NAMES, b"two\nlines.jpg"] if separator == b"\0" else ODD_NAMES
    for name in names:
        Path(os.fsdecode(name)).touch()
    data = separator.join(names) + separator
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))
    Path("list").write_bytes(data)
    found = read_list(Path("-" if is_stdin else "list"))
    assert [os.fsencode(path) for path in found] == names and all(path.exists() for path in found)


def test_a_closed_standard_input_is_an_empty_list(monkeypatch):
    """The program does not fail over it."""
    monkeypatch.setattr("sys.stdin", None)
    assert read_list(Path("-")) == []


def test_shards_keep_the_order():
    """Photos in a row share shards up to the limit, each video has one to itself, nothing moves."""
    sources = [Source(i, Path("x"), "x", "video" if kind == "v" else "image") for i, kind in enumerate("iiivviiiii")]
    shards = make_shards(sources, photos_per_shard=2)
    assert [len(shard.sources) for shard in shards] == [2, 1, 1, 1, 2, 2, 1]
    assert [source for shard in shards for source in shard.sources] == sources
    assert [shard.index for shard in shards] == list(range(7))
    assert make_shards([]) == []
