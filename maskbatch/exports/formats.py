"""All formats by name, and the function that writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.exports.coco import as_coco
from maskbatch.exports.cvat import as_cvat
from maskbatch.exports.fiftyone import as_fiftyone
from maskbatch.exports.label_studio import as_label_studio
from maskbatch.exports.megadetector import as_megadetector
from maskbatch.exports.otio import as_otio
from maskbatch.exports.parquet import as_parquet
from maskbatch.exports.tables import Exported
from maskbatch.exports.timed_text import as_chapters, as_edl, as_webvtt
from maskbatch.media.names import fitted, inside
from maskbatch.media.write import partial_files

# formats of one file with this suffix, and formats of a folder of files
_FILES: Mapping[str, tuple[Callable[[Exported], str], str]] = {
    "coco": (as_coco, ".json"), "megadetector": (as_megadetector, ".json"), "label-studio": (as_label_studio, ".json"),
}  # fmt: skip
_FOLDERS: Mapping[str, Callable[[Exported], Mapping[str, str | bytes]]] = {
    "parquet": as_parquet, "cvat": as_cvat, "fiftyone": as_fiftyone, "webvtt": as_webvtt, "chapters": as_chapters,
    "edl": as_edl, "otio": as_otio,
}  # fmt: skip
FORMATS = (*_FILES, *_FOLDERS)


def write_export(results: Exported, name: str, out: Path | None = None) -> Path:
    """Write results in a format, and return the written file or folder.

    Args:
        results: the tables of a scan.
        name: one of FORMATS.
        out: the file or folder, which must not exist; default: `export_<name>` in the output folder of the scan.

    Raises:
        UsageError: the format is unknown, or `out` exists.
        MaskbatchError: a package that the format needs is missing.
        OSError: a file cannot be written.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}: take {', '.join(FORMATS)}")
    ending = _FILES[name][1] if name in _FILES else ""
    target = results.folder / f"export_{name}{ending}" if out is None else out
    if target.exists():
        raise UsageError(f"{target} exists: give another place with --out, or remove it")
    made = {"": _FILES[name][0](results)} if name in _FILES else _FOLDERS[name](results)
    paths = [inside(target, fitted(one)) if one else target for one in made]
    if name in _FOLDERS:
        target.mkdir(parents=True)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for partial, content in zip(stack.enter_context(partial_files(*paths)), made.values(), strict=True):
            partial.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
    return target
