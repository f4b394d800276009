"""Names of output files: unique on every file system, safe, and never too long."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TypeVar

from maskbatch.media.storage import Remote, is_there
from maskbatch.types import Source

# formats that every build of OpenCV writes in colour
WRITABLE = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"})
# control characters, marks and overrides of writing direction, line and paragraph breaks, bytes that are not UTF-8; an
# explicit list, because str.isprintable differs between versions of Python
_HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# escapes that name_text writes for them, and for a backslash
_ESCAPED = re.compile(r"\\(?:\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
_MOST_BYTES = 255
_LONGEST_ENDING = 24
# bytes reserved for the end of a crop's name: frame and face
_CROP_BYTES = 32
# characters that Windows forbids or takes for a drive, a stream or a pattern; names of its devices
_UNFIT = re.compile(r'[<>:"|?*\\\0-\x1f]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\..*)?", re.IGNORECASE | re.DOTALL
)
_MOST_NAMED = 5
Folder = TypeVar("Folder", bound=PurePath)
_CROP = re.compile(r"(.+)_f\d{6,}_\d+\.jpg", re.DOTALL)


def annotated_name(source: Source) -> str:
    """Return the POSIX path of a source's annotated copy, relative to the folder of annotated copies.

    The name is the source's own, followed by ".jpg" or ".mp4" if maskbatch does not write the source's format. If
    another input already has that name (`clip.avi` beside `clip.avi.mp4`), `_annotated` is inserted until the name is
    free.
    """
    name, ending = own_name(source), ".mp4" if source.kind == "video" else ".jpg"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".mp4" if source.kind == "video" else suffix in WRITABLE:
        return name
    added = ending
    while is_there(source.path.with_name(source.path.name + added)):
        added = "_annotated" + added
    return fitted(name + added)


def written_names(source: Source) -> tuple[str, str]:
    """Return a source's names in the output: the name of its annotated copy, and the name that its crops begin with.

    Both depend on the other inputs, which may differ in the next session.
    """
    return annotated_name(source), own_name(source)


def crop_name(source: Source, frame: int, face: int) -> str:
    """Return the file name of one face's crop, relative to the folder of its label.

    It has the source's whole name, so that a.jpg and a.png differ, then frame and face.
    """
    return crop_of(own_name(source), frame, face)


def crop_of(own: str, frame: int, face: int) -> str:
    """Return the file name of a crop of the source with the `own_name` `own`."""
    return f"{crop_stem(own)}_f{frame:06d}_{face}.jpg"


def crop_stem(own: str) -> str:
    """Return the stem of all crops of the source with the `own_name` `own`."""
    return fitted(own, _MOST_BYTES - _CROP_BYTES)


def stem_of_crop(name: str) -> str | None:
    """Return the `crop_stem` of a crop's name, or None for the name of another file."""
    found = _CROP.fullmatch(name)
    return found and found[1]


def folded(name: str) -> str:
    """Return the same text for names that differ only in case or in encoding of accents: one file on some systems."""
    return unicodedata.normalize("NFC", name).casefold()


def own_name(source: Source) -> str:
    """Return the source's name in a form that this system can write, with a checksum when the source `has_twin`."""
    name = "/".join(map(fitted, source.name.split("/"))) if isinstance(source.path, Remote) else source.name
    name = fit_for_windows(name) if os.name == "nt" else name
    if not source.has_twin:
        return name
    stem, ending = os.path.splitext(name)
    return fitted(f"{stem}~{_checksum(source.name)}{ending}")


def name_text(name: str) -> str:
    """Return a file's name for tables: one line of UTF-8, different for different names.

    Characters that are invisible, reorder text or are not UTF-8 become escapes of Python's string literals, such as
    `\\r`. A backslash is doubled. All other names stay as they are.
    """
    return one_line(name.replace("\\", r"\\"))


def from_name_text(text: str) -> str:
    """Return the name that `name_text` turned into `text`.

    Example:
        >>> from_name_text(name_text("a\\b\r.jpg")) == "a\\b\r.jpg"
        True
    """
    return _ESCAPED.sub(lambda found: "\\" if found[0] == r"\\" else found[0].encode().decode("unicode_escape"), text)


def one_line(text: str) -> str:
    """Return `text` on one line of UTF-8, like `name_text`, but without doubling backslashes."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def inside(folder: Folder, name: str) -> Folder:
    """Return the path of `name`, a relative POSIX path, below `folder`.

    Every output file that is named after a source gets its path here. Raises ValueError for a name that would lead out
    of the folder, or not to a plain file in it.
    """
    parts = name.split("/")
    is_plain = not {"", ".", ".."}.intersection(parts) and "\0" not in name
    if not is_plain or (isinstance(folder, PureWindowsPath) and fit_for_windows(name) != name):
        raise ValueError(f"{name!r} does not lead to a file in the output folder")
    return folder.joinpath(*parts)


def fit_for_windows(name: str) -> str:
    """Return the POSIX path `name` with every part changed so that Windows can write it.

    A changed part gets a checksum, so that different names stay different. Parts such as ".." are changed too.
    """
    return "/".join(map(_fit_part, name.split("/")))


def _fit_part(part: str) -> str:
    fit = _UNFIT.sub("_", part).rstrip(". ")
    if _DEVICE.fullmatch(fit):
        fit = f"_{fit}"
    if fit == part and part:
        return part
    stem, ending = os.path.splitext(fit)
    return f"{stem}~{_checksum(part)}{ending}"


def named(names: Sequence[str]) -> str:
    """Return the first names as text for a message, and the number of further names."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def fitted(name: str, most_bytes: int = _MOST_BYTES) -> str:
    """Return the POSIX path `name` with a last part of at most `most_bytes` (default 255, the limit of file systems).

    A checksum of the whole part replaces the text that is cut.
    """
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) <= most_bytes:
        return name
    stem, ending = os.path.splitext(last)
    if len(os.fsencode(ending)) > _LONGEST_ENDING:
        stem, ending = last, ""
    ending = f"~{_checksum(last)}{ending}"
    # a character of several bytes is kept or cut as a whole
    kept = os.fsencode(stem)[: most_bytes - len(os.fsencode(ending))].decode("utf-8", "ignore")
    return f"{folder}{slash}{kept}{ending}"


def mark_twins(sources: Sequence[Source]) -> list[Source]:
    """Return the sources, with `has_twin` set where two copies' names would differ only in case or the encoding of accents.

    On a file system of Windows, macOS or a memory card, one copy would replace the other. In a storage, a file may have
    the name of a folder; such a file counts as a twin too.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for position, source in enumerate(sources):
        alike[folded(annotated_name(source))].append(position)
    twins = {position for positions in alike.values() if len(positions) > 1 for position in positions}
    if any(isinstance(source.path, Remote) for source in sources):
        folders = {str(folder) for name in alike for folder in PurePosixPath(name).parents}
        twins.update(position for name in folders & alike.keys() for position in alike[name])
    return [replace(source, has_twin=True) if number in twins else source for number, source in enumerate(sources)]


def _checksum(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:8]
