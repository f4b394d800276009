"""Files and names that mean harm: each costs a row with its reason, and nothing else."""

import os
import random
import re
import socket
import struct
import subprocess
import sys
import unicodedata
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from fakes import fake_faces
from makers import Clip, corners, encode, numbered, packets_of, write_photo, write_video
from mutations import png_of_size

from maskbatch.errors import DecodeError
from maskbatch.media.containers import open_container
from maskbatch.media.decode import open_source
from maskbatch.media.names import annotated_name, fit_for_windows, inside, name_text
from maskbatch.media.photo import reader as photos
from maskbatch.media.photo.headers import image_size
from maskbatch.media.sources import find_sources, source_name
from maskbatch.media.video import decoding, streams
from maskbatch.media.video.clock import FrameClock
from maskbatch.media.video.probe import probe
from maskbatch.networks.device import Device
from maskbatch.run import engine, local, shard
from maskbatch.run.stages import Networks
from maskbatch.run.stop import Stop
from maskbatch.settings import OutputSettings, SamplingSettings, ScanSettings
from maskbatch.store.folder import prepared
from maskbatch.types import Source

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"

# spaces, quotes, line breaks, formulas, options, a screen's commands, other scripts, no UTF-8, and as long as names can be
NAMES = [
    b" a b .jpg", b"it's \"quoted\", twice.jpg", b"two\nlines\r.jpg", b"=cmd()|'!A1.jpg", b"--out.jpg", b"CON.jpg",
    b"\x1b[31mred\x07.jpg", "\u043b\u0438\u0446\u043e \U0001f637.jpg".encode(), b"bad\xff\xfe.jpg", b"n" * 251 + b".jpg",
    b"two\\nlines\\r.jpg", b"two\\\nlines\\\r.jpg", b"bad\\udcff\\udcfe.jpg", "gpj.\u202e exe.jpg".encode(),
    "\u9762".encode() * 83 + b"x.png", b"%s%n{0}.jpg", b"a\\b.jpg", b"x..jpg.jpg", b"m" * 251 + b".gif",
    b"v" * 251 + b".mp4", b"w\xff" * 125 + b".mkv",
]  # fmt: skip


def read(path: Path, kind: str, stall_s: float = 60.0) -> tuple[int, str]:
    """How many frames the file gives, and its reason when it fails."""
    reader = open_source(Source(0, path, path.name, kind), SamplingSettings(stall_s=stall_s))
    try:
        with reader:
            for _ in reader:
                pass
    except DecodeError as error:
        return reader.frames_decoded, str(error)
    return reader.frames_decoded, ""


def test_damaged_files_cost_a_row_each(tmp_path):
    """200 variants of photos and videos, damaged in many ways: no crash, no hang, one row each, no unforeseen error."""
    command = [sys.executable, str(FUZZ), "--variants", "200", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| all | 200 |" in result.stdout


def patched(data: bytes, *numbers: tuple[int, str, tuple[int, ...]]) -> bytes:
    """`data` with numbers packed into it at (offset, format)."""
    changed = bytearray(data)
    for offset, kind, values in numbers:
        struct.pack_into(kind, changed, offset, *values)
    return bytes(changed)


def bombs() -> dict[str, bytes]:
    """Small files of each kind that claim 60,000 x 60,000 pixels, or what their format can say at most."""
    tiff, jpeg, jp2 = (encode(corners(), suffix) for suffix in (".tiff", ".jpg", ".jp2"))
    ifd = struct.unpack_from("<I", tiff, 4)[0]
    entries = range(ifd + 2, ifd + 2 + 12 * struct.unpack_from("<H", tiff, ifd)[0], 12)
    sides = [(at, "<HHII", (struct.unpack_from("<H", tiff, at)[0], 4, 1, 60_000)) for at in entries][:2]
    pairs = b"".join(struct.pack("<HHQQ", tag, 4, 1, 60_000) for tag in (256, 257))
    bigtiff = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + pairs + bytes(8)
    vp8x = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\x5f\xea\0" * 2
    return {
        "x.png": png_of_size(60_000, 60_000),
        "x.tiff": patched(tiff, *sides),
        "x.jpg": patched(jpeg, (jpeg.index(b"\xff\xc0") + 5, ">HH", (60_000, 60_000))),
        "x.jp2": patched(jp2, (jp2.index(b"ihdr") + 4, ">II", (60_000, 60_000))),
        "x.bmp": patched(encode(corners(), ".bmp"), (18, "<ii", (60_000, -60_000))),
        "x.gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20),
        "x.webp": vp8x,
        "x.j2k": patched(jp2[jp2.index(b"\xff\x4f\xff\x51") :], (8, ">II", (60_000, 60_000))),
        "x.bigtiff": bigtiff,
        "x.ppm": b"P6\n# 1 x 1\n60000 60000\n255\n" + bytes(99),
        "x.pam": b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(99),
        "x.hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n" + bytes(99),
        "x.ras": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 60_000, 60_000, 24, 0, 1, 0, 0) + bytes(99),
        "x.avif": b"\0\0\0\x14ftypavif" + bytes(8) + b"\0\0\0\x14ispe" + struct.pack(">III", 0, 60_000, 60_000),
    }


