"""Makes photos with what surrounds their pixels: turns, colour profiles, further pictures, EXIF data."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from makers import Clip, corners, encode, write_video
from PIL import Image

MAKE, MODEL, DATE_TIME, ARTIST, ORIENTATION, EXIF, GPS = 0x010F, 0x0110, 0x0132, 0x013B, 274, 0x8769, 0x8825
TAKEN, OFFSET, SUBSEC, SERIAL = 0x9003, 0x9011, 0x9291, 0xA431


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """`upright` as a camera held in that EXIF orientation (1-8) stores it."""
    back = {
        1: lambda image: image, 2: np.fliplr, 3: lambda image: np.rot90(image, 2), 4: np.flipud,
        5: lambda image: image.transpose(1, 0, 2), 6: np.rot90,
        7: lambda image: np.rot90(image, 2).transpose(1, 0, 2), 8: lambda image: np.rot90(image, -1),
    }  # fmt: skip
    return np.ascontiguousarray(back[orientation](upright))


def tiff_structure(order: str, *directories: dict[int, int | bytes]) -> bytes:
    """A TIFF structure; each further directory hangs on the last entry of the one before, whose value it replaces.
    Whole numbers are shorts, bytes are texts."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    for number, entries in enumerate(directories):
        rest_at = len(data) + 2 + 12 * len(entries) + 4
        table, rest = struct.pack(order + "H", len(entries)), b""
        for tag, value in sorted(entries.items()):
            if isinstance(value, int):
                is_link = number + 1 < len(directories) and tag == max(entries)
                table += struct.pack(order + ("HHII" if is_link else "HHIHxx"), tag, 4 if is_link else 3, 1, value)
            else:
                table += struct.pack(order + "HHI", tag, 2, len(value))
                table += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", rest_at + len(rest))
                rest += value if len(value) > 4 else b""
        data += table + bytes(4) + rest
        if number + 1 < len(directories):  # the last entry leads to the next directory
            last = rest_at - 4 - 12
            data = data[: last + 8] + struct.pack(order + "I", len(data)) + data[last + 12 :]
    return data


def oriented(orientation: int, order: str = "<") -> bytes:
    """EXIF data with an orientation."""
    return tiff_structure(order, {ORIENTATION: orientation})


def recorded() -> bytes:
    """EXIF data as a camera writes it: time and camera, but also owner, serial number, place, orientation and thumbnail."""
    first = {MAKE: b"Maker\0", MODEL: b"Model X\0", ORIENTATION: 1, DATE_TIME: b"2024:05:06 07:08:09\0",
             ARTIST: b"Owner Name\0", GPS: 99, EXIF + 0x1000: 0}  # fmt: skip
    taken = {TAKEN: b"2024:05:06 07:08:09\0", OFFSET: b"+02:00\0", SUBSEC: b"42\0", SERIAL: b"SERIAL123\0"}
    data = tiff_structure(">", first, taken)
    return data.replace(struct.pack(">HH", EXIF + 0x1000, 4), struct.pack(">HH", EXIF, 4)) + encode(corners(), ".jpg")


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments behind its first one (JFIF's)."""
    at = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:at] + b"".join(segments) + jpeg[at:]


def jpeg_of_several(*pictures: tuple[int, bytes]) -> bytes:
    """A JPEG that lists (kind, JPEG) of pictures, the first of which it is; the others lie behind it."""
    table = struct.pack("<HHHIII", 1, 0xB002, 7, 16 * len(pictures), 26, 0)

    def with_list(offsets: list[int]) -> bytes:
        entries = (struct.pack("<IIII", kind, len(jpeg), offset, 0)
                   for (kind, jpeg), offset in zip(pictures, offsets, strict=True))  # fmt: skip
        return jpeg_with(pictures[0][1], segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + table + b"".join(entries)))

    first = with_list([0] * len(pictures))
    sizes = [len(jpeg) for _, jpeg in pictures[1:]]
    ends = np.cumsum([len(first) - first.index(b"MPF\0") - 4, *sizes]).tolist()
    return with_list([0, *ends[:-1]]) + b"".join(jpeg for _, jpeg in pictures[1:])


def png_with(png: bytes, *chunks: tuple[bytes, bytes], is_last: bool = False) -> bytes:
    """A PNG with chunks behind its header, or before its end."""
    at = len(png) - 12 if is_last else 33
    new = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return png[:at] + b"".join(new) + png[at:]


