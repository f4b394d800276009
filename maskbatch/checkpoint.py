"""Where a scan stands inside a video: `.state/videos/<key>/checkpoint.json`, written when a segment is whole."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av

from maskbatch.marks import Stored, read_marks, write_lines
from maskbatch.media.fingerprint import Fingerprint, fingerprint
from maskbatch.media.names import written_names
from maskbatch.media.video.segments import ReaderState
from maskbatch.media.write.video import WrittenSoFar
from maskbatch.types import FACE_COLUMNS, Source

VIDEOS, _FILE = Path(".state", "videos"), "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that the next segment must know.

    `num_segments` are whole; `parts` are (file name, first tick) of their annotated parts, of which there are fewer when
    the video cannot be written; `tracks` is the tracker's state; `frames_analysed`, `width`, `height` (pixels) are those
    until here. `fingerprint` is the video's file, `made_with` the codecs, `names` the `written_names`: with others, the
    parts would not fit.
    """

    fingerprint: Fingerprint | None
    made_with: str
    names: tuple[str, str]
    num_segments: int = 0
    frames_analysed: int = 0
    width: int | None = None
    height: int | None = None
    reader: ReaderState | None = None
    tracks: dict = field(default_factory=dict)
    written: WrittenSoFar = field(default_factory=WrittenSoFar)
    parts: tuple[tuple[str, int], ...] = ()


def folder_of(out: Path, name: str) -> Path:
    """Where the segments of the video with that name are kept until it is whole."""
    return out / VIDEOS / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint of a video. Raises OSError."""
    write_lines(folder / _FILE, [asdict(checkpoint)])


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of a video, None when there is none that can be read."""
    try:
        value = json.loads((folder / _FILE).read_text(encoding="ascii"))
        known = Fingerprint(**value["fingerprint"]) if value["fingerprint"] else None
        parts = tuple((name, first) for name, first in value["parts"])
        reader, written = ReaderState(**value["reader"]), WrittenSoFar(**value["written"])
        typed = {
            "fingerprint": known,
            "names": tuple(value["names"]),
            "reader": reader,
            "written": written,
            "parts": parts,
        }
        return Checkpoint(**value | typed)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_usable(checkpoint: Checkpoint | None, source: Source) -> bool:
    """Whether the scan of the video can go on from there: it is the same file, as far as it can be read now, with the same
    names, and the same libraries encode."""
    if checkpoint is None or (checkpoint.made_with, checkpoint.names) != (made_with(), written_names(source)):
        return False
    return fingerprint(source.path) in (checkpoint.fingerprint, None)


def made_with() -> str:
    """The versions of the libraries that encode."""
    return json.dumps([av.__version__, av.library_versions], sort_keys=True)


def stored_so_far(out: Path, name: str) -> Stored | None:
    """The rows of the whole segments of a video that is not done, None when there are none."""
    folder = folder_of(out, name)
    checkpoint = read_checkpoint(folder)
    if checkpoint is None:
        return None
    faces, start = [], len(",".join(FACE_COLUMNS)) + 1
    for segment in range(checkpoint.num_segments):
        path = folder / f"{segment:06d}.faces.csv"
        if not path.is_file():
            return None
        faces.append((path, start, path.stat().st_size))
    # a segment behind the checkpoint may have its mark already; it is not among these faces
    last = read_marks(folder, checkpoint.num_segments).get(name)
    return None if last is None else Stored(name, checkpoint.fingerprint, tuple(faces), last.files, last.written)