@pytest.mark.parametrize("name", [*["x.png", "x.tiff", "x.jpg", "x.jp2", "x.bmp", "x.gif", "x.webp", "x.avif"],
                                  *["x.j2k", "x.bigtiff", "x.ppm", "x.pam", "x.hdr", "x.ras"]])  # fmt: skip
def test_bombs_are_refused_by_their_header(tmp_path, monkeypatch, name):
    """A photo that claims 3,600 megapixels is refused before its decoder is asked."""
    monkeypatch.setattr(photos, "_imdecode_rgb", lambda _: pytest.fail("its decoder was asked"))
    (tmp_path / name).write_bytes(bombs()[name])
    assert read(tmp_path / name, "image") == (0, "too large: 60000 x 60000 is 3600 megapixels, the limit is 250")


@pytest.mark.parametrize(
    "suffix", [".png", ".tiff", ".jpg", ".jp2", ".bmp", ".webp", ".avif", ".ppm", ".pam", ".ras", ".hdr"]
)
def test_whole_headers_tell_the_size(suffix):
    """What the bombs are refused by is the size of an honest file."""
    if not cv2.haveImageWriter(f"x{suffix}"):
        pytest.skip("this OpenCV does not write it")
    assert image_size(encode(corners(97, 65), suffix)) == (97, 65)


def test_video_of_huge_frames_is_refused(tmp_path, monkeypatch):
    """A video whose frames have more pixels than a photo may have is refused when it is opened."""
    path = write_video(tmp_path / "x.mp4", numbered(2))
    monkeypatch.setattr(photos, "MAX_PIXELS", 96 * 64 - 1)
    assert read(path, "video")[1].startswith("too large: 96 x 64 ")


def test_frames_that_grow_on_the_way_are_not_decoded(tmp_path, monkeypatch):
    """The limit holds for later frames too: the decoder itself refuses them, and the file is partial."""
    first, second = (write_video(tmp_path / f"{side}.h264", numbered(5, side, side)) for side in (64, 256))
    (tmp_path / "x.h264").write_bytes(first.read_bytes() + second.read_bytes())
    assert read(tmp_path / "x.h264", "video") == (10, "")
    monkeypatch.setattr(streams, "MAX_PIXELS", 128 * 128)
    num_decoded, reason = read(tmp_path / "x.h264", "video")
    assert 0 < num_decoded <= 5 and reason.startswith("damaged: ")


def test_a_claim_of_a_billion_frames_is_not_believed(tmp_path):
    """A header with 10^9 frames neither costs memory nor shows up as an estimate; the frames there are are read."""
    path = write_video(tmp_path / "x.avi", numbered(5), Clip(codec="mpeg4"))
    data = path.read_bytes()
    claims = [(48, "<I", (1_000_000_000,)), (data.index(b"strh") + 8 + 32, "<I", (1_000_000_000,))]
    path.write_bytes(patched(data, *claims))
    source = probe(find_sources([path], None)[0])
    assert source.num_frames is None and source.duration_s is None
    num_decoded, reason = read(path, "video")
    assert num_decoded == 5 and "claims 1000000000" in reason