def webp_with(webp: bytes, size: tuple[int, int], flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A simple WebP of that (width, height) with the extended header; ICCP goes before the picture, other chunks behind."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    before = b"".join(chunk(*new) for new in chunks if new[0] == b"ICCP")
    behind = b"".join(chunk(*new) for new in chunks if new[0] != b"ICCP")
    body = b"WEBP" + chunk(b"VP8X", struct.pack("<B3x", flags) + sides) + before + webp[12:] + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of(image: np.ndarray, flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A lossless WebP with more chunks."""
    simple = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    return webp_with(simple, image.shape[1::-1], flags, *chunks)


def tiff_with(tiff: bytes, *entries: tuple[int, int, bytes]) -> bytes:
    """A TIFF of OpenCV's with more or other (tag, type, value) in its first directory, which moves to the end."""
    at = struct.unpack_from("<I", tiff, 4)[0]
    old = [tiff[start : start + 12] for start in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", tiff, at)[0], 12)]
    tags = {entry[:2]: entry for entry in old}
    tiff += bytes(len(tiff) % 2)
    for tag, kind, value in entries:
        count = len(value) // {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}[kind]
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", len(tiff))
        tags[struct.pack("<H", tag)] = struct.pack("<HHI", tag, kind, count) + place
        tiff += value + bytes(len(value) % 2) if len(value) > 4 else b""
    table = sorted(tags.values(), key=lambda entry: struct.unpack_from("<H", entry))
    return (
        tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + struct.pack("<H", len(table)) + b"".join(table) + bytes(4)
    )


def saved(images: list[Image.Image], kind: str, **options) -> bytes:
    """The images in one file, by Pillow."""
    file, images = io.BytesIO(), [image.copy() for image in images]  # Pillow leaves settings in what it has saved
    images[0].save(file, kind, save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def box(name: bytes, content: bytes) -> bytes:
    """A box of ISO base media files."""
    return struct.pack(">I", len(content) + 8) + name + content


def colours(numbers: tuple[int, int] | None = None, profile: bytes = b"") -> bytes:
    """A `colr` box: numbers of primaries and transfer, or a profile."""
    return box(b"colr", b"nclx" + struct.pack(">HHHB", *numbers, 6, 0x80) if numbers else b"prof" + profile)


def turned(orientation: int) -> list[bytes]:
    """The boxes `irot` and `imir` that turn what `stored` gives for an EXIF orientation."""
    turns, axis = {1: (0, None), 2: (0, 1), 3: (2, None), 4: (0, 0), 5: (1, 0), 6: (3, None), 7: (1, 1), 8: (1, None)}[
        orientation
    ]
    boxes = [box(b"irot", bytes([turns]))] if turns else []
    return boxes if axis is None else [*boxes, box(b"imir", bytes([axis]))]


class Coded(NamedTuple):
    """A coded picture: what its files and items are called, the boxes of its codec, and a file whose `mdat` it is."""

    brand: bytes
    kind: bytes
    config: list[bytes]
    file: bytes


def avif(image: np.ndarray, properties: Sequence[bytes] = (), exif: bytes = b"", num_further: int = 0) -> bytes:
    """An AVIF of one picture, with these property boxes and EXIF data; `num_further` more items show the same."""
    if not cv2.haveImageWriter("x.avif"):
        pytest.skip("this OpenCV writes no AVIF")
    made = cv2.imencode(".avif", image[:, :, ::-1], [cv2.IMWRITE_AVIF_QUALITY, 95])[1].tobytes()
    size = box(b"ispe", struct.pack(">III", 0, image.shape[1], image.shape[0]))
    coded = Coded(b"avif", b"av01", [_box_in(made, b"av1C"), _box_in(made, b"pixi"), size], made)
    return _heif(coded, properties, exif, num_further)


def heic(folder: Path, image: np.ndarray, properties: Sequence[bytes] = (), exif: bytes = b"") -> bytes:
    """As `avif`, coded by x265."""
    options = {"x265-params": "log-level=none:crf=5:bframes=0"}
    made = write_video(folder / "heic.mp4", [image], Clip(codec="libx265", options=options)).read_bytes()
    size = box(b"ispe", struct.pack(">III", 0, image.shape[1], image.shape[0]))
    return _heif(Coded(b"heic", b"hvc1", [_box_in(made, b"hvcC"), size], made), properties, exif)


def _box_in(data: bytes, name: bytes) -> bytes:
    at = data.index(name) - 4
    return data[at : at + struct.unpack_from(">I", data, at)[0]]


def _heif(coded: Coded, properties: Sequence[bytes], exif: bytes, num_further: int = 0) -> bytes:
    picture, known = _box_in(coded.file, b"mdat")[8:], [*coded.config, *properties]
    pictures = [1, *range(3, 3 + num_further)]
    items = [(number, coded.kind) for number in pictures] + [(2, b"Exif")] * bool(exif)
    infos = b"".join(box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, name)) for number, name in items)
    # readers refuse files whose configuration, crop and turns are not marked as essential
    is_essential = [part[4:8] in (b"av1C", b"hvcC", b"irot", b"imir", b"clap") for part in known]
    indices = bytes(number + 1 | 0x80 * is_essential[number] for number in range(len(known)))
    places = b"".join(struct.pack(">HB", number, len(known)) + indices for number in pictures)
    exif = struct.pack(">I", 6) + b"Exif\0\0" + exif

    def meta(start: int) -> bytes:
        where = {name: (start, len(picture)) for name in pictures} | {2: (start + len(picture), len(exif))}
        extents = b"".join(struct.pack(">HHHII", number, 0, 1, *where[number]) for number, _ in items)
        parts = {
            b"hdlr": bytes(8) + b"pict" + bytes(13),
            b"pitm": struct.pack(">IH", 0, 1),
            b"iloc": struct.pack(">IBBH", 0, 0x44, 0, len(items)) + extents,
            b"iinf": struct.pack(">IH", 0, len(items)) + infos,
            b"iprp": box(b"ipco", b"".join(known)) + box(b"ipma", struct.pack(">II", 0, len(pictures)) + places),
        }
        return box(b"meta", bytes(4) + b"".join(box(*part) for part in parts.items()))

    head = box(b"ftyp", coded.brand + bytes(4) + b"mif1miaf" + coded.brand)
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", picture + exif)
