"""Names of what is written for a source: never two alike on any file system, and none longer than they take."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TypeVar

from maskbatch.data import Source

# what OpenCV writes in colour, in every build
WRITABLE = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"})
_MOST_BYTES = 255
_LONGEST_ENDING = 24
# of those, what a crop's name may take behind the source's: frame and face
_CROP_BYTES = 32
# what Windows takes for a drive, a stream or a pattern, or does not take at all, and its devices
_UNFIT = re.compile(r'[<>:"|?*\\\0-\x1f]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\..*)?", re.IGNORECASE | re.DOTALL
)
_MOST_NAMED = 5
Folder = TypeVar("Folder", bound=PurePath)
_CROP = re.compile(r"(.+)_f\d{6,}_\d+\.jpg", re.DOTALL)


def annotated_name(source: Source) -> str:
    """Where the annotated copy of a source goes, relative to the output tree, as a POSIX path.

    The source's own name, with ".jpg" or ".mp4" put behind it when its format is not one that is written; where another
    input has that name already (`clip.avi` beside `clip.avi.mp4`), `_annotated` goes before it, as often as it takes.
    """
    name, ending = own_name(source), ".mp4" if source.kind == "video" else ".jpg"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".mp4" if source.kind == "video" else suffix in WRITABLE:
        return name
    added = ending
    while os.path.lexists(source.path.with_name(source.path.name + added)):
        added = "_annotated" + added
    return fitted(name + added)


def written_names(source: Source) -> tuple[str, str]:
    """What a source is called in the output: its annotated copy, and the beginning of its crops. Both depend on its
    neighbours, which may be others in the next session."""
    return annotated_name(source), own_name(source)


def crop_name(source: Source, frame: int, face: int) -> str:
    """The file of one face, relative to its label's folder: the whole name of the source, so that a.jpg and a.png do not
    meet, then frame and face."""
    return f"{crop_stem(own_name(source))}_f{frame:06d}_{face}.jpg"


def crop_stem(own: str) -> str:
    """What all crops of the source with the `own_name` `own` begin with, the same for every frame and face, so that they
    are found again."""
    return fitted(own, _MOST_BYTES - _CROP_BYTES)


def stem_of_crop(name: str) -> str | None:
    """The `crop_stem` of a crop's name, None when it is no crop's."""
    found = _CROP.fullmatch(name)
    return found and found[1]


def folded(name: str) -> str:
    """The same for all names that differ in case, or in the way accents are written: one file on some systems."""
    return unicodedata.normalize("NFC", name).casefold()


def own_name(source: Source) -> str:
    """The source's name as this system can write it; with a part of its checksum, when it is the twin of another one."""
    name = fit_for_windows(source.name) if os.name == "nt" else source.name
    if not source.has_twin:
        return name
    stem, ending = os.path.splitext(name)
    return fitted(f"{stem}~{_checksum(source.name)}{ending}")


def inside(folder: Folder, name: str) -> Folder:
    """Return the path of `name`, a relative POSIX path, below `folder`.

    Everything that is written under the name of a source gets its path here. Raises ValueError for a name that would lead
    out of the folder, or to anything but a plain file in it.
    """
    parts = name.split("/")
    is_plain = not {"", ".", ".."}.intersection(parts) and "\0" not in name
    if not is_plain or (isinstance(folder, PureWindowsPath) and fit_for_windows(name) != name):
        raise ValueError(f"{name!r} does not lead to a file in the output folder")
    return folder.joinpath(*parts)


def fit_for_windows(name: str) -> str:
    """Return the POSIX path `name` with every part as Windows can write it, below any folder.

    A part that is changed gets a checksum, so that no two become one. Parts that name no entry of a folder are changed too.
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
    """A few of the names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def fitted(name: str, most_bytes: int = _MOST_BYTES) -> str:
    """The POSIX path `name`, its last part no longer than the 255 bytes that file systems take, or than `most_bytes`: in
    the place of what is cut stands a checksum of the whole."""
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) <= most_bytes:
        return name
    stem, ending = os.path.splitext(last)
    if len(os.fsencode(ending)) > _LONGEST_ENDING:
        stem, ending = last, ""
    ending = f"~{_checksum(last)}{ending}"
    # no letter of several bytes is kept in part
    kept = os.fsencode(stem)[: most_bytes - len(os.fsencode(ending))].decode("utf-8", "ignore")
    return f"{folder}{slash}{kept}{ending}"


def fitted_path(path: Path) -> Path:
    """`path` with its last part fitted."""
    return path.with_name(fitted(path.name))


def mark_twins(sources: Sequence[Source]) -> list[Source]:
    """The sources; those whose copies would have names that differ in case or in the way accents are written have
    `has_twin`: on a file system of Windows, macOS or a camera's card, one would replace the other."""
    alike: dict[str, list[int]] = defaultdict(list)
    for position, source in enumerate(sources):
        alike[folded(annotated_name(source))].append(position)
    twins = {position for positions in alike.values() if len(positions) > 1 for position in positions}
    return [replace(source, has_twin=True) if number in twins else source for number, source in enumerate(sources)]


def _checksum(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:8]