def test_absurd_times_do_not_reach_the_reports(caplog):
    """A frame a day or more after the one before comes a frame later, however long its time stamp; a long pause stays."""
    clock = FrameClock(Fraction(0), Fraction(1, 1000), Fraction(25))
    stamps = [0, 2**62, 2**62 + 40, 120, 3_600_120, -(2**62), None]
    milliseconds = [round(clock.time_s(pts, 2**62) * 1000) for pts in stamps]
    assert milliseconds == [0, 40, 80, 120, 3_600_120, 3_600_160, 3_600_200]
    assert clock.num_jumps == 1


def test_stalled_file_is_given_up(tmp_path, monkeypatch):
    """A file that gives no frame within the limit ends with that reason; what it gave before is kept."""
    path = write_video(tmp_path / "x.mp4", numbered(10))
    assert read(path, "video", stall_s=1e-9) == (0, "stalled: no frame for 1e-09 s (--stall-limit)")
    ticks = iter(range(0, 10_000, 50))
    monkeypatch.setattr(decoding.time, "monotonic", lambda: next(ticks))  # every look at the clock is 50 s later
    assert read(path, "video")[1].startswith("stalled: no frame for 60 s")


def test_a_list_of_other_files_is_no_video(tmp_path):
    """A text file named like a video cannot make FFmpeg open the files, or addresses, that it lists."""
    write_video(tmp_path / "secret.mp4", numbered(3))
    lists = {"concat.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
             "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"}  # fmt: skip
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DecodeError, match="not a video that can be opened"):
            open_container(tmp_path / name)
        assert read(tmp_path / name, "video")[0] == 0
    with av.open(str(tmp_path / "concat.mp4")) as container:  # FFmpeg alone would
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_is_no_file_is_never_waited_for(tmp_path, kind):
    """A pipe, a socket and a device in a file's place fail at once, also where the walk did not see them."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            assert read(path, kind) == (0, "cannot be read: not a regular file")
    assert find_sources([tmp_path / "pipe", tmp_path / "socket"], None) == []


def test_unreadable_file_says_so(tmp_path, monkeypatch):
    """A photo and a video without permission fail with the system's words."""
    photo, video = write_photo(tmp_path / "x.png"), write_video(tmp_path / "x.mp4", numbered(2))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(av, "open", refuse)
    assert read(photo, "image") == read(video, "video") == (0, "cannot be read: Permission denied")


def one_face_each(images):
    """A face in every image."""
    return fake_faces(list(range(len(images))), [[5, 5, 30, 30]] * len(images))


def all_masked(images, faces):
    """The faces, each with a mask."""
    return faces.with_state(np.full(len(faces), 0.9, np.float32))


@pytest.fixture
def fakes(monkeypatch):
    """Networks that find a face with a mask in every frame."""
    networks = Networks(
        lambda _: one_face_each, lambda _: all_masked, Device("openvino", ("CPU",), "no device"), {}, {}
    )
    for module in (engine, shard):
        monkeypatch.setattr(module, "open_networks", lambda _: networks)


def scanned(folder: Path, out: Path, save: str = "annotated") -> list[dict[str, str]]:
    """Scans a folder with the fakes; the rows of its files.csv, apostrophes taken away."""
    driver = local.Driver(ScanSettings(output=OutputSettings(save=frozenset(save.split(",")), folder=out)))
    with prepared(out, "resume") as (store, lock):
        driver.scan(driver.plan(store, find_sources([folder], None), [folder]), store, lock, Stop())
    out = out.absolute()  # pandas takes "file:c" for an address
    files = pd.read_csv(out / "files.csv", dtype=str, keep_default_na=False)
    assert list(pd.read_csv(out / "faces.csv")["source"].unique()) == list(files["source"])
    return [{**row, "source": row["source"].removeprefix("'")} for row in files.to_dict("records")]


def on_disk(cell: str) -> bytes:
    """The name of a file as README gets it back from a cell of the reports (the apostrophe is gone already)."""
    return os.fsencode(cell.encode("latin-1", "backslashreplace").decode("unicode_escape"))


def test_names_in_tables_lead_back_to_files():
    """No two names have one text in the tables, and each text gives its name back; usual names stay as they are."""
    draw = random.Random(1)
    letters = "ab\\\\\\nrux0d\r\n\t\x1b\x85\u202e\u2028\ufeff\udcff\udc80 \xe9\u0301\u9762\U0001f637"
    names = {"".join(draw.choices(letters, k=draw.randint(1, 6))) for _ in range(20_000)}
    texts = {name_text(name): name for name in names}
    assert len(texts) == len(names)
    for text, name in texts.items():
        assert on_disk(text) == os.fsencode(name) and not re.search("[\r\n\x1b\u202e\ud800-\udfff]", text)
    for name in ("Screenshot at 1.00\u202fPM.png", "\u043b\u0438\u0446\u043e \U0001f637.jpg", "a b/(1) #2 ü.mp4"):
        assert name_text(name) == name


def test_names_of_any_kind(tmp_path, fakes):
    """Whatever bytes a name is made of, its file is read, has its row, an annotated copy and a cut-out face."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in NAMES:
        path, whole = folder / os.fsdecode(name), tmp_path / f"whole{os.fsdecode(name)[-4:]}"
        folder.mkdir(exist_ok=True)
        if path.suffix == ".gif":
            write_video(whole, numbered(1), Clip(codec="gif", fps=Fraction(10)))
        elif path.suffix in (".mp4", ".mkv"):
            write_video(whole, numbered(3), Clip(audio="aac"))
        else:
            write_photo(whole)
        whole.rename(path)
    rows = scanned(folder, out, "annotated,crops")
    assert {row["status"] for row in rows} == {"ok"}
    assert {on_disk(row["source"]) for row in rows} == set(NAMES)
    assert all("\n" not in row["source"] and "\u202e" not in row["source"] for row in rows)
    assert len([path for path in (out / "annotated").iterdir() if path.is_file()]) == len(NAMES)
    assert len(list((out / "crops/with_mask").iterdir())) == len(NAMES) + 2 * 2
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize("out", ["a:b", "-q", "file:c", "%05d", "subfile,,start,0,end,5,,:x"])
def test_output_folders_of_any_name_get_their_videos(tmp_path, monkeypatch, out, fakes):
    """A relative --out that FFmpeg could take for a protocol, an option or a pattern has the annotated video in it."""
    write_video(tmp_path / "in/v.mp4", numbered(3), Clip(audio="aac"))
    monkeypatch.chdir(tmp_path)
    scanned(Path("in"), Path(out))
    assert len(packets_of(tmp_path / out / "annotated/v.mp4", "video")) == 3
    assert packets_of(tmp_path / out / "annotated/v.mp4", "audio")


def test_inputs_that_differ_in_case_or_accents_keep_their_copies(tmp_path):
    """Names that some file systems take for one give copies whose names no file system does; others keep their names."""
    names = ["A.jpg", "a.jpg", "a.JPG", "a.png", "café.jpg", "café.jpg", "Sub/x.jpg", "sub/x.jpg", "B.gif.jpg"]
    for name in names:
        write_photo(tmp_path / name)
    names.append("b.gif")
    write_video(tmp_path / "b.gif", numbered(1), Clip(codec="gif", fps=Fraction(10)))
    sources = find_sources([tmp_path], None)
    copies = {source.name: annotated_name(source) for source in sources}
    assert sorted(copies) == sorted(names)
    alike = {unicodedata.normalize("NFC", name).casefold() for name in copies.values()}
    assert len(alike) == len(names)
    assert [name for name, copy in copies.items() if name == copy] == ["a.png"]


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", ".."])
def test_no_source_leads_out_of_the_output_folder(name):
    """A name with .. or from the root is no source's, so that nothing is ever written outside of --out."""
    with pytest.raises(ValueError, match="must lead down"):
        Source(0, Path("x.jpg"), name, "image")


def drawn_paths(flavour: type[PurePath], number: int) -> list[PurePath]:
    """Absolute paths of odd parts; with several drives, shares and devices for Windows."""
    draw = random.Random(2)
    parts = ["a", "A", "CON", "nul.txt", "com1 .x", "b.", "c ", "...", "x:y", "C:", "a|b?", "<>", "aux", "s\r", "\udcff",
             "LPT\xb9", "\u202e", "n" * 255, "x.jpg"]  # fmt: skip
    roots = [
        "C:/",
        "D:/",
        "//server/share/",
        "//C/share/",
        "//?/C:/",
        "//?/UNC/server/share/",
        "//./C:/",
        "//?/Volume{1}/",
    ]
    roots = roots if flavour is PureWindowsPath else ["/"]
    parts = parts if flavour is PureWindowsPath else [*parts, "a\\b", "\\\\s\\t", "C:\\x", "-o", "\n"]
    return [flavour(draw.choice(roots) + "/".join(draw.choices(parts, k=draw.randint(1, 4)))) for _ in range(number)]


@pytest.mark.parametrize("flavour", [PureWindowsPath, PurePosixPath])
def test_every_name_leads_into_the_output_folder(flavour):
    """Whatever drives, shares and names the inputs have: what is written for them lies below the output folder, never in
    its drive's root, a device or a stream, and no two of them in one place."""
    is_windows = flavour is PureWindowsPath
    folder = flavour("E:/out/annotated" if is_windows else "/out/annotated")
    written: dict[PurePath, PurePath] = {}
    for path in drawn_paths(flavour, 5000):
        for root in (None, path.parent, *path.parents[-1:]) if is_windows else (path.parent, flavour("/")):
            name = source_name(path, root)
            assert Source(0, Path("x"), name, "image").name == name
            target = inside(folder, fit_for_windows(name) if is_windows else name)
            assert target.is_relative_to(folder) and target != folder and target.anchor == folder.anchor
            assert ".." not in target.parts and not (is_windows and set(str(target)[2:]) & set('<>:"|?*'))
            if root in (None, flavour("/")):
                assert written.setdefault(target, _place(path)) == _place(path)


def _place(path: PurePath) -> PurePath:
    """The path without the two further ways in which Windows writes a drive or a share."""
    text = re.sub(r"^\\\\[?.]\\UNC\\", r"\\\\", str(path))
    return type(path)(re.sub(r"^\\\\[?.]\\(?=[A-Z]:)", "", text))


@pytest.mark.parametrize("name", ["", ".", "..", "a//b", "/a", "a/../b", "a/.", "\0"])
def test_names_that_lead_elsewhere_are_refused(name):
    """The one gate to the output folder opens for plain names only, whoever made them."""
    for folder in (PurePosixPath("/out"), PureWindowsPath("C:/out")):
        with pytest.raises(ValueError, match="does not lead to"):
            inside(folder, name)


@pytest.mark.parametrize(
    "name", ["C:/x", "C:x", "x:y", "//server/share/x", "\\\\server\\share\\x", "CON", "a/NUL.txt", "a.", "b /c"]
)
def test_names_that_mean_more_on_windows_are_refused(name):
    """Drives, shares, streams and devices; made fit, the same names pass."""
    folder = PureWindowsPath("D:/out")
    with pytest.raises(ValueError, match="does not lead to"):
        inside(folder, name)
    assert inside(folder, fit_for_windows(name)).is_relative_to(folder)


def test_names_that_windows_takes_stay_as_they_are():
    """Only parts that cannot be written are changed."""
    for name in ("a/b c/\u9762 (1).jpg", "CONSOLE/.x/com10.jpg", "a.b.c"):
        assert fit_for_windows(name) == name


def test_inputs_on_two_drives_never_name_themselves():
    """The name of a file on another drive or share is not its own path, which joined to the output folder would be it."""
    for path in map(PureWindowsPath, ("C:/a/x.jpg", "//server/share/a/x.jpg", "//?/UNC/server/share/a/x.jpg")):
        assert PureWindowsPath("D:/out") / source_name(path, None) != path
    assert source_name(PureWindowsPath("C:/a/x.jpg"), None) == "C/a/x.jpg"
    assert source_name(PureWindowsPath("//server/share/a/x.jpg"), None) == "UNC/server/share/a/x.jpg"


def test_paths_with_dots_stay_inside(tmp_path, monkeypatch):
    """Inputs given by way of .., by a link, or from the root, get names below their common folder."""
    write_photo(tmp_path / "a/b/x.jpg")
    write_photo(tmp_path / "elsewhere/y.jpg")
    (tmp_path / "a/link").symlink_to("../elsewhere")
    monkeypatch.chdir(tmp_path / "a/b")
    for given in (["../b"], ["../b/x.jpg"], ["..", "../../elsewhere"], [tmp_path / "a/../a"]):
        names = [source.name for source in find_sources([Path(path) for path in given], None)]
        assert names and all(not name.startswith("/") and ".." not in name.split("/") for name in names)
